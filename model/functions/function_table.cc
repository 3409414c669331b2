#include "model/functions/function_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <set>

#include "model/functions/function_call.h"

namespace h5serve::model {
namespace {

// Parameters are written as Python writes them, each with the canonical name it
// stands for and a default where the namespace has its own:
//   "input_tensor=x, axis, keepdims, name=-; keep_dims=keepdims"
//   "features=x, alpha=negative_slope:0.2"
//   "*arrays=xs"
// "-" is accepted and ignored, "!" only with None or False. Names behind the
// semicolon are keywords only.
struct Parameter {
  std::string_view name;
  std::string_view canonical;
  std::string_view otherwise;  // JSON; empty: none
  bool variadic = false;
};
struct Signature {
  std::vector<Parameter> positional;
  std::vector<Parameter> keywords;
};

std::string_view Trim(std::string_view text) {
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
  return text;
}

Parameter ParseParameter(std::string_view text) {
  Parameter parameter;
  if (!text.empty() && text.front() == '*') {
    parameter.variadic = true;
    text.remove_prefix(1);
  }
  if (const size_t colon = text.find(':'); colon != std::string_view::npos) {
    parameter.otherwise = text.substr(colon + 1);
    text = text.substr(0, colon);
  }
  const size_t equals = text.find('=');
  parameter.name = text.substr(0, equals);
  parameter.canonical = equals == std::string_view::npos ? text : text.substr(equals + 1);
  return parameter;
}

Signature ParseSignature(std::string_view text) {
  Signature signature;
  bool keywords = false;
  while (!text.empty()) {
    const size_t end = text.find_first_of(",;");
    const std::string_view item = Trim(text.substr(0, end));
    if (!item.empty()) {
      (keywords ? signature.keywords : signature.positional).push_back(ParseParameter(item));
    }
    if (end == std::string_view::npos) break;
    keywords = keywords || text[end] == ';';
    text.remove_prefix(end + 1);
  }
  return signature;
}

using FunctionMap = std::map<std::string_view, const FunctionRow*>;
using AliasMap = std::map<std::string_view, const AliasRow*>;

const FunctionMap& Functions() {
  static const FunctionMap* const map = [] {
    auto* functions = new FunctionMap;
    for (std::span<const FunctionRow> rows :
         {ElementwiseFunctions(), ActivationFunctions(), ReductionFunctions(), ShapeFunctions(),
          IndexFunctions(), DiagonalFunctions(), CreationFunctions(), LinearFunctions(),
          NeuralFunctions(), ImageFunctions(), ColorFunctions(), QuantizationFunctions(),
          TextFunctions()}) {
      for (const FunctionRow& row : rows) functions->emplace(row.name, &row);
    }
    return functions;
  }();
  return *map;
}

AliasMap* MakeAliases(std::span<const AliasRow> rows) {
  auto* aliases = new AliasMap;
  for (const AliasRow& row : rows) aliases->emplace(row.symbol, &row);
  return aliases;
}

const AliasMap& Aliases(FunctionNamespace name_space) {
  static const AliasMap* const none = new AliasMap;
  static const AliasMap* const operations = MakeAliases(OperationAliases());
  static const AliasMap* const backend = MakeAliases(BackendAliases());
  static const AliasMap* const tensorflow = MakeAliases(TensorflowAliases());
  static const AliasMap* const nodes = MakeAliases(TensorflowNodeAliases());
  static const AliasMap* const numpy = MakeAliases(NumpyAliases());
  switch (name_space) {
    case FunctionNamespace::kKerasOps:
      return *none;
    case FunctionNamespace::kKerasOperation:
      return *operations;
    case FunctionNamespace::kBackend:
      return *backend;
    case FunctionNamespace::kTensorflow:
      return *tensorflow;
    case FunctionNamespace::kTensorflowNode:
      return *nodes;
    case FunctionNamespace::kNumpy:
      return *numpy;
  }
  return *none;
}

// "LogSoftmax" -> "log_softmax", as Keras names an operation's function.
std::string SnakeCase(std::string_view name) {
  std::string snake;
  for (size_t i = 0; i < name.size(); ++i) {
    const char c = name[i];
    const bool upper = c >= 'A' && c <= 'Z';
    const bool after_lower = i > 0 && !(name[i - 1] >= 'A' && name[i - 1] <= 'Z');
    const bool before_lower =
        i > 0 && i + 1 < name.size() && name[i + 1] >= 'a' && name[i + 1] <= 'z';
    if (upper && (after_lower || before_lower)) snake.push_back('_');
    snake.push_back(upper ? static_cast<char>(c - 'A' + 'a') : c);
  }
  return snake;
}

std::string_view StripPrefix(std::string_view text, std::string_view prefix) {
  return text.substr(0, prefix.size()) == prefix ? text.substr(prefix.size()) : text;
}

struct Found {
  const FunctionRow* function = nullptr;
  std::string_view parameters;
  FunctionNamespace name_space;
};

std::optional<Found> FindAlias(FunctionNamespace name_space, std::string_view symbol) {
  const AliasMap& aliases = Aliases(name_space);
  const auto alias = aliases.find(symbol);
  if (alias == aliases.end()) return std::nullopt;
  const auto function = Functions().find(alias->second->function);
  if (function == Functions().end()) return std::nullopt;
  const std::string_view own = alias->second->parameters;
  return Found{function->second, own.empty() ? function->second->parameters : own, name_space};
}

std::optional<Found> FindCanonical(FunctionNamespace name_space, std::string_view name) {
  const auto function = Functions().find(name);
  // Names in brackets are for aliases only.
  if (function == Functions().end() || name.front() == '<') return std::nullopt;
  return Found{function->second, function->second->parameters, name_space};
}

// Modules whose functions mean the same with and without the module's name.
bool IsPlainModule(std::string_view module) {
  constexpr std::array<std::string_view, 12> kModules = {"math",
                                                         "nn",
                                                         "linalg",
                                                         "image",
                                                         "numpy",
                                                         "__operators__",
                                                         "compat.v1",
                                                         "compat.v1.math",
                                                         "compat.v1.nn",
                                                         "compat.v1.linalg",
                                                         "compat.v1.image",
                                                         "compat.v2"};
  return std::find(kModules.begin(), kModules.end(), module) != kModules.end();
}

std::optional<Found> Find(FunctionNamespace name_space, std::string_view symbol);

std::optional<Found> FindTensorflow(std::string_view symbol) {
  symbol = StripPrefix(StripPrefix(symbol, "tensorflow."), "tf.");
  if (auto found = FindAlias(FunctionNamespace::kTensorflow, symbol)) return found;
  for (std::string_view keras : {"keras.backend.", "compat.v1.keras.backend."}) {
    const std::string_view rest = StripPrefix(symbol, keras);
    if (rest.size() < symbol.size()) {
      if (auto found = FindAlias(FunctionNamespace::kBackend, rest)) return found;
      return FindCanonical(FunctionNamespace::kBackend, rest);
    }
  }
  for (std::string_view keras : {"keras.activations.", "keras.ops.", "keras.layers."}) {
    const std::string_view rest = StripPrefix(symbol, keras);
    if (rest.size() < symbol.size()) return Find(FunctionNamespace::kKerasOps, rest);
  }
  const size_t dot = symbol.rfind('.');
  if (dot == std::string_view::npos || !IsPlainModule(symbol.substr(0, dot))) return std::nullopt;
  return FindAlias(FunctionNamespace::kTensorflow, symbol.substr(dot + 1));
}

std::optional<Found> Find(FunctionNamespace name_space, std::string_view symbol) {
  if (symbol.empty()) return std::nullopt;
  switch (name_space) {
    case FunctionNamespace::kTensorflow:
      return FindTensorflow(symbol);
    case FunctionNamespace::kTensorflowNode:
      return FindAlias(name_space, symbol);
    case FunctionNamespace::kKerasOperation:
      if (auto found = FindAlias(name_space, symbol)) return found;
      return FindCanonical(name_space, SnakeCase(symbol));
    case FunctionNamespace::kBackend:
      symbol = StripPrefix(StripPrefix(symbol, "keras.backend."), "K.");
      if (auto found = FindAlias(name_space, symbol)) return found;
      return FindCanonical(name_space, symbol);
    case FunctionNamespace::kNumpy:
      symbol = StripPrefix(StripPrefix(symbol, "numpy."), "np.");
      if (auto found = FindAlias(name_space, symbol)) return found;
      return FindCanonical(name_space, symbol);
    case FunctionNamespace::kKerasOps: {
      symbol = StripPrefix(StripPrefix(symbol, "keras."), "ops.");
      if (auto found = FindCanonical(name_space, symbol)) return found;
      const size_t dot = symbol.rfind('.');
      if (dot != std::string_view::npos) {
        constexpr std::array<std::string_view, 6> kModules = {"numpy", "nn",     "math",
                                                              "image", "linalg", "activations"};
        if (std::find(kModules.begin(), kModules.end(), symbol.substr(0, dot)) == kModules.end()) {
          return std::nullopt;
        }
        symbol.remove_prefix(dot + 1);
      }
      return FindCanonical(name_space, symbol);
    }
  }
  return std::nullopt;
}

// Fills `bound` with the arguments by canonical name.
class Binder {
 public:
  Binder(std::string_view symbol, const Found& found)
      : symbol_(symbol),
        node_(found.name_space == FunctionNamespace::kTensorflowNode),
        signature_(ParseSignature(found.parameters)),
        canonical_(found.parameters == found.function->parameters
                       ? Signature{}
                       : ParseSignature(found.function->parameters)) {}

