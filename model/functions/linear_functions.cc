// Products of matrices and tensors.
#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "compute/ops/elementwise.h"
#include "compute/ops/linear.h"
#include "compute/ops/reduce.h"
#include "compute/ops/shape_ops.h"
#include "model/functions/function_call.h"

namespace h5serve::model {
namespace {

using compute::DType;
using compute::Graph;
using compute::Value;
namespace ops = compute::ops;

FunctionArgument Result(Value value) { return FunctionArgument::Tensor(value); }

// Products are computed in float32; integers go back to what they were.
Value Product(Graph& graph, Value a, Value b, bool transpose_a, bool transpose_b) {
  const bool whole = graph.dtype(a) == DType::kInt64 && graph.dtype(b) == DType::kInt64;
  a = ops::Cast(graph, a, DType::kFloat32);
  b = ops::Cast(graph, b, DType::kFloat32);
  const Value y = ops::MatMul(graph, a, b, transpose_a, transpose_b);
  return whole ? ops::Cast(graph, y, DType::kInt64) : y;
}

// numpy.matmul: vectors get an axis that goes again.
Value MatMul(Graph& graph, Value a, Value b, bool transpose_a, bool transpose_b) {
  const bool vector_a = graph.rank(a) == 1, vector_b = graph.rank(b) == 1;
  if (vector_a) a = ops::ExpandDims(graph, a, 0);
  if (vector_b) b = ops::ExpandDims(graph, b, 1);
  Value y = Product(graph, a, b, transpose_a && !vector_a, transpose_b && !vector_b);
  if (vector_b) y = ops::Squeeze(graph, y, {-1});
  if (vector_a) y = ops::Squeeze(graph, y, {vector_b ? -1 : -2});
  return y;
}

FunctionArgument MatMulFunction(FunctionCall& call) {
  const bool ta = call.Bool("transpose_a", false) || call.Bool("adjoint_a", false);
  const bool tb = call.Bool("transpose_b", false) || call.Bool("adjoint_b", false);
  const Value a = call.Tensor("x1"), b = call.Tensor("x2");
  if (!call.ok()) return {};
  return Result(MatMul(call.graph(), a, b, ta, tb));
}

FunctionArgument MatVec(FunctionCall& call) {
  Graph& graph = call.graph();
  const Value a = call.Tensor("x1"), b = ops::ExpandDims(graph, call.Tensor("x2"), -1);
  if (!call.ok()) return {};
  return Result(
      ops::Squeeze(graph, Product(graph, a, b, call.Bool("transpose_a", false), false), {-1}));
}

// Contracts axes by names: every axis gets a letter.
Value Contract(Graph& graph, Value a, Value b, const std::vector<std::pair<int, int>>& contracted,
               const std::vector<std::pair<int, int>>& shared) {
  std::string left, right, out;
  char next = 'a';
  for (int axis = 0; axis < graph.rank(a); ++axis) left.push_back(next++);
  for (int axis = 0; axis < graph.rank(b); ++axis) right.push_back(next++);
  for (const auto& [i, j] : contracted) right[j] = left[i];
  for (const auto& [i, j] : shared) right[j] = left[i];
  const auto is = [](const std::vector<std::pair<int, int>>& pairs, int axis, bool second) {
    return std::any_of(pairs.begin(), pairs.end(), [&](const auto& pair) {
      return (second ? pair.second : pair.first) == axis;
    });
  };
  for (int axis = 0; axis < graph.rank(a); ++axis) {
    if (!is(contracted, axis, false)) out.push_back(left[axis]);
  }
  for (int axis = 0; axis < graph.rank(b); ++axis) {
    if (!is(contracted, axis, true) && !is(shared, axis, true)) out.push_back(right[axis]);
  }
  a = ops::Cast(graph, a, DType::kFloat32);
  b = ops::Cast(graph, b, DType::kFloat32);
  return ops::Einsum(graph, left + "," + right + "->" + out, {a, b});
}

// numpy.dot and K.dot: the last axis of a with the last but one of b.
FunctionArgument Dot(FunctionCall& call) {
  Graph& graph = call.graph();
  const Value a = call.Tensor("x1"), b = call.Tensor("x2");
  if (!call.ok()) return {};
  const int rank_a = graph.rank(a), rank_b = graph.rank(b);
  if (rank_a == 0 || rank_b == 0) return Result(ops::Multiply(graph, a, b));
  if (rank_b <= 2) return Result(MatMul(graph, a, b, false, false));
  return Result(Contract(graph, a, b, {{rank_a - 1, rank_b - 2}}, {}));
}

FunctionArgument VectorDot(FunctionCall& call) {
  Graph& graph = call.graph();
  const Value a = call.Tensor("x1"), b = call.Tensor("x2");
  const Value flat_a = ops::MergeAxes(graph, a, 0, graph.rank(a));
  const Value flat_b = ops::MergeAxes(graph, b, 0, graph.rank(b));
  if (!call.ok()) return {};
  return Result(MatMul(graph, flat_a, flat_b, false, false));
}

// numpy.inner: last axis with last axis.
FunctionArgument Inner(FunctionCall& call) {
  Graph& graph = call.graph();
  const Value a = call.Tensor("x1"), b = call.Tensor("x2");
  const int rank_a = graph.rank(a), rank_b = graph.rank(b);
  if (rank_a == 0 || rank_b == 0) return Result(ops::Multiply(graph, a, b));
  return Result(Contract(graph, a, b, {{rank_a - 1, rank_b - 1}}, {}));
}

FunctionArgument Outer(FunctionCall& call) {
  Graph& graph = call.graph();
  Value a = call.Tensor("x1"), b = call.Tensor("x2");
  a = ops::ExpandDims(graph, ops::MergeAxes(graph, a, 0, graph.rank(a)), 1);
  b = ops::ExpandDims(graph, ops::MergeAxes(graph, b, 0, graph.rank(b)), 0);
  return Result(ops::Multiply(graph, a, b));
}

FunctionArgument Kron(FunctionCall& call) {
  Graph& graph = call.graph();
  Value a = call.Tensor("x1"), b = call.Tensor("x2");
  while (call.ok() && graph.rank(a) < graph.rank(b)) a = ops::ExpandDims(graph, a, 0);
  while (call.ok() && graph.rank(b) < graph.rank(a)) b = ops::ExpandDims(graph, b, 0);
  const int rank = graph.rank(a);
  if (!call.ok() || 2 * rank > compute::kMaxRank)
    return call.ok() ? call.Invalid("too many axes") : FunctionArgument{};
  for (int axis = 0; axis < rank; ++axis) {
    a = ops::ExpandDims(graph, a, 2 * axis + 1);
    b = ops::ExpandDims(graph, b, 2 * axis);
  }
  Value y = ops::Multiply(graph, a, b);
  for (int axis = 0; axis < rank; ++axis) y = ops::MergeAxes(graph, y, axis, axis + 2);
  return Result(y);
}

FunctionArgument TensorDot(FunctionCall& call) {
  Graph& graph = call.graph();
  const Value a = call.Tensor("x1"), b = call.Tensor("x2");
  const int rank_a = graph.rank(a), rank_b = graph.rank(b);
  std::vector<int64_t> axes_a, axes_b;
  const FunctionArgument& axes = call.Get("axes");
  const auto known = KnownInts(graph, axes);
  const bool scalar = known && known->size() == 1 && !axes.is_list() &&
                      !(axes.is_constant() && axes.constant.is_list());
  if (axes.is_null() || scalar) {
    const int64_t count = axes.is_null() ? 2 : known->at(0);
    if (count < 0 || count > rank_a || count > rank_b)
      return call.Invalid("more axes than the tensors have");
    for (int64_t i = 0; i < count; ++i) {
      axes_a.push_back(rank_a - count + i);
      axes_b.push_back(i);
    }
  } else {
    std::vector<FunctionArgument> sides = axes.list;
    if (axes.is_constant() && axes.constant.is_list()) {
      for (const ConfigValue& side : axes.constant.as_list())
        sides.push_back(FunctionArgument::Constant(side));
    }
    if (axes.is_tensor()) {
      const compute::Tensor* table = graph.constant(axes.tensor);
      if (table != nullptr && table->dtype() == DType::kInt64 && table->shape().rank() == 2 &&
          table->shape()[0] == 2) {
        const int64_t n = table->shape()[1];
        axes_a.assign(table->data<int64_t>(), table->data<int64_t>() + n);
        axes_b.assign(table->data<int64_t>() + n, table->data<int64_t>() + 2 * n);
      }
    } else if (sides.size() == 2) {
      const auto first = KnownInts(graph, sides[0]), second = KnownInts(graph, sides[1]);
      if (first && second) axes_a = *first, axes_b = *second;
    }
    if (axes_a.empty()) return call.Unsupported("axes", "expected a number or two lists of axes");
  }
  if (axes_a.size() != axes_b.size()) return call.Invalid("the lists of axes differ in length");
  std::vector<std::pair<int, int>> pairs;
  for (size_t i = 0; i < axes_a.size(); ++i) {
    const auto x = compute::NormalizeAxis(axes_a[i], rank_a),
               y = compute::NormalizeAxis(axes_b[i], rank_b);
    if (!x || !y) return call.Invalid("an axis does not exist");
    pairs.emplace_back(*x, *y);
  }
  if (!call.ok()) return {};
  return Result(Contract(graph, a, b, pairs, {}));
}

// K.batch_dot: one axis of each, the batch in common; always at least a matrix.
FunctionArgument BatchDot(FunctionCall& call) {
  Graph& graph = call.graph();
  const Value a = call.Tensor("x1"), b = call.Tensor("x2");
  const int rank_a = graph.rank(a), rank_b = graph.rank(b);
  if (!call.ok()) return {};
  if (rank_a < 2 || rank_b < 2) return call.Invalid("batch_dot needs at least two axes");
  std::vector<int64_t> axes = call.Ints("axes").value_or(
      std::vector<int64_t>{rank_a - 1, rank_b == 2 ? rank_b - 1 : rank_b - 2});
  if (axes.size() == 1) axes.push_back(axes[0]);
  const auto x = compute::NormalizeAxis(axes[0], rank_a),
             y = compute::NormalizeAxis(axes.size() == 2 ? axes[1] : 99, rank_b);
  if (!x || !y || *x == 0 || *y == 0)
    return call.Unsupported("axes", "expected one axis of each besides the batch");
  Value result = Contract(graph, a, b, {{*x, *y}}, {{0, 0}});
  if (graph.rank(result) == 1) result = ops::ExpandDims(graph, result, 1);
  return Result(result);
}

FunctionArgument Einsum(FunctionCall& call) {
  Graph& graph = call.graph();
  std::string equation = call.String("subscripts", "");
  equation.erase(std::remove(equation.begin(), equation.end(), ' '), equation.end());
  std::vector<Value> operands = call.Tensors("operands");
  if (!call.ok()) return {};
  for (Value& operand : operands) operand = ops::Cast(graph, operand, DType::kFloat32);
  if (operands.size() <= 2) return Result(ops::Einsum(graph, equation, operands));
  // More operands are taken two at a time, keeping what is still needed.
  const size_t arrow = equation.find("->");
  if (arrow == std::string::npos || equation.find("...") != std::string::npos) {
    return call.Unsupported("subscripts",
                            "more than two operands need an explicit result and no ellipsis");
  }
  const std::string out = equation.substr(arrow + 2);
  std::vector<std::string> terms(1);
  for (char c : equation.substr(0, arrow)) {
    if (c == ',') {
      terms.emplace_back();
    } else {
      terms.back().push_back(c);
    }
  }
  if (terms.size() != operands.size())
    return call.Invalid("the equation does not fit the operands");
  while (operands.size() > 2) {
    std::string needed = out;
    for (size_t i = 2; i < terms.size(); ++i) needed += terms[i];
    std::string kept;
    for (char c : terms[0] + terms[1]) {
      if (needed.find(c) != std::string::npos && kept.find(c) == std::string::npos)
        kept.push_back(c);
    }
    operands[1] =
        ops::Einsum(graph, terms[0] + "," + terms[1] + "->" + kept, {operands[0], operands[1]});
    terms[1] = kept;
    operands.erase(operands.begin());
    terms.erase(terms.begin());
  }
  return Result(ops::Einsum(graph, terms[0] + "," + terms[1] + "->" + out, operands));
}

FunctionArgument Cross(FunctionCall& call) {
  Graph& graph = call.graph();
  const Value a = call.Tensor("x1"), b = call.Tensor("x2");
  if (call.Int("axis", -1) != -1 || call.Int("axisa", -1) != -1 || call.Int("axisb", -1) != -1 ||
      call.Int("axisc", -1) != -1) {
    return call.Fail(absl::UnimplementedError("only the last axis is supported"));
  }
  if (graph.shape(a).dim(-1) != 3 || graph.shape(b).dim(-1) != 3)
    return call.Invalid("expected vectors of three");
  const auto at = [&](Value v, int64_t i) { return ops::SliceAxis(graph, v, -1, i, i + 1); };
  std::vector<Value> parts;
  for (int i = 0; i < 3; ++i) {
    const int j = (i + 1) % 3, k = (i + 2) % 3;
    parts.push_back(ops::Subtract(graph, ops::Multiply(graph, at(a, j), at(b, k)),
                                  ops::Multiply(graph, at(a, k), at(b, j))));
  }
  return Result(ops::Concat(graph, parts, -1));
}

// x·W + b in one step, as tf.compat.v1.nn.xw_plus_b.
FunctionArgument DenseProduct(FunctionCall& call) {
  Graph& graph = call.graph();
  return Result(
      ops::Dense(graph, call.Tensor("x"), call.Tensor("weights"), call.OptionalTensor("bias")));
}

constexpr FunctionRow kFunctions[] = {
    {"matmul", "x1, x2; transpose_a, transpose_b, adjoint_a, adjoint_b", MatMulFunction},
    {"matvec", "x1, x2; transpose_a", MatVec},
    {"dot", "x1, x2", Dot},
    {"vdot", "x1, x2", VectorDot},
    {"inner", "x1, x2", Inner},
    {"outer", "x1, x2", Outer},
    {"kron", "x1, x2", Kron},
    {"tensordot", "x1, x2, axes", TensorDot},
    {"batch_dot", "x1, x2, axes; x=x1, y=x2", BatchDot},
    {"einsum", "subscripts, *operands", Einsum},
    {"cross", "x1, x2, axisa, axisb, axisc, axis", Cross},
    {"<dense>", "x, weights, bias", DenseProduct},
};

}  // namespace

std::span<const FunctionRow> LinearFunctions() { return kFunctions; }

}  // namespace h5serve::model
