#include "model/custom/static_value.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <string>

namespace h5serve::model {
namespace {

constexpr size_t kMaxItems = 65536;

bool IsNumeric(const ConfigValue& value) { return value.is_number() || value.is_bool(); }

double Number(const ConfigValue& value) {
  return value.is_bool() ? (value.as_bool() ? 1.0 : 0.0) : value.as_float();
}

std::optional<int64_t> Integer(const ConfigValue& value) {
  if (value.is_bool()) return value.as_bool() ? 1 : 0;
  if (value.is_int()) return value.as_int();
  return std::nullopt;
}

absl::Status Refuse(std::string_view op, const ConfigValue& left, const ConfigValue& right,
                    std::string_view why) {
  return absl::InvalidArgumentError(
      fmt::format("{} {} {}: {}", left.ToJson(40), op, right.ToJson(40), why));
}

std::optional<int64_t> IntegerPower(int64_t base, int64_t exponent) {
  int64_t result = 1;
  // More steps than bits change nothing but 0, 1 and -1.
  if (exponent > 64 && (base > 1 || base < -1)) return std::nullopt;
  if (exponent > 64) exponent = 64 + exponent % 2;
  for (int64_t i = 0; i < exponent; ++i) {
    if (__builtin_mul_overflow(result, base, &result)) return std::nullopt;
  }
  return result;
}

// Python rounds quotients of integers down.
int64_t FloorDivide(int64_t a, int64_t b) { return a / b - ((a % b != 0 && (a < 0) != (b < 0))); }

absl::StatusOr<ConfigValue> Integers(std::string_view op, int64_t a, int64_t b,
                                     const ConfigValue& left, const ConfigValue& right) {
  int64_t result = 0;
  bool overflow = false;
  if (op == "+") {
    overflow = __builtin_add_overflow(a, b, &result);
  } else if (op == "-") {
    overflow = __builtin_sub_overflow(a, b, &result);
  } else if (op == "*") {
    overflow = __builtin_mul_overflow(a, b, &result);
  } else if (op == "**" && b >= 0) {
    const std::optional<int64_t> power = IntegerPower(a, b);
    overflow = !power;
    result = power.value_or(0);
  } else {
    if (b == 0 && op != "**") return Refuse(op, left, right, "a division by zero");
    overflow = b == -1 && a == INT64_MIN;
    if (!overflow && op == "//") {
      result = FloorDivide(a, b);
    } else if (!overflow && op == "%") {
      result = a - FloorDivide(a, b) * b;
    } else if (op == "/") {
      return static_cast<double>(a) / static_cast<double>(b);
    } else if (op == "**") {
      if (a == 0) return Refuse(op, left, right, "a division by zero");
      return std::pow(static_cast<double>(a), static_cast<double>(b));
    }
  }
  if (overflow) return Refuse(op, left, right, "the result does not fit 64 bits");
  return result;
}

absl::StatusOr<ConfigValue> Floats(std::string_view op, double a, double b, const ConfigValue& left,
                                   const ConfigValue& right) {
  if (op == "+") return a + b;
  if (op == "-") return a - b;
  if (op == "*") return a * b;
  if (op == "**") {
    const double power = std::pow(a, b);
    if (std::isnan(power) || (a == 0 && b < 0)) return Refuse(op, left, right, "no real number");
    return power;
  }
  if (b == 0) return Refuse(op, left, right, "a division by zero");
  if (op == "/") return a / b;
  const double floor = std::floor(a / b);
  return op == "//" ? floor : a - floor * b;
}

absl::StatusOr<ConfigValue> Repeat(const ConfigValue& list, int64_t times, std::string_view op,
                                   const ConfigValue& left, const ConfigValue& right) {
  const ConfigValue::List& items = list.as_list();
  times = std::max<int64_t>(times, 0);
  if (!items.empty() && times > static_cast<int64_t>(kMaxItems / items.size())) {
    return Refuse(op, left, right, "the list would be too long");
  }
  ConfigValue::List result;
  for (int64_t i = 0; i < times && !items.empty(); ++i) {
    result.insert(result.end(), items.begin(), items.end());
  }
  return ConfigValue(std::move(result));
}

absl::StatusOr<ConfigValue> Arithmetic(std::string_view op, const ConfigValue& left,
                                       const ConfigValue& right) {
  if (IsNumeric(left) && IsNumeric(right)) {
    const std::optional<int64_t> a = Integer(left), b = Integer(right);
    if (a && b) return Integers(op, *a, *b, left, right);
    return Floats(op, Number(left), Number(right), left, right);
  }
  if (op == "+" && left.is_list() && right.is_list()) {
    ConfigValue::List result = left.as_list();
    if (result.size() + right.as_list().size() > kMaxItems) {
      return Refuse(op, left, right, "the list would be too long");
    }
    result.insert(result.end(), right.as_list().begin(), right.as_list().end());
    return ConfigValue(std::move(result));
  }
  if (op == "+" && left.is_string() && right.is_string()) {
    if (left.as_string().size() + right.as_string().size() > kMaxItems) {
      return Refuse(op, left, right, "the text would be too long");
    }
    return ConfigValue(left.as_string() + right.as_string());
  }
  if (op == "*" && left.is_list() && Integer(right)) {
    return Repeat(left, *Integer(right), op, left, right);
  }
  if (op == "*" && right.is_list() && Integer(left)) {
    return Repeat(right, *Integer(left), op, left, right);
  }
  return Refuse(op, left, right, "these types do not go together");
}

bool Equal(const ConfigValue& left, const ConfigValue& right) {
  if (IsNumeric(left) && IsNumeric(right)) {
    const std::optional<int64_t> a = Integer(left), b = Integer(right);
    return a && b ? *a == *b : Number(left) == Number(right);
  }
  if (left.is_list() && right.is_list()) {
    return std::equal(left.as_list().begin(), left.as_list().end(), right.as_list().begin(),
                      right.as_list().end(), Equal);
  }
  return left == right;
}

absl::StatusOr<ConfigValue> Ordered(std::string_view op, const ConfigValue& left,
                                    const ConfigValue& right) {
  bool less = false, greater = false;
  if (IsNumeric(left) && IsNumeric(right)) {
    less = Number(left) < Number(right);
    greater = Number(left) > Number(right);
    if (std::isnan(Number(left)) || std::isnan(Number(right))) return false;
  } else if (left.is_string() && right.is_string()) {
    less = left.as_string() < right.as_string();
    greater = left.as_string() > right.as_string();
  } else {
    return Refuse(op, left, right, "these types have no order");
  }
  if (op == "<") return less;
  if (op == ">") return greater;
  return op == "<=" ? !greater : !less;
}

absl::StatusOr<ConfigValue> Contains(std::string_view op, const ConfigValue& left,
                                     const ConfigValue& right) {
  bool found = false;
  if (right.is_list()) {
    found = std::any_of(right.as_list().begin(), right.as_list().end(),
                        [&](const ConfigValue& item) { return Equal(item, left); });
  } else if (right.is_dict() && left.is_string()) {
    found = right.Find(left.as_string()) != nullptr;
  } else if (right.is_string() && left.is_string()) {
    found = right.as_string().find(left.as_string()) != std::string::npos;
  } else {
    return Refuse(op, left, right, "expected a list, a dict or text on the right");
  }
  return found == (op == "in");
}

}  // namespace

absl::StatusOr<ConfigValue> StaticBinary(std::string_view op, const ConfigValue& left,
                                         const ConfigValue& right) {
  if (op == "==" || op == "is") return Equal(left, right);
  if (op == "!=" || op == "is not") return !Equal(left, right);
  if (op == "in" || op == "not in") return Contains(op, left, right);
  if (op == "<" || op == "<=" || op == ">" || op == ">=") return Ordered(op, left, right);
  return Arithmetic(op, left, right);
}

absl::StatusOr<ConfigValue> StaticUnary(std::string_view op, const ConfigValue& value) {
  if (op == "not") return !IsTrue(value);
  if (!IsNumeric(value)) {
    return absl::InvalidArgumentError(fmt::format("{}{}: expected a number", op, value.ToJson(40)));
  }
  const std::optional<int64_t> integer = Integer(value);
  if (op == "+") return integer ? ConfigValue(*integer) : value;
  if (!integer) return -Number(value);
  if (*integer == INT64_MIN) return absl::InvalidArgumentError("the result does not fit 64 bits");
  return -*integer;
}

bool IsTrue(const ConfigValue& value) {
  if (value.is_null()) return false;
  if (IsNumeric(value)) return Number(value) != 0;
  if (value.is_string()) return !value.as_string().empty();
  if (value.is_list()) return !value.as_list().empty();
  return !value.as_dict().empty();
}

}  // namespace h5serve::model
