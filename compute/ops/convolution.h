// Convolutions over 1, 2 or 3 spatial dimensions, channels last.
//
// channels_first models are transposed by the layer around the op.
#pragma once

#include <vector>

#include "compute/graph.h"

namespace h5serve::compute::ops {

struct ConvAttributes {
  std::vector<int64_t> strides;    // one per spatial dimension, >= 1
  std::vector<int64_t> dilations;  // the same
  // Explicit padding (before, after) per spatial dimension, or "same" by
  // TensorFlow's rule (the odd cell after), computed from the input's size.
  bool same = false;
  std::vector<std::pair<int64_t, int64_t>> pads;  // empty: none; ignored when same
  int64_t groups = 1;
};

// Correlation of x (batch, spatial…, in) with kernel (spatial…, in / groups,
// out), plus bias (out) when valid. out[o] = sum x[o·stride + t·dilation - before] k[t].
Value Conv(Graph& graph, Value x, Value kernel, Value bias, const ConvAttributes& attributes);

// Each channel alone: kernel (spatial…, in, multiplier); output channel is
// in · multiplier + m. `groups` is ignored.
Value DepthwiseConv(Graph& graph, Value x, Value kernel, Value bias,
                    const ConvAttributes& attributes);

// Adjoint of Conv: kernel (spatial…, out, in).
// y[o] = sum over i, t with o = i·stride + t·dilation - before of x[i] k[t].
//
// The output size is output_spatial, or, where that is empty or kUnknown, Keras'
// rule; with reach = (size - 1)·dilation + 1:
//   without output_padding: in·stride (same), in·stride + max(reach - stride, 0) (valid);
//   with it: (in - 1)·stride + reach + output_padding, minus 2·floor(reach / 2) (same).
// The cells `before` that are cut off at the start are 0 (valid) or, as the
// gradient of TensorFlow's "same" convolution from the output to the input,
// floor(max((in - 1)·stride + reach - out, 0) / 2) (same), unless given.
struct ConvTransposeAttributes {
  std::vector<int64_t> strides;
  std::vector<int64_t> dilations;
  bool same = false;                    // else valid
  std::vector<int64_t> output_padding;  // empty: Keras' default rule
  std::vector<int64_t> output_spatial;  // empty: by rule
  std::vector<int64_t> before;          // empty: by rule; Theano's "same" is floor(size / 2)
};
Value ConvTranspose(Graph& graph, Value x, Value kernel, Value bias,
                    const ConvTransposeAttributes& attributes);

// Own kernel at each place: x (batch, spatial…, in); kernel (places,
// patch·in, out) with patches in row-major order (spatial…, in); bias (spatial…, out)
// or invalid. Valid padding.
Value LocallyConnected(Graph& graph, Value x, Value kernel, Value bias,
                       const std::vector<int64_t>& kernel_size,
                       const std::vector<int64_t>& strides);

enum class PoolKind { kMax, kAverage };
struct PoolAttributes {
  PoolKind kind = PoolKind::kMax;
  std::vector<int64_t> sizes;
  std::vector<int64_t> strides;
  bool same = false;                              // TensorFlow's rule
  std::vector<std::pair<int64_t, int64_t>> pads;  // explicit instead; empty: none
  // Average only: padded cells count as zeros (Theano) or not at all.
  bool count_padding = false;
};
// x (batch, spatial…, channels). With explicit pads the window must touch the
// input; `out = floor((in + before + after - size) / stride) + 1`.
Value Pool(Graph& graph, Value x, const PoolAttributes& attributes);

// Window i of an axis is [floor(i·n/o), ceil((i+1)·n/o)).
Value AdaptivePool(Graph& graph, Value x, PoolKind kind, const std::vector<int64_t>& output_size);

enum class ResizeMethod {
  kNearest,
  kBilinear,
  kBicubic,
  kLanczos3,
  kLanczos5,
  kArea,
  kGaussian,
  kMitchell
};
struct ResizeAttributes {
  ResizeMethod method = ResizeMethod::kBilinear;
  std::vector<int64_t> size;       // new spatial sizes (1 to 3 dimensions), or empty
  std::vector<int64_t> scale;      // or integer factors
  bool half_pixel_centers = true;  // false: source = destination · in/out (TensorFlow 1)
  bool align_corners = false;
  bool antialias = false;
  // How places outside the image weigh in (bicubic, lanczos): true renormalises the
  // kernel over the cells inside (TensorFlow 2 and JAX); false clamps indices (Torch-like).
  bool renormalize = true;
};
// x (batch, spatial…, channels).
Value Resize(Graph& graph, Value x, const ResizeAttributes& attributes);

}  // namespace h5serve::compute::ops
