// x * scale + shift per channel, then perhaps an element function.
#pragma once

#include "compute/op.h"
#include "compute/ops/element_kinds.h"

namespace h5serve::compute::ops {

// Inputs: x (…, channels), scale (channels), shift (channels); all float32.
class AffineOp : public Op {
 public:
  AffineOp() = default;
  AffineOp(UnaryKind activation, float p, float q) : activation_(activation), p_(p), q_(q) {}

  std::string_view name() const override { return "Affine"; }
  absl::StatusOr<std::vector<ValueType>> Infer(const InferContext& context) const override;
  absl::Status Run(const RunContext& context) const override;
  bool CanRunInPlace() const override { return true; }
  std::shared_ptr<const Op> WithActivation(UnaryKind kind, float p, float q) const override;

 private:
  UnaryKind activation_ = UnaryKind::kIdentity;
  float p_ = 0, q_ = 0;
};

}  // namespace h5serve::compute::ops
