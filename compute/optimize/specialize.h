#pragma once

#include <optional>
#include <vector>

#include "compute/optimize/rewrite.h"

namespace h5serve::compute::optimize {

// Moves constant inputs into the ops that want them in a form of their own,
// such as packed weights (see Op::Specialize). The last pass.
std::optional<std::vector<Value>> Specialize(Site& site);

}  // namespace h5serve::compute::optimize
