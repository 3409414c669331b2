// Convolutions of every kind.

#include "compute/ops/convolution.h"

#include <fmt/format.h>

#include <algorithm>

#include "compute/ops/elementwise.h"
#include "compute/ops/linear.h"
#include "compute/ops/shape_ops.h"
#include "model/layers/activation.h"
#include "model/layers/layer_functions.h"
#include "model/layers/layout.h"

namespace h5serve::model {

namespace ops = compute::ops;
using compute::kUnknown;
using compute::Shape;
using compute::Value;

namespace {

bool Flag(const Layer& layer, std::string_view key, bool otherwise) {
  const ConfigValue& value = layer.config[key];
  return value.is_bool() ? value.as_bool() : otherwise;
}

bool HasLora(const Layer& layer) { return !layer.config["lora_rank"].is_null(); }

Value Bias(const LayerScope& scope, int64_t channels) {
  return scope.Bool("use_bias", true) ? scope.Weight("bias", {channels}) : Value{};
}

Shape KernelShape(const std::vector<int64_t>& sizes, int64_t a, int64_t b) {
  Shape shape;
  for (int64_t size : sizes) shape.push_back(size);
  shape.push_back(a);
  shape.push_back(b);
  return shape;
}

// kernel + alpha / rank * A B, as Keras 3 computes it.
Value WithLora(const LayerScope& scope, Value kernel) {
  compute::Graph& graph = scope.graph();
  const int64_t rank = scope.PositiveInt("lora_rank");
  const Shape& shape = graph.shape(kernel);
  Shape a_shape = shape;
  a_shape.back() = rank;
  const Value a = scope.Weight("lora_kernel_a", a_shape);
  const Value b = scope.Weight("lora_kernel_b", {rank, shape.back()});
  const float alpha = scope.Float("lora_alpha", static_cast<float>(rank));
  const Value update = ops::Dense(graph, a, b, {});
  return ops::Add(graph, kernel,
                  ops::MultiplyScalar(graph, update, alpha / static_cast<float>(rank)));
}

// Brings the result of a channels-last op to where Keras has it. Activations that
// look along the last axis come after that.
std::vector<KerasTensor> Finish(const LayerScope& scope, Value y, bool first) {
  if (!first) return One(ApplyActivation(scope, "activation", y));
  if (IsElementwise(scope, "activation")) {
    return One(ToChannelsFirst(scope.graph(), ApplyActivation(scope, "activation", y)));
  }
  return One(ApplyActivation(scope, "activation", ToChannelsFirst(scope.graph(), y)));
}

// Theano's 'same': the full result from floor(k/2) on, size * stride cells of it,
// or as many as output_padding or Keras 1's output_shape say.
Value TheanoTranspose(const LayerScope& scope, Value x, Value kernel, Value bias,
                      const std::vector<int64_t>& sizes, ops::ConvTransposeAttributes attributes) {
  compute::Graph& graph = scope.graph();
  const bool same = attributes.same;
  const std::vector<int64_t> extra = attributes.output_padding;
  const std::vector<int64_t> given = attributes.output_spatial;
  attributes.same = false;
  attributes.output_padding.clear();
  attributes.output_spatial.clear();
  Value y = ops::ConvTranspose(graph, x, kernel, {}, attributes);
  for (size_t i = 0; i < sizes.size(); ++i) {
    const int axis = static_cast<int>(i) + 1;
    const int64_t size = graph.shape(x).dim(axis), have = graph.shape(y).dim(axis);
    if (size == kUnknown || have == kUnknown) {
      scope.Fail(
          Code::kUnsupportedArgument,
          fmt::format("layer {}: Theano's transposed convolution needs fixed sizes", scope.path()));
      return {};
    }
    const int64_t extent = (sizes[i] - 1) * attributes.dilations[i] + 1;
    const int64_t stride = attributes.strides[i];
    const int64_t before = same ? extent / 2 : 0;
    int64_t wanted = same ? size * stride : have;
    if (!extra.empty()) wanted = (size - 1) * stride + extent - 2 * before + extra[i];
    if (!given.empty() && given[i] != kUnknown) wanted = given[i];
    const int64_t missing = std::max<int64_t>(0, before + wanted - have);
    if (missing > 0) {
      std::vector<std::pair<int64_t, int64_t>> pads(graph.rank(y), {0, 0});
      pads[axis].second = missing;
      y = ops::Pad(graph, y, pads);
    }
    y = ops::SliceAxis(graph, y, axis, before, before + wanted);
  }
  return bias.valid() ? ops::Add(graph, y, bias) : y;
}

}  // namespace

std::vector<KerasTensor> LowerConv(const LayerScope& scope, const CallInputs& inputs) {
  const int spatial = SpatialRank(scope.layer());
  const std::optional<KerasTensor> input = InputOfRank(scope, inputs, spatial + 2);
  if (!input) return {};
  compute::Graph& graph = scope.graph();
  const bool first = scope.ChannelsFirst();
  const Value x = first ? ToChannelsLast(graph, input->value) : input->value;
  const std::vector<int64_t> sizes = scope.Sizes("kernel_size", spatial, 1);
  const int64_t filters = scope.PositiveInt("filters");
  std::optional<ConvPadding> padding = ConvPaddingOf(scope, spatial, sizes);
  if (!padding || scope.failed()) return {};
  const int64_t groups = scope.Int("groups", 1);
  const int64_t channels = graph.shape(x).dim(-1);
  if (groups < 1 || filters % groups != 0 || (channels != kUnknown && channels % groups != 0)) {
    scope.BadValue("groups",
                   fmt::format("must divide {} channels and {} filters", channels, filters));
    return {};
  }
  padding->attributes.groups = groups;
  Value kernel = scope.Weight(
      "kernel", KernelShape(sizes, channels == kUnknown ? kUnknown : channels / groups, filters));
  if (!kernel.valid()) return {};
  if (HasLora(scope.layer())) kernel = WithLora(scope, kernel);
  const Value bias = Bias(scope, filters);
  if (scope.failed()) return {};
  Value y = ops::Conv(graph, x, kernel, bias, padding->attributes);
  if (padding->crop) y = CropToSame(scope, x, y, padding->attributes.strides);
  return Finish(scope, y, first);
}

std::vector<WeightRole> ConvWeights(const Layer& layer, const Writer&) {
  const bool lora = HasLora(layer);
  std::vector<WeightRole> roles{{"kernel", !lora}};
  if (Flag(layer, "use_bias", true)) roles.push_back({"bias"});
  if (lora) {
    roles.push_back({"lora_kernel_a"});
    roles.push_back({"lora_kernel_b"});
  }
  return roles;
}

std::vector<KerasTensor> LowerConvTranspose(const LayerScope& scope, const CallInputs& inputs) {
  const int spatial = SpatialRank(scope.layer());
  const std::optional<KerasTensor> input = InputOfRank(scope, inputs, spatial + 2);
  if (!input) return {};
  compute::Graph& graph = scope.graph();
  const bool first = scope.ChannelsFirst();
  const Value x = first ? ToChannelsLast(graph, input->value) : input->value;
  const std::vector<int64_t> sizes = scope.Sizes("kernel_size", spatial, 1);
  const int64_t filters = scope.PositiveInt("filters");
  ops::ConvTransposeAttributes attributes;
  attributes.strides = scope.Sizes("strides", spatial, 1);
  attributes.dilations = scope.Sizes("dilation_rate", spatial, 1);
  const std::string padding = scope.Choice("padding", "valid", {"valid", "same"});
  attributes.same = padding == "same";
  if (scope.Has("output_padding")) attributes.output_padding = scope.Ints("output_padding", {});
  if (attributes.output_padding.size() == 1) {
    attributes.output_padding.resize(spatial, attributes.output_padding[0]);
  }
  // Keras 1 stores the whole output shape instead of following a rule.
  if (scope.writer().dialect == Writer::Dialect::kKeras1 && scope.Has("output_shape")) {
    const ConfigValue& shape = scope.config()["output_shape"];
    const int offset = first ? 2 : 1;
    if (!shape.is_list() || static_cast<int>(shape.as_list().size()) != spatial + 2) {
      scope.BadValue("output_shape", fmt::format("{} sizes are expected", spatial + 2));
      return {};
    }
    for (int i = 0; i < spatial; ++i) {
      attributes.output_spatial.push_back(shape.as_list()[i + offset].ToInt().value_or(kUnknown));
    }
  }
  if (scope.Int("groups", 1) != 1) scope.BadValue("groups", "transposed convolutions have none");
  bool padded = attributes.output_padding.empty() ||
                static_cast<int>(attributes.output_padding.size()) == spatial;
  for (size_t i = 0; padded && i < attributes.output_padding.size(); ++i) {
    padded =
        attributes.output_padding[i] >= 0 && attributes.output_padding[i] < attributes.strides[i];
  }
  if (!padded) scope.BadValue("output_padding", "sizes below the strides are expected");
  for (int64_t size : attributes.output_spatial) {
    if (size != kUnknown && size < 1) scope.BadValue("output_shape", "sizes are expected");
  }
  const Value kernel = scope.Weight("kernel", KernelShape(sizes, filters, graph.shape(x).dim(-1)));
  const Value bias = Bias(scope, filters);
  if (scope.failed()) return {};
  if (scope.writer().theano && (attributes.same || !attributes.output_padding.empty() ||
                                !attributes.output_spatial.empty())) {
    return Finish(scope, TheanoTranspose(scope, x, kernel, bias, sizes, attributes), first);
  }
  return Finish(scope, ops::ConvTranspose(graph, x, kernel, bias, attributes), first);
}

std::vector<KerasTensor> LowerDepthwiseConv(const LayerScope& scope, const CallInputs& inputs) {
  const int spatial = SpatialRank(scope.layer());
  const std::optional<KerasTensor> input = InputOfRank(scope, inputs, spatial + 2);
  if (!input) return {};
  compute::Graph& graph = scope.graph();
  const bool first = scope.ChannelsFirst();
  const Value x = first ? ToChannelsLast(graph, input->value) : input->value;
  const std::vector<int64_t> sizes = scope.Sizes("kernel_size", spatial, 1);
  const int64_t multiplier = scope.Int("depth_multiplier", 1);
  const std::optional<ConvPadding> padding = ConvPaddingOf(scope, spatial, sizes);
  if (!padding || scope.failed()) return {};
  const Value kernel =
      scope.Weight("depthwise_kernel", KernelShape(sizes, graph.shape(x).dim(-1), multiplier));
  if (!kernel.valid()) return {};
  const Value bias = Bias(scope, graph.shape(kernel).dim(-2) * multiplier);
  if (scope.failed()) return {};
  Value y = ops::DepthwiseConv(graph, x, kernel, bias, padding->attributes);
  if (padding->crop) y = CropToSame(scope, x, y, padding->attributes.strides);
  return Finish(scope, y, first);
}

std::vector<WeightRole> DepthwiseConvWeights(const Layer& layer, const Writer&) {
  std::vector<WeightRole> roles{{"depthwise_kernel"}};
  if (Flag(layer, "use_bias", true)) roles.push_back({"bias"});
  return roles;
}

std::vector<KerasTensor> LowerSeparableConv(const LayerScope& scope, const CallInputs& inputs) {
  const int spatial = SpatialRank(scope.layer());
  const std::optional<KerasTensor> input = InputOfRank(scope, inputs, spatial + 2);
  if (!input) return {};
  compute::Graph& graph = scope.graph();
  const bool first = scope.ChannelsFirst();
  const Value x = first ? ToChannelsLast(graph, input->value) : input->value;
  const std::vector<int64_t> sizes = scope.Sizes("kernel_size", spatial, 1);
  const int64_t multiplier = scope.Int("depth_multiplier", 1);
  const int64_t filters = scope.PositiveInt("filters");
  const std::optional<ConvPadding> padding = ConvPaddingOf(scope, spatial, sizes);
  if (!padding || scope.failed()) return {};
  const Value depthwise =
      scope.Weight("depthwise_kernel", KernelShape(sizes, graph.shape(x).dim(-1), multiplier));
  if (!depthwise.valid()) return {};
  const int64_t middle = graph.shape(depthwise).dim(-2) * multiplier;
  const Value pointwise = scope.Weight(
      "pointwise_kernel", KernelShape(std::vector<int64_t>(spatial, 1), middle, filters));
  const Value bias = Bias(scope, filters);
  if (scope.failed()) return {};
  Value y = ops::DepthwiseConv(graph, x, depthwise, {}, padding->attributes);
  y = ops::Dense(graph, y, ops::Reshape(graph, pointwise, {middle, filters}), bias);
  return Finish(scope, y, first);
}

std::vector<WeightRole> SeparableConvWeights(const Layer& layer, const Writer&) {
  std::vector<WeightRole> roles{{"depthwise_kernel"}, {"pointwise_kernel"}};
  if (Flag(layer, "use_bias", true)) roles.push_back({"bias"});
  return roles;
}

}  // namespace h5serve::model
