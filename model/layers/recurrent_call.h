// What the recurrent layers share: how they are called.
#pragma once

#include <optional>
#include <vector>

#include "compute/graph.h"
#include "model/lowering.h"

namespace h5serve::model {

// The sequence, its mask and the initial states of a call.
struct RecurrentCall {
  compute::Value x;
  std::optional<compute::Value> mask;
  std::vector<compute::Value> states;  // empty: zeros
  // Masked steps give zeros instead of the previous output: by the config, or by
  // the call argument of this name that Bidirectional passes.
  bool zero_output_for_mask = false;
};

// Initial states come as further tensors or as initial_state. nullopt after a
// failure. Warns of stateful layers.
std::optional<RecurrentCall> ParseRecurrentCall(const LayerScope& scope, const CallInputs& inputs);

// Reverses axis 1.
compute::Value ReverseTime(compute::Graph& graph, compute::Value x);

}  // namespace h5serve::model
