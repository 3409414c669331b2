#include "model/bytecode/lower_function.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>

#include "model/bytecode/interpretation.h"
#include "model/bytecode/row_check.h"
#include "model/bytecode/symbols.h"
#include "model/functions/operation_layers.h"

namespace h5serve::model {
namespace {

using Kind = PythonValue::Kind;

PythonValue FromCall(Interpretation& run, const CallArgument& argument) {
  PythonItems items;
  switch (argument.kind) {
    case Argument::Kind::kTensor:
      return PythonValue::Tensor(argument.tensor.value);
    case Argument::Kind::kConstant:
      return FromConfig(run, argument.constant);
    case Argument::Kind::kList:
      for (const CallArgument& item : argument.list) items.push_back(FromCall(run, item));
      return run.List(std::move(items));
    case Argument::Kind::kDict:
      for (const auto& [key, item] : argument.dict) {
        items.push_back(PythonValue::Constant(key));
        items.push_back(FromCall(run, item));
      }
      return run.Sequence(Kind::kDict, std::move(items));
  }
  return {};
}

PythonValue MaskOf(Interpretation& run, const CallArgument& argument) {
  if (argument.is_tensor()) {
    return argument.tensor.mask ? PythonValue::Tensor(*argument.tensor.mask) : PythonValue::None();
  }
  if (argument.kind != Argument::Kind::kList) return PythonValue::None();
  PythonItems masks;
  for (const CallArgument& item : argument.list) masks.push_back(MaskOf(run, item));
  return run.List(std::move(masks));
}

bool Takes(const PythonCode& code, std::string_view name) {
  const auto end = code.variables.begin() + code.argument_count + code.keyword_only_count;
  return std::find(code.variables.begin(), end, name) != end;
}

// The function with its defaults and its closure.
PythonValue Bind(Interpretation& run, const StoredFunction& stored) {
  PythonFunction function;
  function.code = stored.code;
  const auto values = [&run](const ConfigValue& list) {
    PythonItems items;
    if (!list.is_list()) return items;
    for (const ConfigValue& item : list.as_list()) items.push_back(FromConfig(run, item));
    return items;
  };
  function.defaults = values(stored.defaults);
  for (PythonValue& value : values(stored.closure)) {
    function.closure.push_back(run.Sequence(Kind::kCell, {std::move(value)}));
  }
  PythonValue value = PythonValue::Simple(Kind::kFunction);
  value.function = run.heap().Make(std::move(function));
  if (value.function == nullptr) return run.Fail("it makes too many values");
  return value;
}

PythonArguments Keywords(Interpretation& run, const LayerScope& scope, const PythonCode& code,
                         const CallInputs& inputs, const ConfigValue& arguments) {
  PythonArguments kwargs;
  if (arguments.is_dict()) {
    for (const auto& [name, value] : arguments.as_dict()) kwargs[name] = FromConfig(run, value);
  }
  for (const auto& [name, argument] : inputs.kwargs) {
    if (name != "mask" && name != "training") kwargs[name] = FromCall(run, argument);
  }
  if (Takes(code, "mask")) {
    const CallArgument* given = inputs.Keyword("mask");
    kwargs["mask"] = given != nullptr      ? FromCall(run, *given)
                     : inputs.args.empty() ? PythonValue::None()
                                           : MaskOf(run, inputs.args[0]);
  }
  // Only these hand it to the function; the model serves, so it never trains.
  const Writer::Dialect dialect = scope.writer().dialect;
  const bool trains = dialect == Writer::Dialect::kTfKeras || dialect == Writer::Dialect::kKeras3;
  if (trains && Takes(code, "training") && !kwargs.contains("training")) {
    kwargs["training"] = PythonValue::Constant(false);
  }
  return kwargs;
}

// A result, or a list or tuple of them.
std::vector<KerasTensor> Outputs(Interpretation& run, const PythonValue& result) {
  std::vector<KerasTensor> outputs;
  const bool many =
      result.is_sequence() && std::any_of(result.items->begin(), result.items->end(),
                                          [](const PythonValue& item) { return item.is_tensor(); });
  const PythonItems results = many ? *result.items : PythonItems{result};
  for (const PythonValue& item : results) {
    if (item.is_none()) {
      run.Fail("it returns None");
      return {};
    }
    const FunctionArgument argument = ToArgument(run, item);
    if (run.failed()) return {};
    const compute::Value value = ToTensor(run.graph(), argument);
    if (!value.valid()) {
      run.Fail(std::string(run.graph().status().message()));
      return {};
    }
    outputs.push_back({value, std::nullopt});
  }
  if (outputs.empty()) run.Fail("it returns nothing");
  return outputs;
}

// What is called: stored code, or a function of a library.
struct Callee {
  const StoredFunction* stored = nullptr;
  std::string symbol;
};

std::vector<KerasTensor> Run(Interpretation& run, const LayerScope& scope, const Callee& function,
                             const CallInputs& inputs, const ConfigValue& arguments) {
  static const PythonCode kNoCode;
  const bool stored = function.stored != nullptr;
  const PythonValue callee =
      stored ? Bind(run, *function.stored) : PythonValue::Symbol(function.symbol);
  PythonItems args;
  for (const CallArgument& argument : inputs.args) args.push_back(FromCall(run, argument));
  PythonArguments kwargs =
      Keywords(run, scope, stored ? *function.stored->code : kNoCode, inputs, arguments);
  const PythonValue result = run.Call(callee, std::move(args), std::move(kwargs));
  return run.failed() ? std::vector<KerasTensor>{} : Outputs(run, result);
}

void VisitTensors(CallArgument* argument, const std::function<void(KerasTensor*)>& visit) {
  if (argument->is_tensor()) visit(&argument->tensor);
  for (CallArgument& item : argument->list) VisitTensors(&item, visit);
  for (auto& [key, item] : argument->dict) VisitTensors(&item, visit);
}

void VisitTensors(CallInputs* inputs, const std::function<void(KerasTensor*)>& visit) {
  for (CallArgument& argument : inputs->args) VisitTensors(&argument, visit);
  for (auto& [name, argument] : inputs->kwargs) VisitTensors(&argument, visit);
}

// Interprets the function again, on tensors of a graph of its own.
bool MixesRowsWhenRun(const LayerScope& scope, const Callee& function, PythonVersion version,
                      const CallInputs& inputs, const ConfigValue& arguments) {
  const compute::Graph& graph = scope.graph();
  std::vector<TrialInput> trial;
  CallInputs copy = inputs;
  const auto add = [&](compute::Value value) {
    trial.push_back({graph.dtype(value), graph.shape(value), graph.constant(value)});
  };
  VisitTensors(&copy, [&](KerasTensor* tensor) {
    add(tensor->value);
    if (tensor->mask) add(*tensor->mask);
  });
  return MixesRows(trial, [&](compute::Graph& own, const std::vector<compute::Value>& values) {
    size_t next = 0;
    VisitTensors(&copy, [&](KerasTensor* tensor) {
      tensor->value = values[next++];
      if (tensor->mask) tensor->mask = values[next++];
    });
    FunctionContext context = ContextOf(scope);
    context.graph = &own;
    Interpretation run(std::move(context), version);
    std::vector<compute::Value> outputs;
    for (const KerasTensor& output : Run(run, scope, function, copy, arguments)) {
      outputs.push_back(output.value);
    }
    return outputs;
  });
}

LoweredFunction Lower(const LayerScope& scope, const Callee& function,
                      const std::vector<PythonVersion>& versions, const CallInputs& inputs,
                      const ConfigValue& arguments) {
  LoweredFunction lowered;
  for (const PythonVersion version : versions) {
    scope.graph().ClearStatus();
    Interpretation run(ContextOf(scope), version);
    lowered.outputs = Run(run, scope, function, inputs, arguments);
    scope.graph().ClearStatus();
    lowered.version = version;
    lowered.error = run.error();
    lowered.assumptions = run.assumptions();
    if (!run.malformed()) break;
  }
  if (!lowered.error.empty()) {
    lowered.outputs.clear();
  } else {
    lowered.mixes_rows = MixesRowsWhenRun(scope, function, lowered.version, inputs, arguments);
  }
  return lowered;
}

// "keras.backend.tensorflow_backend" of "…/site-packages/keras/backend/tensorflow_backend.py".
std::string ModuleOfFile(std::string path) {
  std::replace(path.begin(), path.end(), '\\', '/');
  constexpr std::string_view kPackages = "-packages/";
  const size_t at = path.rfind(kPackages);
  if (at == std::string::npos) return "";
  std::string module = path.substr(at + kPackages.size());
  module = module.substr(0, module.rfind('.'));
  std::replace(module.begin(), module.end(), '/', '.');
  constexpr std::string_view kCore = "tensorflow_core.";
  if (module.substr(0, kCore.size()) == kCore) module = "tensorflow." + module.substr(kCore.size());
  return module;
}

}  // namespace

LoweredFunction LowerStoredFunction(const LayerScope& scope, const StoredFunction& function,
                                    const CallInputs& inputs, const ConfigValue& arguments) {
  return Lower(scope, {&function, ""}, function.versions, inputs, arguments);
}

LoweredFunction LowerLibraryFunction(const LayerScope& scope, const std::string& symbol,
                                     const CallInputs& inputs, const ConfigValue& arguments) {
  return Lower(scope, {nullptr, symbol}, {PythonVersion::k311}, inputs, arguments);
}

std::string LibraryFunctionOf(const StoredFunction& function, std::string_view module) {
  const PythonCode& code = *function.code;
  const std::string file_module = ModuleOfFile(code.file_name);
  if (file_module.empty()) return "";
  // TensorFlow wraps its functions; the wrapped one is named by the closure.
  const bool wrapper = file_module == "tensorflow.python.util.dispatch" ||
                       file_module == "tensorflow.python.util.traceback_utils";
  if (!wrapper) return LibrarySymbol(file_module, code.name);
  if (!function.closure.is_list()) return "";
  for (const ConfigValue& value : function.closure.as_list()) {
    if (!value.is_string()) continue;
    const std::string symbol = LibrarySymbol(module, value.as_string());
    return symbol.empty() ? LibrarySymbol("tensorflow", value.as_string()) : symbol;
  }
  return "";
}

}  // namespace h5serve::model
