#include "model/dialect/check_layers.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "model/custom/catalogue.h"
#include "model/custom/custom_config.h"
#include "model/custom/definition.h"
#include "model/custom/lower_custom.h"
#include "model/custom/skeleton.h"
#include "model/dialect/config_keys.h"

namespace h5serve::model {
namespace {

// Levenshtein distance, cut off at `limit`.
size_t Distance(std::string_view a, std::string_view b, size_t limit) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t above = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, diagonal + (a[i - 1] != b[j - 1])});
      diagonal = above;
    }
  }
  return std::min(row[b.size()], limit);
}

std::string SimilarClasses(std::string_view name) {
  const size_t limit = std::max<size_t>(2, name.size() / 3);
  std::string text;
  int count = 0;
  for (const LayerClass& row : AllLayerClasses()) {
    if (Distance(name, row.name, limit + 1) > limit || count == 3) continue;
    text += (text.empty() ? "" : ", ") + std::string(row.name);
    ++count;
  }
  return text;
}

bool IsNeutral(const ConfigValue& value) {
  if (value.is_null()) return true;
  if (value.is_bool()) return !value.as_bool();
  if (value.is_list()) return value.as_list().empty();
  if (value.is_dict()) return value.as_dict().empty();
  return false;
}

class Checker {
 public:
  Checker(const Lowering& lowering, bool unknown_key_is_error, DiagnosisList* diagnoses)
      : lowering_(lowering), unknown_key_is_error_(unknown_key_is_error), diagnoses_(*diagnoses) {}

  void Model(const KerasModel& model, const std::string& path, int depth) {
    if (depth > 64) return;
    for (size_t i = 0; i < model.layers.size(); ++i) {
      Check(*model.layers[i], static_cast<int>(i), path, depth);
    }
  }

 private:
  void Check(const Layer& layer, int index, const std::string& path, int depth) {
    const std::string name = path + layer.name;
    if (layer.custom) {
      NoteCatalogue(layer, name);
      CheckSettings(layer, name);
    }
    if (layer.nested) {
      Model(*layer.nested, name + "/", depth + 1);
      return;
    }
    if (layer.class_name == "InputLayer") return;
    if (lowering_.LowerFunctionOf(layer) == nullptr) {
      Unknown(layer, index, name);
    } else if (!layer.is_operation && !IsLoweredByDefinition(layer)) {
      CheckKeys(layer, name);
    }
    for (const auto& inner : layer.inner) Check(*inner, 0, name + "/", depth + 1);
  }

  void Unknown(const Layer& layer, int index, const std::string& name) {
    const Place place{name, layer.written_class, layer.json_pointer, ""};
    if (layer.is_operation) {
      diagnoses_.Add(Code::kUnsupportedOp,
                     fmt::format("operation {} calls {}({}), which is not supported", name,
                                 layer.class_name, layer.config.ToJson(160)),
                     place);
      return;
    }
    const LayerWeights* weights = lowering_.weights(layer);
    const std::string similar = SimilarClasses(layer.class_name);
    std::string origin = layer.registered_name.empty() ? layer.module : layer.registered_name;
    if (!origin.empty()) origin = " from " + origin;
    diagnoses_.Add(
        Code::kUnknownLayer,
        fmt::format(
            "layer #{} \"{}\" is of class {}{}, which is not part of Keras{}; config {}; {}", index,
            name, layer.written_class, origin, similar.empty() ? "" : " (similar: " + similar + ")",
            layer.config.ToJson(240), DescribeWeights(layer, weights)),
        place, UnknownRemedies(layer, weights));
  }

  // Once for each class.
  void NoteCatalogue(const Layer& layer, const std::string& name) {
    const std::string& entry = layer.custom->catalogue;
    if (entry.empty() || !noted_.insert(layer.written_class).second) return;
    for (const CatalogueRow* row : Catalogue()) {
      if (row->name != entry) continue;
      diagnoses_.Add(Code::kInfoCatalogue,
                     fmt::format("layer {} ({}) is computed as the catalogue's {}: {}", name,
                                 layer.written_class, row->name, row->source),
                     {name, layer.written_class, layer.json_pointer, ""});
    }
  }

