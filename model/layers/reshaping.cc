// Layers that rearrange, repeat, cut and pad.
#include <fmt/format.h>

#include <numeric>

#include "compute/ops/convolution.h"
#include "compute/ops/elementwise.h"
#include "compute/ops/shape_ops.h"
#include "model/layers/layer_functions.h"
#include "model/layers/layer_support.h"

namespace h5serve::model {

namespace ops = compute::ops;

namespace {

using Pairs = std::vector<std::pair<int64_t, int64_t>>;

// (before, after) for each of `rank` axes: an integer for all, one per axis, or
// pairs. A pair for one axis is (before, after).
Pairs PairsOf(const LayerScope& scope, std::string_view key, int rank, int64_t otherwise) {
  const ConfigValue& value = scope.config()[key];
  if (value.is_null()) return Pairs(rank, {otherwise, otherwise});
  Pairs pairs;
  if (const auto number = value.ToInt()) {
    pairs.assign(rank, {*number, *number});
  } else if (value.is_list()) {
    const ConfigValue::List& list = value.as_list();
    for (const ConfigValue& item : list) {
      if (const auto number = item.ToInt()) {
        pairs.push_back({*number, *number});
      } else if (item.is_list() && item.as_list().size() == 2 && item.as_list()[0].ToInt() &&
                 item.as_list()[1].ToInt()) {
        pairs.push_back({*item.as_list()[0].ToInt(), *item.as_list()[1].ToInt()});
      } else {
        pairs.clear();
        break;
      }
    }
    // Keras' (before, after) of one dimension; Keras 1's (top, bottom, left, right).
    if (rank == 1 && pairs.size() == 2) pairs = {{pairs[0].first, pairs[1].first}};
    if (rank == 2 && pairs.size() == 4) {
      pairs = {{pairs[0].first, pairs[1].first}, {pairs[2].first, pairs[3].first}};
    }
  }
  bool good = static_cast<int>(pairs.size()) == rank;
  constexpr int64_t kMost = int64_t{1} << 20;
  for (const auto& [before, after] : pairs) {
    good &= before >= 0 && after >= 0 && before <= kMost && after <= kMost;
  }
  if (!good) {
    scope.BadValue(key,
                   fmt::format("a number, {} numbers or {} pairs >= 0 are expected", rank, rank));
    return Pairs(rank, {0, 0});
  }
  return pairs;
}

int FirstSpatialAxis(const LayerScope& scope) { return scope.ChannelsFirst() ? 2 : 1; }

std::vector<KerasTensor> ZeroPad(const LayerScope& scope, const CallInputs& inputs, int rank) {
  const KerasTensor input = SingleInput(scope, inputs);
  const Pairs pairs = PairsOf(scope, "padding", rank, 1);
  const int first = FirstSpatialAxis(scope);
  if (scope.failed() || !RequireRank(scope, input.value, rank + 2)) return {};
  Pairs pads(rank + 2, {0, 0});
  std::copy(pairs.begin(), pairs.end(), pads.begin() + first);
  return One(ops::Pad(scope.graph(), input.value, pads));
}

std::vector<KerasTensor> Crop(const LayerScope& scope, const CallInputs& inputs, int rank) {
  Graph& graph = scope.graph();
  const KerasTensor input = SingleInput(scope, inputs);
  // Keras 1 called nothing cropped (0, 0) in two dimensions, one elsewhere.
  const Pairs pairs = PairsOf(scope, "cropping", rank, rank == 2 ? 0 : 1);
  const int first = FirstSpatialAxis(scope);
  if (scope.failed() || !RequireRank(scope, input.value, rank + 2)) return {};
  Value x = input.value;
  for (int i = 0; i < rank; ++i) {
    const auto [before, after] = pairs[i];
    const int64_t size = graph.shape(x)[first + i];
    if (size != kUnknown && before + after >= size) {
      graph.Fail(absl::InvalidArgumentError(fmt::format("cropping {} and {} leaves nothing of {}",
                                                        before, after, graph.shape(x).ToString())));
      return {};
    }
    if (before == 0 && after == 0) continue;
    x = ops::SliceAxis(graph, x, first + i, before,
                       after == 0 ? std::nullopt : std::optional<int64_t>(-after));
  }
  return One(x);
}

// Theano's bilinear_upsampling: destination o lies at (o - (ratio - 1) / 2) / ratio
// of the source (integer division), with the edges repeated.
Value TheanoBilinear(const LayerScope& scope, Value x, const std::vector<int64_t>& size) {
  Graph& graph = scope.graph();
  const int64_t ratio = size[0];
  const Value padded = ops::Pad(graph, x, {{0, 0}, {1, 1}, {1, 1}, {0, 0}}, ops::PadMode::kEdge);
  ops::ResizeAttributes attributes;
  attributes.scale = size;
  attributes.half_pixel_centers = false;
  Value y = ops::Resize(graph, padded, attributes);
  const int64_t begin = ratio - (ratio - 1) / 2;
  // What remains at the end is 2 ratio - begin.
  for (int axis : {1, 2}) y = ops::SliceAxis(graph, y, axis, begin, begin - 2 * ratio);
  return y;
}

Value Interpolate(const LayerScope& scope, Value x, const std::vector<int64_t>& size,
                  const std::string& interpolation) {
  Graph& graph = scope.graph();
  const bool keras2 = scope.writer().dialect == Writer::Dialect::kKeras2;
  if (interpolation == "bilinear" && scope.writer().theano) {
    if (size[0] != size[1]) {
      scope.Fail(Code::kUnsupportedArgument,
                 fmt::format("layer {}: Theano scales both axes by one factor only", scope.path()));
      return {};
    }
    return TheanoBilinear(scope, x, size);
  }
  static constexpr std::pair<std::string_view, ops::ResizeMethod> kMethods[] = {
      {"bilinear", ops::ResizeMethod::kBilinear},
      {"bicubic", ops::ResizeMethod::kBicubic},
      {"lanczos3", ops::ResizeMethod::kLanczos3},
      {"lanczos5", ops::ResizeMethod::kLanczos5},
      {"area", ops::ResizeMethod::kArea},
      {"gaussian", ops::ResizeMethod::kGaussian},
      {"mitchellcubic", ops::ResizeMethod::kMitchell},
  };
  ops::ResizeAttributes attributes;
  for (const auto& [name, method] : kMethods) {
    if (name == interpolation) attributes.method = method;
  }
  attributes.scale = size;
  // Keras 2 on TensorFlow 1 (and tf.keras before 2.0) kept the corner of the image.
  const bool old_tf =
      scope.writer().dialect == Writer::Dialect::kTfKeras && !scope.writer().AtLeast(2, 2, 4);
  attributes.half_pixel_centers = !keras2 && !old_tf;
  return ops::Resize(graph, x, attributes);
}

std::vector<KerasTensor> UpSample(const LayerScope& scope, const CallInputs& inputs, int rank) {
  Graph& graph = scope.graph();
  const KerasTensor input = SingleInput(scope, inputs);
  const std::vector<int64_t> size = scope.Sizes("size", rank, 2);
  const int first = FirstSpatialAxis(scope);
  if (scope.failed() || !RequireRank(scope, input.value, rank + 2)) return {};
  const std::string interpolation = scope.Choice("interpolation", "nearest",
                                                 {"nearest", "bilinear", "bicubic", "lanczos3",
                                                  "lanczos5", "area", "gaussian", "mitchellcubic"});
  if (scope.failed()) return {};
  if (rank == 2 && interpolation != "nearest") {
    const Value last = first == 2 ? ToChannelsLast(graph, input.value) : input.value;
    const Value y = Interpolate(scope, AsFloat(graph, last), size, interpolation);
    return One(first == 2 ? ToChannelsFirst(graph, y) : y);
  }
  Value x = input.value;
  for (int i = 0; i < rank; ++i) {
    if (size[i] != 1) x = ops::Repeat(graph, x, size[i], first + i);
  }
  return One(x);
}

}  // namespace

std::vector<KerasTensor> LowerReshape(const LayerScope& scope, const CallInputs& inputs) {
  const KerasTensor input = SingleInput(scope, inputs);
  const std::vector<int64_t> target =
      scope.Ints(scope.Has("target_shape") ? "target_shape" : "dims", {});
  if (!scope.Has("target_shape") && !scope.Has("dims")) {
    scope.BadValue("target_shape", "a list of integers is expected");
  }
  if (scope.failed()) return {};
  Shape row;
  int open = 0;
  for (int64_t size : target) {
    if (size < -1 || row.rank() + 2 > compute::kMaxRank) {
      scope.BadValue("target_shape", "sizes >= 0 and one -1 are expected");
      return {};
    }
    open += size == -1;
    row.push_back(size == -1 ? kUnknown : size);
  }
  if (open > 1) scope.BadValue("target_shape", "one -1 at most is expected");
  if (scope.failed()) return {};
  return One(ops::ReshapeRows(scope.graph(), input.value, row));
}

std::vector<KerasTensor> LowerFlatten(const LayerScope& scope, const CallInputs& inputs) {
  Graph& graph = scope.graph();
  const KerasTensor input = SingleInput(scope, inputs);
  const bool first = scope.ChannelsFirst();
  if (scope.failed()) return {};
  Value x = input.value;
  if (graph.rank(x) == 1) return One(ops::ExpandDims(graph, x, 1));
  if (graph.rank(x) == 2) return One(x);
  // The order of the elements is that of channels_last.
  if (first) x = ToChannelsLast(graph, x);
  return One(ops::MergeAxes(graph, x, 1, graph.rank(x)));
}

std::vector<KerasTensor> LowerPermute(const LayerScope& scope, const CallInputs& inputs) {
  Graph& graph = scope.graph();
  const KerasTensor input = SingleInput(scope, inputs);
  const std::vector<int64_t> dims = scope.Ints("dims", {});
  if (scope.failed()) return {};
  std::vector<int64_t> sorted = dims, wanted(dims.size());
  std::sort(sorted.begin(), sorted.end());
  std::iota(wanted.begin(), wanted.end(), 1);
  if (sorted != wanted || dims.empty()) {
    scope.BadValue("dims", "a permutation of 1, 2, … is expected");
    return {};
  }
  if (!RequireRank(scope, input.value, static_cast<int>(dims.size()) + 1)) return {};
  std::vector<int> order{0};
  for (int64_t dim : dims) order.push_back(static_cast<int>(dim));
  return One(ops::Transpose(graph, input.value, order));
}

std::vector<KerasTensor> LowerRepeatVector(const LayerScope& scope, const CallInputs& inputs) {
  Graph& graph = scope.graph();
  const KerasTensor input = SingleInput(scope, inputs);
  const int64_t n = scope.PositiveInt("n");
  if (scope.failed() || !RequireRank(scope, input.value, 2)) return {};
  return One(ops::Repeat(graph, ops::ExpandDims(graph, input.value, 1), n, 1));
}

std::vector<KerasTensor> LowerZeroPadding(const LayerScope& scope, const CallInputs& inputs) {
  return ZeroPad(scope, inputs, SpatialRank(scope.layer()));
}
std::vector<KerasTensor> LowerCropping(const LayerScope& scope, const CallInputs& inputs) {
  return Crop(scope, inputs, SpatialRank(scope.layer()));
}
std::vector<KerasTensor> LowerUpSampling(const LayerScope& scope, const CallInputs& inputs) {
  return UpSample(scope, inputs, SpatialRank(scope.layer()));
}

}  // namespace h5serve::model
