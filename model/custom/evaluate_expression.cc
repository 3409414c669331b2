#include "model/custom/evaluate_expression.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <utility>

#include "model/custom/expression_builtins.h"
#include "model/custom/static_value.h"

namespace h5serve::model {
namespace {

using Node = ExpressionNode;
using Kind = Node::Kind;
using Arguments = std::vector<FunctionArgument>;

constexpr int kMaxSteps = 200000;
constexpr size_t kMaxItems = 4096;

FunctionArgument Constant(ConfigValue value) {
  return FunctionArgument::Constant(std::move(value));
}

// The modules under whose names people know the functions.
struct Module {
  std::string_view name;
  FunctionNamespace name_space;
};
constexpr Module kModules[] = {
    {"K", FunctionNamespace::kBackend},
    {"backend", FunctionNamespace::kBackend},
    {"keras.backend", FunctionNamespace::kBackend},
    {"math", FunctionNamespace::kNumpy},
    {"np", FunctionNamespace::kNumpy},
    {"numpy", FunctionNamespace::kNumpy},
    {"tf", FunctionNamespace::kTensorflow},
    {"tensorflow", FunctionNamespace::kTensorflow},
    {"keras.ops", FunctionNamespace::kKerasOps},
    {"ops", FunctionNamespace::kKerasOps},
    {"keras.activations", FunctionNamespace::kKerasOps},
    {"activations", FunctionNamespace::kKerasOps},
};

// "K.sum" for names joined by dots, "" for other nodes.
std::string DottedName(const Node& node) {
  if (node.kind == Kind::kName) return node.text;
  if (node.kind != Kind::kAttribute) return "";
  const std::string prefix = DottedName(*node.children[0]);
  return prefix.empty() ? "" : prefix + "." + node.text;
}

std::optional<ConfigValue> KnownConstant(std::string_view name) {
  if (name == "pi") return M_PI;
  if (name == "e") return M_E;
  if (name == "inf") return std::numeric_limits<double>::infinity();
  if (name == "newaxis") return ConfigValue();
  if (compute::ParseDType(name)) return ConfigValue(std::string(name));
  return std::nullopt;
}

class Evaluator {
 public:
  Evaluator(const Expression& expression, const ExpressionScope& scope)
      : expression_(expression), scope_(scope), graph_(*scope.context.graph) {}

  absl::StatusOr<FunctionArgument> Run() {
    FunctionArgument result;
    for (const ExpressionStatement& statement : expression_.statements) {
      absl::StatusOr<FunctionArgument> value = Value(*statement.value);
      if (!value.ok()) return value.status();
      result = *std::move(value);
      if (absl::Status status = Assign(statement, result); !status.ok()) return status;
    }
    return result;
  }

 private:
  absl::Status At(const Node& node, const absl::Status& status) const {
    // The innermost place is the most useful one.
    if (status.message().find("\n") != std::string_view::npos) return status;
    return absl::Status(
        status.code(), WithCaret(std::string(status.message()), expression_.source, node.position));
  }
  absl::Status Invalid(const Node& node, std::string message) const {
    return At(node, absl::InvalidArgumentError(message));
  }

  absl::Status Assign(const ExpressionStatement& statement, const FunctionArgument& value) {
    if (statement.targets.empty()) return absl::OkStatus();
    if (statement.targets.size() == 1) {
      variables_[statement.targets[0]] = value;
      return absl::OkStatus();
    }
    const std::optional<Arguments> items = ListItems(value);
    if (!items || items->size() != statement.targets.size()) {
      return Invalid(*statement.value, fmt::format("{} values expected", statement.targets.size()));
    }
    for (size_t i = 0; i < items->size(); ++i) variables_[statement.targets[i]] = (*items)[i];
    return absl::OkStatus();
  }

  // The value of a node. Large lists count as many steps: they are copied.
  absl::StatusOr<FunctionArgument> Value(const Node& node) {
    if (++steps_ > kMaxSteps) return Invalid(node, "the expression takes too many steps");
    absl::StatusOr<FunctionArgument> value = Dispatch(node);
    if (value.ok()) steps_ += Weight(*value) / 8;
    return value;
  }

