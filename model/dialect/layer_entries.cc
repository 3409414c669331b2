#include "model/dialect/layer_entries.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "model/custom/translate_custom.h"
#include "model/dialect/arguments.h"
#include "model/dialect/class_names.h"

namespace h5serve::model {
namespace {

using Dialect = Writer::Dialect;

bool IsLayerEntry(const ConfigValue& value) {
  return value.is_dict() && value["class_name"].is_string() && value.Find("config") != nullptr;
}

void AddInner(const ConfigValue& entry, const std::string& pointer, Translation& translation,
              Layer* layer) {
  layer->inner.push_back(TranslateLayer(entry, pointer, translation));
}

// Bidirectional stores the forward layer; the backward one is the same with
// go_backwards inverted unless the file (tf.keras 2, Keras 3) gives another.
void AddBidirectional(const ConfigValue& config, const std::string& pointer,
                      Translation& translation, Layer* layer) {
  AddInner(config["layer"], pointer + "/config/layer", translation, layer);
  const ConfigValue& backward = config["backward_layer"];
  if (IsLayerEntry(backward)) {
    AddInner(backward, pointer + "/config/backward_layer", translation, layer);
    return;
  }
  ConfigValue mirrored = config["layer"];
  if (mirrored.is_dict() && mirrored["config"].is_dict()) {
    ConfigValue::Dict& inner = mirrored.as_dict().find("config")->second.as_dict();
    const ConfigValue& backwards = config["layer"]["config"]["go_backwards"];
    inner.insert_or_assign("go_backwards", !(backwards.is_bool() && backwards.as_bool()));
    const std::string name(config["layer"]["config"].StringOr("name"));
    inner.insert_or_assign("name", "backward_" + name);
  }
  AddInner(mirrored, pointer + "/config/layer", translation, layer);
  layer->inner[0]->name = "forward_" + layer->inner[0]->name;
}

void AddList(const ConfigValue& list, const std::string& pointer, Translation& translation,
             Layer* layer) {
  if (!list.is_list()) return;
  for (size_t i = 0; i < list.as_list().size(); ++i) {
    AddInner(list.as_list()[i], fmt::format("{}/{}", pointer, i), translation, layer);
  }
}

// Fills `inner` from the config keys that hold layers.
void AddInnerLayers(const ConfigValue& config, const std::string& pointer, Translation& translation,
                    Layer* layer) {
  if (layer->class_name == "Bidirectional") {
    AddBidirectional(config, pointer, translation, layer);
    return;
  }
  if (IsLayerEntry(config["layer"])) {
    AddInner(config["layer"], pointer + "/config/layer", translation, layer);
  }
  const ConfigValue& cell = config["cell"];
  if (cell.is_list()) {
    AddList(cell, pointer + "/config/cell", translation, layer);
  } else if (IsLayerEntry(cell)) {
    AddInner(cell, pointer + "/config/cell", translation, layer);
  }
  AddList(config["cells"], pointer + "/config/cells", translation, layer);
  if (layer->class_name == "Pipeline") {
    AddList(config["layers"], pointer + "/config/layers", translation, layer);
  }
}

constexpr auto kInnerKeys =
    std::to_array<std::string_view>({"layer", "backward_layer", "cell", "cells", "build_config"});

// A layer of Keras 1 that forgot to save its channel order.
bool ForgetsDataFormat(std::string_view class_name) {
  return class_name == "UpSampling2D" || class_name == "UpSampling3D" ||
         class_name == "ZeroPadding2D" || class_name == "ZeroPadding3D" ||
         class_name == "Cropping2D" || class_name == "Cropping3D";
}

void AssumeDataFormat(Translation& translation, Layer* layer) {
  if (translation.writer.dialect != Dialect::kKeras1 || !ForgetsDataFormat(layer->class_name) ||
      !layer->config.is_dict() || !layer->config["data_format"].is_null()) {
    return;
  }
  const bool known = !translation.assumed_data_format.empty();
  const std::string format = known ? translation.assumed_data_format : "channels_last";
  layer->config.as_dict().insert_or_assign("data_format", format);
  translation.diagnoses->Add(
      Code::kAssumedDataFormat,
      fmt::format("layer {} does not store its channel order; assumed {} because {}", layer->name,
                  format, known ? "other layers use it" : "nothing else tells"),
      {layer->name, layer->written_class, layer->json_pointer, ""});
}

std::string LayerName(const ConfigValue& entry) {
  // The entry's name is authoritative where both exist (op layers differ).
  if (entry["name"].is_string()) return entry["name"].as_string();
  const ConfigValue& config = entry["config"];
  if (config.is_dict()) return std::string(config.StringOr("name"));
  return "";
}

}  // namespace

bool IsModelEntry(const ConfigValue& entry) {
  if (!entry.is_dict()) return false;
  const std::string class_name = CanonicalClass(entry);
  if (class_name == "Functional" || class_name == "Sequential") return true;
  // A user's subclass of Model that keeps a functional config is served as one.
  const ConfigValue& config = entry["config"];
  return config.is_dict() && config["layers"].is_list() && config.Find("input_layers") != nullptr &&
         config.Find("output_layers") != nullptr;
}

std::unique_ptr<Layer> TranslateLayer(const ConfigValue& entry, const std::string& json_pointer,
                                      Translation& translation) {
  if (const auto definition = DefinitionFor(entry, translation)) {
    if (auto custom = TranslateCustomLayer(entry, json_pointer, definition, translation)) {
      custom->name = LayerName(entry);
      const ConfigValue& trainable = entry["config"]["trainable"];
      custom->trainable = !trainable.is_bool() || trainable.as_bool();
      return custom;
    }
  }
  auto layer = std::make_unique<Layer>();
  layer->json_pointer = json_pointer;
  layer->written_class = std::string(entry.StringOr("class_name"));
  layer->module = std::string(entry.StringOr("module"));
  layer->registered_name = std::string(entry.StringOr("registered_name"));
  layer->class_name = CanonicalClass(entry);
  layer->name = LayerName(entry);
  const ConfigValue& config = entry["config"];
  if (!entry.is_dict() || layer->written_class.empty() ||
      (!config.is_dict() && !IsModelEntry(entry))) {
    translation.diagnoses->Add(Code::kModelConfigInvalid,
                               fmt::format("{} is no layer: class_name and config are expected, "
                                           "found {}",
                                           json_pointer, entry.ToJson(80)),
                               {layer->name, layer->written_class, json_pointer, ""});
    layer->config = ConfigValue::Dict{};
    return layer;
  }
  const ConfigValue& trainable = config["trainable"];
  layer->trainable = !trainable.is_bool() || trainable.as_bool();
  if (IsModelEntry(entry)) {
    layer->nested = TranslateNested(entry, json_pointer, translation);
    if (layer->nested && layer->name.empty()) layer->name = layer->nested->name;
    if (layer->nested) layer->class_name = layer->nested->class_name;
    layer->config = ConfigValue::Dict{};
    return layer;
  }
  layer->config =
      CanonicalConfig(config, layer->written_class, layer->class_name, translation.writer);
  layer->is_operation = translation.writer.dialect == Dialect::kKeras3 &&
                        config.Find("trainable") == nullptr && layer->class_name != "InputLayer" &&
                        !layer->name.empty() && entry.Find("inbound_nodes") != nullptr;
  AddInnerLayers(config, json_pointer, translation, layer.get());
  if (!layer->inner.empty() && layer->config.is_dict()) {
    ConfigValue::Dict& dict = layer->config.as_dict();
    for (std::string_view key : kInnerKeys) {
      const auto at = dict.find(key);
      if (at != dict.end()) dict.erase(at);
    }
  }
  if (layer->config["data_format"].is_string() && layer->config["data_format"].as_string() != "") {
    if (translation.assumed_data_format.empty()) {
      translation.assumed_data_format = layer->config["data_format"].as_string();
    }
  }
  AssumeDataFormat(translation, layer.get());
  return layer;
}

}  // namespace h5serve::model
