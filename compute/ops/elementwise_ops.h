// The classes of element-wise ops, for the optimiser.
#pragma once

#include "compute/op.h"
#include "compute/ops/broadcast.h"
#include "compute/ops/element_kinds.h"

namespace h5serve::compute::ops {

// Output 0 has the shape of input 0.
class UnaryBase : public Op {
 public:
  explicit UnaryBase(DType output) : output_(output) {}
  absl::StatusOr<std::vector<ValueType>> Infer(const InferContext& context) const override;
  bool CanRunInPlace() const override { return true; }
  bool IsElementwise() const override { return true; }
  DType output() const { return output_; }

 private:
  DType output_;
};

// float32 to float32.
class UnaryOp : public UnaryBase {
 public:
  UnaryOp(UnaryKind kind, float p, float q)
      : UnaryBase(DType::kFloat32), kind_(kind), p_(p), q_(q) {}
  std::string_view name() const override;
  absl::Status Run(const RunContext& context) const override;
  UnaryKind kind() const { return kind_; }
  float p() const { return p_; }
  float q() const { return q_; }

 private:
  UnaryKind kind_;
  float p_, q_;
};

// Two operands that broadcast; `output` is the element type of the result.
class BinaryBase : public Op {
 public:
  BinaryBase(BinaryKind kind, DType output) : kind_(kind), output_(output) {}
  std::string_view name() const override;
  absl::StatusOr<std::vector<ValueType>> Infer(const InferContext& context) const override;
  bool CanRunInPlace() const override { return true; }
  bool CanOverwrite(int input) const override { return true; }
  bool IsElementwise() const override { return true; }
  BinaryKind kind() const { return kind_; }
  DType output() const { return output_; }

 private:
  BinaryKind kind_;
  DType output_;
};

// float32 with float32 to float32.
class BinaryOp : public BinaryBase {
 public:
  explicit BinaryOp(BinaryKind kind) : BinaryBase(kind, DType::kFloat32) {}
  absl::Status Run(const RunContext& context) const override;
};

// The plan for a context's output 0 and its inputs.
BroadcastPlan PlanOf(const RunContext& context);

// The broadcast of all input shapes, or INVALID_ARGUMENT.
absl::StatusOr<Shape> BroadcastInputs(const InferContext& context);

// Ops on int64 and bool; null when `kind` has no such form.
std::shared_ptr<const Op> MakeIntegerUnary(UnaryKind kind);
std::shared_ptr<const Op> MakeIntegerBinary(BinaryKind kind);
// bool with bool to bool: logical kinds.
std::shared_ptr<const Op> MakeLogicalBinary(BinaryKind kind);
// int64 or strings to bool.
std::shared_ptr<const Op> MakeIntegerComparison(BinaryKind kind);
std::shared_ptr<const Op> MakeStringComparison(BinaryKind kind);

}  // namespace h5serve::compute::ops
