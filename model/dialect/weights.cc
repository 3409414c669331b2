#include "model/dialect/weights.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <set>

#include "model/dialect/archive_weights.h"
#include "model/dialect/weight_layouts.h"
#include "model/dialect/weight_slots.h"

namespace h5serve::model {
namespace {

struct StoredWeight {
  std::string name;
  std::string path;
  compute::Tensor tensor;
};

std::string JoinNames(const std::vector<StoredWeight>& stored) {
  std::string text;
  for (const StoredWeight& weight : stored) {
    if (text.size() > 400) return text + ", …";
    if (!text.empty()) text += ", ";
    text += weight.name + " " + weight.tensor.shape().ToString();
  }
  return text;
}

std::string JoinRoles(const std::vector<WeightSlot>& slots) {
  std::string text;
  for (const WeightSlot& slot : slots) {
    if (text.size() > 400) return text + ", …";
    if (!text.empty()) text += ", ";
    text += slot.owner->name + "/" + slot.role;
  }
  return text;
}

// Path component `part` is `name`, perhaps with a counter ("dense_1" of "dense").
bool IsComponent(std::string_view part, std::string_view name) {
  if (part == name) return true;
  if (!part.starts_with(name) || part.size() < name.size() + 2 || part[name.size()] != '_') {
    return false;
  }
  return std::all_of(part.begin() + name.size() + 1, part.end(),
                     [](unsigned char c) { return std::isdigit(c); });
}

bool HasComponent(std::string_view path, std::string_view name, bool exactly) {
  if (name.empty()) return false;
  // Names with slashes span components.
  if (name.find('/') != std::string_view::npos) return path.find(name) != std::string_view::npos;
  size_t at = 0;
  while (at <= path.size()) {
    const size_t end = std::min(path.find('/', at), path.size());
    const std::string_view part = path.substr(at, end - at);
    if (exactly ? part == name : IsComponent(part, name)) return true;
    at = end + 1;
  }
  return false;
}

class Binder {
 public:
  Binder(KerasModel* model, const ModelImage& image, const Writer& writer, DiagnosisList* diagnoses)
      : model_(*model), image_(image), writer_(writer), diagnoses_(*diagnoses) {}

  ModelWeights Run() {
    PairGroups();
    for (const auto& [layer, group] : pairs_) BindGroup(*layer, *group);
    ReportUnused();
    return std::move(weights_);
  }

 private:
  // Finds each weighted layer's group: by name, else by order.
  void PairGroups() {
    std::vector<const Layer*> unpaired;
    std::set<const ModelImage::LayerGroup*> used;
    for (const auto& layer : model_.layers) {
      if (StoredSlots(*layer, writer_).empty() && !HasUnknownClass(*layer)) continue;
      const ModelImage::LayerGroup* found = nullptr;
      for (const ModelImage::LayerGroup& group : image_.layer_groups) {
        if (group.name == layer->name) found = &group;
      }
      if (found != nullptr) {
        pairs_.emplace_back(layer.get(), found);
        used.insert(found);
      } else if (!HasUnknownClass(*layer)) {
        unpaired.push_back(layer.get());
      }
    }
    if (unpaired.empty()) return;
    std::vector<const ModelImage::LayerGroup*> left;
    for (const ModelImage::LayerGroup& group : image_.layer_groups) {
      if (!group.weight_names.empty() && !used.contains(&group)) left.push_back(&group);
    }
    if (left.size() == unpaired.size()) {
      for (size_t i = 0; i < left.size(); ++i) {
        diagnoses_.Add(Code::kAssumedDefault,
                       fmt::format("weights of layer {} are taken from group {}: the {} groups "
                                   "without a layer of their name are paired in order",
                                   unpaired[i]->name, left[i]->name, left.size()),
                       PlaceOf(*unpaired[i], "model_weights/" + left[i]->name));
        pairs_.emplace_back(unpaired[i], left[i]);
      }
      return;
    }
    ReportNoGroups(unpaired);
  }

