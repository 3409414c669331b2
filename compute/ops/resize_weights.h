// Which cells each place of a resized axis is made of.
#pragma once

#include <cstdint>
#include <vector>

#include "compute/ops/convolution.h"

namespace h5serve::compute::ops {

// Place o of the new axis is the sum over j < taps of weights[o * taps + j] times
// cell first[o] + j; all cells are inside the old axis.
struct AxisWeights {
  int64_t in = 0, out = 0;
  int64_t taps = 0;
  std::vector<int64_t> first;
  std::vector<float> weights;

  // True when the new axis equals the old one.
  bool IsIdentity() const;
};

// REQUIRES: in, out >= 1.
AxisWeights ComputeAxisWeights(const ResizeAttributes& attributes, int64_t in, int64_t out);

}  // namespace h5serve::compute::ops
