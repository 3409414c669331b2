// Walks over operands that broadcast against each other.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <span>

#include "compute/op.h"
#include "compute/shape.h"

namespace h5serve::compute::ops {

// An output of some shape and up to three operands broadcast to it, with as few
// axes as possible. The innermost axis has steps of 0 or 1 for every operand.
struct BroadcastPlan {
  static constexpr int kOperands = 3;
  int rank = 0;  // outer axes
  std::array<int64_t, kMaxRank> sizes{};
  std::array<std::array<int64_t, kOperands>, kMaxRank> strides{};
  int64_t outer = 1;  // product of the outer sizes
  int64_t inner = 1;
  std::array<int64_t, kOperands> inner_steps{};
};

// `operands` broadcast to `output`, which has known dimensions.
BroadcastPlan MakeBroadcastPlan(const Shape& output, std::span<const Shape* const> operands);

// Where each operand and the output are in one stretch of the innermost axis.
struct Stretch {
  int64_t output = 0;  // offsets in elements
  std::array<int64_t, BroadcastPlan::kOperands> operands{};
  int64_t count = 0;
};

// Calls f(const Stretch&) for stretches that cover outer rows [begin, end).
template <typename F>
void ForEachStretch(const BroadcastPlan& plan, int64_t begin, int64_t end, const F& f) {
  std::array<int64_t, kMaxRank> index{};
  Stretch stretch;
  stretch.count = plan.inner;
  int64_t rest = begin;
  for (int axis = plan.rank; axis-- > 0;) {
    index[axis] = rest % plan.sizes[axis];
    rest /= plan.sizes[axis];
    for (int i = 0; i < BroadcastPlan::kOperands; ++i) {
      stretch.operands[i] += index[axis] * plan.strides[axis][i];
    }
  }
  for (int64_t row = begin; row < end; ++row) {
    stretch.output = row * plan.inner;
    f(stretch);
    for (int axis = plan.rank; axis-- > 0;) {
      const auto& strides = plan.strides[axis];
      for (int i = 0; i < BroadcastPlan::kOperands; ++i) stretch.operands[i] += strides[i];
      if (++index[axis] < plan.sizes[axis]) break;
      for (int i = 0; i < BroadcastPlan::kOperands; ++i) {
        stretch.operands[i] -= strides[i] * plan.sizes[axis];
      }
      index[axis] = 0;
    }
  }
}

// The same over all rows, split over threads; a single long row is split too.
template <typename F>
void BroadcastFor(const RunContext& context, const BroadcastPlan& plan, const F& f) {
  constexpr int64_t kGrain = 32768;  // elements worth handing to a thread
  if (plan.outer == 0 || plan.inner == 0) return;
  if (plan.outer > 1) {
    context.ParallelFor(plan.outer, kGrain / plan.inner + 1,
                        [&](int64_t begin, int64_t end) { ForEachStretch(plan, begin, end, f); });
    return;
  }
  context.ParallelFor(plan.inner, kGrain, [&](int64_t begin, int64_t end) {
    Stretch stretch;
    stretch.output = begin;
    for (int i = 0; i < BroadcastPlan::kOperands; ++i) {
      stretch.operands[i] = begin * plan.inner_steps[i];
    }
    stretch.count = end - begin;
    f(stretch);
  });
}

}  // namespace h5serve::compute::ops
