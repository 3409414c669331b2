// Activation functions by every name they ever had.
#pragma once

#include <string_view>

#include "compute/graph.h"
#include "compute/ops/recurrent.h"
#include "model/config_value.h"
#include "model/lowering.h"

namespace h5serve::model {

// Applies the activation stored under `key` (absent or null: linear): a name, a
// function object, or a layer instance. UNKNOWN_ACTIVATION otherwise.
compute::Value ApplyActivation(const LayerScope& scope, std::string_view key, compute::Value x);

// True when the activation under `key` looks at each element alone.
bool IsElementwise(const LayerScope& scope, std::string_view key);

// Applies an activation given as a config value.
compute::Value ApplyActivationValue(const LayerScope& scope, std::string_view key,
                                    const ConfigValue& activation, compute::Value x);

// The activation under `key` as an element function of a recurrent cell.
compute::ops::CellActivation CellActivationOf(const LayerScope& scope, std::string_view key,
                                              std::string_view otherwise);

}  // namespace h5serve::model
