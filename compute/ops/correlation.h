// Correlations over images as products of matrices: what convolutions,
// transposed convolutions and convolutional recurrent cells have in common.
#pragma once

#include <array>
#include <cstdint>

#include "compute/op.h"
#include "compute/ops/element_kinds.h"
#include "compute/ops/spatial.h"

namespace h5serve::compute::ops {

// A kernel (taps, in, out), row-major, of which output channel f reads the
// input channels of group floor(f / (out / groups)).
struct FilterShape {
  int64_t taps = 1;
  int64_t in = 1;   // input channels of one group
  int64_t out = 1;  // output channels of all groups
  int64_t groups = 1;
};

// Floats of the packed form of a kernel.
int64_t PackedFilterFloats(const FilterShape& shape);
// Packs `kernel` into PackedFilterFloats(shape) floats, 64-byte aligned.
void PackFilter(const FilterShape& shape, const float* kernel, float* packed);
// The same in memory of its own.
Tensor PackedFilter(const FilterShape& shape, const float* kernel);

// y[image, o, f] = activation(sum over taps t and channels c of
//     x[image, o·stride + t·dilation - before, c] kernel[t, c, f] + bias[f]
//     + addend[image, o, f]).
// Images of x are dense (spatial…, channels); y and addend have strides of
// their own, in floats, with channels one float apart.
struct Correlation {
  int64_t images = 0;
  WindowAxes axes;
  FilterShape filter;

  const float* x = nullptr;
  int64_t x_image_stride = 0;
  const float* packed_filter = nullptr;
  const float* bias = nullptr;    // or null
  const float* addend = nullptr;  // or null; may be y
  int64_t addend_image_stride = 0;
  std::array<int64_t, kMaxSpatial> addend_strides{};
  float* y = nullptr;
  int64_t y_image_stride = 0;
  std::array<int64_t, kMaxSpatial> y_strides{};

  UnaryKind activation = UnaryKind::kIdentity;
  float activation_p = 0;
  float activation_q = 0;

  int64_t in_channels() const { return filter.in * filter.groups; }
  int64_t in_cells() const { return axes[0].in * axes[1].in * axes[2].in; }
  int64_t out_cells() const { return axes[0].out * axes[1].out * axes[2].out; }
};

// Sets the strides of x, y and addend to those of dense tensors.
void SetDenseStrides(Correlation& correlation);

// Floats of scratch memory that RunCorrelation needs; reads sizes and strides
// only, no pointers.
int64_t CorrelationScratchFloats(const Correlation& correlation);
// `scratch` is 64-byte aligned; `parallelism` may be null.
void RunCorrelation(const Correlation& correlation, float* scratch, const Parallelism* parallelism);

}  // namespace h5serve::compute::ops
