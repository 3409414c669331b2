// From model_config to the canonical model.
#pragma once

#include <memory>

#include "model/config_value.h"
#include "model/diagnosis.h"
#include "model/keras_model.h"

namespace h5serve::model {

// Translates a parsed model_config. Problems (GRAPH_INVALID, NO_OUTPUTS,
// MODEL_CONFIG_INVALID, CUSTOM_MODEL_CLASS) go to `diagnoses`; null when no model
// can be made of it. Every layer is translated, known or not.
std::unique_ptr<KerasModel> TranslateModel(const ConfigValue& model_config, const Writer& writer,
                                           DiagnosisList* diagnoses);

}  // namespace h5serve::model
