// NumPy's matmul of two values, batches broadcast.
#pragma once

#include "compute/op.h"

namespace h5serve::compute::ops {

// float32 with float32, or int64 with int64.
class MatMulOp : public Op {
 public:
  MatMulOp(bool transpose_a, bool transpose_b)
      : transpose_a_(transpose_a), transpose_b_(transpose_b) {}
  std::string_view name() const override { return "MatMul"; }
  absl::StatusOr<std::vector<ValueType>> Infer(const InferContext& context) const override;
  absl::Status Run(const RunContext& context) const override;
  int64_t ScratchBytes(std::span<const ValueType> inputs) const override;
  double Flops(std::span<const ValueType> inputs) const override;

 private:
  struct Layout;
  Layout LayoutOf(const Shape& a, const Shape& b) const;
  static void RunIntegers(const RunContext& context, const Layout& layout);

  bool transpose_a_, transpose_b_;
};

}  // namespace h5serve::compute::ops
