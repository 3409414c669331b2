// What recurrent layers and their wrappers share.
#pragma once

#include <vector>

#include "model/layers/layer_support.h"

namespace h5serve::model {

// A call of a recurrent layer.
struct Sequence {
  Value x;
  Mask mask;
  std::vector<Value> states;  // initial ones; empty: zeros
  // Masked steps give zeros instead of the previous output. Bidirectional sets it
  // through a call argument of the same name.
  bool zero_output_for_mask = false;
};

// Sorts the tensors of a call into sequence, mask and states. False after a failure.
bool ReadSequence(const LayerScope& scope, const CallInputs& inputs, Sequence* sequence);

void WarnStateful(const LayerScope& scope);

}  // namespace h5serve::model