  static int Weight(const ConfigValue& value) {
    int weight = 1;
    if (value.is_list()) {
      for (const ConfigValue& item : value.as_list()) weight += Weight(item);
    } else if (value.is_dict()) {
      for (const auto& [key, item] : value.as_dict()) weight += Weight(item);
    } else if (value.is_string()) {
      weight += static_cast<int>(value.as_string().size() / 16);
    }
    return weight;
  }

  static int Weight(const FunctionArgument& value) {
    int weight = Weight(value.constant);
    for (const FunctionArgument& item : value.list) weight += Weight(item);
    return weight;
  }

  absl::StatusOr<FunctionArgument> Dispatch(const Node& node) {
    switch (node.kind) {
      case Kind::kConstant:
        return Constant(node.constant);
      case Kind::kName:
        return Name(node);
      case Kind::kAttribute:
        return Attribute(node);
      case Kind::kCall:
        return CallNode(node);
      case Kind::kIndex:
        return Index(node);
      case Kind::kSlice:
        return Slice(node);
      case Kind::kEllipsis: {
        FunctionArgument ellipsis;
        ellipsis.kind = FunctionArgument::Kind::kEllipsis;
        return ellipsis;
      }
      case Kind::kUnary:
        return Unary(node);
      case Kind::kBinary:
        return Binary(node);
      case Kind::kConditional: {
        const absl::StatusOr<bool> condition = Condition(*node.children[1]);
        if (!condition.ok()) return condition.status();
        return Value(*node.children[*condition ? 0 : 2]);
      }
      case Kind::kList:
        return ListOf(node);
      case Kind::kAssignment: {
        absl::StatusOr<FunctionArgument> value = Value(*node.children[0]);
        if (value.ok()) variables_[node.text] = *value;
        return value;
      }
      case Kind::kComprehension:
        return Comprehension(node);
    }
    return FunctionArgument();
  }

  absl::StatusOr<std::optional<FunctionArgument>> FindVariable(const Node& node) {
    if (const auto at = variables_.find(node.text); at != variables_.end()) {
      return std::optional<FunctionArgument>(at->second);
    }
    absl::StatusOr<std::optional<FunctionArgument>> value = scope_.variable(node.text);
    if (!value.ok()) return At(node, value.status());
    return value;
  }

  absl::StatusOr<FunctionArgument> Name(const Node& node) {
    absl::StatusOr<std::optional<FunctionArgument>> value = FindVariable(node);
    if (!value.ok()) return value.status();
    if (*value) return **std::move(value);
    if (const std::optional<ConfigValue> constant = KnownConstant(node.text)) {
      return Constant(*constant);
    }
    return At(node,
              absl::NotFoundError(fmt::format("unknown name {}{}", node.text, scope_.known_names)));
  }

  // The namespace of a module's name, unless a variable is called like it.
  std::optional<FunctionNamespace> FindModule(const Node& node, std::string* symbol) {
    const std::string dotted = DottedName(node);
    const size_t first = dotted.find('.');
    if (first == std::string::npos || variables_.contains(dotted.substr(0, first))) {
      return std::nullopt;
    }
    std::string_view path = dotted;
    if (path.starts_with("tf.keras.") || path.starts_with("tensorflow.keras.")) {
      path.remove_prefix(path.find("keras."));
    }
    const Module* best = nullptr;
    for (const Module& module : kModules) {
      if (!path.starts_with(std::string(module.name) + ".")) continue;
      if (best == nullptr || module.name.size() > best->name.size()) best = &module;
    }
    if (best == nullptr) return std::nullopt;
    *symbol = std::string(path.substr(best->name.size() + 1));
    if (best->name.ends_with("activations")) *symbol = "activations." + *symbol;
    return best->name_space;
  }

