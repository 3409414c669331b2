#include "compute/ops/einsum.h"

#include <fmt/format.h>

#include <algorithm>

#include "compute/ops/einsum_loops.h"

namespace h5serve::compute::ops {
namespace {

bool Contains(const std::vector<int>& labels, int label) {
  return std::find(labels.begin(), labels.end(), label) != labels.end();
}

// Work worth handing to another thread.
constexpr double kGrainFlops = 1 << 20;

int64_t RoundUp(int64_t floats) { return (floats + 15) / 16 * 16; }

}  // namespace

// How the labels take part, and the loops that follow.
struct EinsumOp::Layout {
  LoopNest first;   // (batch, rows, inner) of the first operand
  LoopNest second;  // (batch, inner, columns) of the second
  LoopNest result;  // (batch, rows, columns) within the output
  int64_t batch = 1, rows = 1, inner = 1, columns = 1;
  // Matrices that the product can read or write where they are: no copies.
  bool first_in_place = false, second_in_place = false, result_in_place = false;
  // The scratch of one batch: offsets in floats, and the size of all.
  int64_t second_at = 0, packed_at = 0, result_at = 0, total = 0;

  // Batches that can be worked on at the same time.
  int64_t slots() const {
    constexpr int64_t kMostSlots = 16, kMostFloats = int64_t{4} << 20;
    return std::clamp<int64_t>(kMostFloats / std::max<int64_t>(total, 1), 1,
                               std::min(kMostSlots, std::max<int64_t>(batch, 1)));
  }
};

EinsumOp::Layout EinsumOp::LayoutOf(const Shape& first, const Shape* second) const {
  const std::vector<int> none;
  const std::vector<int>& a = equation_.operands[0];
  const std::vector<int>& b = equation_.operands.size() > 1 ? equation_.operands[1] : none;
  const std::vector<int>& c = equation_.output;
  LabelSizes sizes;
  AddSizes(a, first, &sizes);
  if (second != nullptr) AddSizes(b, *second, &sizes);
  std::vector<int> batch, rows, inner, columns;
  for (int label : c) {
    (!Contains(b, label) ? rows : Contains(a, label) ? batch : columns).push_back(label);
  }
  // Summed over: in both operands, or in one alone, the other then standing still.
  for (const std::vector<int>* labels : {&a, &b}) {
    for (int label : *labels) {
      if (!Contains(c, label) && !Contains(inner, label)) inner.push_back(label);
    }
  }
  Layout layout;
  Shape output;
  for (int label : c) output.push_back(sizes[label]);
  layout.first = MakeLoops({batch, rows, inner}, sizes, a, first);
  layout.second = MakeLoops({batch, inner, columns}, sizes, b, second ? *second : Shape{});
  layout.result = MakeLoops({batch, rows, columns}, sizes, c, output);
  layout.batch = layout.first.groups[0];
  layout.rows = layout.first.groups[1];
  layout.inner = layout.first.groups[2];
  layout.columns = layout.second.groups[2];
  layout.first_in_place = layout.first.Step(1).has_value() && layout.first.Step(2) == 1;
  layout.second_in_place = layout.second.Step(1).has_value() && layout.second.Step(2).has_value();
  layout.result_in_place = layout.result.Step(1).has_value() && layout.result.Step(2) == 1;
  if (!layout.first_in_place) layout.second_at = RoundUp(layout.rows * layout.inner);
  layout.packed_at = layout.result_at = layout.second_at;
  if (packed_.data() == nullptr) {
    if (!layout.second_in_place) layout.packed_at += RoundUp(layout.inner * layout.columns);
    layout.result_at =
        layout.packed_at + RoundUp(kernels::PackedFloats(layout.inner, layout.columns));
  }
  layout.total = layout.result_at;
  if (!layout.result_in_place) layout.total += RoundUp(layout.rows * layout.columns);
  return layout;
}

absl::StatusOr<std::vector<ValueType>> EinsumOp::Infer(const InferContext& context) const {
  LabelSizes sizes;
  const auto add = [&](size_t operand, const Shape& shape) -> absl::Status {
    const std::vector<int>& labels = equation_.operands[operand];
    if (static_cast<int>(labels.size()) != shape.rank()) {
      return absl::InvalidArgumentError(
          fmt::format("einsum: operand {} has shape {}", operand, shape.ToString()));
    }
    if (!AddSizes(labels, shape, &sizes)) {
      return absl::InvalidArgumentError(
          fmt::format("einsum: operand {} of shape {} does not fit", operand, shape.ToString()));
    }
    return absl::OkStatus();
  };
  if (absl::Status status = add(0, context.shape(0)); !status.ok()) return status;
  if (equation_.operands.size() > 1) {
    const Shape& second = second_.empty() ? context.shape(1) : second_.shape();
    if (absl::Status status = add(1, second); !status.ok()) return status;
  }
  Shape shape;
  for (int label : equation_.output) shape.push_back(sizes[label]);
  if (shape.known() && context.shape(0).known()) {
    // What is summed over may be larger than any tensor.
    __int128 work = 1;
    for (const auto& [label, size] : sizes) work *= std::max<int64_t>(size, 1);
    if (work > kMaxElements * __int128{1024}) {
      return absl::InvalidArgumentError("einsum: too large");
    }
  }
  return std::vector<ValueType>{{DType::kFloat32, shape}};
}

int64_t EinsumOp::ScratchBytes(std::span<const ValueType> inputs) const {
  const Shape* second = !second_.empty()    ? &second_.shape()
                        : inputs.size() > 1 ? &inputs[1].shape
                                            : nullptr;
  const Layout layout = LayoutOf(inputs[0].shape, second);
  return layout.total * layout.slots() * 4;
}

double EinsumOp::Flops(std::span<const ValueType> inputs) const {
  LabelSizes sizes;
  AddSizes(equation_.operands[0], inputs[0].shape, &sizes);
  if (equation_.operands.size() > 1) {
    AddSizes(equation_.operands[1], second_.empty() ? inputs[1].shape : second_.shape(), &sizes);
  }
  double work = 2;
  for (const auto& [label, size] : sizes) work *= static_cast<double>(size);
  return work;
}

absl::Status EinsumOp::Run(const RunContext& context) const {
  const bool two = equation_.operands.size() > 1;
  const Shape* second_shape = !two              ? nullptr
                              : second_.empty() ? &context.input(1).shape
                                                : &second_.shape();
  const Layout layout = LayoutOf(context.input(0).shape, second_shape);
  if (layout.batch * layout.rows * layout.columns == 0) return absl::OkStatus();
  static constexpr float kOne = 1;
  const float* a = context.input(0).as<float>();
  const float* b = !two              ? &kOne
                   : second_.empty() ? context.input(1).as<float>()
                                     : second_.data<float>();
  float* const scratch = context.scratch<float>();
  float* const output = context.output(0).as<float>();
  const int64_t slots = layout.slots();
  const Parallelism* parallelism = context.parallelism();
  if (parallelism == nullptr || slots < parallelism->threads()) {
    for (int64_t i = 0; i < layout.batch; ++i) {
      Multiply(layout, a, b, i, scratch, output, parallelism);
    }
    return absl::OkStatus();
  }
  const double flops = 2.0 * static_cast<double>(layout.batch * layout.rows) *
                       static_cast<double>(layout.inner * layout.columns);
  const auto grain = static_cast<int64_t>(kGrainFlops * static_cast<double>(slots) / (flops + 1));
  context.ParallelFor(slots, grain + 1, [&](int64_t begin, int64_t end) {
    for (int64_t slot = begin; slot < end; ++slot) {
      const int64_t last = (slot + 1) * layout.batch / slots;
      for (int64_t i = slot * layout.batch / slots; i < last; ++i) {
        Multiply(layout, a, b, i, scratch + slot * layout.total, output, nullptr);
      }
    }
  });
  return absl::OkStatus();
}

void EinsumOp::Multiply(const Layout& layout, const float* a, const float* b, int64_t batch,
                        float* scratch, float* output, const Parallelism* parallelism) const {
  kernels::GemmArguments gemm;
  gemm.rows = layout.rows;
  gemm.k = layout.inner;
  gemm.n = layout.columns;
  if (layout.first_in_place) {
    gemm.a = a + layout.first.Start(batch);
    gemm.a_row_stride = *layout.first.Step(1);
  } else {
    layout.first.Gather(a, batch, batch + 1, scratch);
    gemm.a = scratch;
    gemm.a_row_stride = layout.inner;
  }
  gemm.b = packed_.data();
  if (gemm.b == nullptr) {
    float* const packed = scratch + layout.packed_at;
    if (layout.second_in_place) {
      kernels::PackMatrix(b + layout.second.Start(batch), layout.inner, layout.columns,
                          *layout.second.Step(1), *layout.second.Step(2), packed);
    } else {
      float* const matrix = scratch + layout.second_at;
      layout.second.Gather(b, batch, batch + 1, matrix);
      kernels::PackMatrix(matrix, layout.inner, layout.columns, layout.columns, 1, packed);
    }
    gemm.b = packed;
  }
  if (layout.result_in_place) {
    gemm.c = output + layout.result.Start(batch);
    gemm.c_row_stride = *layout.result.Step(1);
  } else {
    gemm.c = scratch + layout.result_at;
    gemm.c_row_stride = layout.columns;
  }
  kernels::Gemm(gemm, parallelism);
  if (!layout.result_in_place) layout.result.Scatter(gemm.c, batch, batch + 1, output);
}

Specialized EinsumOp::Specialize(std::span<const ValueType> inputs,
                                 std::span<const Tensor* const> constants) const {
  if (equation_.operands.size() < 2 || !second_.empty() || constants[1] == nullptr) return {};
  // Batch axes need a matrix each, and axes of one could be stretched by the
  // other operand: then nothing is packed ahead.
  const std::vector<int>& labels = equation_.operands[1];
  for (size_t axis = 0; axis < labels.size(); ++axis) {
    const bool in_first = Contains(equation_.operands[0], labels[axis]);
    if (in_first && Contains(equation_.output, labels[axis])) return {};
    if (in_first && constants[1]->shape()[static_cast<int>(axis)] == 1) return {};
  }
  // Labels summed over in the first operand alone repeat the matrix.
  for (int label : equation_.operands[0]) {
    if (!Contains(labels, label) && !Contains(equation_.output, label)) return {};
  }
  auto op = std::make_shared<EinsumOp>(equation_);
  op->second_ = *constants[1];
  // The sizes of the first operand do not matter any more: any that fit will do.
  LabelSizes sizes;
  AddSizes(labels, constants[1]->shape(), &sizes);
  Shape first;
  for (int label : equation_.operands[0]) {
    first.push_back(sizes.count(label) > 0 ? sizes[label] : 1);
  }
  const Layout layout = LayoutOf(first, &constants[1]->shape());
  std::vector<float> matrix(static_cast<size_t>(layout.inner * layout.columns));
  layout.second.Gather(constants[1]->data<float>(), 0, 1, matrix.data());
  op->packed_ =
      kernels::PackedMatrix(matrix.data(), layout.inner, layout.columns, layout.columns, 1);
  return {std::move(op), {0}};
}

}  // namespace h5serve::compute::ops
