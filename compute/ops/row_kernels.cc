#include "compute/ops/row_kernels.h"

#include "compute/kernels/dispatch.h"

namespace h5serve::compute::ops {

void SoftmaxRow(const float* x, int64_t n, float* out) { kernels::Kernels().softmax(x, out, n); }

void LogSoftmaxRow(const float* x, int64_t n, float* out) {
  kernels::Kernels().log_softmax(x, out, n);
}

RowMoments MomentsOfRow(const float* x, int64_t n) {
  RowMoments moments;
  kernels::Kernels().moments(x, n, &moments.mean, &moments.variance);
  return moments;
}

void NormalizeRow(const float* x, int64_t n, float mean, float scale, const float* gamma,
                  const float* beta, float* out) {
  kernels::Kernels().normalize(x, n, mean, scale, gamma, beta, out);
}

}  // namespace h5serve::compute::ops