  absl::Status Bind(const std::vector<FunctionArgument>& args, const KeywordArguments& kwargs,
                    KeywordArguments* bound) {
    size_t next = 0;
    for (const Parameter& parameter : signature_.positional) {
      if (parameter.variadic) {
        std::vector<FunctionArgument> rest(args.begin() + std::min(next, args.size()), args.end());
        next = args.size();
        if (!rest.empty()) {
          (*bound)[std::string(parameter.canonical)] = FunctionArgument::List(std::move(rest));
        }
        continue;
      }
      if (next >= args.size()) break;
      if (absl::Status status = Set(parameter, args[next++], bound); !status.ok()) return status;
    }
    if (next < args.size()) {
      return absl::InvalidArgumentError(fmt::format(
          "{}: {} positional arguments, at most {} expected", symbol_, args.size(), next));
    }
    for (const auto& [name, argument] : kwargs) {
      const Parameter* parameter = FindKeyword(name);
      if (parameter == nullptr) {
        // Names of ops, and what TensorFlow notes for itself: types and hints.
        const bool note = node_ && (name[0] == '_' || name[0] == 'T');
        if (argument.is_null() || name == "name" || note) continue;
        return absl::UnimplementedError(fmt::format("{}: unsupported argument: {}", symbol_, name));
      }
      // A None adds nothing to what is already there.
      if (argument.is_null() && bound->contains(std::string(parameter->canonical))) continue;
      if (absl::Status status = Set(*parameter, argument, bound); !status.ok()) return status;
    }
    return Defaults(bound);
  }

