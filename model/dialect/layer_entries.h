// One entry of a `layers` array, with what it wraps.
#pragma once

#include <memory>
#include <string>

#include "model/config_value.h"
#include "model/diagnosis.h"
#include "model/keras_model.h"

namespace h5serve::model {

class CustomObjects;

// Where translation stands: shared by all its parts.
struct Translation {
  const Writer& writer;
  DiagnosisList* diagnoses;
  const CustomObjects* custom = nullptr;  // null: none
  int depth = 0;                          // of definitions that name others
  // Channel order of layers that do not store it (Keras 1), "" when unknown.
  std::string assumed_data_format = {};
};

// Makes a layer of a `{"class_name", "config", …}` entry: canonical class and
// arguments, inner layers of wrappers, nested models. Never null.
std::unique_ptr<Layer> TranslateLayer(const ConfigValue& entry, const std::string& json_pointer,
                                      Translation& translation);

// The nested model of an entry whose class is a model; null for other classes.
std::unique_ptr<KerasModel> TranslateNested(const ConfigValue& entry,
                                            const std::string& json_pointer,
                                            Translation& translation);

// True when the entry is a model: by its class, or by looking like one.
bool IsModelEntry(const ConfigValue& entry);

}  // namespace h5serve::model
