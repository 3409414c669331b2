#include "compute/ops/broadcast.h"

namespace h5serve::compute::ops {

BroadcastPlan MakeBroadcastPlan(const Shape& output, std::span<const Shape* const> operands) {
  constexpr int kOperands = BroadcastPlan::kOperands;
  // Strides of every operand over the output's axes; 0 where it is repeated.
  std::array<std::array<int64_t, kOperands>, kMaxRank> strides{};
  for (size_t i = 0; i < operands.size(); ++i) {
    const Shape& shape = *operands[i];
    int64_t stride = 1;
    for (int axis = shape.rank(); axis-- > 0;) {
      const int target = axis + output.rank() - shape.rank();
      strides[target][i] = shape[axis] == 1 ? 0 : stride;
      stride *= shape[axis];
    }
  }
  // Merge axes from the inside: an outer axis continues the inner one when all
  // operands step over it as over the inner axis as a whole.
  BroadcastPlan plan;
  std::array<int64_t, kMaxRank> sizes{};
  std::array<std::array<int64_t, kOperands>, kMaxRank> merged{};
  int count = 0;  // merged axes, innermost first
  for (int axis = output.rank(); axis-- > 0;) {
    if (output[axis] == 1) continue;
    bool continues = count > 0;
    for (int i = 0; i < kOperands && continues; ++i) {
      continues = strides[axis][i] == merged[count - 1][i] * sizes[count - 1];
    }
    if (continues) {
      sizes[count - 1] *= output[axis];
    } else {
      sizes[count] = output[axis];
      merged[count++] = strides[axis];
    }
  }
  if (count == 0) return plan;
  plan.inner = sizes[0];
  plan.inner_steps = merged[0];
  plan.rank = count - 1;
  for (int axis = 0; axis < plan.rank; ++axis) {
    plan.sizes[axis] = sizes[count - 1 - axis];
    plan.strides[axis] = merged[count - 1 - axis];
    plan.outer *= plan.sizes[axis];
  }
  return plan;
}

}  // namespace h5serve::compute::ops
