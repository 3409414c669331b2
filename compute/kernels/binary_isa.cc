// Functions of two arguments, and selection.
#include <math.h>

#include "compute/kernels/vector_math.h"
#include "compute/ops/element_kinds.h"

namespace h5serve::compute::kernels::H5SERVE_ISA {
namespace {

using ops::BinaryKind;

struct Operands {
  const float* a;
  int64_t a_step;
  const float* b;
  int64_t b_step;
};

template <typename F>
H5SERVE_INLINE void ApplyVector(const Operands& o, float* y, int64_t n, F f) {
  int64_t i = 0;
  if (o.a_step != 0 && o.b_step != 0) {
    for (; i + kLanes <= n; i += kLanes) Store(y + i, f(Load(o.a + i), Load(o.b + i)));
    if (i < n) StorePart(y + i, f(LoadPart(o.a + i, n - i), LoadPart(o.b + i, n - i)), n - i);
  } else if (o.a_step != 0) {
    const Float b = Set(*o.b);
    for (; i + kLanes <= n; i += kLanes) Store(y + i, f(Load(o.a + i), b));
    if (i < n) StorePart(y + i, f(LoadPart(o.a + i, n - i), b), n - i);
  } else if (o.b_step != 0) {
    const Float a = Set(*o.a);
    for (; i + kLanes <= n; i += kLanes) Store(y + i, f(a, Load(o.b + i)));
    if (i < n) StorePart(y + i, f(a, LoadPart(o.b + i, n - i)), n - i);
  } else {
    const Float value = f(Set(*o.a), Set(*o.b));
    for (; i + kLanes <= n; i += kLanes) Store(y + i, value);
    if (i < n) StorePart(y + i, value, n - i);
  }
}

template <typename F>
H5SERVE_INLINE void ApplyScalar(const Operands& o, float* y, int64_t n, F f) {
  for (int64_t i = 0; i < n; ++i) y[i] = f(o.a[i * o.a_step], o.b[i * o.b_step]);
}

// NumPy's floor_divide and remainder, which agree with each other: the quotient
// is made from the exact remainder, not rounded from the true quotient.
float FloorDivide(float a, float b) {
  if (b == 0) return a / b;
  float remainder = ::fmodf(a, b);
  float quotient = (a - remainder) / b;
  if (remainder != 0 && (b < 0) != (remainder < 0)) quotient -= 1;
  if (quotient == 0) return ::copysignf(0, a / b);
  const float whole = __builtin_floorf(quotient);
  return quotient - whole > 0.5f ? whole + 1 : whole;
}

float Modulo(float a, float b) {
  const float remainder = ::fmodf(a, b);
  if (b == 0) return remainder;
  if (remainder == 0) return ::copysignf(0, b);
  return (b < 0) != (remainder < 0) ? remainder + b : remainder;
}

void Power(const Operands& o, float* y, int64_t n) {
  if (o.b_step == 0) {
    const float exponent = *o.b;
    if (exponent == 2) return ApplyVector(o, y, n, [](Float a, Float) { return a * a; });
    if (exponent == 1) return ApplyVector(o, y, n, [](Float a, Float) { return a; });
    if (exponent == -1) return ApplyVector(o, y, n, [](Float a, Float) { return 1.0f / a; });
  }
  ApplyScalar(o, y, n, [](float a, float b) { return ::powf(a, b); });
}

template <typename F>
H5SERVE_INLINE void CompareAll(const Operands& o, bool* y, int64_t n, F f) {
  if (o.a_step != 0 && o.b_step != 0) {
    for (int64_t i = 0; i < n; ++i) y[i] = f(o.a[i], o.b[i]);
  } else if (o.a_step != 0) {
    const float b = *o.b;
    for (int64_t i = 0; i < n; ++i) y[i] = f(o.a[i], b);
  } else {
    const float a = *o.a;
    for (int64_t i = 0; i < n; ++i) y[i] = f(a, o.b[i * o.b_step]);
  }
}

}  // namespace

void Binary(BinaryKind kind, const float* a, int64_t a_step, const float* b, int64_t b_step,
            float* y, int64_t n) {
  const Operands o{a, a_step, b, b_step};
  switch (kind) {
    case BinaryKind::kAdd:
      return ApplyVector(o, y, n, [](Float u, Float v) { return u + v; });
    case BinaryKind::kSubtract:
      return ApplyVector(o, y, n, [](Float u, Float v) { return u - v; });
    case BinaryKind::kMultiply:
      return ApplyVector(o, y, n, [](Float u, Float v) { return u * v; });
    case BinaryKind::kDivide:
      return ApplyVector(o, y, n, [](Float u, Float v) { return u / v; });
    case BinaryKind::kMaximum:
      // Either NaN gives NaN, as in NumPy.
      return ApplyVector(o, y, n,
                         [](Float u, Float v) { return Select((u > v) | (u != u), u, v); });
    case BinaryKind::kMinimum:
      return ApplyVector(o, y, n,
                         [](Float u, Float v) { return Select((u < v) | (u != u), u, v); });
    case BinaryKind::kSquaredDifference:
      return ApplyVector(o, y, n, [](Float u, Float v) { return (u - v) * (u - v); });
    case BinaryKind::kDivideNoNan:
      return ApplyVector(o, y, n,
                         [](Float u, Float v) { return Select(v == 0.0f, Set(0.0f), u / v); });
    case BinaryKind::kLogAddExp:
      return ApplyVector(o, y, n, [](Float u, Float v) {
        const Float larger = Select((u > v) | (u != u), u, v);
        const Float distance = Select(u == v, Set(0.0f), Abs(u - v));
        return larger + Log1p(Exp(-distance));
      });
    case BinaryKind::kFloorDivide:
      return ApplyScalar(o, y, n, [](float u, float v) { return FloorDivide(u, v); });
    case BinaryKind::kMod:
      return ApplyScalar(o, y, n, [](float u, float v) { return Modulo(u, v); });
    case BinaryKind::kTruncatedMod:
      return ApplyScalar(o, y, n, [](float u, float v) { return ::fmodf(u, v); });
    case BinaryKind::kPower:
      return Power(o, y, n);
    case BinaryKind::kAtan2:
      return ApplyScalar(o, y, n, [](float u, float v) { return ::atan2f(u, v); });
    default:
      return;  // the other kinds do not give float32
  }
}

void Compare(BinaryKind kind, const float* a, int64_t a_step, const float* b, int64_t b_step,
             bool* y, int64_t n) {
  const Operands o{a, a_step, b, b_step};
  switch (kind) {
    case BinaryKind::kEqual:
      return CompareAll(o, y, n, [](float u, float v) { return u == v; });
    case BinaryKind::kNotEqual:
      return CompareAll(o, y, n, [](float u, float v) { return u != v; });
    case BinaryKind::kLess:
      return CompareAll(o, y, n, [](float u, float v) { return u < v; });
    case BinaryKind::kLessEqual:
      return CompareAll(o, y, n, [](float u, float v) { return u <= v; });
    case BinaryKind::kGreater:
      return CompareAll(o, y, n, [](float u, float v) { return u > v; });
    default:  // kGreaterEqual
      return CompareAll(o, y, n, [](float u, float v) { return u >= v; });
  }
}

void SelectFloats(const bool* condition, int64_t condition_step, const float* a, int64_t a_step,
                  const float* b, int64_t b_step, float* y, int64_t n) {
  if (condition_step != 0 && a_step != 0 && b_step != 0) {
    for (int64_t i = 0; i < n; ++i) y[i] = condition[i] ? a[i] : b[i];
    return;
  }
  for (int64_t i = 0; i < n; ++i) {
    y[i] = condition[i * condition_step] ? a[i * a_step] : b[i * b_step];
  }
}

}  // namespace h5serve::compute::kernels::H5SERVE_ISA
