// Which class a name in a file means.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "model/config_value.h"
#include "model/keras_model.h"

namespace h5serve::model {

// The canonical class of a `{"class_name", "module", "registered_name"}` entry:
// aliases and versions' suffixes are resolved ("Convolution2D", "LSTMV2"). A
// class of somebody else's keeps the name as written ("Addons>Mish"), so that
// it never passes for Keras' class of the same name.
std::string CanonicalClass(const ConfigValue& entry);

// Resolves aliases of a bare name.
std::string_view ResolveClassAlias(std::string_view name);

// The other names of a canonical class, sorted.
std::vector<std::string_view> ClassAliases(std::string_view class_name);

}  // namespace h5serve::model
