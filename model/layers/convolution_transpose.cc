// Transposed convolutions.
#include <fmt/format.h>

#include <algorithm>

#include "compute/ops/convolution.h"
#include "compute/ops/elementwise.h"
#include "compute/ops/shape_ops.h"
#include "model/layers/layer_functions.h"
#include "model/layers/layer_support.h"

namespace h5serve::model {

namespace ops = compute::ops;

namespace {

// Keras 1 stores the whole output shape: its spatial sizes, kUnknown where open.
std::vector<int64_t> Keras1OutputSizes(const LayerScope& scope, int rank, bool channels_first) {
  const ConfigValue& value = scope.config()["output_shape"];
  if (!value.is_list() || static_cast<int>(value.as_list().size()) != rank + 2) {
    scope.BadValue("output_shape", fmt::format("{} sizes are expected", rank + 2));
    return {};
  }
  std::vector<int64_t> sizes;
  for (int i = 0; i < rank; ++i) {
    const std::optional<int64_t> size = value.as_list()[(channels_first ? 2 : 1) + i].ToInt();
    if (size && *size < 1) scope.BadValue("output_shape", "positive sizes are expected");
    sizes.push_back(size.value_or(kUnknown));
  }
  return sizes;
}

// Theano cuts floor(k / 2) from the start of the full result for "same",
// whatever the stride. Source: conv2d_transpose in theano_backend.py.
Value TheanoTranspose(const LayerScope& scope, Value x, Value kernel, Value bias,
                      const std::vector<int64_t>& kernel_size, bool same,
                      ops::ConvTransposeAttributes attributes) {
  Graph& graph = scope.graph();
  const int rank = static_cast<int>(kernel_size.size());
  const std::vector<int64_t> wanted = attributes.output_spatial;
  const std::vector<int64_t> extra = attributes.output_padding;
  attributes.output_spatial.clear();
  attributes.output_padding.clear();
  attributes.same = false;
  Value y = ops::ConvTranspose(graph, x, kernel, {}, attributes);
  for (int i = 0; i < rank; ++i) {
    const int64_t in = graph.shape(x)[1 + i];
    const int64_t size = kernel_size[i], stride = attributes.strides[i];
    if (in == kUnknown) {
      scope.Fail(Code::kUnsupportedArgument,
                 fmt::format("layer {}: Theano's transposed convolution of an axis of unknown size",
                             scope.path()));
      return {};
    }
    const int64_t before = same ? size / 2 : 0;
    int64_t out = same ? in * stride : in * stride + std::max<int64_t>(size - stride, 0);
    if (!extra.empty()) out = (in - 1) * stride + size - 2 * before + extra[i];
    if (!wanted.empty() && wanted[i] != kUnknown) out = wanted[i];
    const int64_t have = in * stride + std::max<int64_t>(size - stride, 0);
    if (before + out > have) {
      std::vector<std::pair<int64_t, int64_t>> pads(rank + 2, {0, 0});
      pads[1 + i].second = before + out - have;
      y = ops::Pad(graph, y, pads);
    }
    if (before > 0 || out != have) y = ops::SliceAxis(graph, y, 1 + i, before, before + out);
  }
  return bias.valid() ? ops::Add(graph, y, bias) : y;
}

std::vector<KerasTensor> ConvTranspose(const LayerScope& scope, const CallInputs& inputs,
                                       int rank) {
  Graph& graph = scope.graph();
  const KerasTensor input = SingleInput(scope, inputs);
  const int64_t filters = scope.PositiveInt("filters");
  if (!scope.Has("kernel_size")) scope.BadValue("kernel_size", "positive integers are expected");
  const std::vector<int64_t> kernel_size = scope.Sizes("kernel_size", rank, 1);
  ops::ConvTransposeAttributes attributes;
  attributes.strides = scope.Sizes("strides", rank, 1);
  attributes.dilations = scope.Sizes("dilation_rate", rank, 1);
  attributes.same = PaddingOf(scope, false) == Padding::kSame;
  const bool first = scope.ChannelsFirst();
  if (scope.Has("output_padding")) {
    attributes.output_padding = scope.Ints("output_padding", {});
    if (attributes.output_padding.size() == 1) {
      attributes.output_padding.resize(rank, attributes.output_padding[0]);
    }
    bool good = static_cast<int>(attributes.output_padding.size()) == rank;
    for (int i = 0; good && i < rank; ++i) {
      good =
          attributes.output_padding[i] >= 0 && attributes.output_padding[i] < attributes.strides[i];
    }
    if (!good) scope.BadValue("output_padding", "numbers >= 0 below the strides are expected");
  }
  if (scope.Has("groups") && scope.Int("groups", 1) != 1) {
    scope.Fail(Code::kUnsupportedArgument,
               fmt::format("{}.groups: transposed convolutions have none", scope.path()));
  }
  if (scope.failed() || !RequireRank(scope, input.value, rank + 2)) return {};
  if (IsKeras1(scope)) attributes.output_spatial = Keras1OutputSizes(scope, rank, first);
  Value x = AsFloat(graph, input.value);
  if (first) x = ToChannelsLast(graph, x);
  Shape shape(kernel_size);
  shape.push_back(filters);
  shape.push_back(graph.shape(x).back());
  const Value kernel = scope.Weight("kernel", shape);
  const Value bias = OptionalBias(scope, filters);
  if (scope.failed()) return {};
  const Value y = scope.writer().theano ? TheanoTranspose(scope, x, kernel, bias, kernel_size,
                                                          attributes.same, attributes)
                                        : ops::ConvTranspose(graph, x, kernel, bias, attributes);
  return One(ActivateChannels(scope, y, first));
}

}  // namespace

std::vector<KerasTensor> LowerConvTranspose(const LayerScope& scope, const CallInputs& inputs) {
  return ConvTranspose(scope, inputs, SpatialRank(scope.layer()));
}

}  // namespace h5serve::model
