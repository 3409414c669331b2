// Argument names and values of every version, made one.
#pragma once

#include "model/config_value.h"
#include "model/keras_model.h"

namespace h5serve::model {

// Replaces the wrapper objects of Keras' JSON by what they hold: __tuple__,
// __tensor__, __numpy__, TensorShape, ndarray, dtype policies (by name).
// Objects that mean something to a layer (__slice__, __ellipsis__, activations,
// layers) stay.
ConfigValue Unwrap(const ConfigValue& value);

// Rewrites `config` of a layer of class `written_class` (its name in the file)
// and canonical class `class_name` to canonical argument names and values.
ConfigValue CanonicalConfig(const ConfigValue& config, std::string_view written_class,
                            std::string_view class_name, const Writer& writer);

}  // namespace h5serve::model
