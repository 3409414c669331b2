#include "model/custom/definition.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

namespace h5serve::model {
namespace {

constexpr size_t kMaxList = 1024;

absl::Status Invalid(std::string message) { return absl::InvalidArgumentError(message); }

bool IsName(std::string_view text) {
  if (text.empty() || text.size() > 128) return false;
  const auto letter = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
  };
  return letter(text[0]) && std::all_of(text.begin(), text.end(), [&](char c) {
           return letter(c) || (c >= '0' && c <= '9');
         });
}

// Text, or lines of it.
absl::StatusOr<std::shared_ptr<const Expression>> ParseSource(const ConfigValue& value,
                                                              std::string_view what) {
  std::string source;
  if (value.is_string()) {
    source = value.as_string();
  } else if (value.is_list() && !value.as_list().empty() && value.as_list().size() <= kMaxList) {
    for (const ConfigValue& line : value.as_list()) {
      if (!line.is_string()) return Invalid(fmt::format("{}: expected lines of text", what));
      source += (source.empty() ? "" : "\n") + line.as_string();
    }
  } else {
    return Invalid(fmt::format("{}: expected text or a list of lines", what));
  }
  absl::StatusOr<std::shared_ptr<const Expression>> expression = ParseExpression(source);
  if (expression.ok()) return expression;
  return Invalid(fmt::format("{}: {}", what, std::string(expression.status().message())));
}

class DefinitionParser {
 public:
  DefinitionParser(std::string_view name, const ConfigValue& json)
      : json_(json), definition_(std::make_shared<CustomDefinition>()) {
    definition_->name = std::string(name);
  }

  absl::StatusOr<std::shared_ptr<const CustomDefinition>> Run() {
    if (!json_.is_dict()) {
      return Invalid(
          "expected an object with one of the keys layer, expression, graph, plugin or catalogue");
    }
    for (absl::Status status :
         {CheckKeys(), Kind(), Inputs(), Parameters(), Weights(), Layers(), Ignore(), Mask()}) {
      if (!status.ok()) return status;
    }
    return std::shared_ptr<const CustomDefinition>(std::move(definition_));
  }

 private:
  absl::Status CheckKeys() const {
    constexpr auto kKeys = std::to_array<std::string_view>(
        {"layer", "config", "expression", "graph", "plugin", "inputs", "parameters", "weights",
         "layers", "ignore", "mask", "comment"});
    for (const auto& [key, value] : json_.as_dict()) {
      if (std::find(kKeys.begin(), kKeys.end(), key) == kKeys.end()) {
        return Invalid(fmt::format("unknown key {}; there are {}", key,
                                   fmt::join(kKeys.begin(), kKeys.end(), ", ")));
      }
    }
    return absl::OkStatus();
  }

  absl::Status Kind() {
    int kinds = 0;
    for (std::string_view key : {"layer", "expression", "graph", "plugin"}) {
      kinds += json_.Find(key) != nullptr;
    }
    if (kinds != 1) {
      return Invalid("expected exactly one of the keys layer, expression, graph and plugin");
    }
    if (json_.Find("layer") != nullptr) return Alias();
    if (json_.Find("graph") != nullptr) return Graph();
    if (json_.Find("plugin") != nullptr) return Plugin();
    definition_->kind = CustomDefinition::Kind::kExpression;
    absl::StatusOr<std::shared_ptr<const Expression>> expression =
        ParseSource(json_["expression"], "expression");
    if (!expression.ok()) return expression.status();
    definition_->expression = *std::move(expression);
    return absl::OkStatus();
  }

  absl::Status Alias() {
    definition_->kind = CustomDefinition::Kind::kAlias;
    if (!json_["layer"].is_string() || json_["layer"].as_string().empty()) {
      return Invalid("layer: expected the name of a class");
    }
    definition_->layer = json_["layer"].as_string();
    definition_->has_config = json_.Find("config") != nullptr;
    if (definition_->has_config && !json_["config"].is_dict()) {
      return Invalid("config: expected an object");
    }
    definition_->config = json_["config"];
    return absl::OkStatus();
  }

