// Sequential and Functional models: layers, their wiring, inputs and outputs.

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "model/dialect/class_names.h"
#include "model/dialect/layer_entries.h"
#include "model/dialect/wiring.h"

namespace h5serve::model {
namespace {

using Kind = Argument::Kind;

Argument TensorArgument(TensorRef ref) {
  Argument argument;
  argument.kind = Kind::kTensor;
  argument.tensor = ref;
  return argument;
}

Call CallOn(std::vector<TensorRef> refs) {
  Call call;
  if (refs.size() == 1) {
    call.args.push_back(TensorArgument(refs[0]));
  } else {
    Argument list;
    list.kind = Kind::kList;
    for (TensorRef ref : refs) list.list.push_back(TensorArgument(ref));
    call.args.push_back(std::move(list));
  }
  return call;
}

// The shape a layer's config asks for: batch_input_shape in all its spellings.
ConfigValue DeclaredShape(const ConfigValue& config) {
  for (std::string_view key : {"batch_input_shape", "batch_shape"}) {
    if (config[key].is_list()) return config[key];
  }
  if (config["input_shape"].is_list()) {
    ConfigValue::List shape = config["input_shape"].as_list();
    shape.insert(shape.begin(), ConfigValue());
    return shape;
  }
  if (config["input_dim"].ToInt() && config["input_dim"].ToInt() > 0) {
    ConfigValue::List shape{ConfigValue()};
    if (config.Find("input_length") != nullptr) shape.push_back(config["input_length"]);
    shape.push_back(config["input_dim"]);
    return shape;
  }
  return ConfigValue();
}

std::unique_ptr<Layer> MakeInputLayer(std::string name, ConfigValue shape, ConfigValue dtype) {
  auto input = std::make_unique<Layer>();
  input->name = std::move(name);
  input->class_name = input->written_class = "InputLayer";
  ConfigValue::Dict config;
  config.emplace("batch_input_shape", std::move(shape));
  config.emplace("dtype", std::move(dtype));
  input->config = std::move(config);
  input->calls.emplace_back();
  return input;
}

// The shape an Embedding takes is (batch, time), whatever its input_dim says.
ConfigValue FirstLayerShape(const Layer& first) {
  if (first.class_name == "Embedding" && !first.config["batch_input_shape"].is_list() &&
      !first.config["input_shape"].is_list()) {
    return ConfigValue::List{ConfigValue(), first.config["input_length"]};
  }
  return DeclaredShape(first.config);
}

// Appends the layers of one chain to `model` and returns the reference to its
// output.
class SequentialBuilder {
 public:
  SequentialBuilder(KerasModel* model, Translation& translation)
      : model_(model), translation_(translation) {}

  TensorRef Chain(const ConfigValue& entries, const std::string& pointer,
                  const ConfigValue& build_input_shape, int depth) {
    TensorRef last;
    if (!entries.is_list() || entries.as_list().empty() || depth > 32) {
      translation_.diagnoses->Add(Code::kNoOutputs,
                                  fmt::format("model {} has no layers", model_->name),
                                  {"", "", pointer, ""});
      return last;
    }
    const ConfigValue::List& list = entries.as_list();
    for (size_t i = 0; i < list.size(); ++i) {
      const std::string at = fmt::format("{}/{}", pointer, i);
      const ConfigValue entry = Keras03Entry(list[i]);
      if (i == 0 && CanonicalClass(entry) == "Merge" && entry["config"]["layers"].is_list()) {
        last = Merge(entry, at, depth);
        continue;
      }
      std::unique_ptr<Layer> layer = TranslateLayer(entry, at, translation_);
      if (layer->name.empty()) layer->name = fmt::format("layer_{}", i);
      if (last.layer < 0) {
        last = FirstInput(layer, build_input_shape);
        if (layer == nullptr) continue;
      }
      layer->calls.clear();
      layer->calls.push_back(CallOn({last}));
      last = Append(std::move(layer));
    }
    return last;
  }

