// Python's builtins and its math module.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "model/bytecode/attributes.h"
#include "model/bytecode/operators.h"
#include "model/bytecode/symbols.h"
#include "model/bytecode/text_values.h"

namespace h5serve::model {
namespace {

using Kind = PythonValue::Kind;

constexpr int64_t kMaxRange = 1 << 16;

PythonValue BadCall(Interpretation& run, std::string_view name) {
  return run.Fail(fmt::format("{} is called with arguments that are not supported", name));
}

// A number behind a value: a constant, or a tensor that is known.
PythonValue KnownNumber(Interpretation& run, const PythonValue& value) {
  if (value.kind != Kind::kTensor) return value;
  const compute::Tensor* known = run.graph().constant(value.tensor);
  if (known == nullptr || known->num_elements() != 1) return value;
  if (known->dtype() == compute::DType::kInt64)
    return PythonValue::Constant(*known->data<int64_t>());
  if (known->dtype() == compute::DType::kFloat32) {
    return PythonValue::Constant(static_cast<double>(*known->data<float>()));
  }
  return value;
}

PythonValue Range(Interpretation& run, const PythonItems& args) {
  if (args.empty() || args.size() > 3) return BadCall(run, "range");
  std::array<int64_t, 3> bounds = {0, 0, 1};
  for (size_t i = 0; i < args.size(); ++i) {
    const PythonValue number = KnownNumber(run, args[i]);
    if (!number.is_whole()) {
      return run.Fail(fmt::format("a loop over range of {}", KindName(args[i])));
    }
    bounds[args.size() == 1 ? 1 : i] = number.whole();
  }
  const auto [start, stop, step] = bounds;
  if (step == 0) return run.Fail("the step of a range is 0");
  PythonItems items;
  for (int64_t i = start; step > 0 ? i < stop : i > stop;) {
    if (static_cast<int64_t>(items.size()) >= kMaxRange) return run.Fail("a range is too long");
    items.push_back(PythonValue::Constant(i));
    if (__builtin_add_overflow(i, step, &i)) break;
  }
  return run.version() == PythonVersion::k27 ? run.List(std::move(items))
                                             : run.Tuple(std::move(items));
}

PythonValue ToInt(Interpretation& run, const PythonItems& args) {
  if (args.size() != 1) return BadCall(run, "int");
  const PythonValue value = KnownNumber(run, args[0]);
  // int() of a dimension is that dimension when the code runs.
  if (value.kind == Kind::kDimension) return value;
  if (value.is_whole()) return PythonValue::Constant(value.whole());
  if (value.is_number() && std::fabs(value.real()) < 9e18) {
    return PythonValue::Constant(static_cast<int64_t>(value.real()));
  }
  return run.Fail(fmt::format("it takes int of {}", KindName(args[0])));
}

PythonValue ToFloat(Interpretation& run, const PythonItems& args) {
  if (args.size() != 1) return BadCall(run, "float");
  const PythonValue value = KnownNumber(run, args[0]);
  if (value.is_number()) return PythonValue::Constant(value.real());
  if (value.kind == Kind::kDimension) {
    return CallTable(run, FunctionNamespace::kKerasOps, "cast",
                     {value, PythonValue::Constant("float32")});
  }
  if (value.is_text() &&
      (value.constant.as_string() == "inf" || value.constant.as_string() == "-inf")) {
    return PythonValue::Constant(value.constant.as_string() == "inf" ? HUGE_VAL : -HUGE_VAL);
  }
  return run.Fail(fmt::format("it takes float of {}", KindName(args[0])));
}

PythonValue Extreme(Interpretation& run, const PythonItems& args, bool largest) {
  const PythonItems items = args.size() == 1 ? Items(run, args[0]) : args;
  if (run.failed() || items.empty()) return BadCall(run, largest ? "max" : "min");
  PythonValue best = items[0];
  for (size_t i = 1; i < items.size(); ++i) {
    const PythonValue better = Compare(
        run, largest ? PythonComparison::kGreater : PythonComparison::kLess, items[i], best);
    if (Truth(run, better)) best = items[i];
    if (run.failed()) return {};
  }
  return best;
}

PythonValue Sum(Interpretation& run, const PythonItems& args) {
  if (args.empty() || args.size() > 2) return BadCall(run, "sum");
  const PythonItems items = Items(run, args[0]);
  PythonValue total = args.size() == 2 ? args[1] : PythonValue::Constant(0);
  for (const PythonValue& item : items) {
    if (run.failed()) return {};
    // 0 + tensor is the tensor.
    const bool nothing = total.is_whole() && total.whole() == 0 && item.is_tensor();
    total = nothing ? item : BinaryOperation(run, PythonOperator::kAdd, total, item, false);
  }
  return total;
}

PythonValue Zip(Interpretation& run, const PythonItems& args) {
  std::vector<PythonItems> columns;
  size_t length = args.empty() ? 0 : SIZE_MAX;
  for (const PythonValue& arg : args) {
    columns.push_back(Items(run, arg));
    length = std::min(length, columns.back().size());
  }
  PythonItems rows;
  for (size_t i = 0; i < length && !run.failed(); ++i) {
    PythonItems row;
    for (const PythonItems& column : columns) row.push_back(column[i]);
    rows.push_back(run.Tuple(std::move(row)));
  }
  return run.List(std::move(rows));
}

PythonValue Enumerate(Interpretation& run, const PythonItems& args, const PythonArguments& kwargs) {
  if (args.empty() || args.size() > 2) return BadCall(run, "enumerate");
  PythonValue start = PythonValue::Constant(0);
  if (args.size() == 2) start = args[1];
  if (const auto named = kwargs.find("start"); named != kwargs.end()) start = named->second;
  if (!start.is_whole() || std::abs(start.whole()) > kMaxRange) return BadCall(run, "enumerate");
  PythonItems rows;
  int64_t index = start.whole();
  for (PythonValue& item : Items(run, args[0])) {
    rows.push_back(run.Tuple({PythonValue::Constant(index++), std::move(item)}));
    if (run.failed()) return {};
  }
  return run.List(std::move(rows));
}

PythonValue Map(Interpretation& run, const PythonItems& args) {
  if (args.size() < 2) return BadCall(run, "map");
  const PythonValue rows = Zip(run, PythonItems(args.begin() + 1, args.end()));
  if (run.failed()) return {};
  PythonItems results;
  for (const PythonValue& row : *rows.items) {
    results.push_back(run.Call(args[0], *row.items, {}));
    if (run.failed()) return {};
  }
  return run.List(std::move(results));
}

PythonValue Reduce(Interpretation& run, const PythonItems& args) {
  if (args.size() < 2 || args.size() > 3) return BadCall(run, "reduce");
  PythonItems items = Items(run, args[1]);
  if (args.size() == 3) items.insert(items.begin(), args[2]);
  if (run.failed() || items.empty()) return BadCall(run, "reduce");
  PythonValue total = items[0];
  for (size_t i = 1; i < items.size() && !run.failed(); ++i) {
    total = run.Call(args[0], {total, items[i]}, {});
  }
  return total;
}

// Numbers and text have an order, and so have pairs of them.
bool Ordered(const PythonValue& a, const PythonValue& b) {
  return (a.is_number() && b.is_number()) || (a.is_text() && b.is_text()) ||
         (a.kind == Kind::kTuple && b.kind == Kind::kTuple && !a.items->empty() &&
          !b.items->empty() && Ordered(a.items->front(), b.items->front()));
}

bool Less(const PythonValue& a, const PythonValue& b) {
  if (a.is_number()) return a.real() < b.real();
  if (a.is_text()) return a.constant.as_string() < b.constant.as_string();
  return Less(a.items->front(), b.items->front());
}

// Tuples go by their first items, which therefore must differ.
bool SameKey(const PythonValue& a, const PythonValue& b) {
  return a.kind == Kind::kTuple && !Less(a, b) && !Less(b, a);
}

PythonValue Sorted(Interpretation& run, const PythonItems& args, const PythonArguments& kwargs) {
  if (args.size() != 1) return BadCall(run, "sorted");
  const PythonItems items = Items(run, args[0]);
  bool reverse = false;
  PythonItems keys = items;
  for (const auto& [name, value] : kwargs) {
    if (name == "reverse") reverse = Truth(run, value);
    if (name == "key" && !value.is_none()) {
      for (PythonValue& key : keys) key = run.Call(value, {key}, {});
    }
  }
  if (run.failed()) return {};
  std::vector<size_t> order(items.size());
  for (size_t i = 0; i < order.size(); ++i) {
    order[i] = i;
    if (!Ordered(keys[i], keys[0])) return BadCall(run, "sorted");
  }
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return reverse ? Less(keys[b], keys[a]) : Less(keys[a], keys[b]);
  });
  PythonItems sorted;
  for (size_t i = 0; i < order.size(); ++i) {
    if (i > 0 && SameKey(keys[order[i - 1]], keys[order[i]])) return BadCall(run, "sorted");
    sorted.push_back(items[order[i]]);
  }
  return run.List(std::move(sorted));
}