  absl::StatusOr<FunctionArgument> Attribute(const Node& node) {
    std::string symbol;
    if (FindModule(node, &symbol)) {
      if (const std::optional<ConfigValue> constant = KnownConstant(symbol)) {
        return Constant(*constant);
      }
      return At(node, absl::NotFoundError(fmt::format("unknown value {}", DottedName(node))));
    }
    if (scope_.layer_weight && node.children[0]->kind == Kind::kName) {
      absl::StatusOr<std::optional<FunctionArgument>> weight =
          scope_.layer_weight(node.children[0]->text, node.text);
      if (!weight.ok()) return At(node, weight.status());
      if (*weight) return **std::move(weight);
    }
    absl::StatusOr<FunctionArgument> value = Value(*node.children[0]);
    if (!value.ok()) return value;
    if (node.text == "shape") return Function(node, "shape", {*value}, {});
    if (node.text == "ndim") return Function(node, "ndim", {*value}, {});
    if (node.text == "T") return Function(node, "transpose", {*value}, {});
    if (node.text == "dtype" && value->is_tensor()) {
      return Constant(std::string(compute::Name(graph_.dtype(value->tensor))));
    }
    if (value->is_constant() && value->constant.is_dict()) {
      const ConfigValue* member = value->constant.Find(node.text);
      if (member != nullptr) return Constant(*member);
    }
    return At(node, absl::NotFoundError(fmt::format(
                        "unknown attribute {}; there are shape, ndim, dtype and T", node.text)));
  }

  absl::StatusOr<FunctionArgument> Function(
      const Node& node, std::string_view symbol, const Arguments& args,
      const KeywordArguments& kwargs, FunctionNamespace name_space = FunctionNamespace::kKerasOps) {
    absl::StatusOr<FunctionArgument> result =
        CallFunction(scope_.context, name_space, symbol, args, kwargs);
    if (!result.ok()) return At(node, result.status());
    return result;
  }

  absl::StatusOr<FunctionArgument> CallNode(const Node& node) {
    Arguments args;
    KeywordArguments kwargs;
    for (size_t i = 1; i < node.children.size(); ++i) {
      absl::StatusOr<FunctionArgument> value = Value(*node.children[i]);
      if (!value.ok()) return value;
      if (node.keywords[i].empty()) {
        args.push_back(*std::move(value));
      } else {
        kwargs[node.keywords[i]] = *std::move(value);
      }
    }
    const Node& callee = *node.children[0];
    if (callee.kind == Kind::kIndex) return CallCopy(callee, args, kwargs);
    std::string symbol;
    if (const auto name_space = FindModule(callee, &symbol)) {
      return Function(callee, symbol, args, kwargs, *name_space);
    }
    if (callee.kind == Kind::kAttribute) return Method(callee, args, kwargs);
    if (callee.kind != Kind::kName) return Invalid(callee, "this is no function");
    if (scope_.call_layer) {
      absl::StatusOr<std::optional<FunctionArgument>> result =
          scope_.call_layer(callee.text, args, kwargs);
      if (!result.ok()) return At(callee, result.status());
      if (*result) return **std::move(result);
    }
    absl::StatusOr<std::optional<FunctionArgument>> result =
        CallPythonFunction(graph_, callee.text, args, kwargs);
    if (!result.ok()) return At(callee, result.status());
    if (*result) return **std::move(result);
    for (FunctionNamespace name_space :
         {FunctionNamespace::kTensorflow, FunctionNamespace::kBackend}) {
      if (HasFunction(FunctionNamespace::kKerasOps, callee.text)) break;
      if (HasFunction(name_space, callee.text)) {
        return Function(callee, callee.text, args, kwargs, name_space);
      }
    }
    return Function(callee, callee.text, args, kwargs);
  }

  // conv[i](x): a layer that is there several times.
  absl::StatusOr<FunctionArgument> CallCopy(const Node& callee, const Arguments& args,
                                            const KeywordArguments& kwargs) {
    const Node& name = *callee.children[0];
    absl::StatusOr<FunctionArgument> index = Value(*callee.children[1]);
    if (!index.ok()) return index;
    const std::optional<ConfigValue> known = StaticValue(graph_, *index);
    const std::optional<int64_t> copy = known ? known->ToInt() : std::nullopt;
    if (name.kind == Kind::kName && copy && callee.children.size() == 2 && scope_.call_layer) {
      absl::StatusOr<std::optional<FunctionArgument>> result =
          scope_.call_layer(fmt::format("{}_{}", name.text, *copy), args, kwargs);
      if (!result.ok()) return At(callee, result.status());
      if (*result) return **std::move(result);
    }
    return Invalid(callee, "there is no layer of this name and index");
  }

