#pragma once

#include <optional>
#include <vector>

#include "compute/optimize/rewrite.h"

namespace h5serve::compute::optimize {

// Drops ops that give their input: times one, plus zero, transposes that keep
// the order, views of the same shape.
std::optional<std::vector<Value>> DropIdentity(Site& site);

}  // namespace h5serve::compute::optimize