PythonValue Filter(Interpretation& run, const PythonItems& args) {
  if (args.size() != 2) return BadCall(run, "filter");
  PythonItems kept;
  for (const PythonValue& item : Items(run, args[1])) {
    const bool keep = Truth(run, args[0].is_none() ? item : run.Call(args[0], {item}, {}));
    if (run.failed()) return {};
    if (keep) kept.push_back(item);
  }
  return run.List(std::move(kept));
}

// Whether tensors and lists have what code asks them for: tensors a shape, lists none.
PythonValue HasAttr(Interpretation& run, const PythonItems& args) {
  if (args.size() != 2 || !args[1].is_text()) return BadCall(run, "hasattr");
  const std::string& name = args[1].constant.as_string();
  constexpr std::array<std::string_view, 5> kOfTensors = {"shape", "dtype", "get_shape", "ndim",
                                                          "__getitem__"};
  constexpr std::array<std::string_view, 2> kOfLists = {"__len__", "__iter__"};
  const bool tensors = std::find(kOfTensors.begin(), kOfTensors.end(), name) != kOfTensors.end();
  const bool lists = std::find(kOfLists.begin(), kOfLists.end(), name) != kOfLists.end();
  const PythonValue& value = args[0];
  if (value.kind == Kind::kTensor && tensors && name != "ndim") return PythonValue::Constant(true);
  if (value.is_sequence() && lists) return PythonValue::Constant(true);
  if (value.is_sequence() && tensors && name != "__getitem__") return PythonValue::Constant(false);
  if (value.is_number() && (tensors || lists)) return PythonValue::Constant(false);
  return BadCall(run, "hasattr");
}

