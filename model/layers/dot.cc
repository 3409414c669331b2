// Products per sample, and Keras 1's Merge with all its modes.
#include <fmt/format.h>

#include <algorithm>

#include "compute/ops/elementwise.h"
#include "compute/ops/linear.h"
#include "compute/ops/reduce.h"
#include "compute/ops/shape_ops.h"
#include "model/layers/layer_functions.h"
#include "model/layers/layer_support.h"
#include "model/layers/merge_parts.h"

namespace h5serve::model {

namespace ops = compute::ops;
using ops::BinaryKind;

namespace {

// Before Keras 2.3 TensorFlow's batch_dot was a matmul, which matches leading
// axes of tensors of rank 4 and more instead of crossing them.
bool MatchesLeadingAxes(const LayerScope& scope) {
  const Writer& writer = scope.writer();
  if (writer.theano || IsKeras3(scope)) return false;
  return !writer.AtLeast(2, 3);
}

// (axis of x, axis of y) from `key`, counted from the start.
std::optional<std::pair<int, int>> DotAxes(const LayerScope& scope, std::string_view key,
                                           int rank_x, int rank_y) {
  std::vector<int64_t> axes = scope.Ints(key, {-1, -1});
  if (scope.failed()) return std::nullopt;
  if (axes.size() == 1) axes.push_back(axes[0]);
  if (axes.size() == 2) {
    const auto x = compute::NormalizeAxis(axes[0], rank_x);
    const auto y = compute::NormalizeAxis(axes[1], rank_y);
    if (x && y && *x != 0 && *y != 0) return std::make_pair(*x, *y);
  }
  scope.BadValue(key, fmt::format("axes other than 0 of tensors of rank {} and {} are expected",
                                  rank_x, rank_y));
  return std::nullopt;
}

// x / |x| along an axis, as each backend's l2_normalize bounds the norm.
Value Normalized(const LayerScope& scope, Value x, int axis) {
  const Writer& writer = scope.writer();
  float epsilon = 1e-12f;                 // TensorFlow, of the square
  if (IsKeras3(scope)) epsilon = 1e-14f;  // (1e-7)^2
  if (writer.theano) epsilon = writer.AtLeast(2, 2) ? 1e-7f : 0.0f;
  return ops::L2Normalize(scope.graph(), x, {axis}, epsilon);
}

}  // namespace

Value BatchDot(const LayerScope& scope, Value x, Value y, int axis_x, int axis_y) {
  Graph& graph = scope.graph();
  const int rank_x = graph.rank(x), rank_y = graph.rank(y);
  if (rank_x < 2 || rank_y < 2) {
    return graph.Fail(absl::InvalidArgumentError("a batch dot takes tensors of rank 2 or more"));
  }
  if ((rank_x > 3 || rank_y > 3) && MatchesLeadingAxes(scope)) {
    scope.Fail(Code::kUnsupportedArgument,
               fmt::format("layer {}: the dot product of tensors of rank {} and {} meant different "
                           "things in Keras {}",
                           scope.path(), rank_x, rank_y, scope.writer().version));
    return {};
  }
  if (rank_x + rank_y > 24) return graph.Fail(absl::InvalidArgumentError("ranks are too large"));
  std::string labels_x, labels_y, labels_out = "a";
  char next = 'c';
  for (int i = 0; i < rank_x; ++i) {
    labels_x += i == 0 ? 'a' : i == axis_x ? 'b' : next++;
    if (i != 0 && i != axis_x) labels_out += labels_x.back();
  }
  for (int i = 0; i < rank_y; ++i) {
    labels_y += i == 0 ? 'a' : i == axis_y ? 'b' : next++;
    if (i != 0 && i != axis_y) labels_out += labels_y.back();
  }
  const Value out =
      ops::Einsum(graph, fmt::format("{},{}->{}", labels_x, labels_y, labels_out), {x, y});
  return labels_out.size() == 1 ? ops::ExpandDims(graph, out, 1) : out;
}

std::vector<KerasTensor> LowerDot(const LayerScope& scope, const CallInputs& inputs) {
  Graph& graph = scope.graph();
  const std::vector<KerasTensor> tensors = InputList(scope, inputs, 2);
  if (scope.failed()) return {};
  if (tensors.size() != 2) {
    scope.Fail(Code::kGraphInvalid,
               fmt::format("layer {} takes two tensors, not {}", scope.path(), tensors.size()));
    return {};
  }
  Value x = AsFloat(graph, tensors[0].value), y = AsFloat(graph, tensors[1].value);
  if (!scope.Has("axes")) scope.BadValue("axes", "one or two axes are expected");
  if (scope.failed()) return {};
  const auto axes = DotAxes(scope, "axes", graph.rank(x), graph.rank(y));
  if (!axes) return {};
  if (scope.Bool("normalize", false)) {
    x = Normalized(scope, x, axes->first);
    y = Normalized(scope, y, axes->second);
  }
  return One(BatchDot(scope, x, y, axes->first, axes->second));
}

// Source: Merge in keras/engine/topology.py of 1.2.2.
std::vector<KerasTensor> LowerMerge(const LayerScope& scope, const CallInputs& inputs) {
  Graph& graph = scope.graph();
  const std::vector<KerasTensor> tensors = InputList(scope, inputs, 1);
  if (scope.failed()) return {};
  const std::string type = scope.String("mode_type", "raw");
  if (type == "lambda" || type == "function") {
    const bool lambda = type == "lambda";
    scope.Fail(lambda ? Code::kLambdaBytecode : Code::kLambdaNamedFunction,
               fmt::format("layer {} merges by a Python {}", scope.path(), type));
    return {};
  }
  const std::string mode =
      scope.Choice("mode", "sum", {"sum", "mul", "ave", "max", "concat", "dot", "cos"});
  if (scope.failed()) return {};
  if (mode == "concat") {
    const auto axis =
        compute::NormalizeAxis(scope.Int("concat_axis", -1), graph.rank(tensors[0].value));
    if (!axis) scope.BadValue("concat_axis", "an axis of the tensors is expected");
    if (scope.failed()) return {};
    const Mask mask = ConcatenatedMask(scope, tensors, *axis);
    return One(ConcatenateValues(scope, tensors, *axis), mask);
  }
  if (mode == "dot" || mode == "cos") {
    if (tensors.size() != 2) {
      scope.Fail(Code::kGraphInvalid,
                 fmt::format("layer {} takes two tensors, not {}", scope.path(), tensors.size()));
      return {};
    }
    const Value x = AsFloat(graph, tensors[0].value), y = AsFloat(graph, tensors[1].value);
    const auto axes = DotAxes(scope, "dot_axes", graph.rank(x), graph.rank(y));
    if (!axes) return {};
    const Value dot = BatchDot(scope, x, y, axes->first, axes->second);
    if (mode == "dot") return One(dot);
    const Value squares = ops::Multiply(graph, BatchDot(scope, x, x, axes->first, axes->second),
                                        BatchDot(scope, y, y, axes->first, axes->second));
    const Value norms =
        ops::Binary(graph, BinaryKind::kMaximum, ops::Unary(graph, ops::UnaryKind::kSqrt, squares),
                    graph.Constant(Tensor::Scalar(1e-7f)));
    return One(ops::ExpandDims(graph, ops::Divide(graph, dot, norms), 1));
  }
  const BinaryKind kind = mode == "mul"   ? BinaryKind::kMultiply
                          : mode == "max" ? BinaryKind::kMaximum
                                          : BinaryKind::kAdd;
  Value y = tensors[0].value;
  for (size_t i = 1; i < tensors.size(); ++i) y = ops::Binary(graph, kind, y, tensors[i].value);
  if (mode == "ave") {
    y = ops::MultiplyScalar(graph, AsFloat(graph, y), 1.0f / static_cast<float>(tensors.size()));
  }
  return One(y, MergedMask(scope, tensors));
}

}  // namespace h5serve::model
