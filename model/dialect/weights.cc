#include "model/dialect/weights.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <set>

#include "compute/finite.h"
#include "model/custom/definition.h"
#include "model/custom/lower_custom.h"
#include "model/custom/skeleton.h"
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
    std::vector<Layer*> unpaired;
    std::set<const ModelImage::LayerGroup*> used;
    for (const auto& layer : model_.layers) {
      const bool weightless = StoredSlots(*layer, writer_).empty();
      if (weightless && !HasUnknownClass(*layer) && !layer->custom) continue;
      const ModelImage::LayerGroup* found = nullptr;
      for (const ModelImage::LayerGroup& group : image_.layer_groups) {
        if (group.name == layer->name) found = &group;
      }
      if (found != nullptr) {
        pairs_.emplace_back(layer.get(), found);
        used.insert(found);
      } else if (!weightless && !HasUnknownClass(*layer)) {
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
                       fmt::format("weights of layer {} are taken from group {}: groups without a "
                                   "layer of their name are paired in order ({} of them)",
                                   unpaired[i]->name, left[i]->name, left.size()),
                       PlaceOf(*unpaired[i], "model_weights/" + left[i]->name));
        pairs_.emplace_back(unpaired[i], left[i]);
      }
      return;
    }
    ReportNoGroups(unpaired);
  }

  void ReportNoGroups(const std::vector<Layer*>& unpaired) {
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

  // Arrays that a definition says have no meaning.
  static void DropIgnored(const Layer& layer, std::vector<StoredWeight>* stored) {
    if (!layer.custom) return;
    std::erase_if(*stored, [&](const StoredWeight& weight) {
      const auto& names = layer.custom->ignore;
      return std::any_of(names.begin(), names.end(), [&](const std::string& name) {
        return EndsInSavedName(weight.name, name);
      });
    });
  }

  // What may help where the arrays do not fit a definition.
  static std::vector<std::string> Remedies(const Layer& layer,
                                           const std::vector<StoredWeight>& stored) {
    if (!layer.custom) return {};
    LayerWeights weights;
    Layer found;
    found.written_class = layer.written_class;
    found.registered_name = layer.registered_name;
    found.saved_config = layer.saved_config;
    for (const StoredWeight& weight : stored) {
      weights[weight.name] = weight.tensor;
      found.saved_weights.push_back(weight.name);
    }
    return {"name the arrays in the file's order in the definition: " +
            DefinitionSkeleton(found, &weights)};
  }

  void BindGroup(Layer& layer, const ModelImage::LayerGroup& group) {
    std::vector<StoredWeight> stored;
    const bool complete = LoadGroup(layer, group, &stored);
    if (HasUnknownClass(layer)) {
      KeepForUnknown(layer, stored);
      return;
    }
    if (!complete) return;
    std::vector<WeightSlot> slots = StoredSlots(layer, writer_);
    DropSeeds(slots.size(), &stored);
    DropIgnored(layer, &stored);
    if (layer.custom && layer.nested && layer.custom->weights) {
      BindByName(layer, group, slots, stored);
      return;
    }
    if (!group.group_exists && !slots.empty()) {
      diagnoses_.Add(Code::kIncompleteSave,
                     fmt::format("layer {} ({}) is listed in layer_names, but its group of weights "
                                 "is missing",
                                 layer.name, layer.written_class),
                     PlaceOf(layer, "model_weights/" + group.name));
      return;
    }
    if (stored.size() != slots.size()) {
      const bool none = stored.empty();
      diagnoses_.Add(none ? Code::kUnbuiltModel : Code::kWeightCountMismatch,
                     fmt::format("layer {} ({}) expects {} arrays ({}), the file has {}{}",
                                 layer.name, layer.written_class, slots.size(), JoinRoles(slots),
                                 stored.size(), none ? "" : " (" + JoinNames(stored) + ")"),
                     PlaceOf(layer, "model_weights/" + group.name), Remedies(layer, stored));
      return;
    }
    if (!OrderAgrees(slots, stored) && !Reorder(slots, &stored)) {
      diagnoses_.Add(
          Code::kWeightOrderAmbiguous,
          fmt::format("arrays of layer {} ({}) cannot be told apart: expected {}, stored "
                      "{}",
                      layer.name, layer.written_class, JoinRoles(slots), JoinNames(stored)),
          PlaceOf(layer, "model_weights/" + group.name), Remedies(layer, stored));
      return;
    }
    for (size_t i = 0; i < slots.size(); ++i) {
      CheckFinite(*slots[i].owner, stored[i]);
      weights_[slots[i].owner][slots[i].role] = stored[i].tensor;
    }
  }

  // A class of somebody else's: its arrays go under the names they have.
  void KeepForUnknown(Layer& layer, const std::vector<StoredWeight>& stored) {
    for (const StoredWeight& weight : stored) {
      weights_[&layer][weight.name] = weight.tensor;
      layer.saved_weights.push_back(weight.name);
    }
  }

  // Arrays of a graph whose definition names them: "dense/kernel" -> as saved.
  void BindByName(const Layer& layer, const ModelImage::LayerGroup& group,
                  const std::vector<WeightSlot>& slots, const std::vector<StoredWeight>& stored) {
    const Place place = PlaceOf(layer, "model_weights/" + group.name);
    std::set<size_t> used;
    for (const WeightSlot& slot : slots) {
      const std::string name = slot.owner->name + "/" + slot.role;
      const std::string saved = SavedWeightName(layer, name);
      size_t found = stored.size();
      for (size_t i = 0; i < stored.size(); ++i) {
        if (!used.contains(i) && EndsInSavedName(stored[i].name, saved)) found = i;
      }
      if (found == stored.size()) {
        diagnoses_.Add(
            Code::kWeightMissing,
            fmt::format("layer {} ({}) needs {}, which the definition takes from {}; the "
                        "file has {}",
                        layer.name, layer.written_class, name, saved, JoinNames(stored)),
            place);
        continue;
      }
      used.insert(found);
      CheckFinite(*slot.owner, stored[found]);
      weights_[slot.owner][slot.role] = stored[found].tensor;
    }
    if (used.size() == stored.size()) return;
    diagnoses_.Add(
        Code::kWeightCountMismatch,
        fmt::format("layer {} ({}) stores {} arrays ({}), its definition uses {}", layer.name,
                    layer.written_class, stored.size(), JoinNames(stored), used.size()),
        place);
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
      // The name of a layer around others begins the names of theirs.
      if (!slot.owner->inner.empty()) continue;
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
      if (MatchSlot(stored[i].name, slots[i]) == RoleMatch::kNo ||
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
        if (taken.contains(i) || MatchSlot(weight.name, slot) != RoleMatch::kYes) continue;
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
    if (compute::AllFinite(values, count)) return;
    int64_t bad = 0;
    for (int64_t i = 0; i < count; ++i) bad += !std::isfinite(values[i]);
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
    diagnoses_.Add(Code::kUnusedWeights,
                   fmt::format("{} not used: {}{}",
                               count == 1 ? "1 array is" : fmt::format("{} arrays are", count),
                               names, count > 5 ? ", …" : ""));
  }

  KerasModel& model_;
  const ModelImage& image_;
  const Writer& writer_;
  DiagnosisList& diagnoses_;
  std::vector<std::pair<Layer*, const ModelImage::LayerGroup*>> pairs_;
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