PythonValue AnyAll(Interpretation& run, const PythonItems& args, bool any) {
  if (args.size() != 1) return BadCall(run, any ? "any" : "all");
  for (const PythonValue& item : Items(run, args[0])) {
    const bool holds = Truth(run, item);
    if (run.failed()) return {};
    if (holds == any) return PythonValue::Constant(any);
  }
  return PythonValue::Constant(!any);
}

bool IsOfType(const PythonValue& value, std::string_view type) {
  if (type == "builtins.list") return value.kind == Kind::kList;
  if (type == "builtins.tuple") return value.kind == Kind::kTuple;
  if (type == "builtins.dict") return value.kind == Kind::kDict;
  if (type == "builtins.str") return value.is_text();
  if (type == "builtins.bool") return value.is_constant() && value.constant.is_bool();
  if (type == "builtins.int") return value.is_whole();
  if (type == "builtins.float") return value.is_constant() && value.constant.is_float();
  const std::string_view name = type.substr(type.rfind('.') + 1);
  return (name == "Tensor" || name == "KerasTensor") && value.kind == Kind::kTensor;
}

PythonValue IsInstance(Interpretation& run, const PythonItems& args) {
  if (args.size() != 2) return BadCall(run, "isinstance");
  const PythonItems types = args[1].is_sequence() ? *args[1].items : PythonItems{args[1]};
  bool fits = false;
  for (const PythonValue& type : types) {
    if (!type.is_symbol()) return BadCall(run, "isinstance");
    fits = fits || IsOfType(args[0], type.text);
  }
  return PythonValue::Constant(fits);
}

PythonValue Absolute(Interpretation& run, const PythonItems& args) {
  if (args.size() != 1) return BadCall(run, "abs");
  const PythonValue& x = args[0];
  if (x.is_whole() && x.whole() != INT64_MIN) return PythonValue::Constant(std::abs(x.whole()));
  if (x.is_number()) return PythonValue::Constant(std::fabs(x.real()));
  return UnaryOperation(run, "abs", x);
}

