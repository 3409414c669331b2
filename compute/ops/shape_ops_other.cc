// Shapes as values, ranges, triangles, and blocks of pixels.
#include <fmt/format.h>

#include <algorithm>

#include "compute/ops/partial_value.h"
#include "compute/ops/shape_ops.h"
#include "compute/ops/strided_copy.h"

namespace h5serve::compute::ops {
namespace {

class ShapeOfOp : public Op, public PartialOp {
 public:
  std::string_view name() const override { return "ShapeOf"; }
  bool ReadsOnlyShape(int input) const override { return true; }

  absl::StatusOr<std::vector<ValueType>> Infer(const InferContext& context) const override {
    return std::vector<ValueType>{{DType::kInt64, Shape{context.shape(0).rank()}}};
  }

  absl::Status Run(const RunContext& context) const override {
    const Shape& shape = context.input(0).shape;
    std::copy(shape.begin(), shape.end(), context.output(0).as<int64_t>());
    return absl::OkStatus();
  }

  std::optional<std::vector<int64_t>> Partial(
      const Graph& graph, std::span<const Value> values,
      std::span<const std::optional<std::vector<int64_t>>> inputs) const override {
    const Shape& shape = graph.shape(values[0]);
    return std::vector<int64_t>(shape.begin(), shape.end());
  }
};

class TriangleOp : public Op {
 public:
  TriangleOp(int64_t diagonal, bool lower) : diagonal_(diagonal), lower_(lower) {}
  std::string_view name() const override { return "Triangle"; }

  absl::StatusOr<std::vector<ValueType>> Infer(const InferContext& context) const override {
    if (context.shape(0).rank() < 2) {
      return absl::InvalidArgumentError(
          fmt::format("a triangle needs a matrix, not {}", context.shape(0).ToString()));
    }
    return std::vector<ValueType>{context.input(0)};
  }

  absl::Status Run(const RunContext& context) const override {
    const TensorView& in = context.input(0);
    const TensorView& out = context.output(0);
    const int rank = in.shape.rank();
    const int64_t rows = in.shape[rank - 2], columns = in.shape[rank - 1];
    const int64_t all_rows = Product(in.shape, 0, rank - 1);
    for (int64_t i = 0; i < all_rows; ++i) {
      // Lower keeps columns up to row + diagonal, upper those from there on.
      const int64_t edge = i % rows + diagonal_ + (lower_ ? 1 : 0);
      const int64_t cut = std::clamp<int64_t>(edge, 0, columns);
      const int64_t keep_from = lower_ ? 0 : cut, keep_to = lower_ ? cut : columns;
      const int64_t base = i * columns;
      FillElements(out.dtype, out.data, base, keep_from, 0);
      CopyElements(in.dtype, in.data, base + keep_from, out.data, base + keep_from,
                   keep_to - keep_from);
      FillElements(out.dtype, out.data, base + keep_to, columns - keep_to, 0);
    }
    return absl::OkStatus();
  }

 private:
  int64_t diagonal_;
  bool lower_;
};

}  // namespace

Value ShapeOf(Graph& graph, Value x) {
  if (!x.valid()) return x;
  const Shape& shape = graph.shape(x);
  if (shape.known()) {
    return graph.Constant(
        Tensor::Ints(Shape{shape.rank()}, std::vector<int64_t>(shape.begin(), shape.end())));
  }
  return graph.Add1(std::make_shared<ShapeOfOp>(), {x});
}

Value Range(Graph& graph, int64_t start, int64_t limit, int64_t step) {
  if (step == 0) return graph.Fail(absl::InvalidArgumentError("the step of a range is zero"));
  __int128 distance =
      step > 0 ? static_cast<__int128>(limit) - start : static_cast<__int128>(start) - limit;
  const __int128 width = step > 0 ? step : -static_cast<__int128>(step);
  if (distance < 0) distance = 0;
  const __int128 count = (distance + width - 1) / width;
  if (count > (int64_t{1} << 28)) {
    return graph.Fail(absl::InvalidArgumentError("a range has too many elements"));
  }
  std::vector<int64_t> values(static_cast<size_t>(count));
  for (size_t i = 0; i < values.size(); ++i) values[i] = start + static_cast<int64_t>(i) * step;
  const int64_t size = static_cast<int64_t>(values.size());
  return graph.Constant(Tensor::Ints(Shape{size}, values));
}

// A pixel of channels (row, column, depth) becomes a block of rows x columns.
Value DepthToSpace(Graph& graph, Value x, int64_t block, bool channels_first) {
  if (!x.valid()) return x;
  if (graph.rank(x) != 4 || block < 1) {
    return graph.Fail(absl::InvalidArgumentError(fmt::format(
        "depth to space with block {} does not fit {}", block, graph.shape(x).ToString())));
  }
  const int channels = channels_first ? 1 : 3;
  x = SplitAxis(graph, x, channels, block, kUnknown);
  x = SplitAxis(graph, x, channels + 1, block, kUnknown);
  x = Transpose(
      graph, x,
      channels_first ? std::vector<int>{0, 3, 4, 1, 5, 2} : std::vector<int>{0, 1, 3, 2, 4, 5});
  const int first = channels_first ? 2 : 1;
  x = MergeAxes(graph, x, first, first + 2);
  return MergeAxes(graph, x, first + 1, first + 3);
}

Value SpaceToDepth(Graph& graph, Value x, int64_t block, bool channels_first) {
  if (!x.valid()) return x;
  if (graph.rank(x) != 4 || block < 1) {
    return graph.Fail(absl::InvalidArgumentError(fmt::format(
        "space to depth with block {} does not fit {}", block, graph.shape(x).ToString())));
  }
  const int first = channels_first ? 2 : 1;
  x = SplitAxis(graph, x, first + 1, kUnknown, block);
  x = SplitAxis(graph, x, first, kUnknown, block);
  // First: (batch, depth, row, block, column, block); last: depth at the end.
  x = Transpose(
      graph, x,
      channels_first ? std::vector<int>{0, 3, 5, 1, 2, 4} : std::vector<int>{0, 1, 3, 2, 4, 5});
  return channels_first ? MergeAxes(graph, x, 1, 4) : MergeAxes(graph, x, 3, 6);
}

Value Triangle(Graph& graph, Value x, int64_t diagonal, bool lower) {
  // Beyond the largest matrix nothing changes any more.
  diagonal = std::clamp<int64_t>(diagonal, -kMaxElements, kMaxElements);
  return graph.Add1(std::make_shared<TriangleOp>(diagonal, lower), {x});
}

}  // namespace h5serve::compute::ops
