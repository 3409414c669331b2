// Convolutions, plain, depthwise and separable.
#include "compute/ops/convolution.h"

#include <fmt/format.h>

#include "compute/ops/elementwise.h"
#include "compute/ops/shape_ops.h"
#include "model/layers/layer_functions.h"
#include "model/layers/layer_support.h"

namespace h5serve::model {

namespace ops = compute::ops;

namespace {

// A convolution's input with channels last and its geometry.
struct Geometry {
  Value x;
  bool channels_first = false;
  std::vector<int64_t> kernel_size;
  ops::ConvAttributes attributes;
  int64_t channels = kUnknown;
};

// Theano pads floor(k / 2) before, whatever the stride; TensorFlow puts the
// larger half after. Giving the end what makes ceil(n / stride) windows spares
// the crop that Keras does.
void SetPads(const LayerScope& scope, Padding padding, Geometry* geometry) {
  ops::ConvAttributes& attributes = geometry->attributes;
  const int rank = static_cast<int>(geometry->kernel_size.size());
  if (padding == Padding::kSame && !scope.writer().theano) {
    attributes.same = true;
    return;
  }
  for (int i = 0; i < rank && padding != Padding::kValid; ++i) {
    const int64_t extent = (geometry->kernel_size[i] - 1) * attributes.dilations[i];
    if (padding == Padding::kCausal) {
      attributes.pads.push_back({extent, 0});
    } else if (padding == Padding::kFull) {
      attributes.pads.push_back({extent, extent});
    } else {
      // Keras 1 emulated three dimensions itself and rounded down.
      const bool rounds_down = IsKeras1(scope) && rank == 3;
      const int64_t before = rounds_down ? extent / 2 : (extent + 1) / 2;
      attributes.pads.push_back({before, extent - before});
    }
  }
}

std::optional<Geometry> ReadGeometry(const LayerScope& scope, const CallInputs& inputs, int rank) {
  Graph& graph = scope.graph();
  const KerasTensor input = SingleInput(scope, inputs);
  Geometry geometry;
  if (!scope.Has("kernel_size")) scope.BadValue("kernel_size", "positive integers are expected");
  geometry.kernel_size = scope.Sizes("kernel_size", rank, 1);
  geometry.attributes.strides = scope.Sizes("strides", rank, 1);
  geometry.attributes.dilations = scope.Sizes("dilation_rate", rank, 1);
  const Padding padding = PaddingOf(scope, rank == 1, IsKeras1(scope) && scope.writer().theano);
  geometry.channels_first = scope.ChannelsFirst();
  if (scope.failed() || !RequireRank(scope, input.value, rank + 2)) return std::nullopt;
  if (padding == Padding::kCausal && geometry.channels_first) {
    scope.Fail(Code::kUnsupportedArgument,
               fmt::format("layer {}: causal padding with channels_first", scope.path()));
    return std::nullopt;
  }
  geometry.x = AsFloat(graph, input.value);
  if (geometry.channels_first) geometry.x = ToChannelsLast(graph, geometry.x);
  geometry.channels = graph.shape(geometry.x).back();
  SetPads(scope, padding, &geometry);
  return geometry;
}

Shape KernelShape(const Geometry& geometry, int64_t in, int64_t out) {
  Shape shape(geometry.kernel_size);
  shape.push_back(in);
  shape.push_back(out);
  return shape;
}

std::vector<KerasTensor> Finish(const LayerScope& scope, const Geometry& geometry, Value y) {
  return One(ActivateChannels(scope, y, geometry.channels_first));
}

std::vector<KerasTensor> Conv(const LayerScope& scope, const CallInputs& inputs, int rank) {
  Graph& graph = scope.graph();
  std::optional<Geometry> geometry = ReadGeometry(scope, inputs, rank);
  const int64_t filters = scope.PositiveInt("filters");
  const int64_t groups = scope.Has("groups") ? scope.PositiveInt("groups") : 1;
  if (scope.failed()) return {};
  if (filters % groups != 0 || (geometry->channels != kUnknown && geometry->channels % groups)) {
    scope.BadValue("groups", fmt::format("{} channels and {} filters do not divide",
                                         geometry->channels, filters));
    return {};
  }
  geometry->attributes.groups = groups;
  const int64_t in = geometry->channels == kUnknown ? kUnknown : geometry->channels / groups;
  const Value kernel =
      WeightWithLora(scope, "kernel", KernelShape(*geometry, in, filters), "lora_kernel");
  const Value bias = OptionalBias(scope, filters);
  if (scope.failed()) return {};
  return Finish(scope, *geometry,
                ops::Conv(graph, geometry->x, kernel, bias, geometry->attributes));
}

std::vector<KerasTensor> DepthwiseConv(const LayerScope& scope, const CallInputs& inputs,
                                       int rank) {
  Graph& graph = scope.graph();
  std::optional<Geometry> geometry = ReadGeometry(scope, inputs, rank);
  const int64_t multiplier = scope.Int("depth_multiplier", 1);
  if (scope.failed()) return {};
  const Value kernel =
      scope.Weight("depthwise_kernel", KernelShape(*geometry, geometry->channels, multiplier));
  const int64_t out = geometry->channels == kUnknown ? kUnknown : geometry->channels * multiplier;
  const Value bias = OptionalBias(scope, out);
  if (scope.failed()) return {};
  return Finish(scope, *geometry,
                ops::DepthwiseConv(graph, geometry->x, kernel, bias, geometry->attributes));
}

std::vector<KerasTensor> SeparableConv(const LayerScope& scope, const CallInputs& inputs,
                                       int rank) {
  Graph& graph = scope.graph();
  std::optional<Geometry> geometry = ReadGeometry(scope, inputs, rank);
  const int64_t filters = scope.PositiveInt("filters");
  const int64_t multiplier = scope.Int("depth_multiplier", 1);
  if (scope.failed()) return {};
  const Value depthwise =
      scope.Weight("depthwise_kernel", KernelShape(*geometry, geometry->channels, multiplier));
  Shape point(std::vector<int64_t>(rank, 1));
  point.push_back(geometry->channels == kUnknown ? kUnknown : geometry->channels * multiplier);
  point.push_back(filters);
  const Value pointwise = scope.Weight("pointwise_kernel", point);
  const Value bias = OptionalBias(scope, filters);
  if (scope.failed()) return {};
  const Value middle = ops::DepthwiseConv(graph, geometry->x, depthwise, {}, geometry->attributes);
  ops::ConvAttributes one;
  one.strides.assign(rank, 1);
  one.dilations.assign(rank, 1);
  return Finish(scope, *geometry, ops::Conv(graph, middle, pointwise, bias, one));
}

}  // namespace

std::vector<WeightRole> ConvWeights(const Layer& layer, const Writer& writer) {
  return KernelBiasRoles(layer);
}

std::vector<WeightRole> DepthwiseConvWeights(const Layer& layer, const Writer& writer) {
  std::vector<WeightRole> roles{{"depthwise_kernel"}};
  if (ConfigBool(layer, "use_bias", true)) roles.push_back({"bias"});
  return roles;
}

std::vector<WeightRole> SeparableConvWeights(const Layer& layer, const Writer& writer) {
  std::vector<WeightRole> roles{{"depthwise_kernel"}, {"pointwise_kernel"}};
  if (ConfigBool(layer, "use_bias", true)) roles.push_back({"bias"});
  return roles;
}

std::vector<KerasTensor> LowerConv(const LayerScope& scope, const CallInputs& inputs) {
  return Conv(scope, inputs, SpatialRank(scope.layer()));
}
std::vector<KerasTensor> LowerDepthwiseConv(const LayerScope& scope, const CallInputs& inputs) {
  return DepthwiseConv(scope, inputs, SpatialRank(scope.layer()));
}
std::vector<KerasTensor> LowerSeparableConv(const LayerScope& scope, const CallInputs& inputs) {
  return SeparableConv(scope, inputs, SpatialRank(scope.layer()));
}

}  // namespace h5serve::model
