// What a GEMM kernel is asked to do. Plain data: kernels include it.
#pragma once

#include <cstdint>

#include "compute/ops/element_kinds.h"

namespace h5serve::compute::kernels {

// C = activation(A B + bias + addend), all float32 and row-major.
//
// The m rows of C are `blocks` blocks of `rows` rows. Row r of block b of A is
// the concatenation of `segments` segments of k / segments values; segment s is
// at a + b * a_block_stride + r * a_row_stride + s * a_segment_stride. Rows may
// overlap, so a convolution over a padded image needs no copy of its patches:
// blocks are output rows, rows output columns, segments kernel rows.
// Strides are in floats. k = 0 gives activation(bias + addend).
struct GemmArguments {
  int64_t blocks = 1;
  int64_t rows = 0;
  int64_t segments = 1;
  const float* a = nullptr;
  int64_t a_block_stride = 0;
  int64_t a_row_stride = 0;
  int64_t a_segment_stride = 0;

  const float* b = nullptr;  // packed, see PackMatrix
  int64_t k = 0;
  int64_t n = 0;

  float* c = nullptr;  // row r of block b at c + b * c_block_stride + r * c_row_stride
  int64_t c_block_stride = 0;
  int64_t c_row_stride = 0;

  const float* bias = nullptr;    // n values, or null
  const float* addend = nullptr;  // laid out by its own strides, or null; may be c itself
  int64_t addend_block_stride = 0;
  int64_t addend_row_stride = 0;
  ops::UnaryKind activation = ops::UnaryKind::kIdentity;  // any kind that gives float32
  float activation_p = 0;
  float activation_q = 0;
};

}  // namespace h5serve::compute::kernels
