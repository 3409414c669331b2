#include "compute/ops/matmul.h"

#include <fmt/format.h>

#include <algorithm>

#include "compute/kernels/gemm.h"

namespace h5serve::compute::ops {
namespace {

constexpr int64_t kAlign = 16;  // floats

int64_t RoundUp(int64_t floats) { return (floats + kAlign - 1) / kAlign * kAlign; }

}  // namespace

// One product of matrices per batch. A vector counts as a matrix of one row
// (first operand) or one column (second); its axis is not in the output.
struct MatMulOp::Layout {
  int64_t m = 1, k = 1, n = 1;
  int64_t a_row = 0, a_k = 1;  // strides in elements
  int64_t b_k = 0, b_column = 1;
  Shape batch_a, batch_b;
  bool vector_a = false, vector_b = false;

  int64_t a_size() const { return m * k; }
  int64_t b_size() const { return k * n; }
};

MatMulOp::Layout MatMulOp::LayoutOf(const Shape& a, const Shape& b) const {
  Layout layout;
  layout.vector_a = a.rank() == 1;
  layout.vector_b = b.rank() == 1;
  if (layout.vector_a) {
    layout.k = a[0];
    layout.a_row = a[0];
  } else {
    const int64_t rows = a.dim(-2), columns = a.dim(-1);
    layout.m = transpose_a_ ? columns : rows;
    layout.k = transpose_a_ ? rows : columns;
    layout.a_row = transpose_a_ ? 1 : columns;
    layout.a_k = transpose_a_ ? columns : 1;
    layout.batch_a = a.Slice(0, a.rank() - 2);
  }
  if (layout.vector_b) {
    layout.b_k = 1;
  } else {
    const int64_t rows = b.dim(-2), columns = b.dim(-1);
    layout.n = transpose_b_ ? rows : columns;
    layout.b_k = transpose_b_ ? 1 : columns;
    layout.b_column = transpose_b_ ? columns : 1;
    layout.batch_b = b.Slice(0, b.rank() - 2);
  }
  return layout;
}

absl::StatusOr<std::vector<ValueType>> MatMulOp::Infer(const InferContext& context) const {
  const Shape& a = context.shape(0);
  const Shape& b = context.shape(1);
  const auto refuse = [&]() {
    return absl::InvalidArgumentError(fmt::format("matmul: {}{} does not fit {}{}", a.ToString(),
                                                  transpose_a_ ? " transposed" : "", b.ToString(),
                                                  transpose_b_ ? " transposed" : ""));
  };
  if (a.rank() < 1 || b.rank() < 1) return refuse();
  const Layout layout = LayoutOf(a, b);
  const int64_t b_rows = b.rank() == 1 ? b[0] : b.dim(transpose_b_ ? -1 : -2);
  const std::optional<Shape> batch = Broadcast(layout.batch_a, layout.batch_b);
  if (!batch || (layout.k != kUnknown && b_rows != kUnknown && layout.k != b_rows)) {
    return refuse();
  }
  Shape shape = *batch;
  if (!layout.vector_a) shape.push_back(layout.m);
  if (!layout.vector_b) shape.push_back(layout.n);
  return std::vector<ValueType>{{context.dtype(0), shape}};
}

int64_t MatMulOp::ScratchBytes(std::span<const ValueType> inputs) const {
  if (inputs[0].dtype != DType::kFloat32) return 0;
  const Layout layout = LayoutOf(inputs[0].shape, inputs[1].shape);
  int64_t floats =
      RoundUp(kernels::PackedFloats(layout.k, layout.n)) * layout.batch_b.num_elements();
  // Rows of a transposed operand are copied.
  if (layout.a_k != 1) floats += RoundUp(layout.a_size()) * layout.batch_a.num_elements();
  return floats * 4;
}

double MatMulOp::Flops(std::span<const ValueType> inputs) const {
  const Layout layout = LayoutOf(inputs[0].shape, inputs[1].shape);
  const double batches =
      static_cast<double>(std::max(layout.batch_a.num_elements(), layout.batch_b.num_elements()));
  return 2.0 * batches * static_cast<double>(layout.m) * static_cast<double>(layout.k) *
         static_cast<double>(layout.n);
}

namespace {

// Index of the operand's batch for each batch of the output.
class BatchIndex {
 public:
  BatchIndex(const Shape& batch, const Shape& output) {
    int64_t stride = 1;
    rank_ = output.rank();
    for (int axis = 0; axis < rank_; ++axis) sizes_[axis] = output[axis];
    for (int axis = batch.rank(); axis-- > 0;) {
      const int target = axis + output.rank() - batch.rank();
      strides_[target] = batch[axis] == 1 ? 0 : stride;
      stride *= batch[axis];
    }
  }
  int64_t operator[](int64_t index) const {
    int64_t result = 0;
    for (int axis = rank_; axis-- > 0;) {
      result += index % sizes_[axis] * strides_[axis];
      index /= sizes_[axis];
    }
    return result;
  }

