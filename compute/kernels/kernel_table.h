// The functions that exist once per instruction set. Plain data: kernels include it.
#pragma once

#include <cstdint>

#include "compute/kernels/gemm_arguments.h"
#include "compute/ops/element_kinds.h"

namespace h5serve::compute::kernels {

// A range of panels (columns) or rows of one product, for one thread.
struct GemmRange {
  int64_t block_begin = 0, block_end = 0;
  int64_t row_begin = 0, row_end = 0;      // within each block
  int64_t panel_begin = 0, panel_end = 0;  // panels of packed columns
};

struct KernelTable {
  const char* isa;

  // y[i] = f(x[i]); y may be x. All kinds that give float32, except kReluGeneral.
  void (*unary)(ops::UnaryKind kind, float p, float q, const float* x, float* y, int64_t n);
  // y[i] = Keras' ReLU with all three parameters.
  void (*relu_general)(float max_value, float negative_slope, float threshold, const float* x,
                       float* y, int64_t n);
  // y[i] = f(x[i]) for kinds that give bool (kIsNan, kIsInf, kIsFinite).
  void (*classify)(ops::UnaryKind kind, const float* x, bool* y, int64_t n);

  // y[i] = f(a[i * a_step], b[i * b_step]); steps are 0 or 1; y may be a or b
  // where the step is 1.
  void (*binary)(ops::BinaryKind kind, const float* a, int64_t a_step, const float* b,
                 int64_t b_step, float* y, int64_t n);
  void (*compare)(ops::BinaryKind kind, const float* a, int64_t a_step, const float* b,
                  int64_t b_step, bool* y, int64_t n);
  void (*select)(const bool* condition, int64_t condition_step, const float* a, int64_t a_step,
                 const float* b, int64_t b_step, float* y, int64_t n);

  // y = e^(x - max x) / sum; y may be x. REQUIRES: n > 0.
  void (*softmax)(const float* x, float* y, int64_t n);
  // y = x - max x - log sum e^(x - max x); y may be x.
  void (*log_softmax)(const float* x, float* y, int64_t n);
  // Mean and variance (of the population) of a row.
  void (*moments)(const float* x, int64_t n, float* mean, float* variance);
  // y = (x - mean) * scale * gamma + beta; gamma and beta may be null.
  void (*normalize)(const float* x, int64_t n, float mean, float scale, const float* gamma,
                    const float* beta, float* y);

  // y = x * scale + shift for rows of `channels` values, clamped to [low, high];
  // y may be x.
  void (*affine)(const float* x, const float* scale, const float* shift, float low, float high,
                 float* y, int64_t rows, int64_t channels);

  // Columns of a full panel, and rows of the largest tile.
  int64_t panel_columns;
  int64_t tile_rows;
  void (*pack)(const float* b, int64_t k, int64_t n, int64_t stride_k, int64_t stride_n,
               float* packed);
  void (*gemm)(const GemmArguments& arguments, const GemmRange& range);
};

}  // namespace h5serve::compute::kernels
