#include "model/custom/custom_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

#include "model/custom/evaluate_expression.h"
#include "model/custom/expression_builtins.h"

namespace h5serve::model {
namespace {

constexpr int kMaxDepth = 64;

class Substitution {
 public:
  Substitution(const CustomDefinition& definition, const ConfigValue& saved)
      : definition_(definition), saved_(saved) {}

  absl::StatusOr<ConfigValue> Fill(const ConfigValue& value, int depth) const {
    if (depth > kMaxDepth) return absl::InvalidArgumentError("nested too deeply");
    if (value.is_string()) return FillText(value);
    if (value.is_list()) {
      ConfigValue::List result;
      for (const ConfigValue& item : value.as_list()) {
        absl::StatusOr<ConfigValue> filled = Fill(item, depth + 1);
        if (!filled.ok()) return filled;
        result.push_back(*std::move(filled));
      }
      return ConfigValue(std::move(result));
    }
    if (value.is_dict()) {
      ConfigValue::Dict result;
      for (const auto& [key, item] : value.as_dict()) {
        absl::StatusOr<ConfigValue> filled = Fill(item, depth + 1);
        if (!filled.ok()) return filled;
        result.emplace(key, *std::move(filled));
      }
      return ConfigValue(std::move(result));
    }
    return value;
  }

 private:
  absl::StatusOr<ConfigValue> FillText(const ConfigValue& value) const {
    const std::string& text = value.as_string();
    if (text.size() > 1 && text[0] == '$') {
      const std::string name = text.substr(1);
      const ConfigValue* setting = FindSetting(definition_, saved_, name);
      if (setting != nullptr) return *setting;
      return absl::FailedPreconditionError(fmt::format(
          "the file stores no {0}, which the definition reads: give a default in its parameters, "
          "for example \"parameters\": {{\"{0}\": …}}",
          name));
    }
    if (text.size() > 1 && text[0] == '=' && text[1] == ' ') {
      const auto expression = ParseExpression(std::string_view(text).substr(2));
      if (!expression.ok()) return expression.status();
      return EvaluateSetting(**expression, definition_, saved_);
    }
    return value;
  }

