// Custom layers computed by shared libraries; see plugin_abi.h.
#pragma once

#include <vector>

#include "model/lowering.h"

namespace h5serve::model {

// Lowers a layer whose definition names a plug-in: one op that calls it.
// CUSTOM_PLUGIN_FAILED when the operator did not allow the library, or when it
// cannot be loaded, has another version or refuses the layer.
std::vector<KerasTensor> LowerPlugin(const LayerScope& scope, const CallInputs& inputs);

}  // namespace h5serve::model
