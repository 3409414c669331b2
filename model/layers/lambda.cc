// Lambda: Python code, or the name of a Python function.

#include <fmt/format.h>

#include "model/bytecode/lower_function.h"
#include "model/layers/layer_functions.h"

namespace h5serve::model {

std::vector<KerasTensor> LowerLambda(const LayerScope& scope, const CallInputs& inputs) {
  const ConfigValue& function = scope.config()["function"];
  if (HoldsCode(function)) {
    absl::StatusOr<StoredFunction> stored = ReadStoredFunction(function);
    if (!stored.ok()) {
      scope.Fail(Code::kLambdaBytecode, std::string(stored.status().message()));
      return {};
    }
    LoweredFunction lowered =
        LowerStoredFunction(scope, *stored, inputs, scope.config()["arguments"]);
    if (!lowered.error.empty()) scope.Fail(Code::kLambdaBytecode, lowered.error);
    if (lowered.mixes_rows) scope.Warn(Code::kBatchDependent, "mixes");
    return lowered.outputs;
  }
  if (function.is_string()) {
    scope.Fail(Code::kLambdaNamedFunction,
               fmt::format("Lambda \"{}\" refers to function {} by name only: the file does not "
                           "hold its code",
                           scope.path(), function.as_string()));
    return {};
  }
  if (function.is_dict() && function.StringOr("class_name") == "function") {
    scope.Fail(Code::kLambdaNamedFunction,
               fmt::format("Lambda \"{}\" refers to function {}.{} by name only: the file does not "
                           "hold its code",
                           scope.path(), function.StringOr("module"), function.StringOr("config")));
    return {};
  }
  scope.Fail(
      Code::kLambdaBytecode,
      fmt::format("Lambda \"{}\" holds Python bytecode, which is never executed", scope.path()));
  return {};
}

// A cell only runs inside an RNN, which reads it itself.
std::vector<KerasTensor> LowerCell(const LayerScope& scope, const CallInputs&) {
  scope.Fail(Code::kUnsupportedLayer, fmt::format("cell {} ({}) is called as a layer of its own",
                                                  scope.path(), scope.layer().written_class));
  return {};
}

}  // namespace h5serve::model