 private:
  int rank_ = 0;
  int64_t sizes_[kMaxRank] = {};
  int64_t strides_[kMaxRank] = {};
};

void TransposeInto(const float* from, int64_t rows, int64_t columns, int64_t column_stride,
                   float* to) {
  // Columns of `from` are contiguous. Square blocks keep both sides in the cache.
  constexpr int64_t kBlock = 16;
  for (int64_t j0 = 0; j0 < columns; j0 += kBlock) {
    for (int64_t i0 = 0; i0 < rows; i0 += kBlock) {
      for (int64_t i = i0; i < std::min(i0 + kBlock, rows); ++i) {
        for (int64_t j = j0; j < std::min(j0 + kBlock, columns); ++j) {
          to[i * columns + j] = from[j * column_stride + i];
        }
      }
    }
  }
}

Shape OutputBatch(const Shape& output, bool vector_a, bool vector_b) {
  return output.Slice(0, output.rank() - (vector_a ? 0 : 1) - (vector_b ? 0 : 1));
}

}  // namespace

void MatMulOp::RunIntegers(const RunContext& context, const Layout& layout) {
  const int64_t* a = context.input(0).as<int64_t>();
  const int64_t* b = context.input(1).as<int64_t>();
  int64_t* c = context.output(0).as<int64_t>();
  const Shape batch = OutputBatch(context.output(0).shape, layout.vector_a, layout.vector_b);
  const BatchIndex index_a(layout.batch_a, batch), index_b(layout.batch_b, batch);
  const int64_t batches = batch.num_elements();
  for (int64_t i = 0; i < batches; ++i) {
    const int64_t* left = a + index_a[i] * layout.a_size();
    const int64_t* right = b + index_b[i] * layout.b_size();
    for (int64_t row = 0; row < layout.m; ++row) {
      for (int64_t column = 0; column < layout.n; ++column) {
        uint64_t sum = 0;
        for (int64_t k = 0; k < layout.k; ++k) {
          sum += static_cast<uint64_t>(left[row * layout.a_row + k * layout.a_k]) *
                 static_cast<uint64_t>(right[k * layout.b_k + column * layout.b_column]);
        }
        *c++ = static_cast<int64_t>(sum);
      }
    }
  }
}

absl::Status MatMulOp::Run(const RunContext& context) const {
  const Layout layout = LayoutOf(context.input(0).shape, context.input(1).shape);
  if (context.input(0).dtype != DType::kFloat32) {
    RunIntegers(context, layout);
    return absl::OkStatus();
  }
  const float* a = context.input(0).as<float>();
  const float* b = context.input(1).as<float>();
  float* c = context.output(0).as<float>();
  const Shape batch = OutputBatch(context.output(0).shape, layout.vector_a, layout.vector_b);
  const int64_t batches = batch.num_elements();
  if (batches == 0 || layout.m == 0 || layout.n == 0) return absl::OkStatus();
  const int64_t packed_size = RoundUp(kernels::PackedFloats(layout.k, layout.n));
  const int64_t packs = layout.batch_b.num_elements();
  float* packed = context.scratch<float>();
  const int64_t pack_grain = 65536 / std::max<int64_t>(1, layout.b_size()) + 1;
  context.ParallelFor(packs, pack_grain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      kernels::PackMatrix(b + i * layout.b_size(), layout.k, layout.n, layout.b_k, layout.b_column,
                          packed + i * packed_size);
    }
  });
  int64_t a_size = layout.a_size();
  if (layout.a_k != 1) {
    a_size = RoundUp(a_size);
    float* rows = packed + packs * packed_size;
    for (int64_t i = 0; i < layout.batch_a.num_elements(); ++i) {
      TransposeInto(a + i * layout.a_size(), layout.m, layout.k, layout.a_k, rows + i * a_size);
    }
    a = rows;
  }
  const BatchIndex index_a(layout.batch_a, batch), index_b(layout.batch_b, batch);
  const auto multiply = [&](int64_t i, const Parallelism* parallelism) {
    kernels::GemmArguments gemm;
    gemm.rows = layout.m;
    gemm.k = layout.k;
    gemm.n = layout.n;
    gemm.a = a + index_a[i] * a_size;
    gemm.a_row_stride = layout.k;
    gemm.b = packed + index_b[i] * packed_size;
    gemm.c = c + i * layout.m * layout.n;
    gemm.c_row_stride = layout.n;
    kernels::Gemm(gemm, parallelism);
  };
  if (batches == 1) {
    multiply(0, context.parallelism());
    return absl::OkStatus();
  }
  const int64_t flops = 2 * layout.m * layout.n * std::max<int64_t>(layout.k, 1);
  context.ParallelFor(batches, (int64_t{1} << 20) / std::max<int64_t>(flops, 1) + 1,
                      [&](int64_t begin, int64_t end) {
                        for (int64_t i = begin; i < end; ++i) multiply(i, nullptr);
                      });
  return absl::OkStatus();
}

}  // namespace h5serve::compute::ops
