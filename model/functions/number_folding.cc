#include "model/functions/number_folding.h"

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace h5serve::model {
namespace {

using compute::ops::BinaryKind;
using compute::ops::UnaryKind;

bool IsWhole(const ConfigValue& value) { return value.is_int() || value.is_bool(); }

int64_t Whole(const ConfigValue& value) {
  return value.is_bool() ? value.as_bool() : value.as_int();
}

double Real(const ConfigValue& value) {
  return value.is_bool() ? value.as_bool() : value.as_float();
}

int64_t FloorDivide(int64_t a, int64_t b) { return a / b - (a % b != 0 && (a < 0) != (b < 0)); }

// Integer arithmetic as Python does it, as far as 64 bits hold the result.
std::optional<ConfigValue> FoldWhole(BinaryKind kind, int64_t a, int64_t b) {
  int64_t result = 0;
  const bool divides = b != 0 && !(a == INT64_MIN && b == -1);
  switch (kind) {
    case BinaryKind::kAdd:
      return __builtin_add_overflow(a, b, &result) ? std::nullopt
                                                   : std::optional<ConfigValue>(result);
    case BinaryKind::kSubtract:
      return __builtin_sub_overflow(a, b, &result) ? std::nullopt
                                                   : std::optional<ConfigValue>(result);
    case BinaryKind::kMultiply:
      return __builtin_mul_overflow(a, b, &result) ? std::nullopt
                                                   : std::optional<ConfigValue>(result);
    case BinaryKind::kFloorDivide:
      return divides ? std::optional<ConfigValue>(FloorDivide(a, b)) : std::nullopt;
    case BinaryKind::kMod:
      return divides ? std::optional<ConfigValue>(a - FloorDivide(a, b) * b) : std::nullopt;
    case BinaryKind::kPower: {
      if (b < 0 || b > 64) return std::nullopt;
      result = 1;
      for (int64_t i = 0; i < b; ++i) {
        if (__builtin_mul_overflow(result, a, &result)) return std::nullopt;
      }
      return ConfigValue(result);
    }
    case BinaryKind::kMaximum:
      return ConfigValue(std::max(a, b));
    case BinaryKind::kMinimum:
      return ConfigValue(std::min(a, b));
    case BinaryKind::kBitwiseAnd:
      return ConfigValue(a & b);
    case BinaryKind::kBitwiseOr:
      return ConfigValue(a | b);
    case BinaryKind::kBitwiseXor:
      return ConfigValue(a ^ b);
    default:
      return std::nullopt;
  }
}

std::optional<ConfigValue> FoldReal(BinaryKind kind, double a, double b) {
  switch (kind) {
    case BinaryKind::kAdd:
      return ConfigValue(a + b);
    case BinaryKind::kSubtract:
      return ConfigValue(a - b);
    case BinaryKind::kMultiply:
      return ConfigValue(a * b);
    case BinaryKind::kDivide:
      return b == 0 ? std::nullopt : std::optional<ConfigValue>(a / b);
    case BinaryKind::kFloorDivide:
      return b == 0 ? std::nullopt : std::optional<ConfigValue>(std::floor(a / b));
    case BinaryKind::kMod:
      return b == 0 ? std::nullopt : std::optional<ConfigValue>(a - b * std::floor(a / b));
    case BinaryKind::kPower:
      return ConfigValue(std::pow(a, b));
    case BinaryKind::kMaximum:
      return ConfigValue(std::max(a, b));
    case BinaryKind::kMinimum:
      return ConfigValue(std::min(a, b));
    case BinaryKind::kEqual:
      return ConfigValue(a == b);
    case BinaryKind::kNotEqual:
      return ConfigValue(a != b);
    case BinaryKind::kLess:
      return ConfigValue(a < b);
    case BinaryKind::kLessEqual:
      return ConfigValue(a <= b);
    case BinaryKind::kGreater:
      return ConfigValue(a > b);
    case BinaryKind::kGreaterEqual:
      return ConfigValue(a >= b);
    default:
      return std::nullopt;
  }
}

}  // namespace

std::optional<ConfigValue> FoldNumbers(BinaryKind kind, const ConfigValue& a,
                                       const ConfigValue& b) {
  if (IsWhole(a) && IsWhole(b)) {
    if (auto result = FoldWhole(kind, Whole(a), Whole(b))) return result;
  }
  return FoldReal(kind, Real(a), Real(b));
}

std::optional<ConfigValue> FoldNumber(UnaryKind kind, const ConfigValue& x) {
  const double v = Real(x);
  switch (kind) {
    case UnaryKind::kNegative:
      if (IsWhole(x) && Whole(x) != INT64_MIN) return ConfigValue(-Whole(x));
      return ConfigValue(-v);
    case UnaryKind::kAbs:
      if (IsWhole(x) && Whole(x) != INT64_MIN) return ConfigValue(std::abs(Whole(x)));
      return ConfigValue(std::fabs(v));
    case UnaryKind::kSquare:
      return FoldNumbers(BinaryKind::kMultiply, x, x);
    case UnaryKind::kSqrt:
      return v < 0 ? std::nullopt : std::optional<ConfigValue>(std::sqrt(v));
    case UnaryKind::kExp:
      return ConfigValue(std::exp(v));
    case UnaryKind::kLog:
      return v <= 0 ? std::nullopt : std::optional<ConfigValue>(std::log(v));
    case UnaryKind::kFloor:
      return ConfigValue(std::floor(v));
    case UnaryKind::kCeil:
      return ConfigValue(std::ceil(v));
    case UnaryKind::kLogicalNot:
      return ConfigValue(v == 0);
    default:
      return std::nullopt;
  }
}

}  // namespace h5serve::model
