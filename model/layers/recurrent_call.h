// What the recurrent layers share: how they are called.
#pragma once

#include <optional>
#include <vector>

#include "compute/graph.h"
#include "model/lowering.h"

namespace h5serve::model {

// The sequence (batch, time, …), its mask and the initial states of a call.
struct RecurrentCall {
  compute::Value x;
  std::optional<compute::Value> mask;
  std::vector<compute::Value> states;  // empty: zeros
  // Masked steps give zeros instead of the previous output: by the config, or by
  // the call argument of this name that Bidirectional passes.
  bool zero_output_for_mask = false;
  // The tensors of the call have time before batch, and so must the results.
  bool time_major = false;
};

// Initial states come as further tensors or as initial_state. nullopt after a
// failure. Warns of stateful layers.
std::optional<RecurrentCall> ParseRecurrentCall(const LayerScope& scope, const CallInputs& inputs);

// Reverses the axis of the steps, 1 unless time comes first.
compute::Value ReverseTime(compute::Graph& graph, compute::Value x, int axis = 1);

}  // namespace h5serve::model
