// Lambda: Python code, or the name of a Python function.

#include <fmt/format.h>

#include "model/bytecode/explain_function.h"
#include "model/bytecode/lower_function.h"
#include "model/bytecode/symbols.h"
#include "model/layers/layer_functions.h"
#include "model/text_encoding.h"

namespace h5serve::model {
namespace {

void Report(const LayerScope& scope, const LoweredFunction& lowered) {
  for (const std::string& assumption : lowered.assumptions) {
    scope.Warn(Code::kAssumedDefault, fmt::format("layer {}: {}", scope.path(), assumption));
  }
  if (lowered.mixes_rows) {
    scope.Warn(Code::kBatchDependent,
               fmt::format("the rows that layer {} ({}) gives may depend on the other rows",
                           scope.path(), scope.layer().written_class));
  }
}

// The name to define in `custom_objects`: functions by theirs, anonymous ones by the layer's.
std::string DefinitionName(const LayerScope& scope, const std::string& function) {
  return function.empty() || function.front() == '<' ? scope.layer().name : function;
}

// How many tensors the function takes as one list; 0: it takes a tensor.
size_t ListedInputs(const CallInputs& inputs) {
  const bool list = inputs.args.size() == 1 && inputs.args[0].kind == Argument::Kind::kList;
  return list ? inputs.args[0].list.size() : 0;
}

// What to do with a definition that stands in for what is drawn at random.
std::string Advice(const LoweredFunction& lowered) {
  return lowered.error.find("random") == std::string::npos
             ? "define it in the model's settings:"
             : "say what it computes when predicting, usually the mean, in the model's settings:";
}

void Refuse(const LayerScope& scope, const StoredFunction& stored, const LoweredFunction& lowered,
            const CallInputs& inputs) {
  const std::string skeleton = FunctionSkeleton(stored, lowered.version, scope.layer().name,
                                                ListedInputs(inputs), scope.config()["arguments"]);
  scope.Fail(Code::kLambdaBytecode,
             fmt::format("layer {} ({}) holds code that cannot be translated, because {}: {}",
                         scope.path(), scope.layer().written_class, Printable(lowered.error, 400),
                         DescribeFunction(stored, lowered.version)),
             {fmt::format("{} {}", Advice(lowered), skeleton),
              "replace the layer by Keras layers and save the model again"});
}

std::vector<KerasTensor> LowerCode(const LayerScope& scope, const ConfigValue& function,
                                   const CallInputs& inputs) {
  const absl::StatusOr<StoredFunction> stored = ReadStoredFunction(function);
  if (!stored.ok()) {
    scope.Fail(Code::kLambdaBytecode,
               fmt::format("the code of layer {} ({}) cannot be read: {}", scope.path(),
                           scope.layer().written_class, std::string(stored.status().message())),
               {fmt::format("define it in the model's settings: {}",
                            NamedFunctionSkeleton(scope.layer().name, ListedInputs(inputs),
                                                  scope.config()["arguments"]))});
    return {};
  }
  const ConfigValue& arguments = scope.config()["arguments"];
  LoweredFunction lowered;
  // Lambda(K.square) stores the code of the library.
  const std::string symbol = LibraryFunctionOf(*stored, scope.config().StringOr("module"));
  if (!symbol.empty()) lowered = LowerLibraryFunction(scope, symbol, inputs, arguments);
  if (lowered.outputs.empty()) lowered = LowerStoredFunction(scope, *stored, inputs, arguments);
  if (!lowered.error.empty()) {
    Refuse(scope, *stored, lowered, inputs);
    return {};
  }
  Report(scope, lowered);
  return lowered.outputs;
}

std::vector<KerasTensor> LowerNamed(const LayerScope& scope, const std::string& module,
                                    const std::string& name, const CallInputs& inputs) {
  const std::string symbol = LibrarySymbol(module, name);
  std::string why = "the file does not hold its code";
  if (!symbol.empty()) {
    const LoweredFunction lowered =
        LowerLibraryFunction(scope, symbol, inputs, scope.config()["arguments"]);
    if (lowered.error.empty()) {
      Report(scope, lowered);
      return lowered.outputs;
    }
    why = lowered.error;
  }
  scope.Fail(Code::kLambdaNamedFunction,
             fmt::format("layer {} ({}) refers to function {}{}{} by name only: {}", scope.path(),
                         scope.layer().written_class, module, module.empty() ? "" : ".", name, why),
             {fmt::format("define it in the model's settings: {}",
                          NamedFunctionSkeleton(DefinitionName(scope, name), ListedInputs(inputs),
                                                scope.config()["arguments"])),
              "replace the layer by Keras layers and save the model again"});
  return {};
}

// The masks of an argument's tensors, as an argument.
CallArgument MaskArgument(const CallArgument& argument) {
  CallArgument mask;
  if (argument.is_tensor() && argument.tensor.mask) {
    mask.kind = Argument::Kind::kTensor;
    mask.tensor.value = *argument.tensor.mask;
  }
  if (argument.kind == Argument::Kind::kList) {
    mask.kind = Argument::Kind::kList;
    for (const CallArgument& item : argument.list) mask.list.push_back(MaskArgument(item));
  }
  return mask;
}

}  // namespace

std::vector<KerasTensor> LowerPythonFunction(const LayerScope& scope, const ConfigValue& function,
                                             const CallInputs& inputs) {
  if (HoldsCode(function)) return LowerCode(scope, function, inputs);
  if (function.is_string()) {
    return LowerNamed(scope, std::string(scope.config().StringOr("module")), function.as_string(),
                      inputs);
  }
  if (function.is_dict() && function["config"].is_string()) {
    return LowerNamed(scope, std::string(function.StringOr("module")),
                      std::string(function.StringOr("config")), inputs);
  }
  scope.BadValue("function", "neither code nor the name of a function");
  return {};
}

std::vector<KerasTensor> LowerLambda(const LayerScope& scope, const CallInputs& inputs) {
  std::vector<KerasTensor> outputs = LowerPythonFunction(scope, scope.config()["function"], inputs);
  const ConfigValue& mask = scope.config()["mask"];
  if (outputs.empty() || mask.is_null()) return outputs;
  // mask(inputs, mask) gives the mask of the output.
  CallInputs mask_inputs;
  mask_inputs.args = inputs.args;
  if (!inputs.args.empty()) mask_inputs.args.push_back(MaskArgument(inputs.args[0]));
  const std::vector<KerasTensor> masks = LowerPythonFunction(scope, mask, mask_inputs);
  if (masks.empty()) return {};
  for (size_t i = 0; i < outputs.size() && i < masks.size(); ++i) outputs[i].mask = masks[i].value;
  return outputs;
}

// A cell only runs inside an RNN, which reads it itself.
std::vector<KerasTensor> LowerCell(const LayerScope& scope, const CallInputs&) {
  scope.Fail(Code::kUnsupportedLayer, fmt::format("cell {} ({}) is called as a layer of its own",
                                                  scope.path(), scope.layer().written_class));
  return {};
}

}  // namespace h5serve::model
