#include "model/custom/expression_builtins.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "model/custom/quantizer.h"

namespace h5serve::model {
namespace {

using Arguments = std::vector<FunctionArgument>;

constexpr size_t kMaxItems = 4096;
constexpr int64_t kMaxBound = int64_t{1} << 40;

FunctionArgument Constant(ConfigValue value) {
  return FunctionArgument::Constant(std::move(value));
}

absl::Status Invalid(std::string message) { return absl::InvalidArgumentError(message); }

absl::StatusOr<FunctionArgument> Range(const compute::Graph& graph, const Arguments& args) {
  int64_t bounds[3] = {0, 0, 1};
  if (args.empty() || args.size() > 3) return Invalid("range: one to three arguments");
  for (size_t i = 0; i < args.size(); ++i) {
    const std::optional<ConfigValue> value = StaticValue(graph, args[i]);
    const std::optional<int64_t> number = value ? value->ToInt() : std::nullopt;
    if (!number || *number > kMaxBound || *number < -kMaxBound) {
      return Invalid("range: expected integers that are known when the model loads");
    }
    bounds[args.size() == 1 ? 1 : i] = *number;
  }
  if (bounds[2] == 0) return Invalid("range: a step of zero");
  ConfigValue::List items;
  for (int64_t i = bounds[0]; bounds[2] > 0 ? i < bounds[1] : i > bounds[1]; i += bounds[2]) {
    if (items.size() >= kMaxItems) return Invalid("range: too many items");
    items.emplace_back(i);
  }
  return Constant(std::move(items));
}

absl::StatusOr<FunctionArgument> Convert(const compute::Graph& graph, std::string_view name,
                                         const FunctionArgument& argument) {
  const std::optional<ConfigValue> value = StaticValue(graph, argument);
  if (!value || (!value->is_number() && !value->is_bool())) {
    if (argument.is_tensor()) {
      return Invalid("the value is not known when the model loads; use cast(x, dtype)");
    }
    return Invalid(fmt::format("{}: expected a number", name));
  }
  const double number = value->is_bool() ? value->as_bool() : value->as_float();
  if (name == "bool") return Constant(number != 0);
  if (name == "float") return Constant(number);
  if (value->is_int()) return argument;
  if (!(std::abs(number) < 9e18)) return Invalid("int: out of range");
  return Constant(static_cast<int64_t>(number));
}

}  // namespace

std::optional<Arguments> ListItems(const FunctionArgument& value) {
  if (value.is_list()) return value.list;
  if (!value.is_constant() || !value.constant.is_list()) return std::nullopt;
  Arguments items;
  for (const ConfigValue& item : value.constant.as_list()) items.push_back(Constant(item));
  return items;
}

absl::StatusOr<std::optional<FunctionArgument>> CallPythonFunction(const compute::Graph& graph,
                                                                   std::string_view name,
                                                                   const Arguments& args,
                                                                   const KeywordArguments& kwargs) {
  const auto some = [](FunctionArgument value) {
    return std::optional<FunctionArgument>(std::move(value));
  };
  if (name == "len" && args.size() == 1) {
    if (const std::optional<Arguments> items = ListItems(args[0])) {
      return some(Constant(static_cast<int64_t>(items->size())));
    }
    return Invalid("len: expected a list");
  }
  if (name == "range") {
    absl::StatusOr<FunctionArgument> range = Range(graph, args);
    if (!range.ok()) return range.status();
    return some(*std::move(range));
  }
  if ((name == "int" || name == "float" || name == "bool") && args.size() == 1) {
    absl::StatusOr<FunctionArgument> number = Convert(graph, name, args[0]);
    if (!number.ok()) return number.status();
    return some(*std::move(number));
  }
  if (name == "is_quantizer" && args.size() == 1 && args[0].is_constant()) {
    return some(Constant(IsQuantizer(args[0].constant)));
  }
  if (name == "quantizer" && args.size() == 1 && args[0].is_constant()) {
    absl::StatusOr<ConfigValue> steps = QuantizerSteps(args[0].constant);
    if (!steps.ok()) return steps.status();
    return some(Constant(*std::move(steps)));
  }
  if (name == "refuse" && args.size() == 1 && args[0].is_constant()) {
    return (absl::UnimplementedError(args[0].constant.is_string() ? args[0].constant.as_string()
                                                                  : args[0].constant.ToJson(200)));
  }
  if (name == "round" && args.size() == 1 && args[0].is_constant() &&
      args[0].constant.is_number()) {
    // Halves go to the even neighbour, as in Python 3.
    const double rounded = std::nearbyint(args[0].constant.as_float());
    if (std::abs(rounded) < 9e15) return some(Constant(static_cast<int64_t>(rounded)));
  }
  if ((name == "list" || name == "tuple") && args.size() == 1 && ListItems(args[0])) {
    return some(args[0]);
  }
  if (name == "reversed" && args.size() == 1 && ListItems(args[0])) {
    Arguments items = *ListItems(args[0]);
    std::reverse(items.begin(), items.end());
    return some(FunctionArgument::List(std::move(items)));
  }
  if ((name == "max" || name == "min") && args.size() > 1 && kwargs.empty()) {
    return Invalid(
        fmt::format("write {0}imum(a, b) for the {0}imum of two values, "
                    "{0}(x, axis=…) along an axis",
                    name));
  }
  return std::optional<FunctionArgument>();
}

absl::StatusOr<FunctionArgument> IndexList(const compute::Graph& graph, const Arguments& items,
                                           const Arguments& keys) {
  const int64_t size = static_cast<int64_t>(items.size());
  const auto integer = [&graph](const FunctionArgument& argument) {
    const std::optional<ConfigValue> value = StaticValue(graph, argument);
    return value ? value->ToInt() : std::nullopt;
  };
  if (keys.size() != 1) return Invalid("a list has one index");
  if (keys[0].kind != FunctionArgument::Kind::kSlice) {
    const std::optional<int64_t> at = integer(keys[0]);
    if (!at || *at < -size || *at >= size) {
      return Invalid(fmt::format("no item of this index in a list of {}", size));
    }
    return items[*at < 0 ? *at + size : *at];
  }
  int64_t step = 1;
  std::optional<int64_t> bounds[2];
  for (int i = 0; i < 3; ++i) {
    const FunctionArgument& part = keys[0].list[i];
    if (part.is_null()) continue;
    const std::optional<int64_t> value = integer(part);
    if (!value) return Invalid("a slice of a list needs integers");
    if (i == 2) {
      step = *value;
    } else {
      bounds[i] = *value < 0 ? *value + size : *value;
    }
  }
  if (step == 0 || step > kMaxBound || step < -kMaxBound) return Invalid("no step");
  const int64_t low = step > 0 ? 0 : -1, high = step > 0 ? size : size - 1;
  const int64_t start = std::clamp(bounds[0].value_or(step > 0 ? 0 : size - 1), low, high);
  const int64_t stop = std::clamp(bounds[1].value_or(step > 0 ? size : -1), low, high);
  Arguments result;
  for (int64_t i = start; step > 0 ? i < stop : i > stop; i += step) result.push_back(items[i]);
  return FunctionArgument::List(std::move(result));
}

std::optional<ConfigValue> StaticValue(const compute::Graph& graph,
                                       const FunctionArgument& argument) {
  if (argument.is_constant()) return argument.constant;
  if (argument.is_list()) {
    ConfigValue::List items;
    for (const FunctionArgument& item : argument.list) {
      std::optional<ConfigValue> value = StaticValue(graph, item);
      if (!value) return std::nullopt;
      items.push_back(*std::move(value));
    }
    return ConfigValue(std::move(items));
  }
  if (!argument.is_tensor()) return std::nullopt;
  const compute::Tensor* known = graph.constant(argument.tensor);
  if (known == nullptr || known->num_elements() != 1) return std::nullopt;
  switch (known->dtype()) {
    case compute::DType::kInt64:
      return ConfigValue(*known->data<int64_t>());
    case compute::DType::kBool:
      return ConfigValue(*known->data<bool>());
    case compute::DType::kFloat32:
      return ConfigValue(static_cast<double>(*known->data<float>()));
    default:
      return std::nullopt;
  }
}

}  // namespace h5serve::model