  const CustomDefinition& definition_;
  const ConfigValue& saved_;
};

void AddNames(const Expression& expression, std::set<std::string>* names) {
  for (std::string& name : FreeNames(expression)) names->insert(std::move(name));
}

void AddPlaceholders(const ConfigValue& value, int depth, std::set<std::string>* names) {
  if (depth > kMaxDepth) return;
  if (value.is_string()) {
    const std::string& text = value.as_string();
    if (text.size() > 1 && text[0] == '$') names->insert(text.substr(1));
    if (text.starts_with("= ")) {
      const auto expression = ParseExpression(std::string_view(text).substr(2));
      if (expression.ok()) AddNames(**expression, names);
    }
  }
  if (value.is_list()) {
    for (const ConfigValue& item : value.as_list()) AddPlaceholders(item, depth + 1, names);
  }
  if (value.is_dict()) {
    for (const auto& [key, item] : value.as_dict()) AddPlaceholders(item, depth + 1, names);
  }
}

}  // namespace

const ConfigValue* FindSetting(const CustomDefinition& definition, const ConfigValue& saved,
                               std::string_view name) {
  if (saved.is_dict()) {
    if (const ConfigValue* value = saved.Find(name)) return value;
    const ConfigValue& arguments = saved["arguments"];
    if (arguments.is_dict()) {
      if (const ConfigValue* value = arguments.Find(name)) return value;
    }
  }
  const auto at = definition.parameters.find(name);
  return at == definition.parameters.end() ? nullptr : &at->second;
}

absl::StatusOr<ConfigValue> EvaluateSetting(const Expression& expression,
                                            const CustomDefinition& definition,
                                            const ConfigValue& saved) {
  compute::Graph graph;
  ExpressionScope scope;
  scope.context.graph = &graph;
  scope.variable = [&](std::string_view name) -> absl::StatusOr<std::optional<FunctionArgument>> {
    if (name == "config") return std::optional(FunctionArgument::Constant(saved));
    const ConfigValue* setting = FindSetting(definition, saved, name);
    if (setting == nullptr) return std::optional<FunctionArgument>();
    return std::optional(FunctionArgument::Constant(*setting));
  };
  const absl::StatusOr<FunctionArgument> value = EvaluateExpression(expression, scope);
  if (!value.ok()) return value.status();
  std::optional<ConfigValue> known = StaticValue(graph, *value);
  if (known) return *std::move(known);
  return absl::InvalidArgumentError(
      WithCaret("a value that is known when the model loads is expected", expression.source, 0));
}

absl::StatusOr<ConfigValue> Substitute(const ConfigValue& value, const CustomDefinition& definition,
                                       const ConfigValue& saved) {
  return Substitution(definition, saved).Fill(value, 0);
}

std::set<std::string> MentionedNames(const CustomDefinition& definition) {
  std::set<std::string> names;
  for (const auto& [name, value] : definition.parameters) names.insert(name);
  if (definition.expression) AddNames(*definition.expression, &names);
  if (definition.mask_expression) AddNames(*definition.mask_expression, &names);
  AddPlaceholders(definition.config, 0, &names);
  AddPlaceholders(definition.graph, 0, &names);
  for (const CustomSublayer& layer : definition.layers) {
    AddPlaceholders(layer.entry, 0, &names);
    if (layer.condition) AddNames(*layer.condition, &names);
    if (layer.repeat) AddNames(*layer.repeat, &names);
  }
  if (definition.weights) {
    for (const CustomWeight& weight : *definition.weights) {
      if (weight.condition) AddNames(*weight.condition, &names);
    }
  }
  return names;
}

bool IsNeutralSetting(std::string_view key, const ConfigValue& value) {
  constexpr auto kNeutral = std::to_array<std::string_view>({"activity_regularizer",
                                                             "autocast",
                                                             "batch_input_shape",
                                                             "batch_shape",
                                                             "build_config",
                                                             "batch_size",
                                                             "build_input_shape",
                                                             "custom_name",
                                                             "dtype",
                                                             "dtype_policy",
                                                             "dynamic",
                                                             "input_dtype",
                                                             "input_shape",
                                                             "name",
                                                             "noise_shape",
                                                             "ragged",
                                                             "seed",
                                                             "sparse",
                                                             "supports_masking",
                                                             "trainable"});
  // How a Lambda stores its function.
  constexpr auto kLambda =
      std::to_array<std::string_view>({"arguments", "function", "function_type", "mask", "module",
                                       "output_shape", "output_shape_module", "output_shape_type"});
  if (std::find(kNeutral.begin(), kNeutral.end(), key) != kNeutral.end()) return true;
  if (std::find(kLambda.begin(), kLambda.end(), key) != kLambda.end()) return true;
  for (std::string_view end : {"_initializer", "_regularizer", "_constraint", "_init"}) {
    if (key.ends_with(end)) return true;
  }
  if (key == "init" || key.find("dropout") != std::string_view::npos) return true;
  if (key == "data_format" && value == ConfigValue("channels_last")) return true;
  if (value.is_null()) return true;
  if (value.is_bool()) return !value.as_bool();
  if (value.is_list()) return value.as_list().empty();
  return value.is_dict() && value.as_dict().empty();
}

bool IsReservedName(const CustomDefinition& definition, std::string_view name) {
  constexpr auto kReserved = std::to_array<std::string_view>(
      {"K", "activations", "backend", "config", "e", "inf", "inputs", "keras", "mask", "masks",
       "math", "newaxis", "np", "numpy", "ops", "pi", "tf", "tensorflow", "training"});
  if (std::find(kReserved.begin(), kReserved.end(), name) != kReserved.end()) return true;
  if (compute::ParseDType(name)) return true;
  const auto& inputs = definition.inputs;
  if (std::find(inputs.begin(), inputs.end(), name) != inputs.end()) return true;
  for (const CustomSublayer& layer : definition.layers) {
    if (layer.name == name) return true;
  }
  // x, x0, x1, …
  return name[0] == 'x' &&
         std::all_of(name.begin() + 1, name.end(), [](char c) { return c >= '0' && c <= '9'; });
}

}  // namespace h5serve::model
