#include "model/custom/translate_custom.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "model/custom/catalogue.h"
#include "model/custom/custom_config.h"
#include "model/custom/custom_objects.h"
#include "model/dialect/arguments.h"
#include "model/dialect/class_names.h"
#include "model/dialect/config_keys.h"
#include "model/lowering.h"

namespace h5serve::model {
namespace {

using Kind = CustomDefinition::Kind;

constexpr int kMaxDepth = 16;
constexpr int64_t kMaxCopies = 1024;

Place PlaceOf(const ConfigValue& entry, const std::string& pointer) {
  return {std::string(entry["config"].StringOr("name")), std::string(entry.StringOr("class_name")),
          pointer, ""};
}

void Report(const absl::Status& status, const ConfigValue& entry, const std::string& pointer,
            const CustomDefinition& definition, Translation& translation) {
  const bool file = status.code() == absl::StatusCode::kFailedPrecondition;
  translation.diagnoses->Add(
      file ? Code::kCustomLayerConfig : Code::kCustomDefinitionInvalid,
      fmt::format("layer {} is of class {}, defined by {}: {}; the file stores {}",
                  entry["config"].StringOr("name"), entry.StringOr("class_name"), definition.name,
                  std::string(status.message()), entry["config"].ToJson(240)),
      PlaceOf(entry, pointer));
}

// Settings that every layer has and that an alias hands on.
void HandOn(const ConfigValue& saved, ConfigValue::Dict* config) {
  for (std::string_view key : {"name", "trainable", "dtype", "batch_input_shape", "batch_shape",
                               "input_shape", "input_dtype", "input_dim", "input_length"}) {
    const ConfigValue* value = saved.Find(key);
    if (value != nullptr && !config->contains(key)) config->emplace(std::string(key), *value);
  }
  // Keras 3 tells operations from layers by it.
  if (!config->contains("trainable")) config->emplace("trainable", true);
}

// The config of the class an alias stands for, as far as the file's has it.
ConfigValue::Dict PassThrough(const ConfigValue& entry, const CustomDefinition& definition,
                              const std::string& pointer, Translation& translation) {
  ConfigValue::Dict config;
  std::string dropped;
  const std::string_view target = ResolveClassAlias(definition.layer);
  for (const auto& [key, value] : entry["config"].as_dict()) {
    const bool custom = FindLayerClass(target) == nullptr;
    if (custom || IsListedConfigKey(target, key)) {
      config.emplace(key, value);
    } else if (!IsNeutralSetting(key, value)) {
      dropped += fmt::format("{}{} = {}", dropped.empty() ? "" : ", ", key, value.ToJson(40));
    }
  }
  if (!dropped.empty()) {
    translation.diagnoses->Add(
        {Code::kCustomLayerConfig,
         Severity::kWarning,
         fmt::format("layer {} ({}) is served as {}, which does not know {}",
                     entry["config"].StringOr("name"), entry.StringOr("class_name"),
                     definition.layer, dropped),
         PlaceOf(entry, pointer),
         {"if a setting matters, say what it means in the definition's config"}});
  }
  return config;
}

std::unique_ptr<Layer> Alias(const ConfigValue& entry, const std::string& pointer,
                             const CustomDefinition& definition, Translation& translation) {
  ConfigValue::Dict config;
  if (definition.has_config) {
    absl::StatusOr<ConfigValue> filled = Substitute(definition.config, definition, entry["config"]);
    if (!filled.ok()) {
      Report(filled.status(), entry, pointer, definition, translation);
      return nullptr;
    }
    config = filled->as_dict();
  } else {
    config = PassThrough(entry, definition, pointer, translation);
  }
  HandOn(entry["config"], &config);
  ConfigValue::Dict target = entry.as_dict();
  target.insert_or_assign("class_name", definition.layer);
  target.insert_or_assign("config", std::move(config));
  target.erase("module");
  target.erase("registered_name");
  // A name that stands for itself means Keras' class of that name.
  Translation inner = translation;
  if (definition.layer == entry.StringOr("class_name") || definition.layer == definition.name) {
    inner.custom = nullptr;
  }
  std::unique_ptr<Layer> layer = TranslateLayer(ConfigValue(std::move(target)), pointer, inner);
  translation.assumed_data_format = inner.assumed_data_format;
  if (FindLayerClass(layer->class_name) == nullptr && !layer->nested && !layer->custom) {
    Report(absl::InvalidArgumentError(
               fmt::format("{} is no class of Keras and is not defined either", definition.layer)),
           entry, pointer, definition, translation);
    return nullptr;
  }
  return layer;
}

// Makes the layers that a definition holds, in its order.
class SublayerMaker {
 public:
  SublayerMaker(const ConfigValue& entry, const std::string& pointer,
                const CustomDefinition& definition, Translation& translation, Layer* layer)
      : entry_(entry),
        pointer_(pointer),
        definition_(definition),
        translation_(translation),
        layer_(*layer) {}

  absl::Status Run() {
    const std::vector<CustomSublayer>& all = definition_.layers;
    for (size_t begin = 0; begin < all.size();) {
      size_t end = begin + 1;
      while (all[begin].repeat && end < all.size() && all[end].repeat == all[begin].repeat) ++end;
      int64_t count = 1;
      if (all[begin].repeat) {
        const absl::StatusOr<ConfigValue> value =
            EvaluateSetting(*all[begin].repeat, definition_, entry_["config"]);
        if (!value.ok()) return value.status();
        count = value->ToInt().value_or(-1);
        if (count < 0 || count > kMaxCopies) {
          return absl::InvalidArgumentError(
              fmt::format("a layer is to be repeated {} times", value->ToJson(40)));
        }
      }
      for (int64_t i = 0; i < count; ++i) {
        for (size_t each = begin; each < end; ++each) {
          if (absl::Status status = Add(all[each], i); !status.ok()) return status;
        }
      }
      begin = end;
    }
    return absl::OkStatus();
  }

