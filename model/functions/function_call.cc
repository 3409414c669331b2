#include "model/functions/function_call.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "compute/ops/elementwise.h"
#include "compute/ops/shape_ops.h"

namespace h5serve::model {
namespace {

using compute::DType;
using compute::Graph;
using compute::Shape;
using compute::Tensor;
using compute::Value;

constexpr int kMaxDepth = compute::kMaxRank;

absl::Status NoTensor(std::string_view why) {
  return absl::InvalidArgumentError(fmt::format("cannot make a tensor of this: {}", why));
}

// Dimensions of nested constant lists, and whether all are filled alike.
bool ShapeOfList(const FunctionArgument& argument, int depth, Shape* shape);

bool ShapeOfConfig(const ConfigValue& value, int depth, Shape* shape) {
  if (!value.is_list()) return depth == shape->rank();
  if (depth >= kMaxDepth) return false;
  const int64_t size = static_cast<int64_t>(value.as_list().size());
  if (depth == shape->rank()) shape->push_back(size);
  if ((*shape)[depth] != size) return false;
  return std::all_of(value.as_list().begin(), value.as_list().end(), [&](const ConfigValue& item) {
    return ShapeOfConfig(item, depth + 1, shape);
  });
}

bool ShapeOfList(const FunctionArgument& argument, int depth, Shape* shape) {
  if (argument.is_constant()) return ShapeOfConfig(argument.constant, depth, shape);
  if (!argument.is_list() || depth >= kMaxDepth) return false;
  const int64_t size = static_cast<int64_t>(argument.list.size());
  if (depth == shape->rank()) shape->push_back(size);
  if ((*shape)[depth] != size) return false;
  return std::all_of(argument.list.begin(), argument.list.end(), [&](const FunctionArgument& item) {
    return ShapeOfList(item, depth + 1, shape);
  });
}

void Leaves(const ConfigValue& value, std::vector<const ConfigValue*>* leaves) {
  if (!value.is_list()) {
    leaves->push_back(&value);
    return;
  }
  for (const ConfigValue& item : value.as_list()) Leaves(item, leaves);
}

void Leaves(const FunctionArgument& argument, std::vector<const ConfigValue*>* leaves) {
  if (argument.is_list()) {
    for (const FunctionArgument& item : argument.list) Leaves(item, leaves);
  } else {
    Leaves(argument.constant, leaves);
  }
}

// First dimensions first: a list's length must be known before its items'.
std::optional<Shape> StaticShape(const FunctionArgument& argument) {
  Shape shape;
  // The second look finds items that came before the depth was known.
  const bool even = ShapeOfList(argument, 0, &shape) && ShapeOfList(argument, 0, &shape);
  return even ? std::optional<Shape>(shape) : std::nullopt;
}

Value StaticTensor(Graph& graph, const FunctionArgument& argument) {
  const std::optional<Shape> shape = StaticShape(argument);
  if (!shape) return graph.Fail(NoTensor("a list whose rows differ"));
  std::vector<const ConfigValue*> leaves;
  Leaves(argument, &leaves);
  const auto all = [&](auto test) { return std::all_of(leaves.begin(), leaves.end(), test); };
  if (static_cast<int64_t>(leaves.size()) != shape->num_elements()) {
    return graph.Fail(NoTensor("a list whose rows differ"));
  }
  if (leaves.empty()) return graph.Constant(Tensor::Floats(*shape, {}));
  if (all([](const ConfigValue* v) { return v->is_string(); })) {
    std::vector<std::string> texts;
    for (const ConfigValue* leaf : leaves) texts.push_back(leaf->as_string());
    return graph.Constant(Tensor::Strings(*shape, std::move(texts)));
  }
  if (all([](const ConfigValue* v) { return v->is_bool(); })) {
    Tensor tensor = Tensor::Allocate(DType::kBool, *shape);
    for (size_t i = 0; i < leaves.size(); ++i)
      tensor.mutable_data<bool>()[i] = leaves[i]->as_bool();
    return graph.Constant(tensor);
  }
  const auto is_int = [](const ConfigValue* v) { return v->is_int() || v->is_bool(); };
  if (all(is_int)) {
    std::vector<int64_t> numbers;
    for (const ConfigValue* v : leaves)
      numbers.push_back(v->is_bool() ? v->as_bool() : v->as_int());
    return graph.Constant(Tensor::Ints(*shape, numbers));
  }
  if (!all([&](const ConfigValue* v) { return v->is_number() || v->is_bool(); })) {
    return graph.Fail(NoTensor("neither numbers nor text"));
  }
  std::vector<float> numbers;
  for (const ConfigValue* v : leaves) {
    numbers.push_back(static_cast<float>(v->is_bool() ? v->as_bool() : v->as_float()));
  }
  return graph.Constant(Tensor::Floats(*shape, numbers));
}

Value ToTensorAt(Graph& graph, const FunctionArgument& argument, int depth) {
  if (argument.is_tensor()) return argument.tensor;
  if (argument.is_static() && (argument.is_list() || argument.is_constant())) {
    return StaticTensor(graph, argument);
  }
  if (!argument.is_list() || depth >= kMaxDepth) return graph.Fail(NoTensor("a slice"));
  std::vector<Value> items;
  for (const FunctionArgument& item : argument.list) {
    items.push_back(ToTensorAt(graph, item, depth + 1));
  }
  return compute::ops::Stack(graph, items, 0);
}

bool AppendInts(const Graph& graph, const FunctionArgument& argument, int depth,
                std::vector<int64_t>* ints);

bool AppendInts(const ConfigValue& value, int depth, std::vector<int64_t>* ints) {
  if (value.is_null()) {
    ints->push_back(compute::kUnknown);
    return depth > 0;
  }
  if (value.is_list()) {
    return depth == 0 && std::all_of(value.as_list().begin(), value.as_list().end(),
                                     [&](const ConfigValue& v) { return AppendInts(v, 1, ints); });
  }
  const std::optional<int64_t> number = value.ToInt();
  if (number) ints->push_back(*number);
  return number.has_value();
}

bool AppendInts(const Graph& graph, const FunctionArgument& argument, int depth,
                std::vector<int64_t>* ints) {
  if (argument.is_constant()) return AppendInts(argument.constant, depth, ints);
  if (argument.is_list()) {
    return depth == 0 && std::all_of(argument.list.begin(), argument.list.end(),
                                     [&](const FunctionArgument& item) {
                                       return AppendInts(graph, item, 1, ints);
                                     });
  }
  if (!argument.is_tensor()) return false;
  const Tensor* known = graph.constant(argument.tensor);
  if (known == nullptr || known->dtype() != DType::kInt64 || known->shape().rank() > 1 - depth) {
    return false;
  }
  ints->insert(ints->end(), known->data<int64_t>(), known->data<int64_t>() + known->num_elements());
  return true;
}

// The constant behind an argument: a scalar tensor that is known counts.
ConfigValue KnownScalar(const Graph& graph, const FunctionArgument& argument) {
  if (argument.is_constant()) {
    const ConfigValue& value = argument.constant;
    // One-element lists stand for their element where a scalar is wanted.
    if (value.is_list() && value.as_list().size() == 1 && !value.as_list()[0].is_list()) {
      return value.as_list()[0];
    }
    return value;
  }
  if (argument.is_list() && argument.list.size() == 1 && !argument.list[0].is_list()) {
    return KnownScalar(graph, argument.list[0]);
  }
  if (!argument.is_tensor()) return {};
  const Tensor* known = graph.constant(argument.tensor);
  if (known == nullptr || known->num_elements() != 1) return {};
  switch (known->dtype()) {
    case DType::kInt64:
      return *known->data<int64_t>();
    case DType::kBool:
      return *known->data<bool>();
    case DType::kFloat32:
      return static_cast<double>(*known->data<float>());
    case DType::kString:
      return *known->data<std::string>();
    default:
      return {};
  }
}

// "float32" in all the ways in which dtypes are written.
std::string DTypeName(const ConfigValue& value) {
  if (value.is_dict()) {
    const ConfigValue& config = value["config"];
    return std::string(config.is_dict() ? config.StringOr("name") : value.StringOr("name"));
  }
  if (!value.is_string()) return "";
  std::string_view text = value.as_string();
  for (std::string_view prefix : {"<dtype: '", "tf.", "tensorflow.", "numpy.", "np.", "torch."}) {
    if (text.substr(0, prefix.size()) == prefix) text.remove_prefix(prefix.size());
  }
  if (text.size() > 2 && text.substr(text.size() - 2) == "'>") text.remove_suffix(2);
  constexpr std::pair<std::string_view, std::string_view> kNames[] = {
      {"DT_FLOAT", "float32"},     {"DT_DOUBLE", "float64"}, {"DT_HALF", "float16"},
      {"DT_BFLOAT16", "bfloat16"}, {"DT_INT8", "int8"},      {"DT_INT16", "int16"},
      {"DT_INT32", "int32"},       {"DT_INT64", "int64"},    {"DT_UINT8", "uint8"},
      {"DT_UINT16", "uint16"},     {"DT_UINT32", "uint32"},  {"DT_UINT64", "uint64"},
      {"DT_BOOL", "bool"},         {"DT_STRING", "string"},  {"float", "float32"},
      {"half", "float16"},         {"double", "float64"},    {"int", "int32"},
      {"bool_", "bool"},           {"str", "string"}};
  for (const auto& [written, name] : kNames) {
    if (text == written) return std::string(name);
  }
  return std::string(text);
}

const FunctionArgument kNone;

}  // namespace

Value ToTensor(Graph& graph, const FunctionArgument& argument) {
  if (argument.is_null()) return graph.Fail(NoTensor("None"));
  return ToTensorAt(graph, argument, 0);
}

std::optional<std::vector<int64_t>> KnownInts(const Graph& graph,
                                              const FunctionArgument& argument) {
  std::vector<int64_t> ints;
  if (!AppendInts(graph, argument, 0, &ints)) return std::nullopt;
  return ints;
}

bool FunctionCall::Has(std::string_view name) const { return !Get(name).is_null(); }

const FunctionArgument& FunctionCall::Get(std::string_view name) const {
  const auto found = arguments_.find(name);
  return found == arguments_.end() ? kNone : found->second;
}

Value FunctionCall::Tensor(std::string_view name) {
  if (!Has(name)) {
    Invalid(fmt::format("missing argument: {}", name));
    return Value{};
  }
  return ToTensor(graph(), Get(name));
}

Value FunctionCall::OptionalTensor(std::string_view name) {
  return Has(name) ? ToTensor(graph(), Get(name)) : Value{};
}

std::vector<Value> FunctionCall::Tensors(std::string_view name) {
  const FunctionArgument& argument = Get(name);
  std::vector<Value> values;
  if (argument.is_list()) {
    for (const FunctionArgument& item : argument.list) values.push_back(ToTensor(graph(), item));
  } else if (argument.is_constant() && argument.constant.is_list()) {
    for (const ConfigValue& item : argument.constant.as_list()) {
      values.push_back(ToTensor(graph(), FunctionArgument::Constant(item)));
    }
  } else {
    values.push_back(Tensor(name));
  }
  return values;
}

std::optional<int64_t> FunctionCall::OptionalInt(std::string_view name) {
  const FunctionArgument& argument = Get(name);
  if (argument.is_null()) return std::nullopt;
  const ConfigValue value = KnownScalar(graph(), argument);
  if (value.is_bool()) return value.as_bool() ? 1 : 0;
  const std::optional<int64_t> number = value.ToInt();
  if (!number)
    Unsupported(name, argument.is_tensor() ? "it must be known when the model loads"
                                           : "expected an integer");
  return number;
}

int64_t FunctionCall::Int(std::string_view name, int64_t otherwise) {
  return OptionalInt(name).value_or(otherwise);
}

int64_t FunctionCall::RequiredInt(std::string_view name) {
  if (!Has(name)) Invalid(fmt::format("missing argument: {}", name));
  return Int(name, 0);
}

double FunctionCall::Float(std::string_view name, double otherwise) {
  const FunctionArgument& argument = Get(name);
  if (argument.is_null()) return otherwise;
  const ConfigValue value = KnownScalar(graph(), argument);
  if (value.is_bool()) return value.as_bool() ? 1 : 0;
  if (value.is_number()) return value.as_float();
  Unsupported(name,
              argument.is_tensor() ? "it must be known when the model loads" : "expected a number");
  return otherwise;
}

bool FunctionCall::Bool(std::string_view name, bool otherwise) {
  const FunctionArgument& argument = Get(name);
  if (argument.is_null()) return otherwise;
  const ConfigValue value = KnownScalar(graph(), argument);
  if (value.is_bool()) return value.as_bool();
  if (const std::optional<int64_t> number = value.ToInt()) return *number != 0;
  Unsupported(name, "expected True or False");
  return otherwise;
}

std::string FunctionCall::String(std::string_view name, std::string_view otherwise) {
  const FunctionArgument& argument = Get(name);
  if (argument.is_null()) return std::string(otherwise);
  const ConfigValue value = KnownScalar(graph(), argument);
  if (value.is_string()) return value.as_string();
  Unsupported(name, "expected text");
  return std::string(otherwise);
}

std::optional<std::vector<int64_t>> FunctionCall::Ints(std::string_view name) {
  const FunctionArgument& argument = Get(name);
  if (argument.is_null()) return std::nullopt;
  std::optional<std::vector<int64_t>> ints = KnownInts(graph(), argument);
  if (!ints) {
    Unsupported(
        name, argument.is_static() ? "expected integers" : "it must be known when the model loads");
  }
  return ints;
}

std::vector<int64_t> FunctionCall::SpatialInts(std::string_view name, int count, int64_t otherwise,
                                               bool channels_first) {
  std::vector<int64_t> sizes = Ints(name).value_or(std::vector<int64_t>{otherwise});
  const size_t wanted = static_cast<size_t>(count);
  if (sizes.size() == wanted + 2) {
    const size_t first = channels_first ? 2 : 1;
    const size_t channel = channels_first ? 1 : wanted + 1;
    if (sizes[0] != 1 || sizes[channel] != 1)
      Unsupported(name, "batch and channels must be left alone");
    sizes = std::vector<int64_t>(sizes.begin() + first, sizes.begin() + first + count);
  }
  if (sizes.size() == 1) sizes.resize(wanted, sizes[0]);
  const bool valid = std::all_of(sizes.begin(), sizes.end(), [](int64_t size) {
    return size >= 1 && size < (int64_t{1} << 31);
  });
  if (sizes.size() != wanted || !valid) {
    Invalid(fmt::format("{}: expected {} positive integers", name, count));
    sizes.assign(wanted, 1);
  }
  return sizes;
}

std::optional<DType> FunctionCall::DType(std::string_view name) {
  const FunctionArgument& argument = Get(name);
  if (argument.is_null()) return std::nullopt;
  const std::optional<compute::DType> dtype = compute::ParseDType(DTypeName(argument.constant));
  if (!dtype) Unsupported(name, fmt::format("unknown type: {}", argument.constant.ToJson(60)));
  return dtype;
}

bool FunctionCall::ChannelsFirst(std::string_view name) {
  const std::string format = String(name, "");
  if (format.empty()) return !is_tensorflow() && context_.channels_first;
  if (format == "channels_first" || format.substr(0, 2) == "NC") return true;
  if (format != "channels_last" && (format.front() != 'N' || format.back() != 'C')) {
    Unsupported(name, "expected channels_last or channels_first");
  }
  return false;
}

FunctionCall::ShapeArgument FunctionCall::Shape(std::string_view name) {
  ShapeArgument result;
  const FunctionArgument& argument = Get(name);
  if (argument.is_null()) {
    Invalid(fmt::format("missing argument: {}", name));
    return result;
  }
  if (const auto ints = KnownInts(graph(), argument)) {
    const bool valid = std::all_of(ints->begin(), ints->end(), [](int64_t dim) {
      return dim >= compute::kUnknown && dim <= compute::kMaxElements;
    });
    if (!valid || ints->size() > compute::kMaxRank) {
      Invalid(fmt::format("{}: no shape: ({})", name, fmt::join(*ints, ", ")));
      return result;
    }
    result.fixed = compute::Shape(std::span<const int64_t>(*ints));
    return result;
  }
  // None beside tensors stands for "whatever is left".
  FunctionArgument filled = argument;
  for (FunctionArgument& item : filled.list) {
    if (item.is_null()) item = FunctionArgument::Constant(int64_t{-1});
  }
  result.value = ToTensor(graph(), filled);
  if (result.value.valid() && graph().rank(result.value) == 0) {
    result.value = compute::ops::ExpandDims(graph(), result.value, 0);
  }
  result.value = compute::ops::Cast(graph(), result.value, compute::DType::kInt64);
  return result;
}

FunctionArgument FunctionCall::Fail(absl::Status status) {
  if (status_.ok()) status_ = std::move(status);
  return {};
}

FunctionArgument FunctionCall::Unsupported(std::string_view name, std::string_view why) {
  const FunctionArgument& argument = Get(name);
  const std::string value = argument.is_constant() ? argument.constant.ToJson(60) : "a tensor";
  return Fail(absl::UnimplementedError(fmt::format("{} = {}: {}", name, value, why)));
}

FunctionArgument FunctionCall::Invalid(std::string message) {
  return Fail(absl::InvalidArgumentError(message));
}

}  // namespace h5serve::model
