// Layers that move, repeat, cut or add cells.

#include <fmt/format.h>

#include "compute/ops/convolution.h"
#include "compute/ops/shape_ops.h"
#include "model/layers/layer_functions.h"
#include "model/layers/layout.h"

namespace h5serve::model {

namespace ops = compute::ops;
using compute::kUnknown;
using compute::Shape;
using compute::Value;

namespace {

using Pairs = std::vector<std::pair<int64_t, int64_t>>;

// (before, after) per dimension from an integer, a list of integers (symmetric
// sides, or the two sides of one dimension), or a list of pairs.
std::optional<Pairs> Sides(const LayerScope& scope, std::string_view key, int spatial,
                           int64_t otherwise) {
  const ConfigValue& value = scope.config()[key];
  Pairs pairs;
  const auto valid = [](const std::optional<int64_t>& n) {
    return n && *n >= 0 && *n < (int64_t{1} << 31);
  };
  if (value.is_null()) return Pairs(spatial, {otherwise, otherwise});
  if (const std::optional<int64_t> all = value.ToInt(); valid(all)) {
    return Pairs(spatial, {*all, *all});
  }
  if (value.is_list()) {
    const ConfigValue::List& list = value.as_list();
    if (spatial == 1 && list.size() == 2 && valid(list[0].ToInt()) && valid(list[1].ToInt())) {
      return Pairs{{*list[0].ToInt(), *list[1].ToInt()}};
    }
    for (const ConfigValue& item : list) {
      const std::optional<int64_t> both = item.ToInt();
      if (valid(both)) {
        pairs.emplace_back(*both, *both);
      } else if (item.is_list() && item.as_list().size() == 2 && valid(item.as_list()[0].ToInt()) &&
                 valid(item.as_list()[1].ToInt())) {
        pairs.emplace_back(*item.as_list()[0].ToInt(), *item.as_list()[1].ToInt());
      }
    }
    if (static_cast<int>(pairs.size()) == spatial) return pairs;
  }
  scope.BadValue(key, fmt::format("sizes of {} dimensions are expected", spatial));
  return std::nullopt;
}

// Theano's bilinear_upsampling: destination o lies at (o - (ratio - 1) / 2) / ratio
// of the source (integer division inside), edges repeated. x has channels last.
Value TheanoBilinear(const LayerScope& scope, Value x, const std::vector<int64_t>& size) {
  compute::Graph& graph = scope.graph();
  const int64_t ratio = size[0];
  if (size.size() != 2 || size[1] != ratio) {
    scope.Fail(Code::kUnsupportedArgument,
               fmt::format("layer {}: Theano scales both axes by one factor", scope.path()));
    return {};
  }
  ops::ResizeAttributes attributes;
  attributes.scale = size;
  attributes.half_pixel_centers = false;
  const Value padded = ops::Pad(graph, x, {{0, 0}, {1, 1}, {1, 1}, {0, 0}}, ops::PadMode::kEdge);
  Value y = ops::Resize(graph, padded, attributes);
  const int64_t begin = ratio - (ratio - 1) / 2;
  for (int axis : {1, 2}) y = ops::SliceAxis(graph, y, axis, begin, begin - 2 * ratio);
  return y;
}

int FirstSpatialAxis(const LayerScope& scope, int spatial) {
  // One-dimensional layers of old versions know no channel order.
  return spatial > 0 && scope.ChannelsFirst() ? 2 : 1;
}

}  // namespace

std::vector<KerasTensor> LowerZeroPadding(const LayerScope& scope, const CallInputs& inputs) {
  const int spatial = SpatialRank(scope.layer());
  const std::optional<KerasTensor> x = InputOfRank(scope, inputs, spatial + 2);
  if (!x) return {};
  const std::optional<Pairs> sides = Sides(scope, "padding", spatial, 1);
  if (!sides) return {};
  Pairs pads(spatial + 2, {0, 0});
  const int first = FirstSpatialAxis(scope, spatial);
  for (int i = 0; i < spatial; ++i) pads[first + i] = (*sides)[i];
  return One(ops::Pad(scope.graph(), x->value, pads));
}

std::vector<KerasTensor> LowerCropping(const LayerScope& scope, const CallInputs& inputs) {
  const int spatial = SpatialRank(scope.layer());
  const std::optional<KerasTensor> x = InputOfRank(scope, inputs, spatial + 2);
  if (!x) return {};
  const std::optional<Pairs> sides = Sides(scope, "cropping", spatial, 1);
  if (!sides) return {};
  compute::Graph& graph = scope.graph();
  const int first = FirstSpatialAxis(scope, spatial);
  Value y = x->value;
  for (int i = 0; i < spatial; ++i) {
    const auto [before, after] = (*sides)[i];
    const int64_t size = graph.shape(y).dim(first + i);
    if (size != kUnknown && size <= before + after) {
      scope.Fail(Code::kShapeInferenceFailed,
                 fmt::format("layer {} cuts {} and {} of {} cells: nothing is left", scope.path(),
                             before, after, size));
      return {};
    }
    const std::optional<int64_t> end = after == 0 ? std::nullopt : std::optional<int64_t>(-after);
    if (before != 0 || after != 0) y = ops::SliceAxis(graph, y, first + i, before, end);
  }
  return One(y);
}

std::vector<KerasTensor> LowerUpSampling(const LayerScope& scope, const CallInputs& inputs) {
  const int spatial = SpatialRank(scope.layer());
  const std::optional<KerasTensor> x = InputOfRank(scope, inputs, spatial + 2);
  if (!x) return {};
  compute::Graph& graph = scope.graph();
  const std::vector<int64_t> size = scope.Sizes("size", spatial, 2);
  const std::string method = scope.Choice("interpolation", "nearest",
                                          {"nearest", "bilinear", "bicubic", "lanczos3", "lanczos5",
                                           "area", "gaussian", "mitchellcubic"});
  if (scope.failed()) return {};
  const bool channels_first = FirstSpatialAxis(scope, spatial) == 2;
  if (method == "nearest") {
    Value y = x->value;
    for (int i = 0; i < spatial; ++i) {
      y = ops::Repeat(graph, y, size[i], i + (channels_first ? 2 : 1));
    }
    return One(y);
  }
  ops::ResizeAttributes attributes;
  attributes.scale = size;
  // TensorFlow 1, below multi-backend Keras, did not know half-pixel centres.
  attributes.half_pixel_centers = scope.writer().dialect != Writer::Dialect::kKeras2;
  const std::pair<std::string_view, ops::ResizeMethod> methods[] = {
      {"bilinear", ops::ResizeMethod::kBilinear},
      {"bicubic", ops::ResizeMethod::kBicubic},
      {"lanczos3", ops::ResizeMethod::kLanczos3},
      {"lanczos5", ops::ResizeMethod::kLanczos5},
      {"area", ops::ResizeMethod::kArea},
      {"gaussian", ops::ResizeMethod::kGaussian},
      {"mitchellcubic", ops::ResizeMethod::kMitchell}};
  for (const auto& [name, kind] : methods) {
    if (name == method) attributes.method = kind;
  }
  Value y = channels_first ? ToChannelsLast(graph, x->value) : x->value;
  y = scope.writer().theano && method == "bilinear" ? TheanoBilinear(scope, y, size)
                                                    : ops::Resize(graph, y, attributes);
  if (scope.failed()) return {};
  return One(channels_first ? ToChannelsFirst(graph, y) : y);
}

std::vector<KerasTensor> LowerFlatten(const LayerScope& scope, const CallInputs& inputs) {
  const std::optional<KerasTensor> x = OnlyInput(scope, inputs);
  if (!x) return {};
  compute::Graph& graph = scope.graph();
  Value value = x->value;
  // An explicit channels_first (Keras 2.2 and later) flattens as channels_last would.
  if (scope.Has("data_format") && scope.ChannelsFirst() && graph.rank(value) > 2) {
    value = ToChannelsLast(graph, value);
  }
  if (graph.rank(value) == 1) return One(ops::ExpandDims(graph, value, 1));
  return One(ops::MergeAxes(graph, value, 1, graph.rank(value)));
}

std::vector<KerasTensor> LowerReshape(const LayerScope& scope, const CallInputs& inputs) {
  const std::optional<KerasTensor> x = OnlyInput(scope, inputs);
  if (!x) return {};
  const std::vector<int64_t> target = scope.Ints("target_shape", {});
  if (target.size() >= static_cast<size_t>(compute::kMaxRank)) {
    scope.BadValue("target_shape", "too many dimensions");
    return {};
  }
  for (int64_t dim : target) {
    if (dim < -1) {
      scope.BadValue("target_shape", "dimensions of -1 or more are expected");
      return {};
    }
  }
  return One(ops::ReshapeRows(scope.graph(), x->value, Shape(std::span<const int64_t>(target))));
}

std::vector<KerasTensor> LowerPermute(const LayerScope& scope, const CallInputs& inputs) {
  const std::optional<KerasTensor> x = OnlyInput(scope, inputs);
  if (!x) return {};
  const std::vector<int64_t> dims = scope.Ints("dims", {});
  const int rank = scope.graph().rank(x->value);
  std::vector<int> permutation{0};
  std::vector<bool> seen(rank, false);
  bool valid = static_cast<int>(dims.size()) + 1 == rank;
  for (int64_t dim : dims) {
    valid = valid && dim >= 1 && dim < rank && !seen[dim];
    if (!valid) break;
    seen[dim] = true;
    permutation.push_back(static_cast<int>(dim));
  }
  if (!valid) {
    scope.BadValue("dims", fmt::format("an order of the axes 1 to {} is expected", rank - 1));
    return {};
  }
  return One(ops::Transpose(scope.graph(), x->value, permutation));
}

std::vector<KerasTensor> LowerRepeatVector(const LayerScope& scope, const CallInputs& inputs) {
  const std::optional<KerasTensor> x = InputOfRank(scope, inputs, 2);
  if (!x) return {};
  const int64_t n = scope.PositiveInt("n");
  if (scope.failed()) return {};
  compute::Graph& graph = scope.graph();
  return One(ops::Tile(graph, ops::ExpandDims(graph, x->value, 1), {1, n, 1}));
}

}  // namespace h5serve::model
