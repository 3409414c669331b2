// What a release knows by name beside layers: activations, initializers,
// optimizers, losses.
#pragma once

#include <string_view>

#include "model/compatibility/releases.h"
#include "model/config_value.h"

namespace h5serve::model {

bool KnowsActivation(std::string_view name, Release release);

bool KnowsInitializer(std::string_view class_name, Release release);
// The first key of an initializer's config that its class does not take, or "".
std::string_view ForeignInitializerKey(std::string_view class_name, const ConfigValue& config,
                                       Release release);

bool KnowsOptimizer(std::string_view class_name, Release release);
// The first key of an optimizer's config that it does not take, or "".
std::string_view ForeignOptimizerKey(const ConfigValue& config, Release release);

// A short name ("mse") of a loss that Keras 3 knows, but does not find when the
// name comes from a file.
bool IsShortLossName(std::string_view name);

// Layer classes around another layer or cell, which stands in this key; "" for
// other classes.
std::string_view InnerLayerKey(std::string_view class_name);

}  // namespace h5serve::model
