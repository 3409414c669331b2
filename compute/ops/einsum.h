// NumPy's einsum for one or two operands.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "compute/kernels/gemm.h"
#include "compute/op.h"

namespace h5serve::compute::ops {

// A parsed equation. Labels are 'A'-'Z' and 'a'-'z'; the axes of an ellipsis get
// labels of their own, kEllipsis + i counted from its last axis, so that
// ellipses of different ranks line up as in broadcasting.
struct EinsumEquation {
  static constexpr int kEllipsis = 128;
  std::vector<std::vector<int>> operands;
  std::vector<int> output;
};

// Parses `equation` for operands of these ranks. INVALID_ARGUMENT with the reason.
absl::StatusOr<EinsumEquation> ParseEinsum(const std::string& equation,
                                           const std::vector<int>& ranks);

// Each operand is brought into the form (batch, rows, inner) or (batch, inner,
// columns), multiplied per batch, and brought into the order of the output.
class EinsumOp : public Op {
 public:
  explicit EinsumOp(EinsumEquation equation) : equation_(std::move(equation)) {}
  std::string_view name() const override { return "Einsum"; }
  absl::StatusOr<std::vector<ValueType>> Infer(const InferContext& context) const override;
  absl::Status Run(const RunContext& context) const override;
  int64_t ScratchBytes(std::span<const ValueType> inputs) const override;
  double Flops(std::span<const ValueType> inputs) const override;
  Specialized Specialize(std::span<const ValueType> inputs,
                         std::span<const Tensor* const> constants) const override;
  int64_t ConstantBytes() const override {
    return second_.empty() ? 0 : second_.size_bytes() + packed_.size_bytes();
  }

 private:
  struct Layout;
  Layout LayoutOf(const Shape& first, const Shape* second) const;
  // One of the batches.
  void Multiply(const Layout& layout, const float* a, const float* b, int64_t batch, float* scratch,
                float* output, const Parallelism* parallelism) const;

  EinsumEquation equation_;
  Tensor second_;                 // the second operand where it is constant, and
  kernels::PackedMatrix packed_;  // packed, when it has no batch axes
};

}  // namespace h5serve::compute::ops