  absl::Status Graph() {
    definition_->kind = CustomDefinition::Kind::kGraph;
    const ConfigValue& graph = json_["graph"];
    if (!graph.is_dict() || !graph["class_name"].is_string() || graph.Find("config") == nullptr) {
      return Invalid(
          "graph: expected a model as Keras' to_json() writes it, with class_name and config");
    }
    definition_->graph = graph;
    return absl::OkStatus();
  }

  absl::Status Plugin() {
    definition_->kind = CustomDefinition::Kind::kPlugin;
    if (!json_["plugin"].is_string() || json_["plugin"].as_string().empty()) {
      return Invalid("plugin: expected the path of a shared library");
    }
    definition_->plugin = json_["plugin"].as_string();
    return absl::OkStatus();
  }

  absl::Status Inputs() {
    const ConfigValue& inputs = json_["inputs"];
    if (inputs.is_null()) return absl::OkStatus();
    if (inputs.is_dict()) {
      for (const auto& [name, shape] : inputs.as_dict()) {
        if (!IsName(name) || !shape.is_list()) {
          return Invalid(fmt::format("inputs: {}: expected a name with a shape", name));
        }
        definition_->inputs.push_back(name);
      }
      definition_->input_shapes = inputs.as_dict();
      return absl::OkStatus();
    }
    if (!inputs.is_list() || inputs.as_list().size() > kMaxList) {
      return Invalid("inputs: expected a list of names");
    }
    for (const ConfigValue& name : inputs.as_list()) {
      if (!name.is_string() || !IsName(name.as_string())) {
        return Invalid(fmt::format("inputs: {} is no name", name.ToJson(40)));
      }
      definition_->inputs.push_back(name.as_string());
    }
    return absl::OkStatus();
  }

  absl::Status Parameters() {
    const ConfigValue& parameters = json_["parameters"];
    definition_->has_parameters = json_.Find("parameters") != nullptr;
    if (parameters.is_null()) return absl::OkStatus();
    if (!parameters.is_dict()) return Invalid("parameters: expected an object of defaults");
    definition_->parameters = parameters.as_dict();
    return absl::OkStatus();
  }

  // "gamma", "gamma if scale", or {"name", "saved", "if", "trainable"}.
  absl::StatusOr<CustomWeight> Weight(const ConfigValue& json) const {
    CustomWeight weight;
    ConfigValue condition;
    if (json.is_string()) {
      const std::string& text = json.as_string();
      const size_t found = text.find(" if ");
      weight.name = text.substr(0, found);
      if (found != std::string::npos) condition = text.substr(found + 4);
    } else if (json.is_dict()) {
      for (const auto& [key, value] : json.as_dict()) {
        if (key != "name" && key != "saved" && key != "if" && key != "trainable") {
          return Invalid(fmt::format("weights: unknown key {}", key));
        }
      }
      weight.name = std::string(json.StringOr("name"));
      weight.saved = std::string(json.StringOr("saved"));
      condition = json["if"];
      weight.trainable = !json["trainable"].is_bool() || json["trainable"].as_bool();
    }
    if (!IsName(weight.name)) {
      return Invalid(fmt::format("weights: {} is no name", json.ToJson(60)));
    }
    if (weight.saved.empty()) weight.saved = weight.name;
    if (!condition.is_null()) {
      absl::StatusOr<std::shared_ptr<const Expression>> expression =
          ParseSource(condition, fmt::format("weights: {}", weight.name));
      if (!expression.ok()) return expression.status();
      weight.condition = *std::move(expression);
    }
    return weight;
  }

  absl::Status Weights() {
    const ConfigValue& list = json_["weights"];
    if (list.is_null()) return absl::OkStatus();
    std::vector<CustomWeight> weights;
    if (list.is_dict()) {
      // For graphs: which array of the file is which weight.
      for (const auto& [role, saved] : list.as_dict()) {
        if (!saved.is_string()) {
          return Invalid(fmt::format("weights: {}: expected the name in the file", role));
        }
        weights.push_back({role, saved.as_string(), true, nullptr});
      }
    } else if (!list.is_list() || list.as_list().size() > kMaxList) {
      return Invalid("weights: expected a list in the order of the file");
    } else {
      for (const ConfigValue& item : list.as_list()) {
        absl::StatusOr<CustomWeight> weight = Weight(item);
        if (!weight.ok()) return weight.status();
        weights.push_back(*std::move(weight));
      }
    }
    definition_->weights = std::move(weights);
    return absl::OkStatus();
  }

