// Custom layers and functions at work: their weights and their ops.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "model/keras_model.h"
#include "model/lowering.h"

namespace h5serve::model {

// True for a layer whose ops come from an expression or a plug-in; aliases and
// graphs have become layers of Keras.
bool IsLoweredByDefinition(const Layer& layer);

// Lowers such a layer.
std::vector<KerasTensor> LowerCustom(const LayerScope& scope, const CallInputs& inputs);

// The arrays that such a layer stores besides those of the layers it holds: the
// definition's, or the names in its expression that are nothing else.
std::vector<WeightRole> CustomRoles(const Layer& layer);

// True when the definition says in which order the file has them.
bool KnowsWeightOrder(const Layer& layer);

// How the name of an array ends that is the weight `role` of a custom layer.
std::string SavedWeightName(const Layer& layer, std::string_view role);

// "dense_1/gamma:0" ends in the word "gamma".
bool EndsInSavedName(std::string_view stored, std::string_view name);

}  // namespace h5serve::model
