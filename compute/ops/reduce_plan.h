// How the axes of a reduction lie in memory.
#pragma once

#include <vector>

#include "absl/status/statusor.h"
#include "compute/ops/strided_copy.h"
#include "compute/shape.h"

namespace h5serve::compute::ops {

// `axes` from the start, sorted and unique; all axes when empty. INVALID_ARGUMENT
// for an axis that does not exist.
absl::StatusOr<std::vector<int>> ReducedAxes(const std::vector<int64_t>& axes, int rank);

// The shape after reducing: dimensions become 1 (keepdims) or go.
Shape ReducedShape(const Shape& shape, const std::vector<int>& axes, bool keepdims);

// A tensor seen as (outer, reduced, inner). Where the axes do not lie so, a copy
// in the order `copy` does, with inner = 1.
struct ReducePlan {
  int64_t outer = 1;
  int64_t reduced = 1;
  int64_t inner = 1;
  std::vector<CopyLoop> copy;  // empty: the tensor as it lies

  bool needs_copy() const { return !copy.empty(); }
};

// REQUIRES: shape.known().
ReducePlan PlanReduction(const Shape& shape, const std::vector<int>& axes);

}  // namespace h5serve::compute::ops
