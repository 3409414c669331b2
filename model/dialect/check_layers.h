// What can be said of a model's layers before any is lowered.
#pragma once

#include <string>

#include "model/diagnosis.h"
#include "model/keras_model.h"
#include "model/lower_model.h"
#include "model/lowering.h"

namespace h5serve::model {

// Reports every class nobody knows (UNKNOWN_LAYER with its config and weights),
// and every config key no Keras version writes. `unknown_key_is_error` follows
// the policy.
void CheckLayers(const KerasModel& model, const Lowering& lowering, bool unknown_key_is_error,
                 DiagnosisList* diagnoses);

}  // namespace h5serve::model
