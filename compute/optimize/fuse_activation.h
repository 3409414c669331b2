#pragma once

#include <optional>
#include <vector>

#include "compute/optimize/rewrite.h"

namespace h5serve::compute::optimize {

// Puts an element function into the op before it, where that op can take it.
std::optional<std::vector<Value>> FuseActivation(Site& site);

}  // namespace h5serve::compute::optimize
