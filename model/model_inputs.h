// The inputs of a model: names, types and shapes.
#pragma once

#include "config/options.h"
#include "model/diagnosis.h"
#include "model/keras_model.h"
#include "model/lowering.h"
#include "model/servable.h"

namespace h5serve::model {

// Fills signature->inputs from the InputLayers. A shape that the file does not
// store is inferred from the first layer with weights (INFERRED_INPUT_SHAPE).
// False when an input cannot be described; the reason is in `diagnoses`.
bool DescribeInputs(const KerasModel& model, const ModelWeights& weights,
                    const config::ModelOptions& options, DiagnosisList* diagnoses,
                    Signature* signature);

}  // namespace h5serve::model