 private:
  const Parameter* FindKeyword(std::string_view name) const {
    for (const auto* list : {&signature_.positional, &signature_.keywords, &canonical_.positional,
                             &canonical_.keywords}) {
      for (const Parameter& parameter : *list) {
        if (parameter.name == name) return &parameter;
      }
    }
    return nullptr;
  }

  absl::Status Set(const Parameter& parameter, const FunctionArgument& argument,
                   KeywordArguments* bound) const {
    if (parameter.canonical == "-") return absl::OkStatus();
    if (parameter.canonical == "!") {
      const bool off = argument.is_null() ||
                       (argument.is_constant() && (argument.constant == ConfigValue(false) ||
                                                   argument.constant == ConfigValue("")));
      if (off) return absl::OkStatus();
      return absl::UnimplementedError(
          fmt::format("{}: unsupported argument: {}", symbol_, parameter.name));
    }
    (*bound)[std::string(parameter.canonical)] = argument;
    return absl::OkStatus();
  }

  absl::Status Defaults(KeywordArguments* bound) const {
    for (const auto* list : {&signature_.positional, &signature_.keywords}) {
      for (const Parameter& parameter : *list) {
        if (parameter.otherwise.empty() || bound->contains(std::string(parameter.canonical)))
          continue;
        absl::StatusOr<ConfigValue> value = ParseJson(parameter.otherwise);
        if (!value.ok()) return value.status();
        (*bound)[std::string(parameter.canonical)] = FunctionArgument::Constant(*std::move(value));
      }
    }
    return absl::OkStatus();
  }

  std::string_view symbol_;
  bool node_;
  Signature signature_;
  Signature canonical_;
};

// Levenshtein's distance, bounded by the lengths of symbol names.
size_t Distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t change = diagonal + (a[i - 1] != b[j - 1]);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, change});
    }
  }
  return row[b.size()];
}

}  // namespace

FunctionArgument FunctionArgument::Constant(ConfigValue value) {
  FunctionArgument argument;
  argument.constant = std::move(value);
  return argument;
}

