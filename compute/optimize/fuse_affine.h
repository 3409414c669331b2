#pragma once

#include <optional>
#include <vector>

#include "compute/optimize/rewrite.h"

namespace h5serve::compute::optimize {

// Makes one op of a constant factor and a constant summand per channel, where
// they could not be folded into a kernel.
std::optional<std::vector<Value>> FuseAffine(Site& site);

}  // namespace h5serve::compute::optimize