PythonValue MakeSlice(Interpretation& run, const PythonItems& args) {
  if (args.empty() || args.size() > 3) return BadCall(run, "slice");
  PythonItems parts(3, PythonValue::None());
  if (args.size() == 1) parts[1] = args[0];
  for (size_t i = 0; i < args.size() && args.size() > 1; ++i) parts[i] = args[i];
  return run.Sequence(Kind::kSlice, std::move(parts));
}

PythonValue Round(Interpretation& run, const PythonItems& args) {
  if (args.size() == 1 && args[0].is_number()) {
    // To the nearest even number in Python 3, away from zero in Python 2.
    const double x = args[0].real();
    if (run.version() == PythonVersion::k27) return PythonValue::Constant(std::round(x));
    if (std::fabs(x) < 9e18) return PythonValue::Constant(static_cast<int64_t>(std::nearbyint(x)));
  }
  if (args.size() == 1 && args[0].is_tensor()) return UnaryOperation(run, "round", args[0]);
  return BadCall(run, "round");
}

PythonValue MakeDict(Interpretation& run, const PythonItems& args, const PythonArguments& kwargs) {
  PythonValue dict = run.Sequence(Kind::kDict, {});
  for (const PythonValue& arg : args) {
    if (arg.kind == Kind::kDict) {
      for (size_t i = 0; i + 1 < arg.items->size() && !run.failed(); i += 2) {
        StoreSubscript(run, dict, (*arg.items)[i], (*arg.items)[i + 1]);
      }
      continue;
    }
    for (const PythonValue& pair : Items(run, arg)) {
      const PythonItems parts = Items(run, pair);
      if (run.failed() || parts.size() != 2) return BadCall(run, "dict");
      StoreSubscript(run, dict, parts[0], parts[1]);
    }
  }
  for (const auto& [name, value] : kwargs) {
    if (run.failed()) return {};
    StoreSubscript(run, dict, PythonValue::Constant(name), value);
  }
  return dict;
}

PythonValue GetAttr(Interpretation& run, const PythonItems& args) {
  if (args.size() < 2 || !args[1].is_text()) return BadCall(run, "getattr");
  return GetAttribute(run, args[0], args[1].constant.as_string());
}

PythonValue Reversed(Interpretation& run, const PythonItems& args) {
  if (args.size() != 1) return BadCall(run, "reversed");
  PythonItems items = Items(run, args[0]);
  std::reverse(items.begin(), items.end());
  return run.List(std::move(items));
}

PythonValue Convert(Interpretation& run, std::string_view name, const PythonItems& args) {
  const Kind kind = name == "list" ? Kind::kList : name == "tuple" ? Kind::kTuple : Kind::kSet;
  if (args.size() > 1) return BadCall(run, name);
  return run.Sequence(kind, args.empty() ? PythonItems{} : Items(run, args[0]));
}

PythonValue Next(Interpretation& run, const PythonItems& args) {
  if (args.empty() || args[0].kind != Kind::kIterator) return BadCall(run, "next");
  if (args[0].items->empty()) return args.size() > 1 ? args[1] : BadCall(run, "next");
  PythonValue item = args[0].items->back();
  args[0].items->pop_back();
  return item;
}

constexpr std::array<std::string_view, 36> kBuiltins = {
    "abs",        "all",    "any",     "bool",   "dict",     "enumerate", "float",  "getattr",
    "int",        "iter",   "len",     "list",   "long",     "map",       "max",    "min",
    "next",       "pow",    "print",   "range",  "reversed", "reduce",    "round",  "set",
    "isinstance", "slice",  "sorted",  "str",    "sum",      "tuple",     "xrange", "zip",
    "divmod",     "filter", "hasattr", "unicode"};

}  // namespace

bool IsBuiltin(std::string_view name) {
  return std::find(kBuiltins.begin(), kBuiltins.end(), name) != kBuiltins.end();
}