  void ReportNoGroups(const std::vector<const Layer*>& unpaired) {
    size_t arrays = 0;
    for (const ModelImage::LayerGroup& group : image_.layer_groups) {
      arrays += group.weight_names.size();
    }
    if (arrays == 0) {
      size_t weighted = 0;
      for (const auto& layer : model_.layers) weighted += !StoredSlots(*layer, writer_).empty();
      diagnoses_.Add(
          Code::kUnbuiltModel,
          fmt::format("the config lists {} layers with weights, the file stores none", weighted));
      return;
    }
    for (const Layer* layer : unpaired) {
      diagnoses_.Add(Code::kIncompleteSave,
                     fmt::format("layer {} has no group of weights in the file", layer->name),
                     PlaceOf(*layer, "model_weights/" + layer->name));
    }
  }

  static Place PlaceOf(const Layer& layer, std::string path) {
    return {layer.name, layer.written_class, layer.json_pointer, std::move(path)};
  }

  // Reads the arrays of a group; false when one is missing.
  bool LoadGroup(const Layer& layer, const ModelImage::LayerGroup& group,
                 std::vector<StoredWeight>* stored) {
    bool complete = true;
    for (const std::string& name : group.weight_names) {
      const std::string path = image_.WeightPath(group, name);
      const auto at = image_.datasets.find(path);
      if (at != image_.datasets.end()) {
        used_paths_.insert(path);
        stored->push_back({name, path, at->second});
        continue;
      }
      complete = false;
      const auto unsupported = image_.unsupported_datasets.find(path);
      if (unsupported != image_.unsupported_datasets.end()) {
        diagnoses_.Add(Code::kWeightDtypeUnsupported,
                       fmt::format("{} has element type {}", path, unsupported->second),
                       PlaceOf(layer, path));
      } else {
        diagnoses_.Add(Code::kWeightMissing,
                       fmt::format("{} is listed in weight_names but absent", path),
                       PlaceOf(layer, path));
      }
    }
    return complete;
  }

  // Drops state that inference never reads (random seeds) until the count fits.
  static void DropSeeds(size_t wanted, std::vector<StoredWeight>* stored) {
    for (size_t i = stored->size(); i-- > 0 && stored->size() > wanted;) {
      const std::string& name = (*stored)[i].name;
      const bool seed = name.find("seed_generator") != std::string::npos ||
                        name.find("StateVar") != std::string::npos ||
                        name.find("renorm_") != std::string::npos ||
                        name.find("moving_stddev") != std::string::npos;
      if (seed) stored->erase(stored->begin() + static_cast<int64_t>(i));
    }
  }

  void BindGroup(const Layer& layer, const ModelImage::LayerGroup& group) {
    std::vector<StoredWeight> stored;
    const bool complete = LoadGroup(layer, group, &stored);
    if (HasUnknownClass(layer)) {
      KeepForUnknown(layer, stored);
      return;
    }
    if (!complete) return;
    std::vector<WeightSlot> slots = StoredSlots(layer, writer_);
    DropSeeds(slots.size(), &stored);
    if (stored.size() != slots.size()) {
      const bool none = stored.empty();
      diagnoses_.Add(none ? Code::kUnbuiltModel : Code::kWeightCountMismatch,
                     fmt::format("layer {} ({}) expects {} arrays ({}), the file has {}{}",
                                 layer.name, layer.written_class, slots.size(), JoinRoles(slots),
                                 stored.size(), none ? "" : " (" + JoinNames(stored) + ")"),
                     PlaceOf(layer, "model_weights/" + group.name));
      return;
    }
    if (!OrderAgrees(slots, stored) && !Reorder(slots, &stored)) {
      diagnoses_.Add(
          Code::kWeightOrderAmbiguous,
          fmt::format("arrays of layer {} ({}) cannot be told apart: expected {}, stored "
                      "{}",
                      layer.name, layer.written_class, JoinRoles(slots), JoinNames(stored)),
          PlaceOf(layer, "model_weights/" + group.name));
      return;
    }
    for (size_t i = 0; i < slots.size(); ++i) {
      CheckFinite(*slots[i].owner, stored[i]);
      weights_[slots[i].owner][slots[i].role] = stored[i].tensor;
    }
  }

  // A class of somebody else's: its arrays go under the names they have.
  void KeepForUnknown(const Layer& layer, const std::vector<StoredWeight>& stored) {
    for (const StoredWeight& weight : stored) weights_[&layer][weight.name] = weight.tensor;
  }

