// Element functions that work on whole vectors. Only for kernel files.
#pragma once

#include "compute/kernels/vector_math.h"
#include "compute/ops/element_kinds.h"

namespace h5serve::compute::kernels::H5SERVE_ISA {

template <typename F>
H5SERVE_INLINE void ApplyVector(const float* x, float* y, int64_t n, F f) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) Store(y + i, f(Load(x + i)));
  if (i < n) StorePart(y + i, f(LoadPart(x + i, n - i)), n - i);
}

template <typename F>
H5SERVE_INLINE void ApplyScalar(const float* x, float* y, int64_t n, F f) {
  for (int64_t i = 0; i < n; ++i) y[i] = f(x[i]);
}

// y[i] = f(x[i]) for all kinds that give float32 and have at most two parameters.
void Unary(ops::UnaryKind kind, float p, float q, const float* x, float* y, int64_t n);

}  // namespace h5serve::compute::kernels::H5SERVE_ISA
