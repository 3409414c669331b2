// Functions of one argument.
#include <math.h>

#include "compute/kernels/activation.h"

namespace h5serve::compute::kernels::H5SERVE_ISA {
namespace {

using ops::UnaryKind;

// The inverse of erf, by Halley's method in double from Winitzki's
// approximation, which is good to 2e-3.
float InverseErf(float value) {
  const double y = value;
  if (!(y > -1.0 && y < 1.0)) {
    return y == 1.0 ? kInfinity : y == -1.0 ? -kInfinity : kNaN;
  }
  if (y == 0) return value;
  const double a = 0.147;
  const double l = log1p(-y * y);
  const double h = 2 / (3.14159265358979323846 * a) + l / 2;
  double x = copysign(sqrt(sqrt(h * h - l / a) - h), y);
  for (int i = 0; i < 3; ++i) {
    // Far out the complement keeps the digits.
    const double beyond = (1 - fabs(y)) - erfc(fabs(x));
    const double error = fabs(y) < 0.5 ? erf(x) - y : y < 0 ? -beyond : beyond;
    const double step = error / (1.12837916709551257390 * exp(-x * x));
    x -= step / (1 + x * step);
  }
  return static_cast<float>(x);
}

// Functions that are a handful of arithmetic instructions. False: another kind.
bool Arithmetic(UnaryKind kind, float p, float q, const float* x, float* y, int64_t n) {
  const Float zero = Set(0.0f), one = Set(1.0f), vp = Set(p), vq = Set(q);
  switch (kind) {
    case UnaryKind::kIdentity:
      if (x != y) __builtin_memmove(y, x, static_cast<unsigned long>(n) * sizeof(float));
      return true;
    case UnaryKind::kNegative:
      ApplyVector(x, y, n, [](Float v) { return -v; });
      return true;
    case UnaryKind::kAbs:
      ApplyVector(x, y, n, [](Float v) { return Abs(v); });
      return true;
    case UnaryKind::kSign:
      ApplyVector(x, y, n,
                  [=](Float v) { return Select(v > zero, one, Select(v < zero, -one, v)); });
      return true;
    case UnaryKind::kSquare:
      ApplyVector(x, y, n, [](Float v) { return v * v; });
      return true;
    case UnaryKind::kSqrt:
      ApplyScalar(x, y, n, [](float v) { return __builtin_sqrtf(v); });
      return true;
    case UnaryKind::kRsqrt:
      ApplyScalar(x, y, n, [](float v) { return 1.0f / __builtin_sqrtf(v); });
      return true;
    case UnaryKind::kReciprocal:
      ApplyVector(x, y, n, [=](Float v) { return one / v; });
      return true;
    case UnaryKind::kFloor:
      ApplyScalar(x, y, n, [](float v) { return __builtin_floorf(v); });
      return true;
    case UnaryKind::kCeil:
      ApplyScalar(x, y, n, [](float v) { return __builtin_ceilf(v); });
      return true;
    case UnaryKind::kRound:
      ApplyScalar(x, y, n, [](float v) { return __builtin_rintf(v); });
      return true;
    case UnaryKind::kTrunc:
      ApplyScalar(x, y, n, [](float v) { return __builtin_truncf(v); });
      return true;
    case UnaryKind::kHardSigmoid:
      ApplyVector(x, y, n, [=](Float v) {
        v = vp * v + vq;
        v = Select(v < zero, zero, v);
        return Select(v > one, one, v);
      });
      return true;
    case UnaryKind::kHardSilu:
      ApplyVector(x, y, n, [=](Float v) {
        Float gate = v * 0.166666667f + 0.5f;
        gate = Select(gate < zero, zero, gate);
        return v * Select(gate > one, one, gate);
      });
      return true;
    case UnaryKind::kRelu:
      ApplyVector(x, y, n, [=](Float v) { return Select(v < zero, zero, v); });
      return true;
    case UnaryKind::kLeakyRelu:
      ApplyVector(x, y, n, [=](Float v) { return Select(v >= zero, v, vp * v); });
      return true;
    case UnaryKind::kSoftsign:
      ApplyVector(x, y, n, [=](Float v) { return v / (one + Abs(v)); });
      return true;
    case UnaryKind::kHardTanh:
      ApplyVector(x, y, n, [=](Float v) {
        v = Select(v < -one, -one, v);
        return Select(v > one, one, v);
      });
      return true;
    case UnaryKind::kSoftShrink:
      ApplyVector(x, y, n, [=](Float v) {
        const Float inside = Select(v != v, v, zero);
        return Select(v > vp, v - vp, Select(v < -vp, v + vp, inside));
      });
      return true;
    case UnaryKind::kHardShrink:
      ApplyVector(x, y, n, [=](Float v) { return Select(Abs(v) <= vp, zero, v); });
      return true;
    case UnaryKind::kThreshold:
      ApplyVector(x, y, n, [=](Float v) { return Select(v <= vp, vq, v); });
      return true;
    case UnaryKind::kSquareplus:
      ApplyScalar(x, y, n, [=](float v) { return 0.5f * (v + __builtin_sqrtf(v * v + p)); });
      return true;
    case UnaryKind::kSparsePlus:
      ApplyVector(x, y, n, [=](Float v) {
        const Float middle = 0.25f * (v + one) * (v + one);
        return Select(v <= -one, zero, Select(v >= one, v, middle));
      });
      return true;
    case UnaryKind::kSparseSigmoid:
      ApplyVector(x, y, n, [=](Float v) {
        return Select(v <= -one, zero, Select(v >= one, one, 0.5f * (v + one)));
      });
      return true;
    case UnaryKind::kClip:
      ApplyVector(x, y, n, [=](Float v) {
        v = Select(v < vp, vp, v);
        return Select(v > vq, vq, v);
      });
      return true;
    default:
      return false;
  }
}

// Functions built on exponentials and logarithms. False: another kind.
bool Exponential(UnaryKind kind, float p, const float* x, float* y, int64_t n) {
  const Float zero = Set(0.0f), vp = Set(p);
  switch (kind) {
    case UnaryKind::kExp:
      ApplyVector(x, y, n, [](Float v) { return Exp(v); });
      return true;
    case UnaryKind::kExpm1:
      ApplyVector(x, y, n, [](Float v) { return Expm1(v); });
      return true;
    case UnaryKind::kLog:
      ApplyVector(x, y, n, [](Float v) { return Log(v); });
      return true;
    case UnaryKind::kLog1p:
      ApplyVector(x, y, n, [](Float v) { return Log1p(v); });
      return true;
    case UnaryKind::kTanh:
      ApplyVector(x, y, n, [](Float v) { return Tanh(v); });
      return true;
    case UnaryKind::kErf:
      ApplyVector(x, y, n, [](Float v) { return Erf(v); });
      return true;
    case UnaryKind::kSigmoid:
      ApplyVector(x, y, n, [](Float v) { return Sigmoid(v); });
      return true;
    case UnaryKind::kLogSigmoid:
      ApplyVector(x, y, n, [](Float v) { return -Softplus(-v); });
      return true;
    case UnaryKind::kElu:
      ApplyVector(x, y, n, [=](Float v) { return Select(v > zero, v, vp * Expm1(v)); });
      return true;
    case UnaryKind::kSelu:
      ApplyVector(x, y, n, [=](Float v) {
        return Select(v > zero, v * 1.05070098735548f, Expm1(v) * 1.75809934084737f);
      });
      return true;
    case UnaryKind::kCelu:
      ApplyVector(x, y, n, [=](Float v) { return Select(v > zero, v, vp * Expm1(v / vp)); });
      return true;
    case UnaryKind::kGelu:
      ApplyVector(x, y, n, [](Float v) { return v * NormalDistribution(v); });
      return true;
    case UnaryKind::kGeluTanh:
      // 0.5 x (1 + tanh(u)) = x sigmoid(2 u)
      ApplyVector(x, y, n, [](Float v) {
        const Float u = 0.797884561f * (v + 0.044715f * v * v * v);
        return v * Sigmoid(2.0f * u);
      });
      return true;
    case UnaryKind::kSoftplus:
      ApplyVector(x, y, n, [](Float v) { return Softplus(v); });
      return true;
    case UnaryKind::kSilu:
      ApplyVector(x, y, n, [](Float v) { return v * Sigmoid(v); });
      return true;
    case UnaryKind::kMish:
      ApplyVector(x, y, n, [](Float v) { return v * Tanh(Softplus(v)); });
      return true;
    case UnaryKind::kTanhShrink:
      ApplyVector(x, y, n, [](Float v) { return v - Tanh(v); });
      return true;
    default:
      return false;
  }
}

}  // namespace

void Unary(UnaryKind kind, float p, float q, const float* x, float* y, int64_t n) {
  if (Arithmetic(kind, p, q, x, y, n) || Exponential(kind, p, x, y, n)) return;
  // What is left is rare: the C library, one by one.
  switch (kind) {
    case UnaryKind::kLog2:
      return ApplyScalar(x, y, n, [](float v) { return ::log2f(v); });
    case UnaryKind::kLog10:
      return ApplyScalar(x, y, n, [](float v) { return ::log10f(v); });
    case UnaryKind::kSin:
      return ApplyScalar(x, y, n, [](float v) { return ::sinf(v); });
    case UnaryKind::kCos:
      return ApplyScalar(x, y, n, [](float v) { return ::cosf(v); });
    case UnaryKind::kTan:
      return ApplyScalar(x, y, n, [](float v) { return ::tanf(v); });
    case UnaryKind::kAsin:
      return ApplyScalar(x, y, n, [](float v) { return ::asinf(v); });
    case UnaryKind::kAcos:
      return ApplyScalar(x, y, n, [](float v) { return ::acosf(v); });
    case UnaryKind::kAtan:
      return ApplyScalar(x, y, n, [](float v) { return ::atanf(v); });
    case UnaryKind::kSinh:
      return ApplyScalar(x, y, n, [](float v) { return ::sinhf(v); });
    case UnaryKind::kCosh:
      return ApplyScalar(x, y, n, [](float v) { return ::coshf(v); });
    case UnaryKind::kAsinh:
      return ApplyScalar(x, y, n, [](float v) { return ::asinhf(v); });
    case UnaryKind::kAcosh:
      return ApplyScalar(x, y, n, [](float v) { return ::acoshf(v); });
    case UnaryKind::kAtanh:
      return ApplyScalar(x, y, n, [](float v) { return ::atanhf(v); });
    case UnaryKind::kErfinv:
      return ApplyScalar(x, y, n, [](float v) { return InverseErf(v); });
    default:
      return;
  }
}

void ReluGeneral(float max_value, float negative_slope, float threshold, const float* x, float* y,
                 int64_t n) {
  const Float limit = Set(max_value), slope = Set(negative_slope), start = Set(threshold);
  ApplyVector(x, y, n, [=](Float v) {
    // A slope of zero gives zero, also for minus infinity.
    const Float below = Select(slope == 0.0f, Set(0.0f), slope * (v - start));
    return Select(v >= limit, limit, Select(v < start, below, v));
  });
}

void Classify(UnaryKind kind, const float* x, bool* y, int64_t n) {
  switch (kind) {
    case UnaryKind::kIsNan:
      for (int64_t i = 0; i < n; ++i) y[i] = x[i] != x[i];
      return;
    case UnaryKind::kIsInf:
      for (int64_t i = 0; i < n; ++i) y[i] = __builtin_fabsf(x[i]) == kInfinity;
      return;
    default:  // kIsFinite
      for (int64_t i = 0; i < n; ++i) y[i] = __builtin_fabsf(x[i]) < kInfinity;
  }
}

}  // namespace h5serve::compute::kernels::H5SERVE_ISA
