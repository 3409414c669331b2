#include "model/custom/lower_custom.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <set>

#include "model/custom/custom_config.h"
#include "model/custom/definition.h"
#include "model/custom/evaluate_expression.h"
#include "model/custom/expression_builtins.h"
#include "model/custom/plugin.h"
#include "model/functions/operation_layers.h"
#include "model/layers/activation.h"
#include "model/lower_model.h"

namespace h5serve::model {
namespace {

using Kind = CustomDefinition::Kind;
using Optional = std::optional<FunctionArgument>;

CallArgument ToCallArgument(const compute::Graph& graph, const FunctionArgument& argument) {
  CallArgument result;
  if (argument.is_tensor()) {
    result.kind = Argument::Kind::kTensor;
    result.tensor.value = argument.tensor;
  } else if (argument.is_list()) {
    result.kind = Argument::Kind::kList;
    for (const FunctionArgument& item : argument.list) {
      result.list.push_back(ToCallArgument(graph, item));
    }
  } else {
    result.constant = argument.constant;
  }
  return result;
}

// One call of a layer that an expression defines.
class CustomCall {
 public:
  CustomCall(const LayerScope& scope, const CallInputs& inputs)
      : scope_(scope),
        inputs_(inputs),
        definition_(*scope.layer().custom),
        tensors_(inputs.Tensors()) {
    for (const WeightRole& role : CustomRoles(scope.layer())) roles_.insert(role.role);
  }

  std::vector<KerasTensor> Run() {
    if (!definition_.inputs.empty() && definition_.inputs.size() != tensors_.size()) {
      Fail(absl::InvalidArgumentError(fmt::format("the definition has {} inputs, the layer {}",
                                                  definition_.inputs.size(), tensors_.size())));
      return {};
    }
    const ExpressionScope names = Names();
    const absl::StatusOr<FunctionArgument> result =
        EvaluateExpression(*definition_.expression, names);
    if (!result.ok()) {
      Fail(result.status());
      return {};
    }
    std::vector<KerasTensor> outputs = Outputs(*result);
    if (scope_.failed()) return {};
    if (!ApplyMask(names, &outputs)) return {};
    return outputs;
  }

 private:
  ExpressionScope Names() {
    ExpressionScope names;
    names.context = ContextOf(scope_);
    names.variable = [this](std::string_view name) { return Variable(name); };
    names.call_layer = [this](std::string_view name, const std::vector<FunctionArgument>& args,
                              const KeywordArguments& kwargs) {
      return CallLayer(name, args, kwargs);
    };
    names.layer_weight = [this](std::string_view layer, std::string_view weight) {
      return LayerWeight(layer, weight);
    };
    names.known_names = KnownNames();
    return names;
  }

  std::string KnownNames() const {
    std::string inputs = fmt::format("{}", fmt::join(definition_.inputs, ", "));
    if (inputs.empty()) inputs = tensors_.size() > 1 ? "x0, x1, …" : "x";
    std::vector<std::string> settings;
    if (scope_.config().is_dict()) {
      for (const auto& [key, value] : scope_.config().as_dict()) {
        if (!IsNeutralSetting(key, value)) settings.push_back(key);
      }
    }
    return fmt::format("; there are inputs {}, settings {}, weights {}", inputs,
                       settings.empty() ? "(none)" : fmt::format("{}", fmt::join(settings, ", ")),
                       roles_.empty() ? "(none)" : fmt::format("{}", fmt::join(roles_, ", ")));
  }

  Optional Tensor(size_t index) const {
    if (index >= tensors_.size()) return std::nullopt;
    return FunctionArgument::Tensor(tensors_[index].value);
  }

  Optional MaskOf(size_t index) const {
    if (index >= tensors_.size() || !tensors_[index].mask) return FunctionArgument();
    return FunctionArgument::Tensor(*tensors_[index].mask);
  }

  Optional Input(std::string_view name) const {
    const auto& inputs = definition_.inputs;
    const auto at = std::find(inputs.begin(), inputs.end(), name);
    if (at != inputs.end()) return Tensor(static_cast<size_t>(at - inputs.begin()));
    if (const CallArgument* keyword = inputs_.Keyword(name)) return ToFunctionArgument(*keyword);
    if (name == "mask") return MaskOf(0);
    if (name == "training") return FunctionArgument::Constant(false);
    if (name == "inputs" || name == "masks") {
      std::vector<FunctionArgument> items;
      for (size_t i = 0; i < tensors_.size(); ++i) {
        items.push_back(name == "inputs" ? *Tensor(i) : *MaskOf(i));
      }
      return FunctionArgument::List(std::move(items));
    }
    if (name == "x" && tensors_.size() == 1) return Tensor(0);
    if (name.size() == 2 && name[0] == 'x' && std::isdigit(static_cast<unsigned char>(name[1]))) {
      return Tensor(static_cast<size_t>(name[1] - '0'));
    }
    return std::nullopt;
  }

