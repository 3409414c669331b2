// From model_config to the canonical model.
#pragma once

#include <memory>

#include "model/config_value.h"
#include "model/diagnosis.h"
#include "model/keras_model.h"

namespace h5serve::model {

class CustomObjects;

// Translates a parsed model_config. Problems (GRAPH_INVALID, NO_OUTPUTS,
// MODEL_CONFIG_INVALID, CUSTOM_MODEL_CLASS) go to `diagnoses`; null when no model
// can be made of it. Every layer is translated, known or not.
// `custom` holds the definitions of somebody's own classes; null: none.
std::unique_ptr<KerasModel> TranslateModel(const ConfigValue& model_config, const Writer& writer,
                                           const CustomObjects* custom, DiagnosisList* diagnoses);

}  // namespace h5serve::model