PythonValue CallBuiltin(Interpretation& run, std::string_view name, PythonItems args,
                        PythonArguments kwargs) {
  if (name == "enumerate") return Enumerate(run, args, kwargs);
  if (name == "dict") return MakeDict(run, args, kwargs);
  if (name == "sorted") return Sorted(run, args, kwargs);
  if (name == "print") return PythonValue::None();
  if (!kwargs.empty()) return BadCall(run, name);
  if (name == "range" || name == "xrange") return Range(run, args);
  if (name == "len" && args.size() == 1) return Length(run, args[0]);
  if (name == "int" || name == "long") return ToInt(run, args);
  if (name == "float") return ToFloat(run, args);
  if (name == "bool" && args.size() == 1) return PythonValue::Constant(Truth(run, args[0]));
  if (name == "abs") return Absolute(run, args);
  if (name == "max" || name == "min") return Extreme(run, args, name == "max");
  if (name == "sum") return Sum(run, args);
  if (name == "zip") return Zip(run, args);
  if (name == "map") return Map(run, args);
  if (name == "reduce") return Reduce(run, args);
  if (name == "any" || name == "all") return AnyAll(run, args, name == "any");
  if (name == "isinstance") return IsInstance(run, args);
  if ((name == "str" || name == "unicode") && args.size() == 1) return TextOf(run, args[0]);
  if (name == "filter") return Filter(run, args);
  if (name == "hasattr") return HasAttr(run, args);
  if (name == "slice") return MakeSlice(run, args);
  if (name == "round") return Round(run, args);
  if (name == "reversed") return Reversed(run, args);
  if (name == "getattr") return GetAttr(run, args);
  if (name == "list" || name == "tuple" || name == "set") return Convert(run, name, args);
  if (name == "iter" && args.size() == 1) return run.Iterator(Items(run, args[0]));
  if (name == "next") return Next(run, args);
  if (name == "pow" && args.size() == 2) {
    return BinaryOperation(run, PythonOperator::kPower, args[0], args[1], false);
  }
  if (name == "divmod" && args.size() == 2) {
    return run.Tuple({BinaryOperation(run, PythonOperator::kFloorDivide, args[0], args[1], false),
                      BinaryOperation(run, PythonOperator::kModulo, args[0], args[1], false)});
  }
  return BadCall(run, name);
}

PythonValue CallMath(Interpretation& run, std::string_view name, const PythonItems& args) {
  std::vector<double> numbers;
  for (const PythonValue& arg : args) {
    const PythonValue number = KnownNumber(run, arg);
    if (!number.is_number()) {
      return run.Fail(fmt::format("math.{} of {}", name, KindName(arg)));
    }
    numbers.push_back(number.real());
  }
  using OneArgument = double (*)(double);
  constexpr std::pair<std::string_view, OneArgument> kOne[] = {
      {"sqrt", std::sqrt}, {"exp", std::exp},     {"log2", std::log2},   {"log10", std::log10},
      {"sin", std::sin},   {"cos", std::cos},     {"tan", std::tan},     {"tanh", std::tanh},
      {"asin", std::asin}, {"acos", std::acos},   {"atan", std::atan},   {"sinh", std::sinh},
      {"cosh", std::cosh}, {"fabs", std::fabs},   {"log1p", std::log1p}, {"expm1", std::expm1},
      {"erf", std::erf},   {"gamma", std::tgamma}};
  double result = std::nan("");
  if (numbers.size() == 1) {
    const double x = numbers[0];
    for (const auto& [written, function] : kOne) {
      if (name == written) result = function(x);
    }
    if (name == "log") result = std::log(x);
    if (name == "radians") result = x * M_PI / 180;
    if (name == "degrees") result = x * 180 / M_PI;
    const bool rounds = name == "floor" || name == "ceil" || name == "trunc";
    if (rounds && std::fabs(x) < 9e18) {
      const double whole = name == "floor"  ? std::floor(x)
                           : name == "ceil" ? std::ceil(x)
                                            : std::trunc(x);
      if (run.version() == PythonVersion::k27) return PythonValue::Constant(whole);
      return PythonValue::Constant(static_cast<int64_t>(whole));
    }
  }
  if (numbers.size() == 2 && name == "pow") result = std::pow(numbers[0], numbers[1]);
  if (numbers.size() == 2 && name == "log") result = std::log(numbers[0]) / std::log(numbers[1]);
  if (numbers.size() == 2 && name == "atan2") result = std::atan2(numbers[0], numbers[1]);
  if (std::isnan(result)) return run.Fail(fmt::format("math.{} with these arguments", name));
  return PythonValue::Constant(result);
}

}  // namespace h5serve::model
