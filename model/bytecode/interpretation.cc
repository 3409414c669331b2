#include "model/bytecode/interpretation.h"

#include <fmt/format.h>

#include <algorithm>

#include "model/functions/operation_layers.h"

namespace h5serve::model {
namespace {

using Kind = PythonValue::Kind;

constexpr int kMaxSteps = 50000;
constexpr int kMaxCallDepth = 32;
constexpr int kMaxNesting = 12;
constexpr size_t kMaxWork = size_t{1} << 22;
constexpr size_t kMaxValues = 20000;
constexpr int64_t kMaxConstantElements = int64_t{1} << 23;
constexpr size_t kMaxText = size_t{1} << 14;
constexpr size_t kMaxArgumentItems = size_t{1} << 16;

FunctionArgument ToArgumentAt(Interpretation& run, const PythonValue& value, int depth,
                              size_t* budget) {
  if (depth > kMaxNesting || *budget == 0) {
    run.Fail("a value is too large or nested too deeply");
    return {};
  }
  --*budget;
  const auto items = [&] {
    std::vector<FunctionArgument> list;
    for (size_t i = 0; i < value.items->size() && !run.failed(); ++i) {
      list.push_back(ToArgumentAt(run, (*value.items)[i], depth + 1, budget));
    }
    return list;
  };
  switch (value.kind) {
    case Kind::kConstant:
      return FunctionArgument::Constant(value.constant);
    case Kind::kTensor:
    case Kind::kDimension:
      return FunctionArgument::Tensor(value.tensor);
    case Kind::kList:
    case Kind::kTuple:
      return FunctionArgument::List(items());
    case Kind::kSlice: {
      std::vector<FunctionArgument> parts = items();
      if (parts.size() != 3) return {};
      return FunctionArgument::Slice(std::move(parts[0]), std::move(parts[1]), std::move(parts[2]));
    }
    case Kind::kEllipsis: {
      FunctionArgument ellipsis;
      ellipsis.kind = FunctionArgument::Kind::kEllipsis;
      return ellipsis;
    }
    case Kind::kSymbol:
      if (const std::string dtype = DTypeText(value); !dtype.empty()) {
        return FunctionArgument::Constant(dtype);
      }
      run.Fail(fmt::format("{} is used as a value", value.text));
      return {};
    case Kind::kRandom:
      run.FailRandom(value);
      return {};
    default:
      run.Fail(fmt::format("{} is used as a value", KindName(value)));
      return {};
  }
}

PythonValue FromConfigAt(Interpretation& run, const ConfigValue& value, int depth) {
  if (depth > kMaxNesting) return run.Fail("a value is nested too deeply");
  if (value.is_list()) {
    PythonItems items;
    for (const ConfigValue& item : value.as_list()) {
      items.push_back(FromConfigAt(run, item, depth + 1));
    }
    return run.List(std::move(items));
  }
  if (!value.is_dict()) return PythonValue::Constant(value);
  // Keras 2 writes arrays as {"type": "ndarray", "value": […]}.
  if (value.StringOr("type") == "ndarray" && value.Find("value") != nullptr) {
    return PythonValue::Tensor(ToTensor(run.graph(), FunctionArgument::Constant(value["value"])));
  }
  const std::string_view class_name = value.StringOr("class_name");
  if (class_name == "__tuple__") {
    PythonValue list = FromConfigAt(run, value["items"], depth + 1);
    if (list.kind == Kind::kList) list.kind = Kind::kTuple;
    return list;
  }
  if (class_name == "__tensor__" || class_name == "__numpy__") {
    return PythonValue::Tensor(
        ToTensor(run.graph(), FunctionArgument::Constant(value["config"]["value"])));
  }
  if (class_name == "__ellipsis__" || class_name == "__slice__") {
    return FromArgument(run, ToFunctionArgument(value));
  }
  if (!class_name.empty()) {
    return run.Fail(fmt::format("it holds an object of class {}", class_name));
  }
  PythonItems items;
  for (const auto& [key, item] : value.as_dict()) {
    items.push_back(PythonValue::Constant(key));
    items.push_back(FromConfigAt(run, item, depth + 1));
  }
  return run.Sequence(Kind::kDict, std::move(items));
}

PythonValue FromObjectAt(Interpretation& run, const PythonObject& object, int depth) {
  using ObjectKind = PythonObject::Kind;
  if (depth > kMaxNesting) return run.Fail("a constant is nested too deeply");
  const auto items = [&](Kind kind) {
    PythonItems list;
    for (size_t i = 0; i < object.items.size() && !run.failed(); ++i) {
      list.push_back(FromObjectAt(run, *object.items[i], depth + 1));
    }
    return run.Sequence(kind, std::move(list));
  };
  switch (object.kind) {
    case ObjectKind::kNone:
      return PythonValue::None();
    case ObjectKind::kBool:
      return PythonValue::Constant(object.integer != 0);
    case ObjectKind::kInt:
      return PythonValue::Constant(object.integer);
    case ObjectKind::kFloat:
      return PythonValue::Constant(object.number);
    case ObjectKind::kText:
    case ObjectKind::kBytes:
      if (object.text.size() > kMaxText) return run.Fail("a text is too long");
      return PythonValue::Constant(object.text);
    case ObjectKind::kTuple:
      return items(Kind::kTuple);
    case ObjectKind::kList:
      return items(Kind::kList);
    case ObjectKind::kSet:
      return items(Kind::kSet);
    case ObjectKind::kDict:
      return items(Kind::kDict);
    case ObjectKind::kEllipsis:
      return PythonValue::Simple(Kind::kEllipsis);
    case ObjectKind::kCode: {
      PythonValue value = PythonValue::Simple(Kind::kBytecode);
      value.code = object.code;
      return value;
    }
    case ObjectKind::kBigInt:
      return run.Fail("a constant does not fit 64 bits");
    case ObjectKind::kComplex:
      return run.Fail("it computes with complex numbers");
    case ObjectKind::kOther:
      break;
  }
  return run.Malformed("a constant that code does not hold");
}

}  // namespace

PythonValue Interpretation::Sequence(Kind kind, PythonItems items) {
  PythonValue value = PythonValue::Simple(kind);
  value.items = heap_.Make(std::move(items));
  if (value.items == nullptr) return Fail("it makes too many values");
  return value;
}

PythonValue Interpretation::Method(PythonValue self, std::string name) {
  PythonItems items;
  items.push_back(std::move(self));
  PythonValue method = Sequence(Kind::kMethod, std::move(items));
  method.text = std::move(name);
  return method;
}

// The next item is the last: taking one is cheap.
PythonValue Interpretation::Iterator(PythonItems items) {
  std::reverse(items.begin(), items.end());
  return Sequence(Kind::kIterator, std::move(items));
}

PythonValue Interpretation::ShapeOf(compute::Value tensor) {
  absl::StatusOr<FunctionArgument> shape = CallFunction(
      functions_, FunctionNamespace::kKerasOps, "shape", {FunctionArgument::Tensor(tensor)}, {});
  if (!shape.ok()) return Fail(std::string(shape.status().message()));
  PythonItems dims;
  for (const FunctionArgument& dim : shape->list) {
    dims.push_back(dim.is_tensor() ? PythonValue::Dimension(dim.tensor)
                                   : PythonValue::Constant(dim.constant));
  }
  return Tuple(std::move(dims));
}

PythonValue Interpretation::Fail(std::string why) {
  if (error_.empty()) error_ = std::move(why);
  return {};
}

PythonValue Interpretation::FailRandom(const PythonValue& value) {
  return Fail(fmt::format(
      "{} draws random numbers: each call gives another result, so there is none to serve",
      value.text));
}

PythonValue Interpretation::Malformed(std::string why) {
  if (error_.empty()) malformed_ = true;
  return Fail(fmt::format("damaged bytecode: {}", why));
}

bool Interpretation::Step() {
  if (++steps_ > kMaxSteps) Fail(fmt::format("it takes more than {} steps", kMaxSteps));
  return !failed();
}

bool Interpretation::Work(size_t items) {
  work_ += items;
  if (work_ > kMaxWork) Fail("it goes through too many values");
  return !failed();
}

bool Interpretation::CheckGraph() {
  const auto& values = graph().values();
  for (; checked_values_ < values.size(); ++checked_values_) {
    const auto& constant = values[checked_values_].constant;
    if (constant) constant_elements_ += constant->num_elements();
  }
  if (values.size() - first_value_ > kMaxValues) Fail("it needs too many operations");
  if (constant_elements_ > kMaxConstantElements) Fail("its constants are too large");
  return !failed();
}

const std::vector<Instruction>* Interpretation::InstructionsOf(const PythonCode& code) {
  const auto known = instructions_.find(&code);
  if (known != instructions_.end()) return &known->second;
  absl::StatusOr<std::vector<Instruction>> read = ReadInstructions(code, version_);
  if (!read.ok()) {
    Malformed(std::string(read.status().message()));
    return nullptr;
  }
  return &instructions_.emplace(&code, *std::move(read)).first->second;
}

bool Interpretation::Enter() {
  if (++depth_ > kMaxCallDepth) Fail("its functions call each other too deeply");
  return !failed();
}

void Interpretation::Assume(std::string what) {
  if (std::find(assumptions_.begin(), assumptions_.end(), what) == assumptions_.end()) {
    assumptions_.push_back(std::move(what));
  }
}

FunctionArgument ToArgument(Interpretation& run, const PythonValue& value) {
  size_t budget = kMaxArgumentItems;
  FunctionArgument argument = ToArgumentAt(run, value, 0, &budget);
  run.Work(kMaxArgumentItems - budget);
  return argument;
}

PythonValue FromArgument(Interpretation& run, const FunctionArgument& argument) {
  switch (argument.kind) {
    case FunctionArgument::Kind::kConstant:
      return FromConfig(run, argument.constant);
    case FunctionArgument::Kind::kTensor:
      return PythonValue::Tensor(argument.tensor);
    case FunctionArgument::Kind::kEllipsis:
      return PythonValue::Simple(Kind::kEllipsis);
    case FunctionArgument::Kind::kList:
    case FunctionArgument::Kind::kSlice: {
      PythonItems items;
      for (const FunctionArgument& item : argument.list) items.push_back(FromArgument(run, item));
      return run.Sequence(
          argument.kind == FunctionArgument::Kind::kList ? Kind::kList : Kind::kSlice,
          std::move(items));
    }
  }
  return {};
}

PythonValue FromConfig(Interpretation& run, const ConfigValue& value) {
  PythonValue result = FromConfigAt(run, value, 0);
  if (result.kind == Kind::kTensor && !result.tensor.valid()) {
    return run.Fail("it holds an array that is none");
  }
  return result;
}

PythonValue FromObject(Interpretation& run, const PythonObject& object) {
  return FromObjectAt(run, object, 0);
}

PythonValue CallTable(Interpretation& run, FunctionNamespace name_space, std::string_view symbol,
                      const PythonItems& args, const PythonArguments& kwargs) {
  // Whether its arguments can be had does not matter when the function cannot.
  if (!HasFunction(name_space, symbol)) {
    const auto missing = CallFunction(run.functions(), name_space, symbol, {}, {});
    return run.Fail(std::string(missing.status().message()));
  }
  std::vector<FunctionArgument> positional;
  for (const PythonValue& arg : args) positional.push_back(ToArgument(run, arg));
  KeywordArguments keywords;
  for (const auto& [name, arg] : kwargs) keywords.emplace(name, ToArgument(run, arg));
  if (run.failed()) return {};
  absl::StatusOr<FunctionArgument> result =
      CallFunction(run.functions(), name_space, symbol, positional, keywords);
  if (!result.ok()) return run.Fail(std::string(result.status().message()));
  if (!run.CheckGraph()) return {};
  return FromArgument(run, *result);
}

}  // namespace h5serve::model
