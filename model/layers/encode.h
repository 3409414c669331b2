// Output modes that the categorical layers share.
#pragma once

#include <string>

#include "compute/graph.h"
#include "model/lowering.h"

namespace h5serve::model {

// int64 ids in [0, depth) as "int", "one_hot", "multi_hot" ("binary") or
// "count". `weights` (for count) may be invalid.
compute::Value Encode(const LayerScope& scope, compute::Value ids, int64_t depth,
                      const std::string& mode, compute::Value weights);

}  // namespace h5serve::model
