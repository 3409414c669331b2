#include "compute/ops/filter_op.h"

#include <fmt/format.h>

namespace h5serve::compute::ops {

bool IsFloatFunction(UnaryKind kind) {
  switch (kind) {
    case UnaryKind::kIsNan:
    case UnaryKind::kIsInf:
    case UnaryKind::kIsFinite:
    case UnaryKind::kLogicalNot:
      return false;
    default:
      return true;
  }
}

std::shared_ptr<const Op> FilterOp::WithActivation(UnaryKind kind, float p, float q) const {
  if (activation_ != UnaryKind::kIdentity || !IsFloatFunction(kind)) return nullptr;
  std::shared_ptr<FilterOp> op = Clone();
  op->activation_ = kind;
  op->activation_p_ = p;
  op->activation_q_ = q;
  return op;
}

std::shared_ptr<const Op> FilterOp::WithAddend() const {
  if (has_addend_ || activation_ != UnaryKind::kIdentity || !CanTakeAddend()) return nullptr;
  std::shared_ptr<FilterOp> op = Clone();
  op->has_addend_ = true;
  return op;
}

std::shared_ptr<const Op> FilterOp::WithBias() const {
  if (has_bias_) return nullptr;
  std::shared_ptr<FilterOp> op = Clone();
  op->has_bias_ = true;
  return op;
}

std::optional<Shape> FilterOp::KernelFactorShape(const Shape& kernel) const {
  if (packed() || has_addend_ || activation_ != UnaryKind::kIdentity) return std::nullopt;
  return FactorShape(kernel);
}

Specialized FilterOp::Specialize(std::span<const ValueType> inputs,
                                 std::span<const Tensor* const> constants) const {
  if (packed() || constants.size() < 2 || constants[1] == nullptr) return {};
  std::shared_ptr<FilterOp> op = Clone();
  const Tensor& kernel = *constants[1];
  op->kernel_shape_ = kernel.shape();
  op->packed_ = Tensor::Allocate(DType::kFloat32, Shape{PackedKernelFloats(kernel.shape())});
  PackKernel(kernel.shape(), kernel.data<float>(), op->packed_.mutable_data<float>());
  Specialized result{op, {0}};
  int next = 2;
  if (has_bias_) {
    if (constants[next] != nullptr) {
      op->bias_ = *constants[next];
    } else {
      result.inputs.push_back(next);
    }
    ++next;
  }
  if (has_addend_) result.inputs.push_back(next);
  return result;
}

int64_t FilterOp::ConstantBytes() const {
  return (packed_.empty() ? 0 : packed_.size_bytes()) + (bias_.empty() ? 0 : bias_.size_bytes());
}

int FilterOp::num_inputs() const {
  return 1 + !packed() + (has_bias_ && bias_.empty()) + has_addend_;
}

absl::Status FilterOp::CheckInputs(const InferContext& context, int kernel_rank) const {
  if (context.size() != num_inputs()) {
    return absl::InvalidArgumentError(
        fmt::format("{}: expected {} inputs, got {}", name(), num_inputs(), context.size()));
  }
  for (int i = 0; i < context.size(); ++i) {
    if (context.dtype(i) != DType::kFloat32) {
      return absl::InvalidArgumentError(fmt::format("{}: expected float32 values, got {}", name(),
                                                    compute::Name(context.dtype(i))));
    }
  }
  const Shape& kernel = KernelShape(context);
  if (kernel.rank() != kernel_rank || !kernel.known()) {
    return absl::InvalidArgumentError(fmt::format("{}: expected a kernel of rank {}, got {}",
                                                  name(), kernel_rank, kernel.ToString()));
  }
  for (int64_t dim : kernel) {
    if (dim == 0) {
      return absl::InvalidArgumentError(
          fmt::format("{}: the kernel is empty: {}", name(), kernel.ToString()));
    }
  }
  return absl::OkStatus();
}

absl::Status FilterOp::CheckBias(const InferContext& context, int64_t channels) const {
  if (!has_bias_) return absl::OkStatus();
  const Shape& bias = bias_.empty() ? context.shape(packed() ? 1 : 2) : bias_.shape();
  if (Compatible(bias, Shape{channels})) return absl::OkStatus();
  return absl::InvalidArgumentError(
      fmt::format("{}: expected a bias of {} values, got {}", name(), channels, bias.ToString()));
}

absl::Status FilterOp::CheckAddend(const InferContext& context, const Shape& output) const {
  if (!has_addend_ || Compatible(context.shape(context.size() - 1), output)) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(fmt::format("{}: expected an addend of shape {}, got {}",
                                                name(), output.ToString(),
                                                context.shape(context.size() - 1).ToString()));
}

int64_t FilterOp::PackScratchFloats(std::span<const ValueType> inputs) const {
  return packed() ? 0 : (PackedKernelFloats(inputs[1].shape) + 15) / 16 * 16;
}

const float* FilterOp::PackedKernel(const RunContext& context, float* scratch) const {
  if (packed()) return packed_.data<float>();
  PackKernel(context.input(1).shape, context.input(1).as<float>(), scratch);
  return scratch;
}

const float* FilterOp::Bias(const RunContext& context) const {
  if (!has_bias_) return nullptr;
  return bias_.empty() ? context.input(packed() ? 1 : 2).as<float>() : bias_.data<float>();
}

const float* FilterOp::Addend(const RunContext& context) const {
  return has_addend_ ? context.input(context.num_inputs() - 1).as<float>() : nullptr;
}

}  // namespace h5serve::compute::ops