  absl::StatusOr<FunctionArgument> Method(const Node& node, const Arguments& args,
                                          const KeywordArguments& kwargs) {
    absl::StatusOr<FunctionArgument> self = Value(*node.children[0]);
    if (!self.ok()) return self;
    if (node.text == "get_shape" && args.empty()) return Function(node, "shape", {*self}, {});
    if (node.text == "as_list" && args.empty() && ListItems(*self)) return self;
    if (node.text == "get" && !args.empty() && self->is_constant() && self->constant.is_dict() &&
        args[0].is_constant() && args[0].constant.is_string()) {
      const ConfigValue* member = self->constant.Find(args[0].constant.as_string());
      if (member != nullptr) return Constant(*member);
      return args.size() > 1 ? args[1] : FunctionArgument();
    }
    return At(node, absl::NotFoundError(fmt::format("unknown method {}", node.text)));
  }

  absl::StatusOr<FunctionArgument> Slice(const Node& node) {
    FunctionArgument parts[3];
    for (int i = 0; i < 3; ++i) {
      if (!node.children[i]) continue;
      absl::StatusOr<FunctionArgument> value = Value(*node.children[i]);
      if (!value.ok()) return value;
      parts[i] = *std::move(value);
    }
    return FunctionArgument::Slice(parts[0], parts[1], parts[2]);
  }

  absl::StatusOr<FunctionArgument> Index(const Node& node) {
    absl::StatusOr<FunctionArgument> sequence = Value(*node.children[0]);
    if (!sequence.ok()) return sequence;
    Arguments keys;
    for (size_t i = 1; i < node.children.size(); ++i) {
      absl::StatusOr<FunctionArgument> key = Value(*node.children[i]);
      if (!key.ok()) return key;
      keys.push_back(*std::move(key));
    }
    if (sequence->is_constant() && sequence->constant.is_dict()) {
      const bool text = keys.size() == 1 && keys[0].is_constant() && keys[0].constant.is_string();
      const ConfigValue* member =
          text ? sequence->constant.Find(keys[0].constant.as_string()) : nullptr;
      if (member != nullptr) return Constant(*member);
      return Invalid(node, "no such key");
    }
    if (const std::optional<Arguments> items = ListItems(*sequence)) {
      absl::StatusOr<FunctionArgument> item = IndexList(graph_, *items, keys);
      if (!item.ok()) return At(node, item.status());
      return item;
    }
    if (!sequence->is_tensor()) return Invalid(node, "this cannot be indexed");
    const FunctionArgument key = keys.size() == 1 ? keys[0] : FunctionArgument::List(keys);
    return Function(node, "get_item", {*sequence, key}, {});
  }

  absl::StatusOr<FunctionArgument> Unary(const Node& node) {
    absl::StatusOr<FunctionArgument> value = Value(*node.children[0]);
    if (!value.ok()) return value;
    if (value->is_constant()) {
      absl::StatusOr<ConfigValue> result = StaticUnary(node.text, value->constant);
      if (!result.ok()) return At(node, result.status());
      return Constant(*std::move(result));
    }
    if (node.text == "not") {
      const absl::StatusOr<bool> truth = Truth(node, *value);
      if (!truth.ok()) return truth.status();
      return Constant(!*truth);
    }
    return Function(node, node.text == "-" ? "negative" : "positive", {*value}, {});
  }

  absl::StatusOr<bool> Truth(const Node& node, const FunctionArgument& value) {
    if (value.is_list()) return !value.list.empty();
    if (const std::optional<ConfigValue> known = StaticValue(graph_, value)) return IsTrue(*known);
    return Invalid(node,
                   "this depends on the request; use where(condition, a, b), "
                   "logical_and(a, b), logical_or(a, b) or logical_not(a)");
  }

  absl::StatusOr<bool> Condition(const Node& node) {
    const absl::StatusOr<FunctionArgument> value = Value(node);
    if (!value.ok()) return value.status();
    return Truth(node, *value);
  }

  absl::StatusOr<FunctionArgument> Binary(const Node& node) {
    absl::StatusOr<FunctionArgument> left = Value(*node.children[0]);
    if (!left.ok()) return left;
    if (node.text == "and" || node.text == "or") {
      const absl::StatusOr<bool> truth = Truth(*node.children[0], *left);
      if (!truth.ok()) return truth.status();
      if (*truth == (node.text == "or")) return left;
      return Value(*node.children[1]);
    }
    absl::StatusOr<FunctionArgument> right = Value(*node.children[1]);
    if (!right.ok()) return right;
    return Operate(node, *left, *right);
  }

