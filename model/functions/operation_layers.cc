#include "model/functions/operation_layers.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "compute/ops/shape_ops.h"
#include "model/functions/node_def.h"

namespace h5serve::model {
namespace {

using Kind = Argument::Kind;

FunctionArgument Ellipsis() {
  FunctionArgument ellipsis;
  ellipsis.kind = FunctionArgument::Kind::kEllipsis;
  return ellipsis;
}

bool LooksLikeSlice(bool start, bool stop, size_t size) { return (start || stop) && size <= 3; }

// All tensors in a result, nested lists flattened.
void Flatten(const LayerScope& scope, const FunctionArgument& argument,
             std::vector<KerasTensor>* out) {
  if (argument.is_list()) {
    for (const FunctionArgument& item : argument.list) Flatten(scope, item, out);
    return;
  }
  out->push_back(KerasTensor{ToTensor(scope.graph(), argument), std::nullopt});
}

std::vector<KerasTensor> Invoke(const LayerScope& scope, FunctionNamespace name_space,
                                std::string_view symbol, const std::vector<FunctionArgument>& args,
                                const KeywordArguments& kwargs) {
  absl::StatusOr<FunctionArgument> result =
      CallFunction(ContextOf(scope), name_space, symbol, args, kwargs);
  if (!result.ok()) {
    ReportFunctionFailure(scope, result.status());
    return {};
  }
  std::vector<KerasTensor> tensors;
  Flatten(scope, *result, &tensors);
  if (scope.failed()) return {};
  return tensors;
}

std::vector<FunctionArgument> Positional(const CallInputs& inputs) {
  std::vector<FunctionArgument> args;
  for (const CallArgument& argument : inputs.args) args.push_back(ToFunctionArgument(argument));
  return args;
}

KeywordArguments Keywords(const CallInputs& inputs) {
  KeywordArguments kwargs;
  for (const auto& [name, argument] : inputs.kwargs) {
    // Keras passes these to every layer.
    if (name == "training" || name == "mask") continue;
    kwargs.emplace(name, ToFunctionArgument(argument));
  }
  return kwargs;
}

// Keys of an operation's config that are no arguments of its function.
bool IsLayerKey(std::string_view key) {
  constexpr std::array<std::string_view, 6> kKeys = {
      "name", "trainable", "dtype_policy", "build_config", "registered_name", "module"};
  return std::find(kKeys.begin(), kKeys.end(), key) != kKeys.end();
}

// A dtype that every layer's config has counts only where the function casts.
bool IsLayerDType(const Layer& layer, std::string_view key, const ConfigValue& value) {
  if (key != "dtype") return false;
  constexpr std::array<std::string_view, 15> kMakers = {
      "Cast",     "Arange", "OneHot",   "MultiHot", "FullLike",        "ZerosLike",
      "OnesLike", "Eye",    "Identity", "Linspace", "ConvertToTensor", "EmptyLike",
      "Full",     "Tri",    "Logspace"};
  return std::find(kMakers.begin(), kMakers.end(), layer.written_class) == kMakers.end() ||
         value.is_dict();
}

std::vector<KerasTensor> LowerOperation(const LayerScope& scope, const CallInputs& inputs) {
  KeywordArguments kwargs = Keywords(inputs);
  for (const auto& [key, value] : scope.config().as_dict()) {
    if (IsLayerKey(key) || IsLayerDType(scope.layer(), key, value) || kwargs.contains(key))
      continue;
    kwargs.emplace(key, ToFunctionArgument(value));
  }
  return Invoke(scope, FunctionNamespace::kKerasOperation, scope.layer().written_class,
                Positional(inputs), kwargs);
}

// Merge layers share their names with operations, but take one list.
bool IsCalledAsMergeLayer(const Layer& layer) {
  constexpr std::array<std::string_view, 7> kMerges = {"Add",     "Average",  "Dot",     "Maximum",
                                                       "Minimum", "Multiply", "Subtract"};
  if (std::find(kMerges.begin(), kMerges.end(), layer.written_class) == kMerges.end()) return false;
  return !layer.calls.empty() && layer.calls[0].args.size() == 1 &&
         layer.calls[0].args[0].kind == Argument::Kind::kList;
}

}  // namespace

FunctionArgument ToFunctionArgument(const ConfigValue& value) {
  if (value.is_list()) {
    // Long lists of numbers stay as they are.
    const bool plain = std::none_of(value.as_list().begin(), value.as_list().end(),
                                    [](const ConfigValue& item) { return item.is_dict(); });
    if (plain) return FunctionArgument::Constant(value);
    std::vector<FunctionArgument> items;
    for (const ConfigValue& item : value.as_list()) items.push_back(ToFunctionArgument(item));
    return FunctionArgument::List(std::move(items));
  }
  if (!value.is_dict()) return FunctionArgument::Constant(value);
  const std::string_view class_name = value.StringOr("class_name");
  if (class_name == "__ellipsis__") return Ellipsis();
  if (class_name == "__tensor__" || class_name == "__numpy__") {
    return ToFunctionArgument(value["config"]["value"]);
  }
  const ConfigValue& slice = class_name == "__slice__" ? value["config"] : value;
  if (class_name == "__slice__" ||
      LooksLikeSlice(value.Find("start") != nullptr, value.Find("stop") != nullptr,
                     value.as_dict().size())) {
    return FunctionArgument::Slice(ToFunctionArgument(slice["start"]),
                                   ToFunctionArgument(slice["stop"]),
                                   ToFunctionArgument(slice["step"]));
  }
  return FunctionArgument::Constant(value);
}

FunctionArgument ToFunctionArgument(const CallArgument& argument) {
  switch (argument.kind) {
    case Kind::kConstant:
      return ToFunctionArgument(argument.constant);
    case Kind::kTensor:
      return FunctionArgument::Tensor(argument.tensor.value);
    case Kind::kList: {
      std::vector<FunctionArgument> items;
      for (const CallArgument& item : argument.list) items.push_back(ToFunctionArgument(item));
      return FunctionArgument::List(std::move(items));
    }
    case Kind::kDict:
      break;
  }
  const auto part = [](const CallArgument& dict, const std::string& key) {
    const auto found = dict.dict.find(key);
    return found == dict.dict.end() ? FunctionArgument() : ToFunctionArgument(found->second);
  };
  const auto config = argument.dict.find("config");
  const bool wrapped = config != argument.dict.end() && config->second.kind == Kind::kDict;
  const CallArgument& slice = wrapped ? config->second : argument;
  if (slice.dict.contains("start") || slice.dict.contains("stop")) {
    return FunctionArgument::Slice(part(slice, "start"), part(slice, "stop"), part(slice, "step"));
  }
  // A dict of tensors, in the order in which Keras flattens it.
  std::vector<FunctionArgument> items;
  for (const auto& [key, item] : argument.dict) items.push_back(ToFunctionArgument(item));
  return FunctionArgument::List(std::move(items));
}

FunctionContext ContextOf(const LayerScope& scope) {
  FunctionContext context;
  context.graph = &scope.graph();
  context.writer = scope.writer();
  context.channels_first = scope.config().StringOr("data_format") == "channels_first";
  return context;
}

void ReportFunctionFailure(const LayerScope& scope, const absl::Status& status) {
  const Layer& layer = scope.layer();
  Code code = Code::kShapeInferenceFailed;
  if (status.code() == absl::StatusCode::kNotFound) code = Code::kUnsupportedOp;
  if (status.code() == absl::StatusCode::kUnimplemented) code = Code::kUnsupportedArgument;
  scope.Fail(code, fmt::format("layer {} ({}): {}", scope.path(), layer.written_class,
                               std::string(status.message())));
}

std::vector<KerasTensor> LowerTFOpLambda(const LayerScope& scope, const CallInputs& inputs) {
  const ConfigValue& function = scope.config()["function"];
  if (!function.is_string()) {
    scope.BadValue("function", "expected the name of a function");
    return {};
  }
  return Invoke(scope, FunctionNamespace::kTensorflow, function.as_string(), Positional(inputs),
                Keywords(inputs));
}

std::vector<KerasTensor> LowerSlicingOpLambda(const LayerScope& scope, const CallInputs& inputs) {
  return Invoke(scope, FunctionNamespace::kTensorflow, "__operators__.getitem", Positional(inputs),
                Keywords(inputs));
}

std::vector<KerasTensor> LowerTensorFlowOpLayer(const LayerScope& scope, const CallInputs& inputs) {
  absl::StatusOr<NodeDef> node = ParseNodeDef(scope.config()["node_def"]);
  if (!node.ok()) {
    scope.BadValue("node_def", std::string(node.status().message()));
    return {};
  }
  // Constants stand at their place among the inputs; tensors fill the rest.
  const std::vector<KerasTensor> tensors = inputs.Tensors();
  const ConfigValue& constants = scope.config()["constants"];
  const size_t count = tensors.size() + (constants.is_dict() ? constants.as_dict().size() : 0);
  std::vector<FunctionArgument> args;
  size_t next = 0;
  for (size_t i = 0; i < count; ++i) {
    const ConfigValue* constant = constants.Find(std::to_string(i));
    if (constant != nullptr) {
      args.push_back(ToFunctionArgument(*constant));
    } else if (next < tensors.size()) {
      args.push_back(FunctionArgument::Tensor(tensors[next++].value));
    } else {
      scope.BadValue("constants", "they do not fit the inputs of the node");
      return {};
    }
  }
  KeywordArguments attributes;
  for (const auto& [name, value] : node->attributes) {
    attributes.emplace(name, FunctionArgument::Constant(value));
  }
  return Invoke(scope, FunctionNamespace::kTensorflowNode, node->op, args, attributes);
}

std::vector<KerasTensor> LowerClassMethod(const LayerScope& scope, const CallInputs&) {
  scope.Fail(Code::kUnsupportedOp,
             fmt::format("layer {} ({}): unsupported function: {}.{}", scope.path(),
                         scope.layer().written_class, scope.config().StringOr("cls_symbol"),
                         scope.config().StringOr("method_name")));
  return {};
}

std::vector<KerasTensor> LowerInstanceProperty(const LayerScope& scope, const CallInputs& inputs) {
  const std::string_view name = scope.config().StringOr("attr_name");
  const std::vector<KerasTensor> tensors = inputs.Tensors();
  if (!tensors.empty() && name == "shape") {
    return {KerasTensor{compute::ops::ShapeOf(scope.graph(), tensors[0].value), std::nullopt}};
  }
  if (!tensors.empty() && name == "T") {
    return Invoke(scope, FunctionNamespace::kKerasOps, "transpose",
                  {FunctionArgument::Tensor(tensors[0].value)}, {});
  }
  scope.Fail(Code::kUnsupportedOp,
             fmt::format("layer {} ({}): unsupported attribute of a tensor: {}", scope.path(),
                         scope.layer().written_class, name));
  return {};
}

LowerFunction FindOperationLowering(const Layer& layer) {
  if (!layer.is_operation || !layer.config.is_dict() || IsCalledAsMergeLayer(layer)) return nullptr;
  if (!HasFunction(FunctionNamespace::kKerasOperation, layer.written_class)) return nullptr;
  return LowerOperation;
}

}  // namespace h5serve::model