 private:
  absl::Status Add(const CustomSublayer& sublayer, int64_t copy) {
    ConfigValue settings = entry_["config"];
    if (sublayer.repeat) settings.as_dict().insert_or_assign("i", copy);
    if (sublayer.condition) {
      const absl::StatusOr<ConfigValue> wanted =
          EvaluateSetting(*sublayer.condition, definition_, settings);
      if (!wanted.ok()) return wanted.status();
      if (*wanted == ConfigValue(false) || wanted->is_null()) return absl::OkStatus();
    }
    absl::StatusOr<ConfigValue> filled = Substitute(sublayer.entry, definition_, settings);
    if (!filled.ok()) return filled.status();
    ConfigValue::Dict config = (*filled)["config"].as_dict();
    config.insert_or_assign(
        "name", sublayer.repeat ? fmt::format("{}_{}", sublayer.name, copy) : sublayer.name);
    HandOn(ConfigValue(ConfigValue::Dict{}), &config);
    ConfigValue::Dict dict = filled->as_dict();
    dict.insert_or_assign("config", std::move(config));
    layer_.inner.push_back(TranslateLayer(ConfigValue(std::move(dict)), pointer_, translation_));
    return absl::OkStatus();
  }

  const ConfigValue& entry_;
  const std::string& pointer_;
  const CustomDefinition& definition_;
  Translation& translation_;
  Layer& layer_;
};

bool AddSublayers(const ConfigValue& entry, const std::string& pointer,
                  const CustomDefinition& definition, Translation& translation, Layer* layer) {
  const absl::Status status = SublayerMaker(entry, pointer, definition, translation, layer).Run();
  if (!status.ok()) Report(status, entry, pointer, definition, translation);
  return status.ok();
}

}  // namespace

std::shared_ptr<const CustomDefinition> DefinitionFor(const ConfigValue& entry,
                                                      Translation& translation) {
  if (!entry.is_dict() || !entry["config"].is_dict()) return nullptr;
  if (translation.custom != nullptr) {
    if (auto definition = translation.custom->Find(entry, translation.diagnoses)) {
      return definition;
    }
  }
  const std::string class_name = CanonicalClass(entry);
  const std::string_view module = entry.StringOr("module");
  const bool keras = module == "keras" || module.starts_with("keras.");
  if (keras || IsModelEntry(entry)) return nullptr;
  return CatalogueDefinitionFor(entry, translation.writer, FindLayerClass(class_name) != nullptr);
}

std::unique_ptr<Layer> TranslateCustomLayer(
    const ConfigValue& entry, const std::string& json_pointer,
    const std::shared_ptr<const CustomDefinition>& definition, Translation& translation) {
  if (translation.depth >= kMaxDepth) {
    Report(absl::InvalidArgumentError("definitions that name each other go round in a circle"),
           entry, json_pointer, *definition, translation);
    return nullptr;
  }
  ++translation.depth;
  std::unique_ptr<Layer> layer;
  if (definition->kind == Kind::kAlias) {
    layer = Alias(entry, json_pointer, *definition, translation);
  } else {
    layer = std::make_unique<Layer>();
    layer->class_name = std::string(entry.StringOr("class_name"));
    layer->config = Unwrap(entry["config"]);
    if (definition->kind == Kind::kGraph) {
      absl::StatusOr<ConfigValue> graph =
          Substitute(definition->graph, *definition, entry["config"]);
      if (graph.ok()) layer->nested = TranslateNested(*graph, json_pointer, translation);
      if (!graph.ok()) Report(graph.status(), entry, json_pointer, *definition, translation);
      if (layer->nested) layer->class_name = layer->nested->class_name;
      if (!layer->nested) layer = nullptr;
    } else if (!AddSublayers(entry, json_pointer, *definition, translation, layer.get())) {
      layer = nullptr;
    } else if (definition->layers.empty() && entry["config"]["layer"].is_dict()) {
      layer->inner.push_back(
          TranslateLayer(entry["config"]["layer"], json_pointer + "/config/layer", translation));
    }
  }
  --translation.depth;
  if (!layer) return nullptr;
  if (!layer->custom) layer->custom = definition;
  layer->written_class = std::string(entry.StringOr("class_name"));
  layer->module = std::string(entry.StringOr("module"));
  layer->registered_name = std::string(entry.StringOr("registered_name"));
  layer->json_pointer = json_pointer;
  layer->saved_config = entry["config"];
  layer->is_operation = false;
  return layer;
}

std::unique_ptr<KerasModel> TranslateCustomModel(const ConfigValue& entry,
                                                 const CustomDefinition& definition,
                                                 Translation& translation) {
  const ConfigValue saved =
      entry["config"].is_dict() ? entry["config"] : ConfigValue(ConfigValue::Dict{});
  if (definition.kind != Kind::kGraph) {
    translation.diagnoses->Add(
        Code::kCustomDefinitionInvalid,
        fmt::format("custom_objects, {}: the class is the model itself, which needs a graph",
                    definition.name),
        {"", std::string(entry.StringOr("class_name")), "/class_name", ""});
    return nullptr;
  }
  absl::StatusOr<ConfigValue> graph = Substitute(definition.graph, definition, saved);
  if (!graph.ok()) {
    Report(graph.status(), entry, "", definition, translation);
    return nullptr;
  }
  return TranslateNested(*graph, "", translation);
}

}  // namespace h5serve::model