  absl::StatusOr<FunctionArgument> Operate(const Node& node, const FunctionArgument& left,
                                           const FunctionArgument& right) {
    const std::string& op = node.text;
    if (op == "is" || op == "is not") {
      if (!left.is_null() && !right.is_null()) return Invalid(node, "\"is\" is for None only");
      return Constant((left.is_null() && right.is_null()) == (op == "is"));
    }
    if (left.is_constant() && right.is_constant()) {
      absl::StatusOr<ConfigValue> result = StaticBinary(op, left.constant, right.constant);
      if (!result.ok()) return At(node, result.status());
      return Constant(*std::move(result));
    }
    const std::optional<Arguments> first = ListItems(left), second = ListItems(right);
    if (op == "+" && first && second) {
      Arguments joined = *first;
      joined.insert(joined.end(), second->begin(), second->end());
      if (joined.size() > kMaxItems) return Invalid(node, "the list is too long");
      return FunctionArgument::List(std::move(joined));
    }
    constexpr std::pair<std::string_view, std::string_view> kFunctions[] = {
        {"+", "add"},           {"-", "subtract"},      {"*", "multiply"}, {"/", "divide"},
        {"//", "floor_divide"}, {"%", "mod"},           {"**", "power"},   {"@", "matmul"},
        {"==", "equal"},        {"!=", "not_equal"},    {"<", "less"},     {"<=", "less_equal"},
        {">", "greater"},       {">=", "greater_equal"}};
    for (const auto& [text, function] : kFunctions) {
      if (text == op) return Function(node, function, {left, right}, {});
    }
    return Invalid(node, "\"in\" needs values that are known when the model loads");
  }

  absl::StatusOr<FunctionArgument> ListOf(const Node& node) {
    Arguments items;
    bool constant = true;
    for (const auto& child : node.children) {
      absl::StatusOr<FunctionArgument> value = Value(*child);
      if (!value.ok()) return value;
      constant = constant && value->is_constant();
      items.push_back(*std::move(value));
    }
    return Joined(std::move(items), constant);
  }

  static FunctionArgument Joined(Arguments items, bool constant) {
    if (!constant) return FunctionArgument::List(std::move(items));
    ConfigValue::List values;
    for (FunctionArgument& item : items) values.push_back(std::move(item.constant));
    return Constant(std::move(values));
  }

  absl::StatusOr<FunctionArgument> Comprehension(const Node& node) {
    absl::StatusOr<FunctionArgument> iterable = Value(*node.children[1]);
    if (!iterable.ok()) return iterable;
    const std::optional<Arguments> items = ListItems(*iterable);
    if (!items) return Invalid(node, "expected a list to go through");
    const auto old = variables_.find(node.text);
    const std::optional<FunctionArgument> saved =
        old == variables_.end() ? std::nullopt : std::optional<FunctionArgument>(old->second);
    Arguments results;
    bool constant = true;
    for (const FunctionArgument& item : *items) {
      variables_[node.text] = item;
      if (node.children[2]) {
        const absl::StatusOr<bool> wanted = Condition(*node.children[2]);
        if (!wanted.ok()) return wanted.status();
        if (!*wanted) continue;
      }
      absl::StatusOr<FunctionArgument> value = Value(*node.children[0]);
      if (!value.ok()) return value;
      constant = constant && value->is_constant();
      results.push_back(*std::move(value));
    }
    variables_.erase(node.text);
    if (saved) variables_[node.text] = *saved;
    return Joined(std::move(results), constant);
  }

  const Expression& expression_;
  const ExpressionScope& scope_;
  compute::Graph& graph_;
  std::map<std::string, FunctionArgument, std::less<>> variables_;
  int steps_ = 0;
};

}  // namespace

absl::StatusOr<FunctionArgument> EvaluateExpression(const Expression& expression,
                                                    const ExpressionScope& scope) {
  return Evaluator(expression, scope).Run();
}

}  // namespace h5serve::model