  absl::StatusOr<Optional> Variable(std::string_view name) const {
    if (Optional input = Input(name)) return input;
    if (roles_.contains(name)) {
      const compute::Tensor* tensor = scope_.WeightTensor(name);
      if (tensor == nullptr) {
        return absl::DataLossError(fmt::format("the file has no usable weight {}", name));
      }
      return Optional(FunctionArgument::Tensor(scope_.Weight(name, tensor->shape())));
    }
    if (name == "config") return Optional(FunctionArgument::Constant(scope_.config()));
    if (const ConfigValue* setting = FindSetting(definition_, scope_.config(), name)) {
      return Optional(ToFunctionArgument(*setting));
    }
    // A weight that this layer has not: its condition does not hold.
    if (definition_.weights) {
      for (const CustomWeight& weight : *definition_.weights) {
        if (weight.name == name) return Optional(FunctionArgument());
      }
    }
    return Optional();
  }

  // A layer held by this one, or an activation among the settings.
  absl::StatusOr<Optional> CallLayer(std::string_view name,
                                     const std::vector<FunctionArgument>& args,
                                     const KeywordArguments& kwargs) {
    for (const auto& inner : scope_.layer().inner) {
      const bool wrapped = name == "layer" && definition_.layers.empty();
      if (inner->name == name || wrapped) return CallInner(*inner, args, kwargs);
    }
    const ConfigValue* setting = FindSetting(definition_, scope_.config(), name);
    if (setting == nullptr || args.size() != 1 || !kwargs.empty()) return Optional();
    const compute::Value x = ToTensor(scope_.graph(), args[0]);
    const compute::Value y = ApplyActivationValue(scope_, name, *setting, x);
    if (scope_.failed()) return scope_.graph().status();
    return Optional(FunctionArgument::Tensor(y));
  }

  absl::StatusOr<Optional> LayerWeight(std::string_view layer, std::string_view weight) const {
    for (const auto& inner : scope_.layer().inner) {
      if (inner->name != layer && (layer != "layer" || !definition_.layers.empty())) continue;
      const LayerWeights* weights = scope_.lowering().weights(*inner);
      if (weights == nullptr || !weights->contains(weight)) {
        return absl::DataLossError(fmt::format("layer {} has no weight {}", layer, weight));
      }
      return Optional(
          FunctionArgument::Tensor(scope_.graph().Constant(weights->find(weight)->second)));
    }
    return Optional();
  }

  absl::StatusOr<Optional> CallInner(const Layer& inner, const std::vector<FunctionArgument>& args,
                                     const KeywordArguments& kwargs) {
    CallInputs call;
    for (const FunctionArgument& argument : args) {
      call.args.push_back(ToCallArgument(scope_.graph(), argument));
    }
    for (const auto& [name, argument] : kwargs) {
      if (scope_.lowering().weights(inner) != nullptr &&
          scope_.lowering().weights(inner)->contains(name)) {
        // WeightNormalization and its like compute a weight of the wrapped layer.
        scope_.lowering().OverrideWeight(inner, name, ToTensor(scope_.graph(), argument));
        continue;
      }
      call.kwargs.emplace(name, ToCallArgument(scope_.graph(), argument));
    }
    const auto mask = call.kwargs.find("mask");
    if (mask != call.kwargs.end()) {
      if (mask->second.is_tensor() && !call.args.empty()) {
        call.args[0].tensor.mask = mask->second.tensor.value;
      }
      call.kwargs.erase(mask);
    }
    const std::vector<KerasTensor> outputs = scope_.Apply(inner, call);
    if (outputs.empty()) return scope_.graph().status();
    if (outputs.size() == 1) return Optional(FunctionArgument::Tensor(outputs[0].value));
    std::vector<FunctionArgument> items;
    for (const KerasTensor& output : outputs) {
      items.push_back(FunctionArgument::Tensor(output.value));
    }
    return Optional(FunctionArgument::List(std::move(items)));
  }

  std::vector<KerasTensor> Outputs(const FunctionArgument& result) {
    std::vector<KerasTensor> outputs;
    if (result.is_list()) {
      for (const FunctionArgument& item : result.list) {
        outputs.push_back({ToTensor(scope_.graph(), item), std::nullopt});
      }
    } else {
      outputs.push_back({ToTensor(scope_.graph(), result), std::nullopt});
    }
    if (scope_.failed()) Fail(scope_.graph().status());
    return outputs;
  }

