// Which weights a layer must have, in the order in which files store them.
#pragma once

#include <string>
#include <vector>

#include "model/keras_model.h"
#include "model/lowering.h"

namespace h5serve::model {

// One array that a model expects.
struct WeightSlot {
  const Layer* owner = nullptr;
  std::string role;  // as stored: Keras 1's own roles ("W_i") where those differ
  bool trainable = true;
};

// The arrays of a layer with its inner layers and nested models, in stored order:
// everything trainable first, in creation order, then the rest. Source:
// Layer._legacy_weights of tf.keras and Keras 3, Layer.weights before.
std::vector<WeightSlot> StoredSlots(const Layer& layer, const Writer& writer);

// Own weights of one layer in creation order, without inner layers.
std::vector<WeightRole> OwnRoles(const Layer& layer, const Writer& writer);

// True when the layer or one inside it is of a class that is not known, so that
// its weights cannot be told.
bool HasUnknownClass(const Layer& layer);

// The role a stored name (without group) ends in agrees with `role`, contradicts
// it, or does not tell.
enum class RoleMatch { kYes, kNo, kUnclear };
RoleMatch MatchRole(std::string_view stored_name, std::string_view role);
// The same for a slot, whose owner may be a custom layer with words of its own.
RoleMatch MatchSlot(std::string_view stored_name, const WeightSlot& slot);

}  // namespace h5serve::model
