// Element functions at the end of other ops.
#pragma once

#include <cstdint>

#include "compute/ops/element_kinds.h"

namespace h5serve::compute::ops {

// The function as a clamp to [low, high], where it is one (`exact`); otherwise
// the range is infinite and the function is still to be applied.
struct ClampRange {
  float low, high;
  bool exact;
};
ClampRange ClampOf(UnaryKind kind, float p, float q);

// values[i] = f(values[i]) for a function that gives float32.
void ApplyActivation(UnaryKind kind, float p, float q, int64_t count, float* values);

}  // namespace h5serve::compute::ops