  // The owner that a stored path names contradicts `owner`.
  static bool OwnerContradicts(const std::string& name, const Layer* owner,
                               const std::vector<const Layer*>& owners) {
    if (HasComponent(name, owner->name, false)) return false;
    return std::any_of(owners.begin(), owners.end(), [&](const Layer* other) {
      return other != owner && other->name != owner->name && HasComponent(name, other->name, true);
    });
  }

  static std::vector<const Layer*> Owners(const std::vector<WeightSlot>& slots) {
    std::vector<const Layer*> owners;
    for (const WeightSlot& slot : slots) {
      if (owners.empty() || owners.back() != slot.owner) owners.push_back(slot.owner);
    }
    std::sort(owners.begin(), owners.end());
    owners.erase(std::unique(owners.begin(), owners.end()), owners.end());
    return owners;
  }

  static bool OrderAgrees(const std::vector<WeightSlot>& slots,
                          const std::vector<StoredWeight>& stored) {
    const std::vector<const Layer*> owners = Owners(slots);
    for (size_t i = 0; i < slots.size(); ++i) {
      if (MatchRole(stored[i].name, slots[i].role) == RoleMatch::kNo ||
          OwnerContradicts(stored[i].name, slots[i].owner, owners)) {
        return false;
      }
    }
    return true;
  }

  // Orders `stored` by the names alone; false when a slot has not exactly one.
  static bool Reorder(const std::vector<WeightSlot>& slots, std::vector<StoredWeight>* stored) {
    const std::vector<const Layer*> owners = Owners(slots);
    std::vector<StoredWeight> ordered;
    std::set<size_t> taken;
    for (const WeightSlot& slot : slots) {
      size_t found = stored->size();
      int matches = 0;
      for (size_t i = 0; i < stored->size(); ++i) {
        const StoredWeight& weight = (*stored)[i];
        if (taken.contains(i) || MatchRole(weight.name, slot.role) != RoleMatch::kYes) continue;
        if (owners.size() > 1 && !HasComponent(weight.name, slot.owner->name, true)) continue;
        found = i;
        ++matches;
      }
      if (matches != 1) return false;
      taken.insert(found);
      ordered.push_back((*stored)[found]);
    }
    *stored = std::move(ordered);
    return true;
  }

  void CheckFinite(const Layer& owner, const StoredWeight& weight) {
    if (weight.tensor.dtype() != compute::DType::kFloat32) return;
    const float* values = weight.tensor.data<float>();
    const int64_t count = weight.tensor.num_elements();
    int64_t bad = 0;
    for (int64_t i = 0; i < count; ++i) bad += !std::isfinite(values[i]);
    if (bad == 0) return;
    diagnoses_.Add(
        Code::kWeightNonfinite,
        fmt::format("{} of {} values of {} are NaN or infinite", bad, count, weight.path),
        PlaceOf(owner, weight.path));
  }

  void ReportUnused() {
    std::string names;
    size_t count = 0;
    for (const auto& [path, tensor] : image_.datasets) {
      if (used_paths_.contains(path) || !path.starts_with("model_weights/")) continue;
      if (count++ < 5) names += (names.empty() ? "" : ", ") + path;
    }
    if (count == 0) return;
    diagnoses_.Add(Code::kUnusedWeights, fmt::format("{} arrays are not used: {}{}", count, names,
                                                     count > 5 ? ", …" : ""));
  }

  KerasModel& model_;
  const ModelImage& image_;
  const Writer& writer_;
  DiagnosisList& diagnoses_;
  std::vector<std::pair<const Layer*, const ModelImage::LayerGroup*>> pairs_;
  std::set<std::string> used_paths_;
  ModelWeights weights_;
};

}  // namespace

ModelWeights BindWeights(KerasModel* model, const ModelImage& image, const Writer& writer,
                         DiagnosisList* diagnoses) {
  ModelWeights weights = image.container == ModelImage::Container::kKerasZip
                             ? BindArchiveWeights(*model, image, writer, diagnoses)
                             : Binder(model, image, writer, diagnoses).Run();
  ConvertLayouts(model, writer, &weights, diagnoses);
  return weights;
}

}  // namespace h5serve::model
