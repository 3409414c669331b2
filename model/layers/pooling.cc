// Pooling over windows, over everything, and to a fixed size.

#include <fmt/format.h>

#include "compute/ops/convolution.h"
#include "compute/ops/elementwise.h"
#include "compute/ops/reduce.h"
#include "compute/ops/shape_ops.h"
#include "model/layers/layer_functions.h"
#include "model/layers/layout.h"

namespace h5serve::model {

namespace ops = compute::ops;
using compute::Value;

namespace {

ops::PoolKind KindOf(const Layer& layer) {
  return layer.class_name.find("Max") != std::string::npos ? ops::PoolKind::kMax
                                                           : ops::PoolKind::kAverage;
}

// Theano's 'same': k - 2 cells for odd k > 2, else k - 1, on both sides.
int64_t TheanoPad(int64_t size) { return size > 2 && size % 2 == 1 ? size - 2 : size - 1; }

}  // namespace

std::vector<KerasTensor> LowerPooling(const LayerScope& scope, const CallInputs& inputs) {
  const int spatial = SpatialRank(scope.layer());
  const std::optional<KerasTensor> input = InputOfRank(scope, inputs, spatial + 2);
  if (!input) return {};
  compute::Graph& graph = scope.graph();
  const bool first = scope.ChannelsFirst();
  const Value x = first ? ToChannelsLast(graph, input->value) : input->value;
  ops::PoolAttributes attributes;
  attributes.kind = KindOf(scope.layer());
  attributes.sizes = scope.Sizes("pool_size", spatial, 2);
  attributes.strides = scope.Has("strides") ? scope.Sizes("strides", spatial, 1) : attributes.sizes;
  const bool same = scope.Choice("padding", "valid", {"valid", "same"}) == "same";
  if (scope.failed()) return {};
  const bool theano = same && scope.writer().theano;
  if (theano) {
    for (int64_t size : attributes.sizes) {
      attributes.pads.emplace_back(TheanoPad(size), TheanoPad(size));
    }
  } else {
    attributes.same = same;
  }
  Value y = ops::Pool(graph, x, attributes);
  if (theano) y = CropToSame(scope, x, y, attributes.strides);
  if (first) y = ToChannelsFirst(graph, y);
  return One(y);
}

std::vector<KerasTensor> LowerGlobalPooling(const LayerScope& scope, const CallInputs& inputs) {
  const int spatial = SpatialRank(scope.layer());
  const std::optional<KerasTensor> input = InputOfRank(scope, inputs, spatial + 2);
  if (!input) return {};
  compute::Graph& graph = scope.graph();
  const bool first = scope.ChannelsFirst();
  const bool keepdims = scope.Bool("keepdims", false);
  std::vector<int64_t> axes;
  for (int i = 0; i < spatial; ++i) axes.push_back(i + (first ? 2 : 1));
  if (KindOf(scope.layer()) == ops::PoolKind::kMax) {
    return One(ops::Reduce(graph, ops::ReduceKind::kMax, input->value, axes, keepdims));
  }
  std::optional<Value> mask = input->mask;
  if (const CallArgument* given = inputs.Keyword("mask"); given != nullptr && given->is_tensor()) {
    mask = given->tensor.value;
  }
  const Writer& writer = scope.writer();
  const bool masks = spatial == 1 && mask.has_value() &&
                     (writer.dialect != Writer::Dialect::kKeras1) &&
                     !(writer.dialect == Writer::Dialect::kKeras2 && !writer.AtLeast(2, 2, 4));
  if (!masks) {
    return One(ops::Reduce(graph, ops::ReduceKind::kMean, input->value, axes, keepdims));
  }
  // The mean over the steps that are not masked.
  const Value weights =
      ops::ExpandDims(graph, ops::Cast(graph, *mask, compute::DType::kFloat32), first ? 1 : 2);
  const Value sum = ops::Reduce(graph, ops::ReduceKind::kSum,
                                ops::Multiply(graph, input->value, weights), axes, keepdims);
  const Value count = ops::Reduce(graph, ops::ReduceKind::kSum, weights, axes, keepdims);
  return One(ops::Divide(graph, sum, count));
}

std::vector<KerasTensor> LowerAdaptivePooling(const LayerScope& scope, const CallInputs& inputs) {
  const int spatial = SpatialRank(scope.layer());
  const std::optional<KerasTensor> input = InputOfRank(scope, inputs, spatial + 2);
  if (!input) return {};
  compute::Graph& graph = scope.graph();
  const bool first = scope.ChannelsFirst();
  const Value x = first ? ToChannelsLast(graph, input->value) : input->value;
  const std::vector<int64_t> sizes = scope.Sizes("output_size", spatial, 1);
  if (scope.failed()) return {};
  Value y = ops::AdaptivePool(graph, x, KindOf(scope.layer()), sizes);
  if (first) y = ToChannelsFirst(graph, y);
  return One(y);
}

}  // namespace h5serve::model
