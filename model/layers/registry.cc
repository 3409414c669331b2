// The table of all layer classes.

#include <algorithm>
#include <array>

#include "model/functions/operation_layers.h"
#include "model/layers/layer_functions.h"
#include "model/lowering.h"

namespace h5serve::model {
namespace {

#define CLASS(name, lower, weights) LayerClass{#name, lower, weights},
constexpr auto kClasses = std::to_array<LayerClass>({
#include "model/layers/layers.def"
});
#undef CLASS

}  // namespace

const LayerClass* FindLayerClass(std::string_view canonical_name) {
  const auto at =
      std::find_if(kClasses.begin(), kClasses.end(),
                   [canonical_name](const LayerClass& row) { return row.name == canonical_name; });
  return at == kClasses.end() ? nullptr : &*at;
}

std::span<const LayerClass> AllLayerClasses() { return kClasses; }

}  // namespace h5serve::model
