#include "compute/ops/activation.h"

#include <limits>

#include "compute/kernels/dispatch.h"

namespace h5serve::compute::ops {

ClampRange ClampOf(UnaryKind kind, float p, float q) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  switch (kind) {
    case UnaryKind::kIdentity:
      return {-kInfinity, kInfinity, true};
    case UnaryKind::kRelu:
      return {0, kInfinity, true};
    case UnaryKind::kClip:
      return {p, q, true};
    default:
      return {-kInfinity, kInfinity, false};
  }
}

void ApplyActivation(UnaryKind kind, float p, float q, int64_t count, float* values) {
  if (kind == UnaryKind::kIdentity) return;
  kernels::Kernels().unary(kind, p, q, values, values, count);
}

}  // namespace h5serve::compute::ops