FunctionArgument FunctionArgument::Tensor(compute::Value value) {
  FunctionArgument argument;
  argument.kind = Kind::kTensor;
  argument.tensor = value;
  return argument;
}

FunctionArgument FunctionArgument::List(std::vector<FunctionArgument> items) {
  FunctionArgument argument;
  argument.kind = Kind::kList;
  argument.list = std::move(items);
  return argument;
}

FunctionArgument FunctionArgument::Tensors(const std::vector<compute::Value>& values) {
  std::vector<FunctionArgument> items;
  for (compute::Value value : values) items.push_back(Tensor(value));
  return List(std::move(items));
}

FunctionArgument FunctionArgument::Slice(FunctionArgument start, FunctionArgument stop,
                                         FunctionArgument step) {
  FunctionArgument argument;
  argument.kind = Kind::kSlice;
  argument.list = {std::move(start), std::move(stop), std::move(step)};
  return argument;
}

bool FunctionArgument::is_static() const {
  if (is_tensor()) return false;
  return std::all_of(list.begin(), list.end(),
                     [](const FunctionArgument& item) { return item.is_static(); });
}

absl::StatusOr<FunctionArgument> CallFunction(const FunctionContext& context,
                                              FunctionNamespace name_space, std::string_view symbol,
                                              const std::vector<FunctionArgument>& args,
                                              const KeywordArguments& kwargs) {
  const std::optional<Found> found = Find(name_space, symbol);
  if (!found) {
    const std::vector<std::string> nearest = NearestFunctions(name_space, symbol);
    return absl::NotFoundError(fmt::format(
        "unsupported function: {}{}", symbol.substr(0, 100),
        nearest.empty() ? "" : fmt::format(" (did you mean {}?)", fmt::join(nearest, ", "))));
  }
  if (absl::Status status = context.graph->status(); !status.ok()) return status;
  KeywordArguments bound;
  if (absl::Status status = Binder(symbol, *found).Bind(args, kwargs, &bound); !status.ok()) {
    return status;
  }
  FunctionCall call(context, found->name_space, std::move(bound));
  FunctionArgument result = found->function->body(call);
  if (!call.ok()) {
    const absl::Status status = call.status();
    return absl::Status(status.code(),
                        fmt::format("{}: {}", symbol, std::string(status.message())));
  }
  return result;
}

bool HasFunction(FunctionNamespace name_space, std::string_view symbol) {
  return Find(name_space, symbol).has_value();
}

std::vector<std::string> AllFunctions(FunctionNamespace name_space) {
  std::set<std::string> names;
  for (const auto& [symbol, row] : Aliases(name_space)) {
    if (Find(name_space, symbol)) names.emplace(symbol);
  }
  if (name_space == FunctionNamespace::kKerasOps) {
    for (const auto& [name, row] : Functions()) {
      if (name.front() != '<') names.emplace(name);
    }
  }
  return {names.begin(), names.end()};
}

std::vector<std::string> NearestFunctions(FunctionNamespace name_space, std::string_view symbol) {
  symbol = symbol.substr(0, 64);
  std::string_view last = symbol.substr(symbol.rfind('.') + 1);
  if (last.empty()) last = symbol;
  std::vector<std::string> names = AllFunctions(name_space);
  if (name_space == FunctionNamespace::kKerasOperation ||
      name_space == FunctionNamespace::kBackend || name_space == FunctionNamespace::kNumpy) {
    for (std::string& name : AllFunctions(FunctionNamespace::kKerasOps))
      names.push_back(std::move(name));
  }
  std::string wanted =
      name_space == FunctionNamespace::kKerasOperation ? SnakeCase(last) : std::string(last);
  std::vector<std::pair<size_t, std::string>> ranked;
  for (std::string& name : names) {
    const std::string_view tail = std::string_view(name).substr(name.rfind('.') + 1);
    const size_t distance = Distance(wanted, tail);
    const bool contains = tail.find(wanted) != std::string_view::npos;
    if (distance <= std::max<size_t>(2, wanted.size() / 3) || contains) {
      ranked.emplace_back(contains ? std::min<size_t>(distance, 2) : distance, std::move(name));
    }
  }
  std::sort(ranked.begin(), ranked.end());
  std::vector<std::string> nearest;
  for (const auto& [distance, name] : ranked) {
    if (nearest.size() < 3 && std::find(nearest.begin(), nearest.end(), name) == nearest.end()) {
      nearest.push_back(name);
    }
  }
  return nearest;
}

}  // namespace h5serve::model
