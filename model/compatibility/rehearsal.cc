#include "model/compatibility/rehearsal.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "model/compatibility/known_names.h"

namespace h5serve::model {
namespace {

constexpr size_t kMaxObstacles = 8;

std::string LayerName(const ConfigValue& entry) {
  const std::string_view name = entry["config"].StringOr("name");
  return std::string(name.empty() ? entry.StringOr("name") : name);
}

std::string Joined(const std::vector<ReleaseRange>& ranges) {
  std::string text;
  for (size_t i = 0; i < ranges.size(); ++i) {
    if (i > 0) text += i + 1 == ranges.size() ? " and " : ", ";
    text += Describe(ranges[i]);
  }
  return text;
}

// The tensors that a node of an old-style or a new-style list of calls takes:
// (layer, call) pairs.
void CollectReferences(const ConfigValue& value, std::vector<std::pair<std::string, int64_t>>* to) {
  if (value.is_list()) {
    const ConfigValue::List& list = value.as_list();
    if (list.size() >= 3 && list[0].is_string() && list[1].ToInt() && list[2].ToInt()) {
      to->emplace_back(list[0].as_string(), *list[1].ToInt());
      return;
    }
    for (const ConfigValue& item : list) CollectReferences(item, to);
  } else if (value.is_dict()) {
    if (const ConfigValue* history = value.Find("keras_history")) {
      return CollectReferences(*history, to);
    }
    for (const auto& [key, item] : value.as_dict()) CollectReferences(item, to);
  }
}

}  // namespace

Rehearsal::Rehearsal(Release release, const ModelImage& image) : image_(image) {
  verdict_.release = release;
}

void Rehearsal::Add(Cause cause, const Place& place, std::string message, std::string error,
                    std::string only_with, std::string remedy) {
  std::vector<Obstacle>& obstacles = verdict_.obstacles;
  // The same thing said of another layer adds nothing.
  for (const Obstacle& known : obstacles) {
    if (known.cause == cause &&
        (known.error == error || known.where.class_name == place.class_name)) {
      return;
    }
  }
  if (obstacles.size() >= kMaxObstacles) return;
  obstacles.push_back({cause, std::move(message), std::move(error), place, std::move(only_with),
                       std::move(remedy)});
}

void Rehearsal::Note(std::string note) {
  if (std::ranges::find(verdict_.notes, note) == verdict_.notes.end()) {
    verdict_.notes.push_back(std::move(note));
  }
}

void Rehearsal::LoadModel(const ConfigValue& entry) { Object(entry, "", true); }

bool Rehearsal::IsModelClass(std::string_view class_name) const {
  if (class_name == "Sequential" || class_name == "Model") return true;
  return class_name == "Functional" && line() != KerasLine::kKeras && release() >= Release::kTf2_4;
}

void Rehearsal::Object(const ConfigValue& entry, const std::string& pointer, bool is_root) {
  if (!entry.is_dict()) return;
  const std::string class_name(entry.StringOr("class_name"));
  const Element element{entry, class_name, entry["config"],
                        Place{LayerName(entry), class_name, pointer, ""}};
  if (class_name == "Sequential") return Sequential(element);
  const bool graph = element.config["layers"].is_list();
  if (graph && IsModelClass(class_name)) return Functional(element);
  if (FindConstructor(class_name, release()) != nullptr && !is_root) return Layer(element);
  UnknownClass(element);
}

void Rehearsal::UnknownClass(const Element& element) {
  const std::string name(element.class_name);
  const bool model = name == "Functional";
  std::string message, remedy;
  const std::vector<ReleaseRange> others = ReleasesWithClass(name);
  if (model) {
    remedy = "use TensorFlow 2.3 or later, or Keras 3";
    message =
        "\"Functional\" is what TensorFlow 2.3 and later and Keras 3 call a model that "
        "earlier releases call \"Model\"";
  } else if (!others.empty()) {
    message = fmt::format("layer class {} is known to {} only", name, Joined(others));
    remedy = "use one of these, or pass a class of your own in `custom_objects`";
  } else if (element.config.is_dict() && element.config.Find("trainable") == nullptr &&
             line() == KerasLine::kKeras3 && element.config.Find("dtype") == nullptr) {
    message = fmt::format(
        "{} is an operation, not a layer; Keras 3 writes such nodes into .h5 "
        "files but cannot read them from there",
        name);
  } else {
    message = fmt::format("class {} is not part of Keras", name);
    remedy = fmt::format("pass your class in `custom_objects={{\"{}\": …}}`", name);
  }
  const bool keras1 = release() <= Release::k1_2_2;
  Add(Cause::kUnknownClass, element.place, std::move(message),
      line() == KerasLine::kKeras3
          ? fmt::format("ValueError: Unknown layer: '{}'", name)
          : fmt::format("ValueError: {} layer: {}", keras1 ? "Invalid" : "Unknown", name),
      "", std::move(remedy));
}

void Rehearsal::Sequential(const Element& element) {
  const ConfigValue& config = element.config;
  const bool is_list = config.is_list();
  if (is_list && line() == KerasLine::kKeras3) {
    Add(Cause::kSequentialForm, element.place,
        "a Sequential model's config is a bare list, as Keras before 2.2.3 wrote it; Keras 3 "
        "expects an object with a name",
        "TypeError: pop expected at most 1 argument, got 2", "",
        "load and save it again with Keras 2.3.1 or TensorFlow 2");
  }
  if (!is_list && line() == KerasLine::kKeras && release() <= Release::k2_2_2) {
    Add(Cause::kSequentialForm, element.place,
        "a Sequential model's config is an object, as Keras writes it since 2.2.3; this one "
        "expects a bare list of layers",
        "KeyError: 0", "", "use Keras 2.2.3 or later");
  }
  const ConfigValue& layers = is_list ? config : config["layers"];
  if (!layers.is_list()) return;
  CheckName(element);
  CheckInputShape(element, layers);
  const std::string below = element.place.json_pointer + (is_list ? "/config" : "/config/layers");
  std::optional<MisreadShape> shape;
  for (size_t i = 0; i < layers.as_list().size(); ++i) {
    const ConfigValue& entry = layers.as_list()[i];
    const std::string pointer = fmt::format("{}/{}", below, i);
    const size_t before = verdict_.obstacles.size();
    Object(entry, pointer, false);
    const std::string_view class_name = entry.StringOr("class_name");
    if (line() != KerasLine::kKeras3) continue;
    if (i == 0 && class_name != "InputLayer") {
      shape.emplace(entry["config"]["batch_input_shape"]);
    }
    if (!shape || !shape->following()) continue;
    if (verdict_.obstacles.size() > before) {
      shape.reset();
      continue;
    }
    const std::string seen = shape->ToString();
    const Place place{LayerName(entry), std::string(class_name), pointer, ""};
    if (const auto error = shape->Pass(class_name, entry["config"], place.layer)) {
      Add(Cause::kInputShapeMisread, place,
          fmt::format("the first layer holds batch_input_shape, which Keras 3 takes for the shape "
                      "without the batch: {} gets {}, one dimension too many",
                      class_name, seen),
          *error);
      shape.reset();
    }
  }
  if (shape && shape->following()) {
    Note(
        "the first layer holds batch_input_shape, which Keras 3 takes for the shape without the "
        "batch: the model expects inputs with one more dimension");
  }
}

void Rehearsal::CheckName(const Element& element) {
  if (line() != KerasLine::kKeras3 || element.place.layer.find('/') == std::string::npos) return;
  Add(Cause::kNameNotAllowed, element.place,
      fmt::format("the name \"{}\" holds a slash, which Keras 3 does not allow",
                  element.place.layer),
      fmt::format("ValueError: Argument `name` must be a string and cannot contain character `/`. "
                  "Received: name={}",
                  element.place.layer));
}

// Without a shape the layers have no weights yet, and the stored ones find none.
void Rehearsal::CheckInputShape(const Element& element, const ConfigValue& layers) {
  if (!element.place.json_pointer.empty() || layers.as_list().empty()) return;
  const ConfigValue& first = layers.as_list()[0];
  const ConfigValue& config = first["config"];
  if (first.StringOr("class_name") == "InputLayer" || config["batch_input_shape"].is_list() ||
      config["layers"].is_list() || config.is_list()) {
    return;
  }
  const bool builds_later = line() != KerasLine::kKeras || release() >= Release::k2_2_4;
  if (builds_later && element.config["build_input_shape"].is_list()) return;
  const auto groups =
      std::ranges::count_if(image_.layer_groups, [](const ModelImage::LayerGroup& group) {
        return !group.weight_names.empty() && group.name != "top_level_model_weights";
      });
  if (groups == 0) return;
  Add(Cause::kNoInputShape, element.place,
      "the file holds weights but no input shape, so that the model is created without weights",
      line() == KerasLine::kKeras3
          ? fmt::format("ValueError: Layer count mismatch when loading weights from file. Model "
                        "expected 0 layers, found {} saved layers.",
                        groups)
      : builds_later
          ? fmt::format("ValueError: You are trying to load a weight file containing {} "
                        "layers into a model with 0 layers.",
                        groups)
          : "ValueError: The first layer in a Sequential model must get an `input_shape` "
            "or `batch_input_shape` argument.");
}

void Rehearsal::Functional(const Element& element) {
  CheckName(element);
  const ConfigValue& layers = element.config["layers"];
  for (size_t i = 0; i < layers.as_list().size(); ++i) {
    Object(layers.as_list()[i], fmt::format("{}/config/layers/{}", element.place.json_pointer, i),
           false);
  }
  if (line() == KerasLine::kKeras3) CheckNodes(layers, element.config, element.place);
}

// Until TensorFlow 2, the calls of a model inside another were counted from 1:
// number 0 is the call that made it. Keras 3 counts from 0.
void Rehearsal::CheckNodes(const ConfigValue& layers, const ConfigValue& config,
                           const Place& place) {
  std::map<std::string, int64_t> calls;  // of nested models
  std::map<std::string, bool> is_graph;
  for (const ConfigValue& layer : layers.as_list()) {
    if (!layer.is_dict() || !layer["inbound_nodes"].is_list()) continue;
    const std::string_view class_name = layer.StringOr("class_name");
    if (class_name != "Sequential" && !layer["config"]["layers"].is_list()) continue;
    const std::string name(layer.StringOr("name"));
    calls[name] = static_cast<int64_t>(layer["inbound_nodes"].as_list().size());
    is_graph[name] = class_name != "Sequential";
  }
  if (calls.empty()) return;
  const auto check = [&](const ConfigValue& nodes, bool is_output) {
    std::vector<std::pair<std::string, int64_t>> references;
    CollectReferences(nodes, &references);
    for (const auto& [name, call] : references) {
      const auto at = calls.find(name);
      // References of outputs to graphs are the only ones it shifts.
      if (at == calls.end() || call - (is_output && is_graph[name] ? 1 : 0) < at->second) continue;
      Add(Cause::kNodeIndex, {name, "", place.json_pointer, ""},
          fmt::format("call {} of the nested model \"{}\" is referred to, counted from 1; Keras 3 "
                      "counts from 0 and finds no such call",
                      call, name),
          "ValueError: Invalid Functional model configuration. The graph of the Functional model "
          "either has loops or disconnected nodes.");
      return;
    }
  };
  for (const ConfigValue& layer : layers.as_list()) {
    if (layer.is_dict()) check(layer["inbound_nodes"], false);
  }
  check(config["output_layers"], true);
}

void Rehearsal::Layer(const Element& element) {
  CheckName(element);
  const std::string_view key = InnerLayerKey(element.class_name);
  if (!key.empty()) {
    const ConfigValue& inner = element.config[key];
    const std::string pointer = fmt::format("{}/config/{}", element.place.json_pointer, key);
    if (inner.is_list()) {
      for (size_t i = 0; i < inner.as_list().size(); ++i) {
        Inner(element, inner.as_list()[i], fmt::format("{}/{}", pointer, i));
      }
    } else {
      Inner(element, inner, pointer);
    }
  }
  if (const Constructor* constructor = FindConstructor(element.class_name, release())) {
    Arguments(element, *constructor);
  }
  Values(element);
  if (element.class_name == "Lambda") Lambda(element);
  LayerOddities(element);
}

void Rehearsal::Inner(const Element& element, const ConfigValue& inner,
                      const std::string& pointer) {
  if (!inner.is_dict()) return;
  const std::string class_name(inner.StringOr("class_name"));
  if (line() == KerasLine::kKeras3 && inner.Find("module") == nullptr) {
    Add(Cause::kWrappedLayerForm, {element.place.layer, class_name, pointer, ""},
        fmt::format("the {} inside {} does not name its module, as only Keras 3 writes it, and "
                    "Keras 3 finds no class without one",
                    class_name, element.class_name),
        fmt::format("TypeError: Could not locate class '{}'.", class_name));
    return;
  }
  Object(inner, pointer, false);
}

void Rehearsal::Compile(const ConfigValue& training_config) {
  if (!training_config.is_dict()) return;
  const ConfigValue& optimizer = training_config["optimizer_config"];
  const std::string class_name(optimizer.StringOr("class_name"));
  const bool keras3 = line() == KerasLine::kKeras3;
  const Place place{"", class_name, "", ""};
  if (!class_name.empty() && !KnowsOptimizer(class_name, release())) {
    Add(Cause::kOptimizerClass, place,
        fmt::format("training_config names the optimizer {}, which this release does not know",
                    class_name),
        keras3 ? fmt::format("TypeError: Could not locate class '{}'.", class_name)
               : fmt::format("ValueError: Unknown optimizer: {}", class_name));
  } else if (const std::string_view key = ForeignOptimizerKey(optimizer["config"], release());
             !key.empty()) {
    Add(Cause::kOptimizerArgument, place,
        fmt::format("training_config gives the optimizer {} the argument {}, which this release "
                    "does not take",
                    class_name, key),
        keras3
            ? fmt::format("ValueError: Argument(s) not recognized: {{'{}': {}}}", key,
                          optimizer["config"][key].ToJson(40))
            : fmt::format("TypeError: Unexpected keyword argument passed to optimizer: {}", key));
  }
  if (!keras3) return;
  std::vector<const ConfigValue*> losses{&training_config["loss"]};
  while (!losses.empty()) {
    const ConfigValue& loss = *losses.back();
    losses.pop_back();
    if (loss.is_string() && IsShortLossName(loss.as_string())) {
      Add(Cause::kLossName, {},
          fmt::format("training_config names the loss \"{}\", a short name that Keras 3 does not "
                      "find when it comes from a file",
                      loss.as_string()),
          release() >= Release::k3_12_0
              ? fmt::format("ValueError: Could not deserialize 'keras.metrics.{}' because it is "
                            "not a KerasSaveable subclass",
                            loss.as_string())
              : fmt::format("TypeError: Could not locate function '{}'.", loss.as_string()));
    } else if (loss.is_list()) {
      for (const ConfigValue& item : loss.as_list()) losses.push_back(&item);
    } else if (loss.is_dict() && loss.Find("class_name") == nullptr) {
      for (const auto& [name, item] : loss.as_dict()) losses.push_back(&item);
    }
  }
}

}  // namespace h5serve::model
