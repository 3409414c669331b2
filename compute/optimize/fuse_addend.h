#pragma once

#include <optional>
#include <vector>

#include "compute/optimize/rewrite.h"

namespace h5serve::compute::optimize {

// Puts the addition of another value of the same shape (the shortcut of a
// residual block) into the op that computes one of the two.
std::optional<std::vector<Value>> FuseAddend(Site& site);

}  // namespace h5serve::compute::optimize
