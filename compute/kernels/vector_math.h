// Elementary functions on vectors, within a few units in the last place of
// float32, right for zeros, infinities and NaN. Only for kernel files.
#pragma once

#include "compute/kernels/simd.h"

namespace h5serve::compute::kernels::H5SERVE_ISA {

inline constexpr float kInfinity = __builtin_inff();
inline constexpr float kNaN = __builtin_nanf("");

// 2^n for integers n in [-126, 127].
H5SERVE_INLINE Float PowerOfTwo(Int n) { return FromBits((n + 127) << 23); }

// x = n ln 2 + r with |r| <= ln 2 / 2, by adding 1.5 * 2^23, whose low bits then
// hold the rounded quotient. ln 2 is split so that n times the high part is exact.
struct Reduced {
  Int n;
  Float r;
};
H5SERVE_INLINE Reduced ReduceByLn2(Float x) {
  const Float magic = Set(12582912.0f);
  const Float shifted = x * 1.44269504f + magic;
  const Float n = shifted - magic;
  const Float r = (x - n * 0.693145752f) - n * 1.42860677e-6f;
  return {Bits(shifted) - Bits(magic), r};
}

// e^r - 1 for |r| <= ln 2 / 2, Taylor's series.
H5SERVE_INLINE Float Expm1Reduced(Float r) {
  Float p = Set(1.98412698e-4f);
  p = p * r + 1.38888889e-3f;
  p = p * r + 8.33333333e-3f;
  p = p * r + 4.16666667e-2f;
  p = p * r + 1.66666667e-1f;
  p = p * r + 0.5f;
  return p * (r * r) + r;
}

H5SERVE_INLINE Float Exp(Float x) {
  x = Select(x > 89.0f, Set(89.0f), x);
  x = Select(x < -104.0f, Set(-104.0f), x);
  const Reduced reduced = ReduceByLn2(x);
  // In two steps, so that results may be infinite or subnormal.
  const Int half = reduced.n >> 1;
  return (1.0f + Expm1Reduced(reduced.r)) * PowerOfTwo(half) * PowerOfTwo(reduced.n - half);
}

H5SERVE_INLINE Float Expm1(Float x) {
  const Float original = x;
  x = Select(x > 89.0f, Set(89.0f), x);
  x = Select(x < -30.0f, Set(-30.0f), x);
  const Reduced reduced = ReduceByLn2(x);
  const Float scale = PowerOfTwo(reduced.n - 1);  // half of 2^n, which may be infinite
  const Float result = 2.0f * (scale * Expm1Reduced(reduced.r) + (scale - 0.5f));
  // Also keeps the sign of zero and tiny values exact.
  return Select(Abs(original) < 1e-4f, original + 0.5f * original * original, result);
}

H5SERVE_INLINE Float Log(Float x) {
  const Int tiny = x < 1.17549435e-38f;
  const Float scaled = Select(tiny, x * 33554432.0f, x);
  Int bits = Bits(scaled);
  // m in [sqrt(1/2), sqrt(2)), e the exponent.
  const Int offset = bits - 0x3F3504F3;
  const Int e = offset >> 23;
  const Float m = FromBits((offset & 0x007FFFFF) + 0x3F3504F3);
  const Float exponent = __builtin_convertvector(e, Float) - Select(tiny, Set(25.0f), Set(0.0f));
  // log(1 + f) = 2 atanh(s) with s = f / (2 + f), arranged so that f, the
  // largest term, is added last (as in Sun's fdlibm).
  const Float f = m - 1.0f;
  const Float s = f / (2.0f + f);
  const Float z = s * s;
  Float tail = Set(0.222222222f);
  tail = tail * z + 0.285714286f;
  tail = tail * z + 0.4f;
  tail = tail * z + 0.666666667f;
  tail = tail * z;
  const Float half_square = 0.5f * f * f;
  Float result = f - (half_square - (s * (half_square + tail) + exponent * 1.42860677e-6f));
  result = result + exponent * 0.693145752f;
  result = Select(x == kInfinity, x, result);
  result = Select(x == 0.0f, Set(-kInfinity), result);
  return Select((x < 0.0f) | (x != x), Set(kNaN), result);
}

H5SERVE_INLINE Float Log1p(Float x) {
  // log(u) plus what rounding u = 1 + x has lost.
  const Float u = 1.0f + x;
  const Float lost = x - (u - 1.0f);
  const Float result = Log(u) + lost / u;
  return Select((u == 1.0f) | (x == kInfinity), x, Select(x == -1.0f, Set(-kInfinity), result));
}

H5SERVE_INLINE Float Tanh(Float x) {
  const Float a = Abs(x);
  const Float t = Expm1(2.0f * Select(a > 10.0f, Set(10.0f), a));
  return WithSign(t / (t + 2.0f), x);
}

H5SERVE_INLINE Float Sigmoid(Float x) {
  const Float e = Exp(-Abs(x));
  const Float r = 1.0f / (1.0f + e);
  return Select(x < 0.0f, e * r, r);
}

// erf for |x| <= 1: x P(x^2), minimax.
H5SERVE_INLINE Float ErfSmall(Float x) {
  const Float t = x * x;
  Float p = Set(7.853851e-05f);
  p = p * t - 0.0008010191f;
  p = p * t + 0.0051883273f;
  p = p * t - 0.026853811f;
  p = p * t + 0.112835854f;
  p = p * t - 0.37612626f;
  p = p * t + 1.1283791f;
  return x * p;
}

// 1 - erf(a) for a >= 0.95: exp(-a^2) t P(t) with t = 1 / (1 + a/2), minimax.
H5SERVE_INLINE Float ErfcLarge(Float a) {
  a = Select(a > 10.2f, Set(10.2f), a);
  const Float t = 1.0f / (1.0f + 0.5f * a);
  Float p = Set(-0.041226108f);
  p = p * t + 0.22932652f;
  p = p * t - 0.41689828f;
  p = p * t + 0.23098512f;
  p = p * t - 0.009107597f;
  p = p * t + 0.19927251f;
  p = p * t + 0.24334855f;
  p = p * t + 0.2823911f;
  p = p * t + 0.282084f;
  // The square of the upper half of the bits is exact; the rest is small.
  const Float high = FromBits(Bits(a) & static_cast<int32_t>(0xFFFFF000));
  const Float rest = (high - a) * (high + a);
  const Float correction = 1.0f + rest * (1.0f + rest * (0.5f + rest * 0.166666667f));
  return Exp(-high * high) * correction * (t * p);
}

H5SERVE_INLINE Float Erf(Float x) {
  const Float a = Abs(x);
  return Select(a > 1.0f, WithSign(1.0f - ErfcLarge(a), x), ErfSmall(x));
}

// Distribution function of the standard normal distribution.
H5SERVE_INLINE Float NormalDistribution(Float x) {
  const Float z = x * 0.707106781f;
  const Float a = Abs(z);
  const Float tail = 0.5f * ErfcLarge(a);
  return Select(a > 1.0f, Select(z < 0.0f, tail, 1.0f - tail), 0.5f + 0.5f * ErfSmall(z));
}

// log(1 + e^x)
H5SERVE_INLINE Float Softplus(Float x) {
  return Select(x > 0.0f, x, Set(0.0f)) + Log1p(Exp(-Abs(x)));
}

}  // namespace h5serve::compute::kernels::H5SERVE_ISA
