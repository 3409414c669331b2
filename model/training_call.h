// Layers that a model calls as in training, whatever it is used for.
#pragma once

#include <string>

#include "model/lowering.h"

namespace h5serve::model {

// Why a call with training=True cannot be computed at inference; empty when it
// gives what inference gives. Keras 3 overrules the stored argument when it
// predicts, the versions before do not.
std::string TrainingCallProblem(const Layer& layer, const CallInputs& inputs, const Writer& writer);

}  // namespace h5serve::model
