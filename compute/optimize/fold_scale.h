#pragma once

#include <optional>
#include <vector>

#include "compute/optimize/rewrite.h"

namespace h5serve::compute::optimize {

// Folds a constant factor or summand per channel, as batch normalisation is at
// inference, into the constant kernel and bias of the op before it.
std::optional<std::vector<Value>> FoldScale(Site& site);

}  // namespace h5serve::compute::optimize
