// Diagonals and triangles of matrices.
#include <fmt/format.h>

#include <cstdlib>

#include "compute/ops/elementwise.h"
#include "compute/ops/reduce.h"
#include "compute/ops/shape_ops.h"
#include "model/functions/function_call.h"

namespace h5serve::model {
namespace {

using compute::DType;
using compute::Graph;
using compute::kUnknown;
using compute::Shape;
using compute::Value;
namespace ops = compute::ops;

FunctionArgument Result(Value value) { return FunctionArgument::Tensor(value); }

Value Ints(Graph& graph, const std::vector<int64_t>& values) {
  return graph.Constant(compute::Tensor::Ints(Shape{static_cast<int64_t>(values.size())}, values));
}

template <bool lower>
FunctionArgument Triangle(FunctionCall& call) {
  return Result(ops::Triangle(call.graph(), call.Tensor("x"), call.Int("k", 0), lower));
}

// Keeps a band around the diagonal; negative widths keep a whole side.
FunctionArgument BandPart(FunctionCall& call) {
  Graph& graph = call.graph();
  Value x = call.Tensor("x");
  const int64_t lower = call.RequiredInt("num_lower"), upper = call.RequiredInt("num_upper");
  if (lower >= 0) x = ops::Triangle(graph, x, -lower, /*lower=*/false);
  if (upper >= 0) x = ops::Triangle(graph, x, upper, /*lower=*/true);
  return Result(x);
}

// The diagonal of the last two axes.
Value Diagonal(FunctionCall& call, Value x, int64_t offset) {
  Graph& graph = call.graph();
  const int rank = graph.rank(x);
  const int64_t rows = graph.shape(x).dim(-2), columns = graph.shape(x).dim(-1);
  if (rank < 2 || rows == kUnknown || columns == kUnknown) {
    call.Invalid(fmt::format("no diagonal of known length in {}", graph.shape(x).ToString()));
    return Value{};
  }
  std::vector<int64_t> places;
  for (int64_t row = 0; row < rows; ++row) {
    const int64_t column = row + offset;
    if (column >= 0 && column < columns) places.push_back(row * columns + column);
  }
  return ops::Gather(graph, ops::MergeAxes(graph, x, rank - 2, rank), Ints(graph, places),
                     rank - 2);
}

Value DiagonalInput(FunctionCall& call) {
  Graph& graph = call.graph();
  const Value x = call.Tensor("x");
  const int rank = graph.rank(x);
  const auto a = compute::NormalizeAxis(call.Int("axis1", call.is_tensorflow() ? -2 : 0), rank);
  const auto b = compute::NormalizeAxis(call.Int("axis2", call.is_tensorflow() ? -1 : 1), rank);
  if (!a || !b || *a == *b) {
    call.Invalid("axis1 and axis2 must be two axes of the tensor");
    return Value{};
  }
  // Moving b last and then a before it keeps the order of the others.
  const Value moved = ops::MoveAxis(graph, x, *b, -1);
  return ops::MoveAxis(graph, moved, *a - (*a > *b ? 1 : 0), -2);
}

FunctionArgument DiagonalOf(FunctionCall& call) {
  const Value x = DiagonalInput(call);
  return Result(x.valid() ? Diagonal(call, x, call.Int("offset", 0)) : x);
}

FunctionArgument Trace(FunctionCall& call) {
  const Value x = DiagonalInput(call);
  if (!x.valid()) return {};
  return Result(ops::Reduce(call.graph(), ops::ReduceKind::kSum,
                            Diagonal(call, x, call.Int("offset", 0)), {-1}, false));
}

// A matrix with the last axis of x on a diagonal.
Value MatrixOf(FunctionCall& call, Value x, int64_t offset) {
  Graph& graph = call.graph();
  const int64_t n = graph.shape(x).dim(-1);
  const int64_t wide = std::abs(offset);
  if (n == kUnknown || n > 65536 || wide > 65536) {
    call.Invalid("the diagonal must have a known length");
    return Value{};
  }
  std::vector<float> ones(static_cast<size_t>(n * n), 0.0f);
  for (int64_t i = 0; i < n; ++i) ones[i * n + i] = 1;
  Value mask = graph.Constant(compute::Tensor::Floats(Shape{n, n}, ones));
  if (graph.dtype(x) == DType::kInt64) mask = ops::Cast(graph, mask, DType::kInt64);
  Value matrix = ops::Multiply(graph, ops::ExpandDims(graph, x, -1), mask);
  if (offset == 0) return matrix;
  std::vector<std::pair<int64_t, int64_t>> pads(static_cast<size_t>(graph.rank(matrix)), {0, 0});
  pads[pads.size() - 2] = {offset < 0 ? wide : 0, offset > 0 ? wide : 0};
  pads[pads.size() - 1] = {offset > 0 ? wide : 0, offset < 0 ? wide : 0};
  return ops::Pad(graph, matrix, pads);
}

// numpy.diag goes both ways.
FunctionArgument Diag(FunctionCall& call) {
  const Value x = call.Tensor("x");
  const int64_t k = call.Int("k", 0);
  if (call.graph().rank(x) == 2) return Result(Diagonal(call, x, k));
  if (call.graph().rank(x) != 1) return call.Invalid("expected a vector or a matrix");
  return Result(MatrixOf(call, x, k));
}

FunctionArgument DiagFlat(FunctionCall& call) {
  Graph& graph = call.graph();
  const Value x = call.Tensor("x");
  return Result(MatrixOf(call, ops::MergeAxes(graph, x, 0, graph.rank(x)), call.Int("k", 0)));
}

FunctionArgument MatrixDiag(FunctionCall& call) {
  return Result(MatrixOf(call, call.Tensor("x"), call.Int("k", 0)));
}

constexpr FunctionRow kFunctions[] = {
    {"tril", "x, k", Triangle<true>},
    {"triu", "x, k", Triangle<false>},
    {"<band_part>", "x, num_lower, num_upper", BandPart},
    {"diag", "x, k", Diag},
    {"diagflat", "x, k", DiagFlat},
    {"<matrix_diag>", "x, k", MatrixDiag},
    {"diagonal", "x, offset, axis1, axis2", DiagonalOf},
    {"trace", "x, offset, axis1, axis2", Trace},
};

}  // namespace

std::span<const FunctionRow> DiagonalFunctions() { return kFunctions; }

}  // namespace h5serve::model
