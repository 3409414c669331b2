#include "model/layer_overview.h"

#include <algorithm>

#include "model/compatibility/constructors.h"
#include "model/dialect/class_names.h"
#include "model/dialect/config_keys.h"
#include "model/layers/layer_functions.h"
#include "model/lowering.h"

namespace h5serve::model {
namespace {

// The eras in order, each a part of one line of releases.
constexpr struct {
  std::string_view name;
  ReleaseRange releases;
} kEras[] = {
    {"Keras 1", {Release::k1_0_8, Release::k1_2_2}},
    {"Keras 2", {Release::k2_0_0, Release::k2_3_1}},
    {"tf.keras", {Release::kTf2_2_4, Release::kTf2_21}},
    {"Keras 3", {Release::k3_0_0, Release::k3_15_1}},
};

bool Overlaps(ReleaseRange a, ReleaseRange b) { return a.first <= b.last && b.first <= a.last; }

std::vector<std::string_view> ErasOf(const std::vector<std::string_view>& names) {
  std::vector<std::string_view> eras;
  for (const auto& era : kEras) {
    const auto has_name = [&era](std::string_view name) {
      return std::ranges::any_of(ReleasesWithClass(name), [&era](ReleaseRange range) {
        return Overlaps(range, era.releases);
      });
    };
    if (std::ranges::any_of(names, has_name)) eras.push_back(era.name);
  }
  return eras;
}

}  // namespace

std::vector<LayerOverview> DescribeLayers() {
  std::vector<LayerOverview> rows;
  for (const LayerClass& layer : AllLayerClasses()) {
    LayerOverview row;
    row.name = layer.name;
    row.aliases = ClassAliases(layer.name);
    std::vector<std::string_view> names = row.aliases;
    names.push_back(row.name);
    row.eras = ErasOf(names);
    row.arguments = ListedConfigKeys(layer.name);
    row.computed = layer.lower != LowerUnsupported && layer.lower != LowerFeatureColumns;
    rows.push_back(std::move(row));
  }
  std::ranges::sort(rows, {}, &LayerOverview::name);
  return rows;
}

}  // namespace h5serve::model
