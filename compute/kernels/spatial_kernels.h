// Kernels of the ops over images and sequences, once per instruction set. Plain
// data: kernels include it too.
#pragma once

#include <cstdint>

namespace h5serve::compute::kernels {

// One row of outputs of a convolution of each channel alone:
// y[o, c] = clamp(bias[c] + sum over planes i, rows j and taps t with a cell
//     inside the row of x[i, j, o·stride + t·dilation - before, c] w[i, j, t, c]).
struct DepthwiseRow {
  const float* x = nullptr;  // the first plane and row that count, cell 0
  int64_t planes = 0, plane_stride = 0;
  int64_t rows = 0, row_stride = 0;
  const float* weights = nullptr;
  int64_t weight_plane_stride = 0, weight_row_stride = 0;
  const float* bias = nullptr;  // or null
  float* y = nullptr;
  int64_t channels = 0;
  int64_t columns_in = 0, columns_out = 0;
  int64_t taps = 1, stride = 1, dilation = 1, before = 0;
  int64_t inside_first = 0, inside_last = 0;  // outputs all of whose taps are inside
  float low = 0, high = 0;                    // clamp; NaN stays NaN
};

// One row of outputs of a pooling: the largest or the mean cell of each window.
struct PoolRow {
  const float* x = nullptr;  // the first plane and row of the windows, cell 0
  int64_t planes = 1, plane_stride = 0;
  int64_t rows = 1, row_stride = 0;
  float* y = nullptr;
  int64_t channels = 0;
  int64_t columns_in = 0, columns_out = 0;
  int64_t size = 1, stride = 1, before = 0;
  bool average = false;
  // Divisor of a mean: this one, or, when 0, the number of cells inside.
  int64_t divisor = 0;
};

// The outputs of one tile of Winograd's F(2 x 2, 3 x 3) from its 16 products.
struct WinogradOutput {
  const float* products = nullptr;  // the first of 16, product_stride floats apart
  int64_t product_stride = 0;
  int64_t channels = 0;
  const float* bias = nullptr;  // or null
  const float* addend[4] = {};  // null where there is none
  float* y[4] = {};             // null where there is no output
  float low = 0, high = 0;      // clamp
};

// The functions of one instruction set. Outputs may be inputs where they are
// element-wise.
struct SpatialKernels {
  const char* isa;

  void (*depthwise_row)(const DepthwiseRow& row);
  void (*pool_row)(const PoolRow& row);
  // y[i] = sum over j < taps of weights[j] x[j * stride + i], for i < n.
  void (*weighted_sum)(const float* x, int64_t stride, const float* weights, int64_t taps,
                       int64_t n, float* y);
  // The 16 transformed inputs, out_stride floats apart, of the 4 x 4 cells of a
  // tile of Winograd's F(2 x 2, 3 x 3). These two need a vector of channels.
  void (*winograd_input)(const float* const cells[16], int64_t channels, float* out,
                         int64_t out_stride);
  void (*winograd_output)(const WinogradOutput& output);
  // y (m, n) = a (m, k) b (k, n) + bias (n, or null); all dense but y, whose
  // rows are y_stride apart. For matrices that are used once.
  void (*product)(const float* a, const float* b, const float* bias, int64_t m, int64_t k,
                  int64_t n, float* y, int64_t y_stride);

  // c = f c + i g; h = c.
  void (*lstm_carry)(const float* i, const float* f, const float* g, int64_t n, float* c, float* h);
  // y = a b.
  void (*multiply)(const float* a, const float* b, int64_t n, float* y);
  // y = a + b.
  void (*add)(const float* a, const float* b, int64_t n, float* y);
  // y = a + b c.
  void (*multiply_add)(const float* a, const float* b, const float* c, int64_t n, float* y);
  // h = z h + (1 - z) candidate.
  void (*gru_mix)(const float* z, const float* candidate, int64_t n, float* h);
};

// The kernels of the instruction set in use.
const SpatialKernels& GetSpatialKernels();

}  // namespace h5serve::compute::kernels
