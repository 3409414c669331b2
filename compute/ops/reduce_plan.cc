#include "compute/ops/reduce_plan.h"

#include <fmt/format.h>

#include <algorithm>

namespace h5serve::compute::ops {

absl::StatusOr<std::vector<int>> ReducedAxes(const std::vector<int64_t>& axes, int rank) {
  std::vector<int> normal;
  for (int axis = 0; axes.empty() && axis < rank; ++axis) normal.push_back(axis);
  for (int64_t axis : axes) {
    const std::optional<int> found = NormalizeAxis(axis, rank);
    if (!found) {
      return absl::InvalidArgumentError(
          fmt::format("axis {} does not exist in a tensor of rank {}", axis, rank));
    }
    normal.push_back(*found);
  }
  std::sort(normal.begin(), normal.end());
  normal.erase(std::unique(normal.begin(), normal.end()), normal.end());
  return normal;
}

Shape ReducedShape(const Shape& shape, const std::vector<int>& axes, bool keepdims) {
  Shape result;
  for (int axis = 0; axis < shape.rank(); ++axis) {
    if (!std::binary_search(axes.begin(), axes.end(), axis)) {
      result.push_back(shape[axis]);
    } else if (keepdims) {
      result.push_back(1);
    }
  }
  return result;
}

ReducePlan PlanReduction(const Shape& shape, const std::vector<int>& axes) {
  ReducePlan plan;
  const auto strides = RowMajorStrides(shape);
  std::vector<CopyLoop> kept, reduced;
  // 0: outer axes, 1: reduced axes, 2: inner axes, 3: reduced axes once more.
  int part = 0;
  for (int axis = 0; axis < shape.rank(); ++axis) {
    const bool reduces = std::binary_search(axes.begin(), axes.end(), axis);
    (reduces ? reduced : kept).push_back({shape[axis], strides[axis]});
    if (shape[axis] == 1) continue;
    if (reduces && part == 0) part = 1;
    if (!reduces && part == 1) part = 2;
    if (reduces && part == 2) part = 3;
    (reduces ? plan.reduced : part == 0 ? plan.outer : plan.inner) *= shape[axis];
  }
  if (part == 3) {
    plan.outer *= plan.inner;
    plan.inner = 1;
    plan.copy = std::move(kept);
    plan.copy.insert(plan.copy.end(), reduced.begin(), reduced.end());
  }
  return plan;
}

}  // namespace h5serve::compute::ops
