// Softmax and normalisation of one row.
#include "compute/kernels/rows.h"
#include "compute/kernels/vector_math.h"

namespace h5serve::compute::kernels::H5SERVE_ISA {
namespace {

// Terms added in float32 before the sum goes on in double.
constexpr int64_t kPiece = 4096;

H5SERVE_INLINE float SumOf(Float v) {
  float sum = 0;
  for (int lane = 0; lane < kLanes; ++lane) sum += v[lane];
  return sum;
}

float LargestOf(const float* x, int64_t n) {
  Float top = Set(-kInfinity);
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) top = Max(Load(x + i), top);
  float largest = -kInfinity;
  for (int lane = 0; lane < kLanes; ++lane) largest = top[lane] > largest ? top[lane] : largest;
  for (; i < n; ++i) largest = x[i] > largest ? x[i] : largest;
  return largest;
}

// Sum of f(x) with four independent sums, so that additions overlap. `f` must
// give 0 for lanes that `LoadPart` has filled up: they are masked.
template <typename F>
H5SERVE_INLINE double SumRow(const float* x, int64_t n, F f) {
  double total = 0;
  for (int64_t begin = 0; begin < n; begin += kPiece) {
    const int64_t end = n < begin + kPiece ? n : begin + kPiece;
    Float a = {}, b = {}, c = {}, d = {};
    int64_t i = begin;
    for (; i + 4 * kLanes <= end; i += 4 * kLanes) {
      a += f(Load(x + i));
      b += f(Load(x + i + kLanes));
      c += f(Load(x + i + 2 * kLanes));
      d += f(Load(x + i + 3 * kLanes));
    }
    for (; i + kLanes <= end; i += kLanes) a += f(Load(x + i));
    float rest = 0;
    if (i < end) {
      const Float v = f(LoadPart(x + i, end - i));
      for (int64_t lane = 0; lane < end - i; ++lane) rest += v[lane];
    }
    total += static_cast<double>(SumOf((a + b) + (c + d))) + rest;
  }
  return total;
}

}  // namespace

void SoftmaxRow(const float* x, float* y, int64_t n) {
  const float top = LargestOf(x, n);
  Float sum = {};
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const Float e = Exp(Load(x + i) - top);
    Store(y + i, e);
    sum += e;
  }
  float total = SumOf(sum);
  if (i < n) {
    const Float e = Exp(LoadPart(x + i, n - i) - top);
    StorePart(y + i, e, n - i);
    for (int64_t lane = 0; lane < n - i; ++lane) total += e[lane];
  }
  const float scale = 1.0f / total;
  for (i = 0; i + kLanes <= n; i += kLanes) Store(y + i, Load(y + i) * scale);
  for (; i < n; ++i) y[i] *= scale;
}

void LogSoftmaxRow(const float* x, float* y, int64_t n) {
  const float top = LargestOf(x, n);
  const double sum = SumRow(x, n, [top](Float v) { return Exp(v - top); });
  const float shift = Log(Set(static_cast<float>(sum)))[0];
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) Store(y + i, (Load(x + i) - top) - shift);
  for (; i < n; ++i) y[i] = (x[i] - top) - shift;
}

void MomentsOfRow(const float* x, int64_t n, float* mean, float* variance) {
  const double count = static_cast<double>(n);
  const float center = static_cast<float>(SumRow(x, n, [](Float v) { return v; }) / count);
  const double squares = SumRow(x, n, [center](Float v) { return (v - center) * (v - center); });
  *mean = center;
  *variance = static_cast<float>(squares / count);
}

void NormalizeRow(const float* x, int64_t n, float mean, float scale, const float* gamma,
                  const float* beta, float* y) {
  int64_t i = 0;
  if (gamma != nullptr && beta != nullptr) {
    for (; i + kLanes <= n; i += kLanes) {
      Store(y + i, (Load(x + i) - mean) * scale * Load(gamma + i) + Load(beta + i));
    }
  } else if (gamma != nullptr) {
    for (; i + kLanes <= n; i += kLanes) {
      Store(y + i, (Load(x + i) - mean) * scale * Load(gamma + i));
    }
  } else if (beta != nullptr) {
    for (; i + kLanes <= n; i += kLanes) {
      Store(y + i, (Load(x + i) - mean) * scale + Load(beta + i));
    }
  } else {
    for (; i + kLanes <= n; i += kLanes) Store(y + i, (Load(x + i) - mean) * scale);
  }
  for (; i < n; ++i) {
    float v = (x[i] - mean) * scale;
    if (gamma != nullptr) v *= gamma[i];
    if (beta != nullptr) v += beta[i];
    y[i] = v;
  }
}

}  // namespace h5serve::compute::kernels::H5SERVE_ISA
