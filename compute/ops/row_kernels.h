// Loops over one row of floats that normalising ops spend their time in.
#pragma once

#include <cstdint>

namespace h5serve::compute::ops {

// out = e^(x - max x) / sum. `out` may be `x`. REQUIRES: n > 0.
void SoftmaxRow(const float* x, int64_t n, float* out);
// out = x - max x - log sum e^(x - max x).
void LogSoftmaxRow(const float* x, int64_t n, float* out);

struct RowMoments {
  float mean = 0;
  float variance = 0;  // of the population
};
RowMoments MomentsOfRow(const float* x, int64_t n);
// out = (x - mean) * scale * gamma + beta; gamma and beta may be null.
void NormalizeRow(const float* x, int64_t n, float mean, float scale, const float* gamma,
                  const float* beta, float* out);

}  // namespace h5serve::compute::ops
