// The product of rows with a matrix, with everything that can be fused into it.
#pragma once

#include <optional>

#include "compute/kernels/gemm.h"
#include "compute/op.h"
#include "compute/ops/element_kinds.h"

namespace h5serve::compute::ops {

// Inputs: x (…, in), then those of kernel (in, out) (or (out, in) when
// transposed), bias (out) and addend (…, out) that are not inside the op.
class DenseOp : public Op {
 public:
  struct Attributes {
    bool transposed = false;
    bool bias = false;
    bool addend = false;
    UnaryKind activation = UnaryKind::kIdentity;
    float p = 0, q = 0;
  };
  explicit DenseOp(const Attributes& attributes) : attributes_(attributes) {}

  std::string_view name() const override { return "Dense"; }
  absl::StatusOr<std::vector<ValueType>> Infer(const InferContext& context) const override;
  absl::Status Run(const RunContext& context) const override;
  int64_t ScratchBytes(std::span<const ValueType> inputs) const override;
  bool CanOverwrite(int input) const override {
    return attributes_.addend && input == AddendInput();
  }
  double Flops(std::span<const ValueType> inputs) const override;

  std::shared_ptr<const Op> WithActivation(UnaryKind kind, float p, float q) const override;
  std::shared_ptr<const Op> WithAddend() const override;
  std::optional<Shape> KernelFactorShape(const Shape& kernel) const override;
  std::shared_ptr<const Op> WithBias() const override;
  Specialized Specialize(std::span<const ValueType> inputs,
                         std::span<const Tensor* const> constants) const override;
  int64_t ConstantBytes() const override;

 private:
  bool HasInputKernel() const { return packed_.data() == nullptr; }
  bool HasInputBias() const { return attributes_.bias && bias_.empty(); }
  // Input indices; only right for what is an input.
  int BiasInput() const { return HasInputKernel() ? 2 : 1; }
  int AddendInput() const { return 1 + HasInputKernel() + HasInputBias(); }

  Attributes attributes_;
  kernels::PackedMatrix packed_;
  Tensor bias_;
};

}  // namespace h5serve::compute::ops
