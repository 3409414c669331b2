// Pooling over windows, over everything, and to a fixed size.
#include <fmt/format.h>

#include "compute/ops/convolution.h"
#include "compute/ops/elementwise.h"
#include "compute/ops/reduce.h"
#include "compute/ops/shape_ops.h"
#include "model/layers/layer_functions.h"
#include "model/layers/layer_support.h"

namespace h5serve::model {

namespace ops = compute::ops;
using ops::PoolKind;

namespace {

// Theano pads both sides alike and computes more windows than asked for; Keras
// keeps the first ceil(n / stride). Source: pool2d in theano_backend.py.
Value TheanoSamePool(const LayerScope& scope, Value x, ops::PoolAttributes attributes) {
  Graph& graph = scope.graph();
  const int rank = static_cast<int>(attributes.sizes.size());
  for (int64_t size : attributes.sizes) {
    const int64_t pad = size > 2 && size % 2 == 1 ? size - 2 : size - 1;
    attributes.pads.push_back({pad, pad});
  }
  // Keras 2 counts the padding; Keras 1 did not.
  attributes.count_padding = !IsKeras1(scope);
  Value y = ops::Pool(graph, x, attributes);
  for (int i = 0; i < rank; ++i) {
    const int64_t n = graph.shape(x)[1 + i];
    if (n == kUnknown) {
      scope.Fail(
          Code::kUnsupportedArgument,
          fmt::format("layer {}: Theano's padding of an axis of unknown size", scope.path()));
      return {};
    }
    const int64_t stride = attributes.strides[i];
    y = ops::SliceAxis(graph, y, 1 + i, 0, (n + stride - 1) / stride);
  }
  return y;
}

std::vector<KerasTensor> Pool(const LayerScope& scope, const CallInputs& inputs, int rank,
                              PoolKind kind) {
  Graph& graph = scope.graph();
  const KerasTensor input = SingleInput(scope, inputs);
  ops::PoolAttributes attributes;
  attributes.kind = kind;
  attributes.sizes = scope.Sizes("pool_size", rank, 2);
  attributes.strides = scope.Has("strides") ? scope.Sizes("strides", rank, 1) : attributes.sizes;
  const bool same = PaddingOf(scope, false) == Padding::kSame;
  const bool first = scope.ChannelsFirst();
  if (scope.failed() || !RequireRank(scope, input.value, rank + 2)) return {};
  Value x = AsFloat(graph, input.value);
  if (first) x = ToChannelsLast(graph, x);
  Value y;
  if (same && scope.writer().theano) {
    y = TheanoSamePool(scope, x, attributes);
  } else {
    attributes.same = same;
    y = ops::Pool(graph, x, attributes);
  }
  return One(first ? ToChannelsFirst(graph, y) : y);
}

// The mean over unmasked steps.
Value MaskedMean(Graph& graph, Value x, Value mask, int64_t axis, bool keepdims) {
  const Value weights = ops::ExpandDims(graph, AsFloat(graph, mask), axis == 1 ? 2 : 1);
  const Value sum =
      ops::Reduce(graph, ops::ReduceKind::kSum, ops::Multiply(graph, x, weights), {axis}, keepdims);
  const Value count = ops::Reduce(graph, ops::ReduceKind::kSum, weights, {axis}, keepdims);
  return ops::Divide(graph, sum, count);
}

std::vector<KerasTensor> GlobalPool(const LayerScope& scope, const CallInputs& inputs, int rank,
                                    PoolKind kind) {
  Graph& graph = scope.graph();
  const KerasTensor input = SingleInput(scope, inputs);
  const bool keepdims = scope.Bool("keepdims", false);
  const int64_t begin = scope.ChannelsFirst() ? 2 : 1;
  if (scope.failed() || !RequireRank(scope, input.value, rank + 2)) return {};
  const Value x = AsFloat(graph, input.value);
  if (rank == 1 && kind == PoolKind::kAverage && input.mask) {
    return One(MaskedMean(graph, x, *input.mask, begin, keepdims));
  }
  std::vector<int64_t> axes;
  for (int i = 0; i < rank; ++i) axes.push_back(begin + i);
  const ops::ReduceKind reduce =
      kind == PoolKind::kMax ? ops::ReduceKind::kMax : ops::ReduceKind::kMean;
  return One(ops::Reduce(graph, reduce, x, axes, keepdims));
}

std::vector<KerasTensor> AdaptivePool(const LayerScope& scope, const CallInputs& inputs, int rank,
                                      PoolKind kind) {
  Graph& graph = scope.graph();
  const KerasTensor input = SingleInput(scope, inputs);
  if (!scope.Has("output_size")) scope.BadValue("output_size", "positive integers are expected");
  const std::vector<int64_t> size = scope.Sizes("output_size", rank, 1);
  const bool first = scope.ChannelsFirst();
  if (scope.failed() || !RequireRank(scope, input.value, rank + 2)) return {};
  Value x = AsFloat(graph, input.value);
  if (first) x = ToChannelsLast(graph, x);
  const Value y = ops::AdaptivePool(graph, x, kind, size);
  return One(first ? ToChannelsFirst(graph, y) : y);
}

}  // namespace

namespace {

PoolKind KindOf(const Layer& layer) {
  return layer.class_name.find("Max") != std::string::npos ? PoolKind::kMax : PoolKind::kAverage;
}

}  // namespace

std::vector<KerasTensor> LowerPooling(const LayerScope& scope, const CallInputs& inputs) {
  return Pool(scope, inputs, SpatialRank(scope.layer()), KindOf(scope.layer()));
}
std::vector<KerasTensor> LowerGlobalPooling(const LayerScope& scope, const CallInputs& inputs) {
  return GlobalPool(scope, inputs, SpatialRank(scope.layer()), KindOf(scope.layer()));
}
std::vector<KerasTensor> LowerAdaptivePooling(const LayerScope& scope, const CallInputs& inputs) {
  return AdaptivePool(scope, inputs, SpatialRank(scope.layer()), KindOf(scope.layer()));
}

}  // namespace h5serve::model