  static std::vector<std::string> UnknownRemedies(const Layer& layer, const LayerWeights* weights) {
    std::vector<std::string> remedies;
    ConfigValue::Dict entry;
    entry.emplace("class_name", layer.written_class);
    entry.emplace("registered_name", layer.registered_name);
    entry.emplace("module", layer.module);
    if (const CatalogueRow* row = CatalogueSuggestion(ConfigValue(std::move(entry)))) {
      remedies.push_back(
          fmt::format("if it is the class of {}, say so: {{\"custom_objects\": {{\"{}\": "
                      "{{\"catalogue\": \"{}\"}}}}}}",
                      row->source, layer.written_class, row->name));
    }
    const bool plain = weights == nullptr || weights->empty();
    remedies.push_back(fmt::format("{}: {}",
                                   plain ? "if it returns its input, say so in custom_objects, or "
                                           "write its formula"
                                         : "write its formula in custom_objects",
                                   DefinitionSkeleton(layer, weights)));
    remedies.emplace_back("export the model again without this class");
    return remedies;
  }

  // Every setting in the file must be one the definition knows, so that nothing
  // that changes predictions is overlooked. One that knows none is taken to mean
  // that none matters.
  void CheckSettings(const Layer& layer, const std::string& name) {
    const CustomDefinition& definition = *layer.custom;
    const bool alias = definition.kind == CustomDefinition::Kind::kAlias;
    if (!layer.saved_config.is_dict() || (alias && !definition.has_config)) return;
    const std::set<std::string> mentioned = MentionedNames(definition);
    std::string left;
    bool uses_some = definition.has_parameters || definition.has_config;
    for (const auto& [key, value] : layer.saved_config.as_dict()) {
      const bool ignored = std::find(definition.ignore.begin(), definition.ignore.end(), key) !=
                           definition.ignore.end();
      if (mentioned.contains(key) && !IsNeutralSetting(key, value)) uses_some = true;
      if (mentioned.contains(key) || ignored || IsNeutralSetting(key, value)) continue;
      if (key == "layer" && !layer.inner.empty()) continue;
      left += fmt::format("{}{} = {}", left.empty() ? "" : ", ", key, value.ToJson(60));
    }
    if (left.empty()) return;
    diagnoses_.Add(
        {Code::kCustomLayerConfig,
         uses_some ? Severity::kError : Severity::kWarning,
         fmt::format("layer {} ({}) stores settings that its definition {} does not "
                     "use: {}",
                     name, layer.written_class, definition.name, left),
         {name, layer.written_class, layer.json_pointer + "/config", ""},
         {"use them in the definition, or list those without meaning under \"ignore\""}});
  }

  void CheckKeys(const Layer& layer, const std::string& name) {
    if (!layer.config.is_dict()) return;
    for (const auto& [key, value] : layer.config.as_dict()) {
      if (IsKnownConfigKey(layer.class_name, key) || IsNeutral(value)) continue;
      const std::string_view nearest = NearestConfigKey(layer.class_name, key);
      Diagnosis diagnosis{
          Code::kUnknownConfigKey,
          unknown_key_is_error_ ? Severity::kError : Severity::kWarning,
          fmt::format("layer {} ({}) has {} = {}, which no known Keras writes{}", name,
                      layer.written_class, key, value.ToJson(80),
                      nearest.empty() ? "" : fmt::format(" (nearest: {})", nearest)),
          {name, layer.written_class, layer.json_pointer + "/config/" + key, ""},
          {"if the key does not change predictions, set compatibility.unknown_config_key to "
           "\"warn\""}};
      diagnoses_.Add(std::move(diagnosis));
    }
  }

  const Lowering& lowering_;
  bool unknown_key_is_error_;
  DiagnosisList& diagnoses_;
  std::set<std::string> noted_;
};

}  // namespace

void CheckLayers(const KerasModel& model, const Lowering& lowering, bool unknown_key_is_error,
                 DiagnosisList* diagnoses) {
  Checker(lowering, unknown_key_is_error, diagnoses).Model(model, "", 0);
}

}  // namespace h5serve::model
