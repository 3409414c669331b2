// Layers of several inputs.

#include <fmt/format.h>

#include <algorithm>

#include "compute/ops/elementwise.h"
#include "compute/ops/linear.h"
#include "compute/ops/reduce.h"
#include "compute/ops/shape_ops.h"
#include "model/layers/layer_functions.h"
#include "model/layers/layout.h"

namespace h5serve::model {

namespace ops = compute::ops;
using compute::Value;
using ops::BinaryKind;

namespace {

std::optional<std::vector<KerasTensor>> AtLeast(const LayerScope& scope, const CallInputs& inputs,
                                                size_t count) {
  std::vector<KerasTensor> tensors = inputs.Tensors();
  if (tensors.size() >= count) return tensors;
  scope.Fail(Code::kGraphInvalid, fmt::format("layer {} needs {} inputs or more, got {}",
                                              scope.path(), count, tensors.size()));
  return std::nullopt;
}

// Lower ranks are expanded behind the batch axis, as Keras does it.
void AlignRanks(compute::Graph& graph, std::vector<KerasTensor>* tensors) {
  int rank = 0;
  for (const KerasTensor& tensor : *tensors) rank = std::max(rank, graph.rank(tensor.value));
  for (KerasTensor& tensor : *tensors) {
    while (tensor.value.valid() && graph.rank(tensor.value) < rank) {
      tensor.value = ops::ExpandDims(graph, tensor.value, 1);
    }
  }
}

bool AnyMasked(const std::vector<KerasTensor>& tensors) {
  return std::any_of(tensors.begin(), tensors.end(),
                     [](const KerasTensor& tensor) { return tensor.mask.has_value(); });
}
bool AllMasked(const std::vector<KerasTensor>& tensors) {
  return std::all_of(tensors.begin(), tensors.end(),
                     [](const KerasTensor& tensor) { return tensor.mask.has_value(); });
}

bool IsKeras3(const LayerScope& scope) {
  return scope.writer().dialect == Writer::Dialect::kKeras3;
}

// Keras 3.0 to 3.3 lost the masks of lists.
bool LosesMasks(const LayerScope& scope) {
  return IsKeras3(scope) && !scope.writer().AtLeast(3, 4);
}

// Keras 3 passes a mask only when every input has one, and combines with OR;
// before, the masks that exist are combined with AND.
std::optional<Value> MergedMask(const LayerScope& scope, const std::vector<KerasTensor>& tensors) {
  const bool keras3 = IsKeras3(scope);
  if (LosesMasks(scope) || (keras3 && !AllMasked(tensors))) return std::nullopt;
  std::optional<Value> mask;
  for (const KerasTensor& tensor : tensors) {
    if (!tensor.mask) continue;
    mask = !mask ? *tensor.mask
                 : ops::Binary(scope.graph(),
                               keras3 ? BinaryKind::kLogicalOr : BinaryKind::kLogicalAnd, *mask,
                               *tensor.mask);
  }
  return mask;
}

Value Fold(compute::Graph& graph, BinaryKind kind, const std::vector<KerasTensor>& tensors) {
  Value y = tensors[0].value;
  for (size_t i = 1; i < tensors.size(); ++i) y = ops::Binary(graph, kind, y, tensors[i].value);
  return y;
}

// Since 3.4 Keras leaves masked places out of products and extremes. Source:
// keras/src/layers/merging/{multiply,base_merge}.py.
Value MaskedProduct(compute::Graph& graph, const std::vector<KerasTensor>& tensors) {
  Value y, any;
  for (const KerasTensor& tensor : tensors) {
    Value x = tensor.value;
    if (tensor.mask) {
      const Value mask = ops::ExpandDims(graph, *tensor.mask, -1);
      x = ops::Where(graph, mask, x, graph.Constant(compute::Tensor::Scalar(1.0f)));
      any = any.valid() ? ops::Binary(graph, BinaryKind::kLogicalOr, any, mask) : mask;
    }
    y = y.valid() ? ops::Multiply(graph, y, x) : x;
  }
  if (!AllMasked(tensors)) return y;
  return ops::Where(graph, any, y, graph.Constant(compute::Tensor::Scalar(0.0f)));
}

Value MaskedExtreme(compute::Graph& graph, BinaryKind kind,
                    const std::vector<KerasTensor>& tensors) {
  Value y, y_mask;
  for (size_t i = 0; i < tensors.size(); ++i) {
    Value x = tensors[i].value, mask;
    if (tensors[i].mask) mask = ops::ExpandDims(graph, *tensors[i].mask, -1);
    if (i == 0) {
      y = x;
      y_mask = mask;
      continue;
    }
    if (mask.valid()) x = ops::Where(graph, mask, x, y);
    if (y_mask.valid()) y = ops::Where(graph, y_mask, y, x);
    const bool both = mask.valid() && y_mask.valid();
    y_mask = both ? ops::Binary(graph, BinaryKind::kLogicalOr, y_mask, mask) : Value{};
    y = ops::Binary(graph, kind, y, x);
  }
  return y;
}

std::vector<KerasTensor> Elementwise(const LayerScope& scope, const CallInputs& inputs,
                                     BinaryKind kind, bool average) {
  std::optional<std::vector<KerasTensor>> tensors = AtLeast(scope, inputs, 1);
  if (!tensors) return {};
  if (kind == BinaryKind::kSubtract && tensors->size() != 2) {
    scope.Fail(Code::kGraphInvalid, fmt::format("layer {} subtracts two tensors, not {}",
                                                scope.path(), tensors->size()));
    return {};
  }
  compute::Graph& graph = scope.graph();
  const std::optional<Value> mask = MergedMask(scope, *tensors);
  const bool masked = IsKeras3(scope) && !LosesMasks(scope) && AnyMasked(*tensors);
  AlignRanks(graph, &*tensors);
  Value y;
  if (masked && kind == BinaryKind::kMultiply) {
    y = MaskedProduct(graph, *tensors);
  } else if (masked && (kind == BinaryKind::kMaximum || kind == BinaryKind::kMinimum)) {
    y = MaskedExtreme(graph, kind, *tensors);
  } else {
    y = Fold(graph, kind, *tensors);
  }
  if (average) {
    y = ops::MultiplyScalar(graph, ops::Cast(graph, y, compute::DType::kFloat32),
                            1.0f / static_cast<float>(tensors->size()));
  }
  return One(y, mask);
}

// The mask of a concatenation: missing ones count as all true, all are brought
// to the inputs' shapes, joined, and reduced over the last axis (by OR in Keras 3).
std::optional<Value> ConcatMask(const LayerScope& scope, const std::vector<KerasTensor>& tensors,
                                int axis) {
  compute::Graph& graph = scope.graph();
  if (!AnyMasked(tensors) || LosesMasks(scope)) return std::nullopt;
  std::vector<Value> masks;
  for (const KerasTensor& tensor : tensors) {
    Value mask = tensor.mask ? *tensor.mask : graph.Constant(compute::Tensor::Scalar(true));
    while (tensor.mask && graph.rank(mask) < graph.rank(tensor.value)) {
      mask = ops::ExpandDims(graph, mask, -1);
    }
    masks.push_back(ops::BroadcastLike(graph, mask, tensor.value));
  }
  const ops::ReduceKind kind = IsKeras3(scope) ? ops::ReduceKind::kAny : ops::ReduceKind::kAll;
  return ops::Reduce(graph, kind, ops::Concat(graph, masks, axis), {-1}, false);
}

std::vector<KerasTensor> Concatenation(const LayerScope& scope,
                                       const std::vector<KerasTensor>& tensors, int64_t axis) {
  compute::Graph& graph = scope.graph();
  const std::optional<int> at = compute::NormalizeAxis(axis, graph.rank(tensors[0].value));
  if (!at) {
    scope.BadValue("axis", fmt::format("outside inputs of rank {}", graph.rank(tensors[0].value)));
    return {};
  }
  // Tensors of several types become floats, as Keras' dtype policy makes them.
  const bool mixed = std::any_of(tensors.begin(), tensors.end(), [&](const KerasTensor& tensor) {
    return graph.dtype(tensor.value) != graph.dtype(tensors[0].value);
  });
  std::vector<Value> values;
  for (const KerasTensor& tensor : tensors) {
    values.push_back(mixed ? ops::Cast(graph, tensor.value, compute::DType::kFloat32)
                           : tensor.value);
  }
  const Value y = values.size() == 1 ? values[0] : ops::Concat(graph, values, *at);
  return One(y, ConcatMask(scope, tensors, *at));
}

// K.batch_dot: contracts one axis of each, the batch axes stay aligned; a
// result of rank 1 is expanded to (batch, 1).
Value BatchDot(const LayerScope& scope, Value x, Value y, int x_axis, int y_axis) {
  compute::Graph& graph = scope.graph();
  const int x_rank = graph.rank(x), y_rank = graph.rank(y);
  if (x_axis < 1 || x_axis >= x_rank || y_axis < 1 || y_axis >= y_rank) {
    scope.BadValue("axes", fmt::format("axes behind the batch of inputs of rank {} and {} are "
                                       "expected",
                                       x_rank, y_rank));
    return {};
  }
  // Before Keras 2.3 TensorFlow's batch_dot was a matmul, which matches leading
  // axes of higher ranks instead of crossing them.
  const Writer& writer = scope.writer();
  if ((x_rank > 3 || y_rank > 3) && !writer.theano && !writer.AtLeast(2, 3)) {
    scope.Fail(Code::kUnsupportedArgument,
               fmt::format("layer {}: dot products of rank {} and {} meant other things in Keras "
                           "{}",
                           scope.path(), x_rank, y_rank, writer.version));
    return {};
  }
  std::string x_labels = "z", y_labels = "z", result = "z";
  for (int i = 1; i < x_rank; ++i) {
    x_labels += i == x_axis ? 'y' : static_cast<char>('a' + i);
    if (i != x_axis) result += static_cast<char>('a' + i);
  }
  for (int i = 1; i < y_rank; ++i) {
    y_labels += i == y_axis ? 'y' : static_cast<char>('A' + i);
    if (i != y_axis) result += static_cast<char>('A' + i);
  }
  const Value dot = ops::Einsum(graph, x_labels + "," + y_labels + "->" + result, {x, y});
  return result.size() == 1 ? ops::ExpandDims(graph, dot, 1) : dot;
}

int AxisOf(int64_t axis, int rank) { return compute::NormalizeAxis(axis, rank).value_or(-1); }

// Keras 1's dot and cos.
Value Keras1Dot(const LayerScope& scope, Value x, Value y, bool cosine) {
  compute::Graph& graph = scope.graph();
  std::vector<int64_t> axes = scope.Ints("dot_axes", {-1});
  if (axes.size() == 1) axes.push_back(axes[0]);
  if (axes.size() != 2) {
    scope.BadValue("dot_axes", "one or two axes are expected");
    return {};
  }
  const int a = AxisOf(axes[0], graph.rank(x)), b = AxisOf(axes[1], graph.rank(y));
  const Value dot = BatchDot(scope, x, y, a, b);
  if (!cosine || scope.failed()) return dot;
  const Value norm =
      ops::Unary(graph, ops::UnaryKind::kSqrt,
                 ops::Multiply(graph, BatchDot(scope, x, x, a, b), BatchDot(scope, y, y, a, b)));
  const Value floor = graph.Constant(compute::Tensor::Scalar(1e-7f));
  return ops::ExpandDims(
      graph, ops::Divide(graph, dot, ops::Binary(graph, BinaryKind::kMaximum, norm, floor)), 1);
}

}  // namespace

std::vector<KerasTensor> LowerAdd(const LayerScope& scope, const CallInputs& inputs) {
  return Elementwise(scope, inputs, BinaryKind::kAdd, false);
}
std::vector<KerasTensor> LowerSubtract(const LayerScope& scope, const CallInputs& inputs) {
  return Elementwise(scope, inputs, BinaryKind::kSubtract, false);
}
std::vector<KerasTensor> LowerMultiply(const LayerScope& scope, const CallInputs& inputs) {
  return Elementwise(scope, inputs, BinaryKind::kMultiply, false);
}
std::vector<KerasTensor> LowerAverage(const LayerScope& scope, const CallInputs& inputs) {
  return Elementwise(scope, inputs, BinaryKind::kAdd, true);
}
std::vector<KerasTensor> LowerMaximum(const LayerScope& scope, const CallInputs& inputs) {
  return Elementwise(scope, inputs, BinaryKind::kMaximum, false);
}
std::vector<KerasTensor> LowerMinimum(const LayerScope& scope, const CallInputs& inputs) {
  return Elementwise(scope, inputs, BinaryKind::kMinimum, false);
}

std::vector<KerasTensor> LowerConcatenate(const LayerScope& scope, const CallInputs& inputs) {
  const std::optional<std::vector<KerasTensor>> tensors = AtLeast(scope, inputs, 1);
  if (!tensors) return {};
  return Concatenation(scope, *tensors, scope.Int("axis", -1));
}

std::vector<KerasTensor> LowerDot(const LayerScope& scope, const CallInputs& inputs) {
  const std::optional<std::vector<KerasTensor>> tensors = AtLeast(scope, inputs, 2);
  if (!tensors) return {};
  compute::Graph& graph = scope.graph();
  std::vector<int64_t> axes = scope.Ints("axes", {-1});
  if (axes.size() == 1) axes.push_back(axes[0]);
  if (axes.size() != 2 || tensors->size() != 2) {
    scope.BadValue("axes", "one or two axes, for two inputs, are expected");
    return {};
  }
  Value x = (*tensors)[0].value, y = (*tensors)[1].value;
  const int a = AxisOf(axes[0], graph.rank(x)), b = AxisOf(axes[1], graph.rank(y));
  if (scope.Bool("normalize", false)) {
    // The bound of the norm's square: TensorFlow's, Keras 3's, Theano's.
    const Writer& writer = scope.writer();
    float epsilon = IsKeras3(scope) ? 1e-14f : 1e-12f;
    if (writer.theano) epsilon = writer.AtLeast(2, 2) ? 1e-7f : 0.0f;
    x = ops::L2Normalize(graph, x, {a}, epsilon);
    y = ops::L2Normalize(graph, y, {b}, epsilon);
  }
  return One(BatchDot(scope, x, y, a, b));
}

std::vector<KerasTensor> LowerMerge(const LayerScope& scope, const CallInputs& inputs) {
  const std::optional<std::vector<KerasTensor>> tensors = AtLeast(scope, inputs, 2);
  if (!tensors) return {};
  compute::Graph& graph = scope.graph();
  if (scope.config().StringOr("mode_type", "raw") != "raw") {
    return LowerPythonFunction(scope, scope.config()["mode"], inputs);
  }
  const std::string mode = scope.String("mode", "sum");
  if (mode == "sum")
    return One(Fold(graph, BinaryKind::kAdd, *tensors), MergedMask(scope, *tensors));
  if (mode == "mul") {
    return One(Fold(graph, BinaryKind::kMultiply, *tensors), MergedMask(scope, *tensors));
  }
  if (mode == "max") {
    return One(Fold(graph, BinaryKind::kMaximum, *tensors), MergedMask(scope, *tensors));
  }
  if (mode == "ave") {
    return One(ops::MultiplyScalar(graph, Fold(graph, BinaryKind::kAdd, *tensors),
                                   1.0f / static_cast<float>(tensors->size())),
               MergedMask(scope, *tensors));
  }
  if (mode == "concat") return Concatenation(scope, *tensors, scope.Int("concat_axis", -1));
  if ((mode == "dot" || mode == "cos") && tensors->size() == 2) {
    return One(Keras1Dot(scope, (*tensors)[0].value, (*tensors)[1].value, mode == "cos"));
  }
  scope.BadValue("mode", "one of sum, mul, ave, max, concat, dot, cos is expected");
  return {};
}

}  // namespace h5serve::model
