#include "model/bytecode/operators.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>

#include "model/bytecode/text_values.h"

namespace h5serve::model {
namespace {

using Kind = PythonValue::Kind;

constexpr size_t kMaxText = 1 << 14;
constexpr size_t kMaxLength = 1 << 16;
constexpr int kMaxNesting = 12;

constexpr std::array<std::string_view, 14> kSigns = {"+", "&",  "//", "<<", "@", "*", "%",
                                                     "|", "**", ">>", "-",  "/", "^", "/"};
constexpr std::array<std::string_view, 6> kComparisonSigns = {"<", "<=", "==", "!=", ">", ">="};

// The functions of the table, which name what the signs mean.
constexpr std::array<std::string_view, 14> kFunctions = {
    "add",        "bitwise_and", "floor_divide", "left_shift", "matmul", "multiply",    "mod",
    "bitwise_or", "power",       "right_shift",  "subtract",   "divide", "bitwise_xor", "divide"};
constexpr std::array<std::string_view, 6> kComparisonFunctions = {
    "less", "less_equal", "equal", "not_equal", "greater", "greater_equal"};

int64_t FloorDivide(int64_t a, int64_t b) { return a / b - (a % b != 0 && (a < 0) != (b < 0)); }

// a ** b for b >= 0, nullopt when it does not fit.
std::optional<int64_t> Power(int64_t a, int64_t b) {
  int64_t result = 1;
  for (int64_t i = 0; i < b; ++i) {
    if (result == 0 || (result == 1 && i > 0 && a == 1)) break;
    if (i > 64 && (a == -1 || a == 1)) return a == -1 && b % 2 == 1 ? -1 : 1;
    if (__builtin_mul_overflow(result, a, &result)) return std::nullopt;
  }
  return result;
}

// Whole numbers as far as 64 bits hold the result; nullopt: they do not, or the
// result is no whole number.
std::optional<int64_t> WholeOperation(PythonOperator op, int64_t a, int64_t b) {
  int64_t result = 0;
  const bool divides = b != 0 && !(a == INT64_MIN && b == -1);
  switch (op) {
    case PythonOperator::kAdd:
      return __builtin_add_overflow(a, b, &result) ? std::nullopt : std::optional(result);
    case PythonOperator::kSubtract:
      return __builtin_sub_overflow(a, b, &result) ? std::nullopt : std::optional(result);
    case PythonOperator::kMultiply:
      return __builtin_mul_overflow(a, b, &result) ? std::nullopt : std::optional(result);
    case PythonOperator::kFloorDivide:
    case PythonOperator::kOldDivide:
      return divides ? std::optional(FloorDivide(a, b)) : std::nullopt;
    case PythonOperator::kModulo:
      return divides ? std::optional(a - FloorDivide(a, b) * b) : std::nullopt;
    case PythonOperator::kPower:
      return b >= 0 ? Power(a, b) : std::nullopt;
    case PythonOperator::kAnd:
      return a & b;
    case PythonOperator::kOr:
      return a | b;
    case PythonOperator::kXor:
      return a ^ b;
    case PythonOperator::kLeftShift:
      if (b < 0 || b > 62) return std::nullopt;
      return __builtin_mul_overflow(a, int64_t{1} << b, &result) ? std::nullopt
                                                                 : std::optional(result);
    case PythonOperator::kRightShift:
      return b < 0 ? std::nullopt : std::optional(a >> std::min<int64_t>(b, 63));
    default:
      return std::nullopt;
  }
}

std::optional<double> RealOperation(PythonOperator op, double a, double b) {
  switch (op) {
    case PythonOperator::kAdd:
      return a + b;
    case PythonOperator::kSubtract:
      return a - b;
    case PythonOperator::kMultiply:
      return a * b;
    case PythonOperator::kDivide:
    case PythonOperator::kOldDivide:
      return b == 0 ? std::nullopt : std::optional(a / b);
    case PythonOperator::kFloorDivide:
      return b == 0 ? std::nullopt : std::optional(std::floor(a / b));
    case PythonOperator::kModulo:
      return b == 0 ? std::nullopt : std::optional(a - b * std::floor(a / b));
    case PythonOperator::kPower: {
      const double result = std::pow(a, b);
      return std::isnan(result) ? std::nullopt : std::optional(result);
    }
    default:
      return std::nullopt;
  }
}

PythonValue NumberOperation(Interpretation& run, PythonOperator op, const PythonValue& a,
                            const PythonValue& b) {
  if (a.is_whole() && b.is_whole()) {
    const std::optional<int64_t> whole = WholeOperation(op, a.whole(), b.whole());
    const bool logical =
        op == PythonOperator::kAnd || op == PythonOperator::kOr || op == PythonOperator::kXor;
    if (whole && logical && a.constant.is_bool() && b.constant.is_bool()) {
      return PythonValue::Constant(*whole != 0);
    }
    if (whole) return PythonValue::Constant(*whole);
    const bool real =
        op == PythonOperator::kDivide || (op == PythonOperator::kPower && b.whole() < 0);
    if (!real) {
      return run.Fail(fmt::format("{} {} {} does not fit 64 bits", a.whole(), Sign(op), b.whole()));
    }
  }
  const std::optional<double> real = RealOperation(op, a.real(), b.real());
  if (!real) {
    return run.Fail(fmt::format("{} {} {} has no value", a.real(), Sign(op), b.real()));
  }
  return PythonValue::Constant(*real);
}

PythonValue Concatenate(Interpretation& run, const PythonValue& a, const PythonValue& b,
                        bool in_place) {
  if (in_place && a.kind == Kind::kList) {
    const PythonItems added = *b.items;
    if (!run.heap().Charge(added.size())) return run.Fail("it makes too many values");
    a.items->insert(a.items->end(), added.begin(), added.end());
    return a;
  }
  PythonItems items = *a.items;
  items.insert(items.end(), b.items->begin(), b.items->end());
  return run.Sequence(a.kind, std::move(items));
}

PythonValue Repeat(Interpretation& run, const PythonValue& sequence, int64_t count) {
  const size_t times = static_cast<size_t>(std::max<int64_t>(count, 0));
  if (sequence.is_text()) {
    std::string text;
    const std::string& part = sequence.constant.as_string();
    if (!part.empty() && times > kMaxText / part.size()) return run.Fail("a text grows too long");
    for (size_t i = 0; i < times && !part.empty(); ++i) text += part;
    return PythonValue::Constant(std::move(text));
  }
  PythonItems items;
  const size_t size = sequence.items->size();
  if (size != 0 && times > kMaxLength / size) return run.Fail("a list grows too long");
  for (size_t i = 0; i < times && size != 0; ++i) {
    items.insert(items.end(), sequence.items->begin(), sequence.items->end());
  }
  return run.Sequence(sequence.kind, std::move(items));
}

// Names by which TensorFlow 1 and Theano compared tensors with ==: as objects.
bool ComparesObjects(Interpretation& run) {
  const Writer& writer = run.writer();
  if (writer.dialect == Writer::Dialect::kKeras3) return false;
  if (writer.theano || writer.backend == "theano" || writer.backend == "cntk") return true;
  if (writer.dialect == Writer::Dialect::kTfKeras) return !writer.AtLeast(2, 2, 4);
  return !writer.AtLeast(2, 3, 0);
}

bool ConstantsEqual(const PythonValue& a, const PythonValue& b) {
  if (a.is_number() && b.is_number()) {
    if (a.is_whole() && b.is_whole()) return a.whole() == b.whole();
    return a.real() == b.real();
  }
  return a.constant == b.constant;
}

// Nullopt where it is not known.
std::optional<bool> Equal(Interpretation& run, const PythonValue& a, const PythonValue& b,
                          int depth) {
  if (depth > kMaxNesting || a.is_tensor() || b.is_tensor()) return std::nullopt;
  if (a.is_constant() && b.is_constant()) {
    const std::string types[] = {DTypeText(a), DTypeText(b)};
    if (!types[0].empty() && !types[1].empty()) return types[0] == types[1];
    return ConstantsEqual(a, b);
  }
  if (a.is_symbol() || b.is_symbol()) {
    const std::string types[] = {DTypeText(a), DTypeText(b)};
    if (!types[0].empty() || !types[1].empty()) return types[0] == types[1];
    return a.kind == b.kind ? std::optional<bool>(a.text == b.text) : false;
  }
  if (a.is_sequence() && b.is_sequence()) {
    if (a.items->size() != b.items->size()) return false;
    if (!run.Work(a.items->size())) return std::nullopt;
    bool unknown = false;
    for (size_t i = 0; i < a.items->size(); ++i) {
      const std::optional<bool> equal = Equal(run, (*a.items)[i], (*b.items)[i], depth + 1);
      if (equal == false) return false;
      unknown = unknown || !equal;
    }
    return unknown ? std::nullopt : std::optional<bool>(true);
  }
  return a.kind == b.kind ? std::nullopt : std::optional<bool>(false);
}

PythonValue CompareConstants(Interpretation& run, PythonComparison op, const PythonValue& a,
                             const PythonValue& b) {
  if (op == PythonComparison::kEqual || op == PythonComparison::kNotEqual) {
    const std::optional<bool> equal = Equal(run, a, b, 0);
    if (!equal) return run.Fail("a comparison depends on the size of the input");
    return PythonValue::Constant(*equal == (op == PythonComparison::kEqual));
  }
  if (a.is_number() && b.is_number()) {
    const bool whole = a.is_whole() && b.is_whole();
    const bool less = whole ? a.whole() < b.whole() : a.real() < b.real();
    const bool greater = whole ? a.whole() > b.whole() : a.real() > b.real();
    switch (op) {
      case PythonComparison::kLess:
        return PythonValue::Constant(less);
      case PythonComparison::kLessEqual:
        return PythonValue::Constant(!greater);
      case PythonComparison::kGreater:
        return PythonValue::Constant(greater);
      default:
        return PythonValue::Constant(!less);
    }
  }
  if (a.is_text() && b.is_text()) {
    const int order = a.constant.as_string().compare(b.constant.as_string());
    const std::array<bool, 6> results = {order<0, order <= 0, false, false, order> 0, order >= 0};
    return PythonValue::Constant(results[static_cast<size_t>(op)]);
  }
  return run.Fail(fmt::format("it compares {} with {}", KindName(a), KindName(b)));
}

}  // namespace

std::string_view Sign(PythonOperator op) { return kSigns[static_cast<size_t>(op)]; }
std::string_view Sign(PythonComparison op) { return kComparisonSigns[static_cast<size_t>(op)]; }

PythonValue BinaryOperation(Interpretation& run, PythonOperator op, const PythonValue& a,
                            const PythonValue& b, bool in_place) {
  if (a.kind == Kind::kRandom || b.kind == Kind::kRandom) return a.kind == Kind::kRandom ? a : b;
  if (a.is_number() && b.is_number()) return NumberOperation(run, op, a, b);
  if (op == PythonOperator::kAdd && a.is_text() && b.is_text()) {
    const std::string text = a.constant.as_string() + b.constant.as_string();
    if (text.size() > kMaxText) return run.Fail("a text grows too long");
    return PythonValue::Constant(text);
  }
  // Shapes are lists to some versions and tuples to others.
  if (op == PythonOperator::kAdd && a.is_sequence() && b.is_sequence()) {
    return Concatenate(run, a, b, in_place);
  }
  if (op == PythonOperator::kMultiply) {
    const auto repeats = [](const PythonValue& v) { return v.is_sequence() || v.is_text(); };
    if (repeats(a) && b.is_whole()) return Repeat(run, a, b.whole());
    if (repeats(b) && a.is_whole()) return Repeat(run, b, a.whole());
  }
  if (op == PythonOperator::kModulo && a.is_text()) {
    return FormatPercent(run, a.constant.as_string(), b);
  }
  const auto takes = [](const PythonValue& v) {
    return v.is_tensor() || v.is_number() || v.is_sequence();
  };
  if (!(a.is_tensor() || b.is_tensor()) || !takes(a) || !takes(b)) {
    return run.Fail(fmt::format("it computes {} {} {}", KindName(a), Sign(op), KindName(b)));
  }
  std::string_view function = kFunctions[static_cast<size_t>(op)];
  if (op == PythonOperator::kOldDivide) {
    const auto whole = [&](const PythonValue& v) {
      return v.is_whole() ||
             (v.is_tensor() && run.graph().dtype(v.tensor) == compute::DType::kInt64);
    };
    if (whole(a) && whole(b)) function = "floor_divide";
  }
  return CallTable(run, FunctionNamespace::kKerasOps, function, {a, b});
}

PythonValue UnaryOperation(Interpretation& run, std::string_view function, const PythonValue& x) {
  if (x.kind == Kind::kRandom) return x;
  if (x.is_whole() && function != "logical_not") {
    const int64_t value = x.whole();
    if (function == "positive") return PythonValue::Constant(value);
    if (function == "invert") return PythonValue::Constant(~value);
    if (function == "negative" && value != INT64_MIN) return PythonValue::Constant(-value);
  }
  if (x.is_number() && function == "negative") return PythonValue::Constant(-x.real());
  if (x.is_number() && function == "positive") return x;
  if (!x.is_tensor()) return run.Fail(fmt::format("it computes {} of {}", function, KindName(x)));
  if (function == "positive") return x;
  return CallTable(run, FunctionNamespace::kKerasOps, function, {x});
}

PythonValue Compare(Interpretation& run, PythonComparison op, const PythonValue& a,
                    const PythonValue& b) {
  if (a.kind == Kind::kRandom || b.kind == Kind::kRandom) return a.kind == Kind::kRandom ? a : b;
  if (!a.is_tensor() && !b.is_tensor()) return CompareConstants(run, op, a, b);
  const bool equality = op == PythonComparison::kEqual || op == PythonComparison::kNotEqual;
  if (equality && (a.is_none() || b.is_none())) {
    const bool same = Identical(run, a, b);
    return PythonValue::Constant(same == (op == PythonComparison::kEqual));
  }
  if (a.kind == Kind::kDimension || b.kind == Kind::kDimension) {
    return run.Fail("a comparison depends on the size of the input");
  }
  if (equality && ComparesObjects(run)) {
    return run.Fail(fmt::format(
        "tensors are compared with {}: the library it was written for compared objects, not values",
        Sign(op)));
  }
  return CallTable(run, FunctionNamespace::kKerasOps, kComparisonFunctions[static_cast<size_t>(op)],
                   {a, b});
}

bool Identical(Interpretation& run, const PythonValue& a, const PythonValue& b) {
  const PythonValue* dimension = a.kind == Kind::kDimension   ? &a
                                 : b.kind == Kind::kDimension ? &b
                                                              : nullptr;
  if (dimension != nullptr && (a.is_none() || b.is_none())) {
    // TensorFlow says None; others know the number when they run.
    return run.writer().dialect != Writer::Dialect::kKeras3 || run.writer().backend == "tensorflow";
  }
  if (a.kind != b.kind) return false;
  if (a.is_constant()) return a.constant == b.constant;
  if (a.is_tensor()) return a.tensor == b.tensor;
  if (a.items != nullptr) return a.items == b.items;
  return a.function == b.function && a.text == b.text;
}

bool Contains(Interpretation& run, const PythonValue& container, const PythonValue& item) {
  if (container.is_text() && item.is_text()) {
    return container.constant.as_string().find(item.constant.as_string()) != std::string::npos;
  }
  const bool dict = container.kind == Kind::kDict;
  if (!container.is_sequence() && container.kind != Kind::kSet && !dict) {
    run.Fail(fmt::format("it looks for something in {}", KindName(container)));
    return false;
  }
  if (!run.Work(container.items->size())) return false;
  bool unknown = false;
  for (size_t i = 0; i < container.items->size(); i += dict ? 2 : 1) {
    const std::optional<bool> equal = Equal(run, (*container.items)[i], item, 0);
    if (equal == true) return true;
    unknown = unknown || !equal;
  }
  if (unknown) run.Fail("a comparison depends on the size of the input");
  return false;
}

bool Truth(Interpretation& run, const PythonValue& value) {
  switch (value.kind) {
    case Kind::kConstant:
      if (value.is_none()) return false;
      if (value.is_text()) return !value.constant.as_string().empty();
      return value.real() != 0;
    case Kind::kList:
    case Kind::kTuple:
    case Kind::kSet:
    case Kind::kDict:
      return !value.items->empty();
    case Kind::kTensor:
      if (const compute::Tensor* known = run.graph().constant(value.tensor);
          known != nullptr && known->num_elements() == 1) {
        if (known->dtype() == compute::DType::kBool) return *known->data<bool>();
        if (known->dtype() == compute::DType::kInt64) return *known->data<int64_t>() != 0;
        if (known->dtype() == compute::DType::kFloat32) return *known->data<float>() != 0;
      }
      run.Fail("a branch depends on the data");
      return false;
    case Kind::kDimension:
      run.Fail("a branch depends on the size of the input");
      return false;
    case Kind::kRandom:
      run.FailRandom(value);
      return false;
    case Kind::kNull:
      run.Malformed("a condition without a value");
      return false;
    default:
      return true;
  }
}

}  // namespace h5serve::model
