#include "model/bytecode/symbols.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <utility>

#include "model/bytecode/operators.h"

namespace h5serve::model {
namespace {

using Kind = PythonValue::Kind;

bool StartsWith(std::string_view text, std::string_view prefix) {
  return text.substr(0, prefix.size()) == prefix;
}

bool EndsWith(std::string_view text, std::string_view suffix) {
  return text.size() >= suffix.size() && text.substr(text.size() - suffix.size()) == suffix;
}

// Names under which people import modules, and what the rest of this file calls them.
constexpr std::pair<std::string_view, std::string_view> kGlobals[] = {
    {"K", "K"},
    {"KB", "K"},
    {"Kb", "K"},
    {"kb", "K"},
    {"k", "K"},
    {"KK", "K"},
    {"KTF", "K"},
    {"ktf", "K"},
    {"backend", "K"},
    {"keras_backend", "K"},
    {"keras_K", "K"},
    {"BK", "K"},
    {"tf", "tf"},
    {"TF", "tf"},
    {"tensorflow", "tf"},
    {"tfk", "keras"},
    {"keras", "keras"},
    {"tf_keras", "keras"},
    {"kops", "keras.ops"},
    {"keras_ops", "keras.ops"},
    {"knp", "keras.ops"},
    {"np", "np"},
    {"numpy", "np"},
    {"jnp", "np"},
    {"T", "np"},
    {"theano", "theano"},
    {"math", "math"},
    {"operator", "operator"},
    {"functools", "functools"},
    {"itertools", "itertools"},
    {"activations", "keras.activations"},
    {"layers", "keras.layers"},
    {"array_ops", "tf"},
    {"math_ops", "tf"},
    {"gen_math_ops", "tf"},
    {"gen_array_ops", "tf"},
    {"clip_ops", "tf"},
    {"linalg_ops", "tf"},
    {"check_ops", "tf.debugging"},
    {"image_ops", "tf.image"},
    {"nn_ops", "tf.nn"},
    {"nn_impl", "tf.nn"},
    {"nn", "tf.nn"},
    {"dtypes", "tf"},
};

// Other spellings of the same module, longest first among those that overlap.
constexpr std::pair<std::string_view, std::string_view> kModules[] = {
    {"tensorflow", "tf"},
    {"numpy", "np"},
    {"tf.compat.v1.keras", "keras"},
    {"tf.compat.v2", "tf"},
    {"tf.python.keras", "keras"},
    {"tf.python.ops.math_ops", "tf"},
    {"tf.python.ops.array_ops", "tf"},
    {"tf.python.ops.nn", "tf.nn"},
    {"tf.python.ops.image_ops", "tf.image"},
    {"tf.experimental.numpy", "np"},
    {"tf.keras", "keras"},
    {"tf_keras", "keras"},
    {"keras.src", "keras"},
    {"keras.api", "keras"},
    {"keras.backend.tensorflow_backend", "K"},
    {"keras.backend.theano_backend", "K"},
    {"keras.backend", "K"},
    {"K.tensorflow_backend", "K"},
    {"K.tf", "tf"},
    {"K.np", "np"},
    {"K.T", "np"},
    {"K.math_ops", "tf"},
    {"K.array_ops", "tf"},
    {"K.nn", "tf.nn"},
    {"theano.tensor.nnet", "K"},
    {"theano.tensor", "np"},
    {"np.nnet", "K"},
    {"jax.numpy", "np"},
    {"keras.ops.numpy", "keras.ops"},
    {"keras.ops.nn", "keras.ops"},
    {"keras.ops.core", "keras.ops"},
    {"keras.ops.math", "keras.ops"},
    {"keras.ops.operation_utils", "keras.ops"},
};

std::string Normalise(std::string path) {
  // A spelling may lead to another one.
  for (int round = 0; round < 4; ++round) {
    bool changed = false;
    for (const auto& [from, to] : kModules) {
      const bool whole = path == from;
      if (!whole && !(StartsWith(path, from) && path[from.size()] == '.')) continue;
      path = std::string(to) + path.substr(from.size());
      changed = true;
      break;
    }
    if (!changed) break;
  }
  return path;
}

constexpr std::array<std::string_view, 17> kDTypes = {
    "float16", "float32", "float64", "bfloat16", "int8",   "int16", "int32", "int64", "uint8",
    "uint16",  "uint32",  "uint64",  "bool",     "double", "half",  "bool_", "string"};

bool IsDType(std::string_view name) {
  return std::find(kDTypes.begin(), kDTypes.end(), name) != kDTypes.end();
}

// Members of modules that are plain values.
PythonValue MemberConstant(std::string_view path) {
  const size_t dot = path.rfind('.');
  const std::string_view module = path.substr(0, dot), name = path.substr(dot + 1);
  if (module == "np" || module == "math") {
    if (name == "pi" || name == "PI") return PythonValue::Constant(M_PI);
    if (name == "e") return PythonValue::Constant(M_E);
    if (name == "inf" || name == "Inf" || name == "infty") {
      return PythonValue::Constant(std::numeric_limits<double>::infinity());
    }
    if (name == "nan" || name == "NaN") {
      return PythonValue::Constant(std::numeric_limits<double>::quiet_NaN());
    }
  }
  if (name == "newaxis" && (module == "np" || module == "tf")) return PythonValue::None();
  if (EndsWith(module, "image.ResizeMethod")) {
    constexpr std::pair<std::string_view, const char*> kMethods[] = {
        {"BILINEAR", "bilinear"}, {"NEAREST_NEIGHBOR", "nearest"},   {"BICUBIC", "bicubic"},
        {"AREA", "area"},         {"LANCZOS3", "lanczos3"},          {"LANCZOS5", "lanczos5"},
        {"GAUSSIAN", "gaussian"}, {"MITCHELLCUBIC", "mitchellcubic"}};
    for (const auto& [written, method] : kMethods) {
      if (name == written) return PythonValue::Constant(method);
    }
  }
  return {};
}

// Whoever draws random numbers gives another answer each time.
bool IsRandom(std::string_view path) {
  constexpr std::array<std::string_view, 12> kNames = {
      "random_normal",    "random_uniform",         "random_binomial", "random_bernoulli",
      "truncated_normal", "random_normal_variable", "multinomial",     "random_uniform_variable",
      "random_shuffle",   "random_gamma",           "dropout",         "alpha_dropout"};
  const std::string_view name = path.substr(path.rfind('.') + 1);
  if (path.find(".random.") != std::string_view::npos || StartsWith(path, "random.")) return true;
  return std::find(kNames.begin(), kNames.end(), name) != kNames.end();
}

// Calls without effect on values.
bool IsContext(std::string_view path) {
  constexpr std::array<std::string_view, 8> kNames = {
      "name_scope", "device",        "variable_scope",    "control_dependencies",
      "init_scope", "colocate_with", "get_default_graph", "as_default"};
  const std::string_view name = path.substr(path.rfind('.') + 1);
  return std::find(kNames.begin(), kNames.end(), name) != kNames.end();
}

bool IsCheck(std::string_view path) {
  const std::string_view name = path.substr(path.rfind('.') + 1);
  return StartsWith(name, "assert") || name == "Assert" || path == "tf.print" ||
         StartsWith(path, "tf.summary.") || path == "tf.compat.v1.assert_rank" ||
         name == "set_image_data_format" || name == "set_image_dim_ordering";
}

// TensorFlow 1 named and ordered some arguments otherwise.
bool IsTensorflow1(const Writer& writer) {
  if (writer.dialect == Writer::Dialect::kKeras1) return true;
  if (writer.dialect == Writer::Dialect::kKeras2) return !writer.AtLeast(2, 3, 0);
  return writer.dialect == Writer::Dialect::kTfKeras && !writer.AtLeast(2, 2, 4);
}

// Both TensorFlow 1 and 2 wrote such files.
bool MayBeTensorflow1(const Writer& writer) {
  if (writer.dialect == Writer::Dialect::kKeras2) return !writer.AtLeast(2, 4, 0);
  return writer.dialect == Writer::Dialect::kTfKeras && !writer.AtLeast(2, 3, 0);
}

// Before TensorFlow 1.0 the axis came first.
void SwapOldAxis(std::string_view name, PythonItems* args) {
  if ((name != "concat" && name != "split") || args->size() < 2) return;
  if ((*args)[0].is_whole() && !(*args)[1].is_whole() && name == "concat") {
    std::swap((*args)[0], (*args)[1]);
  }
  if (name == "split" && args->size() == 3 && (*args)[0].is_whole() && (*args)[2].is_tensor()) {
    // split(axis, number, value)
    std::swap((*args)[0], (*args)[2]);
  }
}

// Numbers of tf.image.ResizeMethod.
void NameResizeMethod(PythonValue* method) {
  constexpr std::array<const char*, 4> kMethods = {"bilinear", "nearest", "bicubic", "area"};
  if (method->is_whole() && method->whole() >= 0 && method->whole() < 4) {
    *method = PythonValue::Constant(kMethods[static_cast<size_t>(method->whole())]);
  }
}

PythonValue CallTensorflow(Interpretation& run, const std::string& path, PythonItems args,
                           PythonArguments kwargs) {
  std::string symbol = path.substr(3);
  const std::string_view name = std::string_view(symbol).substr(symbol.rfind('.') + 1);
  if (IsTensorflow1(run.writer())) {
    SwapOldAxis(name, &args);
    if (!StartsWith(symbol, "compat.") &&
        HasFunction(FunctionNamespace::kTensorflow, "compat.v1." + symbol)) {
      symbol = "compat.v1." + symbol;
    }
  } else if (symbol == "image.resize" && MayBeTensorflow1(run.writer())) {
    run.Assume("tf.image.resize is taken for TensorFlow 2's, which puts pixels at their centres");
  }
  if (StartsWith(name, "resize")) {
    // The others take sizes there.
    const bool third = name == "resize" || name == "resize_images";
    if (args.size() > 2 && third) NameResizeMethod(&args[2]);
    if (const auto method = kwargs.find("method"); method != kwargs.end()) {
      NameResizeMethod(&method->second);
    }
  }
  return CallTable(run, FunctionNamespace::kTensorflow, symbol, args, kwargs);
}

// keras.layers.add([a, b]) and friends.
PythonValue CallMerge(Interpretation& run, std::string_view name, PythonItems args,
                      PythonArguments kwargs) {
  if (args.empty()) {
    const auto inputs = kwargs.find("inputs");
    if (inputs == kwargs.end()) return run.Fail(fmt::format("{} without tensors", name));
    args.push_back(inputs->second);
    kwargs.erase(inputs);
  }
  kwargs.erase("name");
  const PythonItems tensors = Items(run, args[0]);
  if (run.failed()) return {};
  if (name == "concatenate") {
    if (args.size() > 1) kwargs.emplace("axis", args[1]);
    kwargs.emplace("axis", PythonValue::Constant(-1));
    return CallTable(run, FunctionNamespace::kKerasOps, name, {args[0]}, kwargs);
  }
  if (tensors.empty() || args.size() > 1 || !kwargs.empty()) {
    return run.Fail(fmt::format("keras.layers.{} with these arguments", name));
  }
  const std::string_view function = name == "average" ? "add" : name;
  PythonValue result = tensors[0];
  for (size_t i = 1; i < tensors.size() && !run.failed(); ++i) {
    result = CallTable(run, FunctionNamespace::kKerasOps, function, {result, tensors[i]});
  }
  if (name != "average") return result;
  return CallTable(run, FunctionNamespace::kKerasOps, "divide",
                   {result, PythonValue::Constant(static_cast<int64_t>(tensors.size()))});
}

bool IsMerge(std::string_view name) {
  constexpr std::array<std::string_view, 7> kNames = {
      "add", "multiply", "average", "maximum", "minimum", "subtract", "concatenate"};
  return std::find(kNames.begin(), kNames.end(), name) != kNames.end();
}

// K.in_train_phase(x, alt) and K.in_test_phase(x, alt): one of both, which may be
// functions. Inference, unless the call says otherwise.
PythonValue CallPhase(Interpretation& run, bool first_trains, const PythonItems& args,
                      const PythonArguments& kwargs) {
  constexpr std::array<std::string_view, 3> kNames = {"x", "alt", "training"};
  PythonItems all(3, PythonValue::None());
  for (size_t i = 0; i < all.size(); ++i) {
    if (i < args.size()) all[i] = args[i];
    if (const auto named = kwargs.find(kNames[i]); named != kwargs.end()) all[i] = named->second;
  }
  const bool trains = Truth(run, all[2]);
  if (run.failed()) return {};
  const PythonValue& chosen = all[trains == first_trains ? 0 : 1];
  return chosen.kind == Kind::kFunction ? run.Call(chosen, {}, {}) : chosen;
}

// Settings and facts that keras.backend tells.
PythonValue CallBackend(Interpretation& run, std::string_view name, PythonItems args,
                        PythonArguments kwargs) {
  if (name == "in_train_phase" || name == "in_test_phase") {
    return CallPhase(run, name == "in_train_phase", args, kwargs);
  }
  if (name == "int_shape" && args.size() == 1 && args[0].is_tensor()) {
    return run.ShapeOf(args[0].tensor);
  }
  if (name == "backend") {
    const std::string& backend = run.writer().backend;
    return PythonValue::Constant(backend.empty() ? "tensorflow" : backend);
  }
  if (name == "image_dim_ordering") {
    return PythonValue::Constant(run.functions().channels_first ? "th" : "tf");
  }
  if (name == "is_sparse" || name == "is_placeholder") return PythonValue::Constant(false);
  if (name == "is_keras_tensor" || name == "is_tensor") return PythonValue::Constant(true);
  if (name == "dtype" && args.size() == 1 && args[0].is_tensor()) {
    return PythonValue::Constant(std::string(compute::Name(run.graph().dtype(args[0].tensor))));
  }
  if (name == "eval" || name == "get_value") {
    return args.size() == 1 && args[0].is_constant()
               ? args[0]
               : run.Fail(fmt::format("K.{} needs the value of a tensor", name));
  }
  return CallTable(run, FunctionNamespace::kBackend, name, args, kwargs);
}

PythonValue CallOperatorModule(Interpretation& run, std::string_view name,
                               const PythonItems& args) {
  constexpr std::pair<std::string_view, PythonOperator> kOperators[] = {
      {"add", PythonOperator::kAdd},       {"sub", PythonOperator::kSubtract},
      {"mul", PythonOperator::kMultiply},  {"truediv", PythonOperator::kDivide},
      {"div", PythonOperator::kOldDivide}, {"floordiv", PythonOperator::kFloorDivide},
      {"mod", PythonOperator::kModulo},    {"pow", PythonOperator::kPower},
      {"matmul", PythonOperator::kMatMul}, {"and_", PythonOperator::kAnd},
      {"or_", PythonOperator::kOr}};
  for (const auto& [written, op] : kOperators) {
    if (name == written && args.size() == 2) {
      return BinaryOperation(run, op, args[0], args[1], false);
    }
  }
  if (name == "neg" && args.size() == 1) return UnaryOperation(run, "negative", args[0]);
  if (name == "getitem" && args.size() == 2) return Subscript(run, args[0], args[1]);
  return run.Fail(fmt::format("unsupported function: operator.{}", name));
}

// ValueError and its like: all that can be done with them is to raise them.
bool IsException(std::string_view name) {
  return EndsWith(name, "Error") || EndsWith(name, "Exception");
}

// A choice that is known: both are called as functions.
PythonValue CallCond(Interpretation& run, const PythonItems& args, const PythonArguments& kwargs) {
  PythonItems all = args;
  for (std::string_view name : {"pred", "true_fn", "false_fn"}) {
    if (const auto found = kwargs.find(name); found != kwargs.end()) all.push_back(found->second);
  }
  if (all.size() < 3) return run.Fail("cond without its functions");
  const bool holds = Truth(run, all[0]);
  return run.failed() ? PythonValue() : run.Call(all[holds ? 1 : 2], {}, {});
}

}  // namespace

std::string DTypeText(const PythonValue& value) {
  if (value.is_text()) {
    return IsDType(value.constant.as_string()) ? value.constant.as_string() : "";
  }
  if (!value.is_symbol()) return "";
  const std::string_view path = value.text;
  if (path == "builtins.float" || path == "np.float" || path == "np.float_") return "float32";
  if (path == "builtins.int" || path == "np.int" || path == "np.int_") return "int32";
  if (path == "builtins.bool" || path == "np.bool") return "bool";
  const size_t dot = path.rfind('.');
  if (dot == std::string_view::npos) return "";
  const std::string_view module = path.substr(0, dot), name = path.substr(dot + 1);
  const bool holds = module == "tf" || module == "np" || module == "keras.ops" || module == "K" ||
                     module == "tf.dtypes";
  return holds && IsDType(name) ? std::string(name) : "";
}

bool IsKnownGlobal(std::string_view name) {
  constexpr std::array<std::string_view, 5> kLiterals = {"None", "True", "False", "Ellipsis",
                                                         "ops"};
  return std::find(kLiterals.begin(), kLiterals.end(), name) != kLiterals.end() ||
         std::any_of(std::begin(kGlobals), std::end(kGlobals),
                     [&](const auto& row) { return row.first == name; }) ||
         IsBuiltin(name) || IsException(name);
}

// Some functions live in modules below those that people import.
std::string LibrarySymbol(std::string_view module, std::string_view name) {
  std::string path = Normalise(std::string(module));
  if (StartsWith(path, "tf.python.ops")) path = "tf";
  if (StartsWith(path, "keras.ops.")) path = "keras.ops";
  if (StartsWith(path, "K.")) path = "K";
  const std::string root = path.substr(0, path.find('.'));
  const bool library = root == "tf" || root == "K" || root == "np" || root == "keras";
  return library ? Normalise(path + "." + std::string(name)) : "";
}

PythonValue FindGlobal(Interpretation& run, std::string_view name) {
  if (name == "None") return PythonValue::None();
  if (name == "True" || name == "False") return PythonValue::Constant(name == "True");
  if (name == "Ellipsis") return PythonValue::Simple(Kind::kEllipsis);
  if (name == "ops") {
    return PythonValue::Symbol(run.writer().dialect == Writer::Dialect::kKeras3 ? "keras.ops"
                                                                                : "tf");
  }
  for (const auto& [written, path] : kGlobals) {
    if (name == written) return PythonValue::Symbol(std::string(path));
  }
  if (IsBuiltin(name) || IsException(name))
    return PythonValue::Symbol("builtins." + std::string(name));
  return {};
}

PythonValue ImportModule(Interpretation& run, std::string_view name) {
  std::string path = Normalise(std::string(name));
  constexpr std::array<std::string_view, 9> kRoots = {
      "K", "tf", "np", "keras", "theano", "math", "operator", "functools", "itertools"};
  const std::string root = path.substr(0, path.find('.'));
  if (std::find(kRoots.begin(), kRoots.end(), root) == kRoots.end()) {
    return run.Fail(fmt::format("it imports {}", name));
  }
  return PythonValue::Symbol(std::move(path));
}

PythonValue SymbolMember(Interpretation& run, const PythonValue& symbol, std::string_view name) {
  if (symbol.text.size() + name.size() > 200) return run.Fail("a name is too long");
  std::string path = Normalise(symbol.text + "." + std::string(name));
  PythonValue constant = MemberConstant(path);
  return constant.is_null() ? PythonValue::Symbol(std::move(path)) : constant;
}

PythonValue CallSymbol(Interpretation& run, const std::string& path, PythonItems args,
                       PythonArguments kwargs) {
  if (IsException(path)) return run.Fail("it raises an exception");
  if (StartsWith(path, "builtins.")) {
    return CallBuiltin(run, path.substr(9), std::move(args), std::move(kwargs));
  }
  if (StartsWith(path, "math.")) return CallMath(run, path.substr(5), args);
  if (StartsWith(path, "operator.")) return CallOperatorModule(run, path.substr(9), args);
  if (StartsWith(path, "functools.") || StartsWith(path, "itertools.")) {
    return CallFunctionTool(run, path, std::move(args), std::move(kwargs));
  }
  if (IsRandom(path)) {
    PythonValue random = PythonValue::Simple(Kind::kRandom);
    random.text = path;
    return random;
  }
  if (IsContext(path)) return PythonValue::Simple(Kind::kContext);
  if (IsCheck(path)) return PythonValue::None();
  if (path == "tf.cond" || path == "keras.ops.cond" || path == "tf.compat.v1.cond") {
    return CallCond(run, args, kwargs);
  }
  if (StartsWith(path, "K.")) {
    return CallBackend(run, path.substr(2), std::move(args), std::move(kwargs));
  }
  if (StartsWith(path, "tf.")) {
    return CallTensorflow(run, path, std::move(args), std::move(kwargs));
  }
  if (StartsWith(path, "np.")) {
    if (path == "np.shape" && args.size() == 1 && args[0].is_tensor()) {
      return run.ShapeOf(args[0].tensor);
    }
    return CallTable(run, FunctionNamespace::kNumpy, path.substr(3), args, kwargs);
  }
  if (StartsWith(path, "keras.ops.")) {
    return CallTable(run, FunctionNamespace::kKerasOps, path.substr(10), args, kwargs);
  }
  if (StartsWith(path, "keras.activations.")) {
    return CallTable(run, FunctionNamespace::kTensorflow, path, args, kwargs);
  }
  if (StartsWith(path, "keras.layers.") && IsMerge(std::string_view(path).substr(13))) {
    return CallMerge(run, std::string_view(path).substr(13), std::move(args), std::move(kwargs));
  }
  return run.Fail(fmt::format("unsupported function: {}", path));
}

}  // namespace h5serve::model
