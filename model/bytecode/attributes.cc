#include "model/bytecode/attributes.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>

#include "model/bytecode/operators.h"
#include "model/bytecode/symbols.h"
#include "model/bytecode/text_values.h"

namespace h5serve::model {
namespace {

using Kind = PythonValue::Kind;

template <size_t n>
bool IsOneOf(std::string_view name, const std::array<std::string_view, n>& names) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

// Methods of NumPy arrays and Theano variables that are functions of NumPy.
constexpr std::array<std::string_view, 24> kArrayMethods = {
    "sum", "mean",   "max",      "min",    "prod",    "std",      "var",     "any",
    "all", "argmax", "argmin",   "cumsum", "cumprod", "clip",     "squeeze", "repeat",
    "dot", "ravel",  "swapaxes", "take",   "round",   "diagonal", "trace",   "argsort"};
constexpr std::array<std::string_view, 12> kTensorMethods = {
    "get_shape", "set_shape", "astype", "reshape", "transpose", "dimshuffle",
    "flatten",   "copy",      "numpy",  "norm",    "item",      "ndimension"};
constexpr std::array<std::string_view, 11> kListMethods = {
    "append", "extend", "insert",  "pop",          "index",           "reverse",
    "copy",   "count",  "as_list", "num_elements", "is_fully_defined"};
constexpr std::array<std::string_view, 8> kDictMethods = {"get", "items",      "keys",   "values",
                                                          "pop", "setdefault", "update", "copy"};

PythonValue DTypeOf(Interpretation& run, const PythonValue& tensor) {
  return PythonValue::Constant(std::string(compute::Name(run.graph().dtype(tensor.tensor))));
}

PythonValue TensorAttribute(Interpretation& run, const PythonValue& tensor, std::string_view name) {
  const int rank = run.graph().rank(tensor.tensor);
  if (name == "shape" || name == "_keras_shape") return run.ShapeOf(tensor.tensor);
  if (name == "dtype") return DTypeOf(run, tensor);
  if (name == "ndim") return PythonValue::Constant(int64_t{rank});
  if (name == "T") return CallTable(run, FunctionNamespace::kKerasOps, "transpose", {tensor});
  if (name == "size" && run.graph().shape(tensor.tensor).known()) {
    return PythonValue::Constant(run.graph().shape(tensor.tensor).num_elements());
  }
  if (name == "value" && tensor.kind == Kind::kDimension) return tensor;
  if (name == "real") return tensor;
  if (IsOneOf(name, kArrayMethods) || IsOneOf(name, kTensorMethods)) {
    return run.Method(tensor, std::string(name));
  }
  return run.Fail(fmt::format("unsupported attribute of a tensor: {}", name));
}

// Of a shape: lists and tuples stand for TensorShape, too.
PythonValue SequenceAttribute(Interpretation& run, const PythonValue& list, std::string_view name) {
  if (name == "ndims" || name == "rank") return Length(run, list);
  if (name == "dims") return run.List(*list.items);
  // top_k gives both; a pair of tensors has no other names in TensorFlow.
  if ((name == "values" || name == "indices") && list.items->size() == 2 &&
      (*list.items)[0].is_tensor() && (*list.items)[1].is_tensor()) {
    return (*list.items)[name == "values" ? 0 : 1];
  }
  if (IsOneOf(name, kListMethods)) return run.Method(list, std::string(name));
  return run.Fail(fmt::format("unsupported attribute of {}: {}", KindName(list), name));
}

PythonValue ConstantAttribute(Interpretation& run, const PythonValue& value,
                              std::string_view name) {
  // Of a type's name; of a TensorFlow 1 dimension.
  if (value.is_text() && (name == "base_dtype" || name == "name" || name == "as_numpy_dtype")) {
    return value;
  }
  if (value.is_text() && (name == "is_floating" || name == "is_integer")) {
    const auto type = compute::ParseDType(value.constant.as_string());
    if (type) {
      return PythonValue::Constant(name == "is_floating" ? compute::IsFloat(*type)
                                                         : compute::IsInteger(*type));
    }
  }
  if (value.is_number() && name == "value") return value;
  if (value.is_text() && IsTextMethod(name)) return run.Method(value, std::string(name));
  return run.Fail(fmt::format("unsupported attribute of {}: {}", KindName(value), name));
}

// reshape(a, b) and reshape((a, b)) mean the same.
PythonValue Variadic(Interpretation& run, const PythonItems& args) {
  if (args.size() == 1 && !args[0].is_number() && !args[0].is_tensor()) return args[0];
  return run.Tuple(args);
}

// Theano: numbers are axes, 'x' is a new one; axes left out must have size 1.
PythonValue DimShuffle(Interpretation& run, const PythonValue& x, const PythonItems& args) {
  const PythonValue pattern = Variadic(run, args);
  if (run.failed() || !pattern.is_sequence()) return run.Fail("dimshuffle without a pattern");
  const int rank = run.graph().rank(x.tensor);
  PythonItems order, dropped;
  std::vector<bool> used(static_cast<size_t>(rank), false);
  for (const PythonValue& item : *pattern.items) {
    if (!item.is_whole()) continue;
    if (item.whole() < 0 || item.whole() >= rank || used[static_cast<size_t>(item.whole())]) {
      return run.Fail("dimshuffle with a wrong pattern");
    }
    used[static_cast<size_t>(item.whole())] = true;
    order.push_back(item);
  }
  for (int axis = 0; axis < rank; ++axis) {
    if (used[static_cast<size_t>(axis)]) continue;
    dropped.push_back(PythonValue::Constant(int64_t{axis}));
    order.push_back(dropped.back());
  }
  PythonValue y = CallTable(run, FunctionNamespace::kKerasOps, "transpose", {x, run.Tuple(order)});
  const size_t kept = order.size() - dropped.size();
  for (size_t i = order.size(); i > kept && !run.failed(); --i) {
    y = CallTable(run, FunctionNamespace::kKerasOps, "squeeze",
                  {y, PythonValue::Constant(static_cast<int64_t>(i - 1))});
  }
  for (size_t i = 0; i < pattern.items->size() && !run.failed(); ++i) {
    if ((*pattern.items)[i].is_whole()) continue;
    y = CallTable(run, FunctionNamespace::kKerasOps, "expand_dims",
                  {y, PythonValue::Constant(static_cast<int64_t>(i))});
  }
  return y;
}

// Theano keeps the first ndim - 1 axes; NumPy none.
PythonValue FlattenArray(Interpretation& run, const PythonValue& x, const PythonItems& args,
                         const PythonArguments& kwargs) {
  PythonValue kept = PythonValue::Constant(1);
  if (!args.empty()) kept = args[0];
  for (std::string_view name : {"ndim", "outdim"}) {
    if (const auto found = kwargs.find(name); found != kwargs.end()) kept = found->second;
  }
  const int rank = run.graph().rank(x.tensor);
  if (!kept.is_whole() || kept.whole() < 1 || kept.whole() > std::max(rank, 1)) {
    return run.Fail("flatten with these arguments");
  }
  if (kept.whole() == 1) return CallTable(run, FunctionNamespace::kKerasOps, "ravel", {x});
  PythonItems shape = *run.ShapeOf(x.tensor).items;
  shape.resize(static_cast<size_t>(kept.whole()) - 1);
  shape.push_back(PythonValue::Constant(-1));
  return CallTable(run, FunctionNamespace::kKerasOps, "reshape", {x, run.Tuple(std::move(shape))});
}

PythonValue CallTensorMethod(Interpretation& run, const PythonValue& self, std::string_view name,
                             PythonItems args, PythonArguments kwargs) {
  if (name == "get_shape") return run.ShapeOf(self.tensor);
  if (name == "set_shape") return PythonValue::None();
  if (name == "copy" || name == "numpy") return self;
  if (name == "ndimension") return PythonValue::Constant(int64_t{run.graph().rank(self.tensor)});
  if (name == "dimshuffle") return DimShuffle(run, self, args);
  if (name == "flatten") return FlattenArray(run, self, args, kwargs);
  if (name == "reshape" && kwargs.empty() && !args.empty()) {
    return CallTable(run, FunctionNamespace::kKerasOps, "reshape", {self, Variadic(run, args)});
  }
  if (name == "transpose" && kwargs.empty()) {
    PythonItems all = {self};
    if (!args.empty()) all.push_back(Variadic(run, args));
    return CallTable(run, FunctionNamespace::kKerasOps, "transpose", all);
  }
  if (name == "astype" && args.size() == 1) {
    return CallTable(run, FunctionNamespace::kKerasOps, "cast", {self, args[0]});
  }
  if (IsOneOf(name, kArrayMethods)) {
    args.insert(args.begin(), self);
    return CallTable(run, FunctionNamespace::kNumpy, name, args, kwargs);
  }
  return run.Fail(fmt::format("unsupported method of a tensor: {}", name));
}

// The place of `item` in a list; nullopt when it is not there.
std::optional<size_t> FindItem(Interpretation& run, const PythonValue& list,
                               const PythonValue& item) {
  if (!run.Work(list.items->size())) return std::nullopt;
  for (size_t i = 0; i < list.items->size() && !run.failed(); ++i) {
    if (Truth(run, Compare(run, PythonComparison::kEqual, (*list.items)[i], item))) return i;
  }
  return std::nullopt;
}

PythonValue Grow(Interpretation& run, const PythonValue& list, size_t place,
                 const PythonItems& added) {
  if (!run.heap().Charge(added.size())) return run.Fail("it makes too many values");
  list.items->insert(list.items->begin() + static_cast<std::ptrdiff_t>(place), added.begin(),
                     added.end());
  return PythonValue::None();
}

PythonValue CallListMethod(Interpretation& run, const PythonValue& self, std::string_view name,
                           const PythonItems& args) {
  PythonItems& items = *self.items;
  if (name == "append" && args.size() == 1) return Grow(run, self, items.size(), {args[0]});
  if (name == "extend" && args.size() == 1) {
    const PythonItems added = Items(run, args[0]);
    return Grow(run, self, items.size(), added);
  }
  if (name == "insert" && args.size() == 2 && args[0].is_whole()) {
    const int64_t size = static_cast<int64_t>(items.size());
    const int64_t place = args[0].whole() < 0 ? args[0].whole() + size : args[0].whole();
    return Grow(run, self, static_cast<size_t>(std::clamp<int64_t>(place, 0, size)), {args[1]});
  }
  if (name == "pop" && args.size() <= 1 && !items.empty()) {
    const PythonValue place = args.empty() ? PythonValue::Constant(-1) : args[0];
    const PythonValue taken = Subscript(run, self, place);
    if (run.failed() || !place.is_whole()) return {};
    const int64_t at =
        place.whole() < 0 ? place.whole() + static_cast<int64_t>(items.size()) : place.whole();
    items.erase(items.begin() + at);
    return taken;
  }
  if (name == "index" && args.size() == 1) {
    const std::optional<size_t> place = FindItem(run, self, args[0]);
    return place ? PythonValue::Constant(static_cast<int64_t>(*place))
                 : run.Fail("index of what is not in the list");
  }
  if (!args.empty()) return run.Fail(fmt::format("unsupported call of a list's {}", name));
  if (name == "reverse") {
    std::reverse(items.begin(), items.end());
    return PythonValue::None();
  }
  if (name == "copy" || name == "as_list") return run.List(items);
  if (name == "is_fully_defined") {
    return PythonValue::Constant(std::none_of(items.begin(), items.end(), [](const auto& item) {
      return item.kind == Kind::kDimension;
    }));
  }
  if (name == "num_elements") {
    PythonValue product = PythonValue::Constant(1);
    for (const PythonValue& item : items) {
      product = BinaryOperation(run, PythonOperator::kMultiply, product, item, false);
    }
    return product;
  }
  return run.Fail(fmt::format("unsupported method of a list: {}", name));
}

PythonValue UpdateDict(Interpretation& run, const PythonValue& self, const PythonItems& args,
                       const PythonArguments& kwargs) {
  const PythonValue added = CallBuiltin(run, "dict", args, kwargs);
  if (run.failed()) return {};
  for (size_t i = 0; i + 1 < added.items->size() && !run.failed(); i += 2) {
    StoreSubscript(run, self, (*added.items)[i], (*added.items)[i + 1]);
  }
  return PythonValue::None();
}

// dict.pop(key[, default])
PythonValue PopKey(Interpretation& run, const PythonValue& self, const PythonItems& args) {
  const bool held = Contains(run, self, args[0]);
  if (run.failed()) return {};
  if (!held) return args.size() == 2 ? args[1] : run.Fail("it takes out a key that is not there");
  PythonValue taken = Subscript(run, self, args[0]);
  for (size_t i = 0; i + 1 < self.items->size(); i += 2) {
    const PythonValue same = Compare(run, PythonComparison::kEqual, (*self.items)[i], args[0]);
    if (run.failed()) return {};
    if (!same.is_constant() || !Truth(run, same)) continue;
    const auto at = self.items->begin() + static_cast<std::ptrdiff_t>(i);
    self.items->erase(at, at + 2);
    break;
  }
  return taken;
}

PythonValue CallDictMethod(Interpretation& run, const PythonValue& self, std::string_view name,
                           const PythonItems& args) {
  if (name == "get" && (args.size() == 1 || args.size() == 2)) {
    if (Contains(run, self, args[0])) return Subscript(run, self, args[0]);
    return args.size() == 2 ? args[1] : PythonValue::None();
  }
  if (name == "setdefault" && args.size() == 2) {
    if (!Contains(run, self, args[0]) && !run.failed()) {
      StoreSubscript(run, self, args[0], args[1]);
    }
    return run.failed() ? PythonValue() : Subscript(run, self, args[0]);
  }
  if (name == "pop" && (args.size() == 1 || args.size() == 2)) return PopKey(run, self, args);
  if (!args.empty()) return run.Fail(fmt::format("unsupported call of a dict's {}", name));
  if (name == "copy") return run.Sequence(Kind::kDict, *self.items);
  PythonItems result;
  for (size_t i = 0; i + 1 < self.items->size() && !run.failed(); i += 2) {
    const PythonValue &key = (*self.items)[i], &value = (*self.items)[i + 1];
    result.push_back(name == "keys" ? key : name == "values" ? value : run.Tuple({key, value}));
  }
  return run.List(std::move(result));
}

}  // namespace

PythonValue GetAttribute(Interpretation& run, const PythonValue& value, std::string_view name) {
  switch (value.kind) {
    case Kind::kSymbol:
      return SymbolMember(run, value, name);
    case Kind::kTensor:
    case Kind::kDimension:
      return TensorAttribute(run, value, name);
    case Kind::kList:
    case Kind::kTuple:
      return SequenceAttribute(run, value, name);
    case Kind::kDict:
      if (IsOneOf(name, kDictMethods)) return run.Method(value, std::string(name));
      break;
    case Kind::kConstant:
      return ConstantAttribute(run, value, name);
    case Kind::kContext:
    case Kind::kRandom:
      return value;
    default:
      break;
  }
  return run.Fail(fmt::format("unsupported attribute of {}: {}", KindName(value), name));
}

PythonValue CallMethod(Interpretation& run, const PythonValue& self, std::string_view name,
                       PythonItems args, PythonArguments kwargs) {
  if (self.is_tensor()) {
    return CallTensorMethod(run, self, name, std::move(args), std::move(kwargs));
  }
  if (self.is_text()) return CallTextMethod(run, self, name, args, kwargs);
  if (self.kind == Kind::kDict && name == "update") return UpdateDict(run, self, args, kwargs);
  if (!kwargs.empty()) return run.Fail(fmt::format("unsupported call of {}", name));
  if (self.is_sequence()) return CallListMethod(run, self, name, args);
  if (self.kind == Kind::kDict) return CallDictMethod(run, self, name, args);
  return run.Fail(fmt::format("unsupported method of {}: {}", KindName(self), name));
}

}  // namespace h5serve::model
