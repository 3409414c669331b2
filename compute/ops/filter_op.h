// What the ops with a kernel and a bias have in common.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "compute/op.h"
#include "compute/ops/element_kinds.h"

namespace h5serve::compute::ops {

// True for the element functions that map float32 to float32.
bool IsFloatFunction(UnaryKind kind);

// y = activation(kernel applied to x + bias + addend). The inputs are x, the
// kernel, the bias and the addend; those that the op does not have, or has taken
// into itself, are left out.
class FilterOp : public Op {
 public:
  std::shared_ptr<const Op> WithActivation(UnaryKind kind, float p, float q) const override;
  std::shared_ptr<const Op> WithAddend() const override;
  std::shared_ptr<const Op> WithBias() const override;
  std::optional<Shape> KernelFactorShape(const Shape& kernel) const override;
  Specialized Specialize(std::span<const ValueType> inputs,
                         std::span<const Tensor* const> constants) const override;
  int64_t ConstantBytes() const override;

 protected:
  explicit FilterOp(bool has_bias) : has_bias_(has_bias) {}

  virtual std::shared_ptr<FilterOp> Clone() const = 0;
  // Floats of the packed form of a kernel, and the packing itself.
  virtual int64_t PackedKernelFloats(const Shape& kernel) const = 0;
  virtual void PackKernel(const Shape& shape, const float* kernel, float* packed) const = 0;
  virtual bool CanTakeAddend() const { return true; }
  // The shape of KernelFactorShape.
  virtual Shape FactorShape(const Shape& kernel) const = 0;

  // True when the op has packed its kernel.
  bool packed() const { return !packed_.empty(); }
  const Shape& KernelShape(std::span<const ValueType> inputs) const {
    return packed() ? kernel_shape_ : inputs[1].shape;
  }
  Shape KernelShape(const RunContext& context) const {
    return packed() ? kernel_shape_ : context.input(1).shape;
  }
  // Number and types of the inputs: a float32 kernel of known dimensions
  // (rank `kernel_rank`, none of them 0), and a bias over `channels` values.
  absl::Status CheckInputs(const InferContext& context, int kernel_rank) const;
  absl::Status CheckBias(const InferContext& context, int64_t channels) const;
  // The addend, if there is one, must have the shape of the output.
  absl::Status CheckAddend(const InferContext& context, const Shape& output) const;
  // Shape of the kernel for Infer.
  const Shape& KernelShape(const InferContext& context) const {
    return packed() ? kernel_shape_ : context.shape(1);
  }

  // Floats at the start of the scratch memory for a kernel that is packed at
  // every run; a multiple of 16.
  int64_t PackScratchFloats(std::span<const ValueType> inputs) const;
  // The packed kernel, packed into `scratch` if need be.
  const float* PackedKernel(const RunContext& context, float* scratch) const;
  const float* Bias(const RunContext& context) const;    // or null
  const float* Addend(const RunContext& context) const;  // or null

  UnaryKind activation_ = UnaryKind::kIdentity;
  float activation_p_ = 0;
  float activation_q_ = 0;

 private:
  int num_inputs() const;

  bool has_bias_ = false;
  bool has_addend_ = false;
  Shape kernel_shape_;
  Tensor packed_;  // empty: the kernel is an input
  Tensor bias_;    // empty: none, or an input
};

}  // namespace h5serve::compute::ops
