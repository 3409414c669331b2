// Softmax and normalisation of one row, once per instruction set.
#pragma once

#include <cstdint>

namespace h5serve::compute::kernels::H5SERVE_ISA {

void SoftmaxRow(const float* x, float* y, int64_t n);
void LogSoftmaxRow(const float* x, float* y, int64_t n);
void MomentsOfRow(const float* x, int64_t n, float* mean, float* variance);
void NormalizeRow(const float* x, int64_t n, float mean, float scale, const float* gamma,
                  const float* beta, float* y);

}  // namespace h5serve::compute::kernels::H5SERVE_ISA
