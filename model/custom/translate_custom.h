// Custom definitions while a model is translated.
#pragma once

#include <memory>
#include <string>

#include "model/config_value.h"
#include "model/custom/definition.h"
#include "model/dialect/layer_entries.h"
#include "model/keras_model.h"

namespace h5serve::model {

// The definition for a layer's entry: the operator's, else the catalogue's if
// Keras has no such class; null when there is none.
std::shared_ptr<const CustomDefinition> DefinitionFor(const ConfigValue& entry,
                                                      Translation& translation);

// The layer that the definition makes of the entry: another class (alias), a
// nested model (graph), or a layer with the layers it holds. Null after a
// problem, which is then among the diagnoses.
std::unique_ptr<Layer> TranslateCustomLayer(
    const ConfigValue& entry, const std::string& json_pointer,
    const std::shared_ptr<const CustomDefinition>& definition, Translation& translation);

// The model that the definition of a model's class makes; null when the
// definition describes none, with the reason among the diagnoses.
std::unique_ptr<KerasModel> TranslateCustomModel(const ConfigValue& entry,
                                                 const CustomDefinition& definition,
                                                 Translation& translation);

}  // namespace h5serve::model
