#include "model/bytecode/python_value.h"

namespace h5serve::model {
namespace {

// Lambdas hold a handful of values; this is some tens of megabytes.
constexpr size_t kMaxItems = size_t{1} << 18;

}  // namespace

PythonValue PythonValue::Constant(ConfigValue value) {
  PythonValue result;
  result.kind = Kind::kConstant;
  result.constant = std::move(value);
  return result;
}

PythonValue PythonValue::Tensor(compute::Value value) {
  PythonValue result;
  result.kind = Kind::kTensor;
  result.tensor = value;
  return result;
}

PythonValue PythonValue::Dimension(compute::Value value) {
  PythonValue result = Tensor(value);
  result.kind = Kind::kDimension;
  return result;
}

PythonValue PythonValue::Symbol(std::string path) {
  PythonValue result;
  result.kind = Kind::kSymbol;
  result.text = std::move(path);
  return result;
}

PythonValue PythonValue::Simple(Kind kind) {
  PythonValue result;
  result.kind = kind;
  return result;
}

PythonItems* PythonHeap::Make(PythonItems items) {
  if (!Charge(items.size() + 1)) return nullptr;
  items_.push_back(std::make_unique<PythonItems>(std::move(items)));
  return items_.back().get();
}

const PythonFunction* PythonHeap::Make(PythonFunction function) {
  if (!Charge(8 + function.defaults.size() + function.closure.size())) return nullptr;
  functions_.push_back(std::make_unique<PythonFunction>(std::move(function)));
  return functions_.back().get();
}

bool PythonHeap::Charge(size_t items) {
  if (items > kMaxItems - used_) return false;
  used_ += items;
  return true;
}

std::string_view KindName(const PythonValue& value) {
  using Kind = PythonValue::Kind;
  switch (value.kind) {
    case Kind::kNull:
      return "nothing";
    case Kind::kConstant:
      if (value.is_none()) return "None";
      if (value.is_text()) return "text";
      return value.is_number() ? "a number" : "a constant";
    case Kind::kTensor:
      return "a tensor";
    case Kind::kDimension:
      return "an open dimension";
    case Kind::kList:
      return "a list";
    case Kind::kTuple:
      return "a tuple";
    case Kind::kSet:
      return "a set";
    case Kind::kDict:
      return "a dict";
    case Kind::kSlice:
      return "a slice";
    case Kind::kEllipsis:
      return "an ellipsis";
    case Kind::kSymbol:
      return "a module or function";
    case Kind::kMethod:
      return "a method";
    case Kind::kFunction:
      return "a function";
    case Kind::kIterator:
      return "an iterator";
    case Kind::kRandom:
      return "random numbers";
    case Kind::kCell:
    case Kind::kContext:
    case Kind::kBytecode:
      return "an internal object";
  }
  return "";
}

}  // namespace h5serve::model
