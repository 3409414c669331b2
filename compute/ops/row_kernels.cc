#include "compute/ops/row_kernels.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace h5serve::compute::ops {
namespace {

constexpr int kLanes = 16;

// Independent partial results let the compiler use vector registers.
template <typename F>
float SumLanes(const float* x, int64_t n, F f) {
  float lane[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    for (int l = 0; l < kLanes; ++l) lane[l] += f(x[i + l]);
  }
  for (; i < n; ++i) lane[i % kLanes] += f(x[i]);
  for (int half = kLanes / 2; half > 0; half /= 2) {
    for (int l = 0; l < half; ++l) lane[l] += lane[l + half];
  }
  return lane[0];
}

float MaxOf(const float* x, int64_t n) {
  float lane[kLanes];
  std::fill_n(lane, kLanes, -std::numeric_limits<float>::infinity());
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    for (int l = 0; l < kLanes; ++l) lane[l] = x[i + l] > lane[l] ? x[i + l] : lane[l];
  }
  for (; i < n; ++i) lane[0] = x[i] > lane[0] ? x[i] : lane[0];
  return *std::max_element(lane, lane + kLanes);
}

}  // namespace

void SoftmaxRow(const float* x, int64_t n, float* out) {
  const float top = MaxOf(x, n);
  for (int64_t i = 0; i < n; ++i) out[i] = std::exp(x[i] - top);
  const float scale = 1.0f / SumLanes(out, n, [](float v) { return v; });
  for (int64_t i = 0; i < n; ++i) out[i] *= scale;
}

void LogSoftmaxRow(const float* x, int64_t n, float* out) {
  const float top = MaxOf(x, n);
  const float sum = SumLanes(x, n, [top](float v) { return std::exp(v - top); });
  const float shift = std::log(sum);
  for (int64_t i = 0; i < n; ++i) out[i] = (x[i] - top) - shift;
}

RowMoments MomentsOfRow(const float* x, int64_t n) {
  // Pieces of 4096 in float32, pieces in double: no loss on long rows.
  constexpr int64_t kPiece = 4096;
  double sum = 0;
  for (int64_t i = 0; i < n; i += kPiece) {
    sum += SumLanes(x + i, std::min(kPiece, n - i), [](float v) { return v; });
  }
  const float mean = static_cast<float>(sum / static_cast<double>(n));
  double squares = 0;
  for (int64_t i = 0; i < n; i += kPiece) {
    squares += SumLanes(x + i, std::min(kPiece, n - i),
                        [mean](float v) { return (v - mean) * (v - mean); });
  }
  return {mean, static_cast<float>(squares / static_cast<double>(n))};
}

void NormalizeRow(const float* x, int64_t n, float mean, float scale, const float* gamma,
                  const float* beta, float* out) {
  if (gamma != nullptr && beta != nullptr) {
    for (int64_t i = 0; i < n; ++i) out[i] = (x[i] - mean) * scale * gamma[i] + beta[i];
  } else if (gamma != nullptr) {
    for (int64_t i = 0; i < n; ++i) out[i] = (x[i] - mean) * scale * gamma[i];
  } else if (beta != nullptr) {
    for (int64_t i = 0; i < n; ++i) out[i] = (x[i] - mean) * scale + beta[i];
  } else {
    for (int64_t i = 0; i < n; ++i) out[i] = (x[i] - mean) * scale;
  }
}

}  // namespace h5serve::compute::ops