  absl::Status Layers() {
    const ConfigValue& list = json_["layers"];
    if (list.is_null()) return absl::OkStatus();
    if (!list.is_list() || list.as_list().size() > kMaxList) {
      return Invalid("layers: expected a list of {\"name\", \"layer\", \"config\"}");
    }
    for (const ConfigValue& item : list.as_list()) {
      const absl::Status status = item["repeat"].is_null() ? Sublayer(item, nullptr) : Group(item);
      if (!status.ok()) return status;
    }
    return absl::OkStatus();
  }

  // {"repeat": EXPRESSION, "layers": […]}
  absl::Status Group(const ConfigValue& group) {
    absl::StatusOr<std::shared_ptr<const Expression>> repeat =
        ParseSource(group["repeat"], "layers: repeat");
    if (!repeat.ok()) return repeat.status();
    if (!group["layers"].is_list() || group["layers"].as_list().size() > kMaxList) {
      return Invalid("layers: a group to repeat needs a list of layers");
    }
    for (const ConfigValue& item : group["layers"].as_list()) {
      if (absl::Status status = Sublayer(item, *repeat); !status.ok()) return status;
    }
    return absl::OkStatus();
  }

  absl::Status Sublayer(const ConfigValue& item, std::shared_ptr<const Expression> repeat) {
    const std::string name(item.StringOr("name"));
    if (!item.is_dict() || !IsName(name) || !item["layer"].is_string()) {
      return Invalid(
          fmt::format("layers: {}: expected {{\"name\", \"layer\", \"config\"}}", item.ToJson(60)));
    }
    ConfigValue::Dict config;
    if (item["config"].is_dict()) config = item["config"].as_dict();
    ConfigValue::Dict entry;
    entry.emplace("class_name", item["layer"]);
    entry.emplace("config", std::move(config));
    CustomSublayer layer{name, std::move(entry), nullptr, std::move(repeat)};
    if (!item["if"].is_null()) {
      absl::StatusOr<std::shared_ptr<const Expression>> condition =
          ParseSource(item["if"], fmt::format("layers: {}", name));
      if (!condition.ok()) return condition.status();
      layer.condition = *std::move(condition);
    }
    definition_->layers.push_back(std::move(layer));
    return absl::OkStatus();
  }

  absl::Status Ignore() {
    const ConfigValue& list = json_["ignore"];
    if (list.is_null()) return absl::OkStatus();
    if (!list.is_list()) return Invalid("ignore: expected a list of names");
    for (const ConfigValue& name : list.as_list()) {
      if (!name.is_string()) return Invalid("ignore: expected a list of names");
      definition_->ignore.push_back(name.as_string());
    }
    return absl::OkStatus();
  }

  absl::Status Mask() {
    if (json_.Find("mask") == nullptr) return absl::OkStatus();
    const ConfigValue& mask = json_["mask"];
    if (mask.is_null() || mask == ConfigValue("stop")) {
      definition_->mask = CustomDefinition::Mask::kStop;
      return absl::OkStatus();
    }
    if (mask == ConfigValue("pass")) {
      definition_->mask = CustomDefinition::Mask::kPass;
      return absl::OkStatus();
    }
    absl::StatusOr<std::shared_ptr<const Expression>> expression = ParseSource(mask, "mask");
    if (!expression.ok()) return expression.status();
    definition_->mask = CustomDefinition::Mask::kExpression;
    definition_->mask_expression = *std::move(expression);
    return absl::OkStatus();
  }

  const ConfigValue& json_;
  std::shared_ptr<CustomDefinition> definition_;
};

}  // namespace

absl::StatusOr<std::shared_ptr<const CustomDefinition>> ParseDefinition(std::string_view name,
                                                                        const ConfigValue& json) {
  return DefinitionParser(name, json).Run();
}

}  // namespace h5serve::model
