// Layers that join several tensors into one.
#include <fmt/format.h>

#include <algorithm>

#include "compute/ops/elementwise.h"
#include "compute/ops/reduce.h"
#include "compute/ops/shape_ops.h"
#include "model/layers/layer_functions.h"
#include "model/layers/layer_support.h"
#include "model/layers/merge_parts.h"

namespace h5serve::model {

namespace ops = compute::ops;
using ops::BinaryKind;

namespace {

bool AllMasked(const std::vector<KerasTensor>& tensors) {
  return std::all_of(tensors.begin(), tensors.end(),
                     [](const KerasTensor& tensor) { return tensor.mask.has_value(); });
}
bool AnyMasked(const std::vector<KerasTensor>& tensors) {
  return std::any_of(tensors.begin(), tensors.end(),
                     [](const KerasTensor& tensor) { return tensor.mask.has_value(); });
}

// Lower ranks get axes after the batch until all are alike.
void EqualizeRanks(Graph& graph, std::vector<KerasTensor>* tensors) {
  int rank = 0;
  for (const KerasTensor& tensor : *tensors) rank = std::max(rank, graph.rank(tensor.value));
  for (KerasTensor& tensor : *tensors) {
    while (tensor.value.valid() && graph.rank(tensor.value) < rank) {
      tensor.value = ops::ExpandDims(graph, tensor.value, 1);
    }
  }
}

Value Fold(Graph& graph, const std::vector<KerasTensor>& tensors, BinaryKind kind) {
  Value y = tensors[0].value;
  for (size_t i = 1; i < tensors.size(); ++i) {
    y = ops::Binary(graph, kind, y, tensors[i].value);
  }
  return y;
}

// Since 3.4 Keras leaves masked places out of products and extremes. Source:
// keras/src/layers/merging/{multiply,base_merge}.py.
Value MaskedProduct(Graph& graph, const std::vector<KerasTensor>& tensors) {
  Value y, any;
  for (const KerasTensor& tensor : tensors) {
    Value x = tensor.value;
    if (tensor.mask) {
      const Value mask = ops::ExpandDims(graph, *tensor.mask, -1);
      x = ops::Where(graph, mask, x, graph.Constant(Tensor::Scalar(1.0f)));
      any = any.valid() ? ops::Binary(graph, BinaryKind::kLogicalOr, any, mask) : mask;
    }
    y = y.valid() ? ops::Multiply(graph, y, x) : x;
  }
  if (!AllMasked(tensors)) return y;
  return ops::Where(graph, any, y, graph.Constant(Tensor::Scalar(0.0f)));
}

Value MaskedExtreme(Graph& graph, const std::vector<KerasTensor>& tensors, BinaryKind kind) {
  Value y, y_mask;
  for (size_t i = 0; i < tensors.size(); ++i) {
    Value x = tensors[i].value;
    Value mask;
    if (tensors[i].mask) mask = ops::ExpandDims(graph, *tensors[i].mask, -1);
    if (i == 0) {
      y = x;
      y_mask = mask;
      continue;
    }
    if (mask.valid()) x = ops::Where(graph, mask, x, y);
    if (y_mask.valid()) y = ops::Where(graph, y_mask, y, x);
    y_mask = mask.valid() && y_mask.valid()
                 ? ops::Binary(graph, BinaryKind::kLogicalOr, y_mask, mask)
                 : Value{};
    y = ops::Binary(graph, kind, y, x);
  }
  return y;
}

std::vector<KerasTensor> Elementwise(const LayerScope& scope, const CallInputs& inputs,
                                     BinaryKind kind, bool average = false) {
  Graph& graph = scope.graph();
  std::vector<KerasTensor> tensors = InputList(scope, inputs, 1);
  if (scope.failed()) return {};
  if (kind == BinaryKind::kSubtract && tensors.size() != 2) {
    scope.Fail(Code::kGraphInvalid,
               fmt::format("layer {} subtracts two tensors, not {}", scope.path(), tensors.size()));
    return {};
  }
  const Mask mask = MergedMask(scope, tensors);
  EqualizeRanks(graph, &tensors);
  const bool masked_values = IsKeras3(scope) && scope.writer().AtLeast(3, 4) && AnyMasked(tensors);
  Value y;
  if (masked_values && kind == BinaryKind::kMultiply) {
    y = MaskedProduct(graph, tensors);
  } else if (masked_values && (kind == BinaryKind::kMaximum || kind == BinaryKind::kMinimum)) {
    y = MaskedExtreme(graph, tensors, kind);
  } else {
    y = Fold(graph, tensors, kind);
  }
  if (average) {
    y = ops::MultiplyScalar(graph, AsFloat(graph, y), 1.0f / static_cast<float>(tensors.size()));
  }
  return One(y, mask);
}

}  // namespace

Mask MergedMask(const LayerScope& scope, const std::vector<KerasTensor>& tensors) {
  Graph& graph = scope.graph();
  if (!AnyMasked(tensors)) return std::nullopt;
  // Keras 3.0 to 3.3 lost the masks of lists.
  const bool keras3 = IsKeras3(scope);
  if (keras3 && (!AllMasked(tensors) || !scope.writer().AtLeast(3, 4))) return std::nullopt;
  const BinaryKind kind = keras3 ? BinaryKind::kLogicalOr : BinaryKind::kLogicalAnd;
  Mask result;
  for (const KerasTensor& tensor : tensors) {
    if (!tensor.mask) continue;
    result = result ? ops::Binary(graph, kind, *result, *tensor.mask) : *tensor.mask;
  }
  return result;
}

Mask ConcatenatedMask(const LayerScope& scope, const std::vector<KerasTensor>& tensors, int axis) {
  Graph& graph = scope.graph();
  if (!AnyMasked(tensors)) return std::nullopt;
  const bool keras3 = IsKeras3(scope);
  if (keras3 && !scope.writer().AtLeast(3, 4)) return std::nullopt;
  const bool last = axis == graph.rank(tensors[0].value) - 1;
  std::vector<Value> masks;
  for (const KerasTensor& tensor : tensors) {
    if (!tensor.mask) {
      masks.push_back(OnesMask(graph, tensor.value));
      continue;
    }
    const int missing = graph.rank(tensor.value) - graph.rank(*tensor.mask);
    if (missing > 1 || missing < 0) {
      scope.Fail(
          Code::kUnsupportedArgument,
          fmt::format("layer {}: a mask of {} for a tensor of {}", scope.path(),
                      graph.shape(*tensor.mask).ToString(), graph.shape(tensor.value).ToString()));
      return std::nullopt;
    }
    masks.push_back(missing == 1
                        ? *tensor.mask
                        : ops::Reduce(graph, keras3 ? ops::ReduceKind::kAny : ops::ReduceKind::kAll,
                                      *tensor.mask, {-1}, false));
  }
  if (!last) return ops::Concat(graph, masks, axis);
  // Masks are repeated along the last axis, joined, and reduced over it.
  Value result = masks[0];
  const BinaryKind kind = keras3 ? BinaryKind::kLogicalOr : BinaryKind::kLogicalAnd;
  for (size_t i = 1; i < masks.size(); ++i) result = ops::Binary(graph, kind, result, masks[i]);
  return result;
}

Value ConcatenateValues(const LayerScope& scope, std::vector<KerasTensor> tensors, int64_t axis) {
  Graph& graph = scope.graph();
  // One type for all, as Keras' dtype policy makes it.
  const bool mixed = std::any_of(tensors.begin(), tensors.end(), [&](const KerasTensor& tensor) {
    return graph.dtype(tensor.value) != graph.dtype(tensors[0].value);
  });
  std::vector<Value> values;
  for (const KerasTensor& tensor : tensors) {
    values.push_back(mixed ? AsFloat(graph, tensor.value) : tensor.value);
  }
  return values.size() == 1 ? values[0] : ops::Concat(graph, values, axis);
}

std::vector<KerasTensor> LowerConcatenate(const LayerScope& scope, const CallInputs& inputs) {
  Graph& graph = scope.graph();
  std::vector<KerasTensor> tensors = InputList(scope, inputs, 1);
  const int64_t axis = scope.Int("axis", -1);
  if (scope.failed()) return {};
  const std::optional<int> normal = compute::NormalizeAxis(axis, graph.rank(tensors[0].value));
  if (!normal) {
    scope.BadValue(
        "axis", fmt::format("an axis of {} is expected", graph.shape(tensors[0].value).ToString()));
    return {};
  }
  const Mask mask = ConcatenatedMask(scope, tensors, *normal);
  return One(ConcatenateValues(scope, std::move(tensors), *normal), mask);
}

std::vector<KerasTensor> LowerAdd(const LayerScope& scope, const CallInputs& inputs) {
  return Elementwise(scope, inputs, BinaryKind::kAdd);
}
std::vector<KerasTensor> LowerSubtract(const LayerScope& scope, const CallInputs& inputs) {
  return Elementwise(scope, inputs, BinaryKind::kSubtract);
}
std::vector<KerasTensor> LowerMultiply(const LayerScope& scope, const CallInputs& inputs) {
  return Elementwise(scope, inputs, BinaryKind::kMultiply);
}
std::vector<KerasTensor> LowerAverage(const LayerScope& scope, const CallInputs& inputs) {
  return Elementwise(scope, inputs, BinaryKind::kAdd, /*average=*/true);
}
std::vector<KerasTensor> LowerMaximum(const LayerScope& scope, const CallInputs& inputs) {
  return Elementwise(scope, inputs, BinaryKind::kMaximum);
}
std::vector<KerasTensor> LowerMinimum(const LayerScope& scope, const CallInputs& inputs) {
  return Elementwise(scope, inputs, BinaryKind::kMinimum);
}

}  // namespace h5serve::model