 private:
  // Keras 0.3 wrote the class as `name` and the name as `custom_name`.
  static ConfigValue Keras03Entry(const ConfigValue& entry) {
    if (!entry.is_dict() || entry.Find("class_name") != nullptr || !entry["name"].is_string()) {
      return entry;
    }
    ConfigValue::Dict config = entry.as_dict();
    const std::string class_name = entry["name"].as_string();
    config.insert_or_assign(
        "name", entry["custom_name"].is_string() ? entry["custom_name"] : ConfigValue(class_name));
    ConfigValue::Dict result;
    result.emplace("class_name", class_name);
    result.emplace("config", std::move(config));
    return result;
  }

  TensorRef Append(std::unique_ptr<Layer> layer) {
    model_->layers.push_back(std::move(layer));
    return {static_cast<int>(model_->layers.size()) - 1, 0, 0};
  }

  // Makes the input of a chain: the InputLayer itself (taken from `layer`), or an
  // implied one.
  TensorRef FirstInput(std::unique_ptr<Layer>& layer, const ConfigValue& build_input_shape) {
    TensorRef input;
    if (layer->class_name == "InputLayer") {
      layer->calls.clear();
      layer->calls.emplace_back();
      input = Append(std::move(layer));
      layer = nullptr;
    } else {
      ConfigValue shape = FirstLayerShape(*layer);
      if (layer->nested) shape = NestedInputShape(*layer->nested, &layer->config);
      if (!layer->inner.empty() && shape.is_null()) shape = DeclaredShape(layer->inner[0]->config);
      if (shape.is_null()) shape = build_input_shape;
      ConfigValue dtype = layer->config["dtype"];
      if (layer->nested && !layer->nested->inputs.empty()) {
        dtype = layer->nested->layers[layer->nested->inputs[0].layer]->config["dtype"];
      }
      input = Append(MakeInputLayer(layer->name + "_input", std::move(shape), std::move(dtype)));
    }
    model_->inputs.push_back(input);
    return input;
  }

  static ConfigValue NestedInputShape(const KerasModel& nested, const ConfigValue*) {
    if (nested.inputs.empty()) return ConfigValue();
    return DeclaredShape(nested.layers[nested.inputs[0].layer]->config);
  }

  // A Keras 1 Merge in front: each branch is a model of its own whose layers (and
  // weight groups) belong to the outer model.
  TensorRef Merge(const ConfigValue& entry, const std::string& pointer, int depth) {
    std::vector<TensorRef> branches;
    const ConfigValue::List& models = entry["config"]["layers"].as_list();
    for (size_t i = 0; i < models.size(); ++i) {
      const std::string at = fmt::format("{}/config/layers/{}/config", pointer, i);
      const ConfigValue& branch = models[i];
      if (CanonicalClass(branch) == "Sequential") {
        const ConfigValue& config = branch["config"];
        branches.push_back(config.is_dict() ? Chain(config["layers"], at + "/layers",
                                                    config["build_input_shape"], depth + 1)
                                            : Chain(config, at, ConfigValue(), depth + 1));
      } else {
        ConfigValue single = ConfigValue::List{branch};
        branches.push_back(Chain(single, at, ConfigValue(), depth + 1));
      }
    }
    std::unique_ptr<Layer> merge = TranslateLayer(entry, pointer, translation_);
    if (merge->config.is_dict()) {
      ConfigValue::Dict& config = merge->config.as_dict();
      config.erase("layers");
    }
    merge->calls.clear();
    merge->calls.push_back(CallOn(branches));
    return Append(std::move(merge));
  }

