#pragma once

#include <optional>
#include <vector>

#include "compute/optimize/rewrite.h"

namespace h5serve::compute::optimize {

// Two permutations in a row become one, or none. Networks with channels first
// have them around every convolution.
std::optional<std::vector<Value>> MergeTransposes(Site& site);

// Moves a permutation behind ops that can work in either order of axes, so that
// it meets the next one.
std::optional<std::vector<Value>> SinkTranspose(Site& site);

}  // namespace h5serve::compute::optimize