  bool ApplyMask(const ExpressionScope& names, std::vector<KerasTensor>* outputs) {
    const bool masked = std::any_of(tensors_.begin(), tensors_.end(),
                                    [](const KerasTensor& t) { return t.mask.has_value(); });
    if (definition_.mask == CustomDefinition::Mask::kExpression) {
      const absl::StatusOr<FunctionArgument> mask =
          EvaluateExpression(*definition_.mask_expression, names);
      if (!mask.ok()) {
        Fail(mask.status());
        return false;
      }
      if (!mask->is_null()) outputs->front().mask = ToTensor(scope_.graph(), *mask);
      return true;
    }
    if (!masked || definition_.mask == CustomDefinition::Mask::kStop) return true;
    if (definition_.mask == CustomDefinition::Mask::kPass) {
      outputs->front().mask = tensors_.front().mask;
      return true;
    }
    // Only the class knows what becomes of it.
    scope_.Fail(Code::kCustomLayerConfig,
                fmt::format("layer {} ({}) gets a mask, and its definition {} does not say what "
                            "becomes of it",
                            scope_.path(), scope_.layer().written_class, definition_.name),
                {"add \"mask\": \"pass\" to the definition if the class hands its mask on "
                 "(supports_masking), \"mask\": \"stop\" if it does not"});
    return false;
  }

  void Fail(const absl::Status& status) const {
    // A layer that was called has told.
    if (absl::IsCancelled(status)) return;
    Code code = Code::kShapeInferenceFailed;
    if (absl::IsNotFound(status)) code = Code::kCustomDefinitionInvalid;
    if (absl::IsUnimplemented(status)) code = Code::kUnsupportedArgument;
    if (absl::IsDataLoss(status)) code = Code::kWeightMissing;
    scope_.graph().ClearStatus();
    scope_.Fail(code, fmt::format("layer {} ({}), defined by {}: {}", scope_.path(),
                                  scope_.layer().written_class, definition_.name,
                                  std::string(status.message())));
  }

  const LayerScope& scope_;
  const CallInputs& inputs_;
  const CustomDefinition& definition_;
  const std::vector<KerasTensor> tensors_;
  std::set<std::string, std::less<>> roles_;
};

std::string_view StripSuffix(std::string_view name) {
  const size_t colon = name.rfind(':');
  return colon == std::string_view::npos ? name : name.substr(0, colon);
}

// "gamma_2" -> "gamma".
std::string_view StripNumber(std::string_view name) {
  size_t end = name.size();
  while (end > 0 && std::isdigit(static_cast<unsigned char>(name[end - 1]))) --end;
  return end < name.size() && end > 1 && name[end - 1] == '_' ? name.substr(0, end - 1) : name;
}

bool EndsInWord(std::string_view text, std::string_view word) {
  if (!text.ends_with(word)) return false;
  if (text.size() == word.size()) return true;
  const char before = text[text.size() - word.size() - 1];
  return before == '/' || before == '_';
}

}  // namespace

bool IsLoweredByDefinition(const Layer& layer) {
  return layer.custom != nullptr && !layer.nested &&
         (layer.custom->kind == Kind::kExpression || layer.custom->kind == Kind::kPlugin);
}

std::vector<KerasTensor> LowerCustom(const LayerScope& scope, const CallInputs& inputs) {
  if (scope.layer().custom->kind == Kind::kPlugin) return LowerPlugin(scope, inputs);
  return CustomCall(scope, inputs).Run();
}

std::vector<WeightRole> CustomRoles(const Layer& layer) {
  const CustomDefinition& definition = *layer.custom;
  std::vector<WeightRole> roles;
  if (definition.weights) {
    for (const CustomWeight& weight : *definition.weights) {
      if (weight.condition) {
        const absl::StatusOr<ConfigValue> wanted =
            EvaluateSetting(*weight.condition, definition, layer.config);
        // A condition that fails is told when the layer is checked.
        if (!wanted.ok() || wanted->is_null() || *wanted == ConfigValue(false)) continue;
      }
      roles.push_back({weight.name, weight.trainable});
    }
    return roles;
  }
  if (definition.kind != Kind::kExpression) return roles;
  for (const std::string& name : FreeNames(*definition.expression)) {
    const bool held = name == "layer" && !layer.inner.empty();
    if (held || IsReservedName(definition, name) ||
        FindSetting(definition, layer.config, name) != nullptr) {
      continue;
    }
    roles.push_back({name});
  }
  return roles;
}

bool KnowsWeightOrder(const Layer& layer) {
  return layer.custom->weights.has_value() || CustomRoles(layer).size() <= 1;
}

std::string SavedWeightName(const Layer& layer, std::string_view role) {
  if (layer.custom->weights) {
    for (const CustomWeight& weight : *layer.custom->weights) {
      if (weight.name != role) continue;
      const size_t name = weight.saved.find("{name}");
      if (name == std::string::npos) return weight.saved;
      return weight.saved.substr(0, name) + layer.name + weight.saved.substr(name + 6);
    }
  }
  return std::string(role);
}

bool EndsInSavedName(std::string_view stored, std::string_view name) {
  if (stored == name) return true;
  stored = StripSuffix(stored);
  name = StripSuffix(name);
  return EndsInWord(stored, name) || EndsInWord(StripNumber(stored), name);
}

}  // namespace h5serve::model