  KerasModel* model_;
  Translation& translation_;
};

std::string Unique(std::string name, std::set<std::string>* used) {
  if (used->insert(name).second) return name;
  for (int i = 1;; ++i) {
    std::string candidate = fmt::format("{}_{}", name, i);
    if (used->insert(candidate).second) return candidate;
  }
}

void NameTensors(KerasModel* model, const std::vector<std::string>& input_keys,
                 const std::vector<std::string>& output_keys) {
  std::set<std::string> used;
  for (size_t i = 0; i < model->inputs.size(); ++i) {
    const bool key = i < input_keys.size() && !input_keys[i].empty();
    model->input_names.push_back(
        Unique(key ? input_keys[i] : model->layers[model->inputs[i].layer]->name, &used));
  }
  used.clear();
  for (size_t i = 0; i < model->outputs.size(); ++i) {
    const bool key = i < output_keys.size() && !output_keys[i].empty();
    model->output_names.push_back(
        Unique(key ? output_keys[i] : model->layers[model->outputs[i].layer]->name, &used));
  }
}

std::unique_ptr<KerasModel> Sequential(const ConfigValue& config, const std::string& pointer,
                                       Translation& translation) {
  auto model = std::make_unique<KerasModel>();
  model->class_name = "Sequential";
  SequentialBuilder builder(model.get(), translation);
  TensorRef last;
  if (config.is_dict()) {
    model->name = std::string(config.StringOr("name", "sequential"));
    last =
        builder.Chain(config["layers"], pointer + "/config/layers", config["build_input_shape"], 0);
  } else {
    model->name = "sequential";
    last = builder.Chain(config, pointer + "/config", ConfigValue(), 0);
  }
  if (last.layer < 0) return nullptr;
  model->outputs.push_back(last);
  NameTensors(model.get(), {}, {});
  return model;
}

// Translates the layers of a functional config; false when `layers` is no list.
bool FunctionalLayers(const ConfigValue& config, const std::string& pointer, KerasModel* model,
                      LayerIndex* index, Translation& translation) {
  if (!config["layers"].is_list()) {
    translation.diagnoses->Add(Code::kModelConfigInvalid,
                               fmt::format("model {} has no list of layers", model->name),
                               {"", "", pointer, ""});
    return false;
  }
  const ConfigValue::List& entries = config["layers"].as_list();
  for (size_t i = 0; i < entries.size(); ++i) {
    const std::string at = fmt::format("{}/config/layers/{}", pointer, i);
    std::unique_ptr<Layer> layer = TranslateLayer(entries[i], at, translation);
    if (layer->class_name == "InputLayer") layer->calls.emplace_back();
    if (!index->emplace(layer->name, static_cast<int>(i)).second) {
      translation.diagnoses->Add(Code::kGraphInvalid,
                                 fmt::format("two layers are called {}", layer->name),
                                 {layer->name, layer->written_class, at, ""});
    }
    model->layers.push_back(std::move(layer));
  }
  return true;
}

std::unique_ptr<KerasModel> Functional(const ConfigValue& config, const std::string& pointer,
                                       Translation& translation) {
  auto model = std::make_unique<KerasModel>();
  model->class_name = "Functional";
  model->name = std::string(config.StringOr("name", "model"));
  LayerIndex index;
  if (!FunctionalLayers(config, pointer, model.get(), &index, translation)) return nullptr;
  const ConfigValue::List& entries = config["layers"].as_list();
  for (size_t i = 0; i < entries.size(); ++i) {
    Layer& layer = *model->layers[i];
    if (layer.class_name == "InputLayer") continue;
    layer.calls = ParseInboundNodes(entries[i]["inbound_nodes"], layer, index, translation);
  }
  std::vector<std::string> input_keys, output_keys;
  const Place place{"", "", pointer + "/config", ""};
  if (!ParseTensorList(config["input_layers"], index, &model->inputs, &input_keys) ||
      !ParseTensorList(config["output_layers"], index, &model->outputs, &output_keys)) {
    translation.diagnoses->Add(
        Code::kGraphInvalid,
        fmt::format("inputs or outputs of model {} name a layer that does not exist", model->name),
        place);
    return nullptr;
  }
  if (model->outputs.empty()) {
    translation.diagnoses->Add(Code::kNoOutputs,
                               fmt::format("model {} declares no outputs", model->name), place);
    return nullptr;
  }
  RebaseNestedCalls(model.get(), translation.writer);
  NameTensors(model.get(), input_keys, output_keys);
  return model;
}

}  // namespace

std::unique_ptr<KerasModel> TranslateNested(const ConfigValue& entry,
                                            const std::string& json_pointer,
                                            Translation& translation) {
  const ConfigValue& config = entry["config"];
  if (CanonicalClass(entry) == "Sequential") {
    return Sequential(config, json_pointer, translation);
  }
  return Functional(config, json_pointer, translation);
}

}  // namespace h5serve::model
