// Convolutions as plain loops in float64, to compare with.
#pragma once

#include <array>
#include <cmath>
#include <functional>
#include <utility>
#include <vector>

#include "compute/shape.h"
#include "compute/tensor.h"

namespace h5serve::compute {

using Triple = std::array<int64_t, 3>;

// A vector per spatial dimension as three numbers, `fill` in front.
inline Triple ToTriple(const std::vector<int64_t>& values, int64_t fill) {
  Triple triple = {fill, fill, fill};
  for (size_t i = 0; i < values.size(); ++i) triple[3 - values.size() + i] = values[i];
  return triple;
}

// The spatial sizes of a shape with `skip` axes before them and one after.
inline Triple SpatialOf(const Shape& shape, int skip, int behind) {
  std::vector<int64_t> sizes;
  for (int i = skip; i < shape.rank() - behind; ++i) sizes.push_back(shape[i]);
  return ToTriple(sizes, 1);
}

struct ReferenceWindow {
  Triple out, stride, dilation, before;
};

inline void ForTriple(const Triple& sizes, const std::function<void(const Triple&)>& body) {
  Triple i;
  for (i[0] = 0; i[0] < sizes[0]; ++i[0]) {
    for (i[1] = 0; i[1] < sizes[1]; ++i[1]) {
      for (i[2] = 0; i[2] < sizes[2]; ++i[2]) body(i);
    }
  }
}

// Row-major index; -1 when outside.
inline int64_t PlaceOf(const Triple& place, const Triple& sizes) {
  for (int i = 0; i < 3; ++i) {
    if (place[i] < 0 || place[i] >= sizes[i]) return -1;
  }
  return (place[0] * sizes[1] + place[1]) * sizes[2] + place[2];
}

// x (images, in…, channels) with kernel (size…, channels / groups, out).
inline std::vector<double> ReferenceConv(const std::vector<double>& x, int64_t images,
                                         const Triple& in, int64_t channels,
                                         const std::vector<double>& kernel, const Triple& size,
                                         int64_t out_channels, int64_t groups,
                                         const ReferenceWindow& window) {
  const int64_t group_in = channels / groups;
  const int64_t group_out = out_channels / groups;
  const int64_t cells = in[0] * in[1] * in[2];
  std::vector<double> y;
  for (int64_t image = 0; image < images; ++image) {
    ForTriple(window.out, [&](const Triple& o) {
      for (int64_t f = 0; f < out_channels; ++f) {
        double sum = 0;
        ForTriple(size, [&](const Triple& t) {
          Triple place;
          for (int i = 0; i < 3; ++i) {
            place[i] = o[i] * window.stride[i] + t[i] * window.dilation[i] - window.before[i];
          }
          const int64_t cell = PlaceOf(place, in);
          if (cell < 0) return;
          for (int64_t c = 0; c < group_in; ++c) {
            sum += x[(image * cells + cell) * channels + f / group_out * group_in + c] *
                   kernel[(PlaceOf(t, size) * group_in + c) * out_channels + f];
          }
        });
        y.push_back(sum);
      }
    });
  }
  return y;
}

inline std::vector<double> Doubles(const Tensor& tensor) {
  return std::vector<double>(tensor.data<float>(), tensor.data<float>() + tensor.num_elements());
}

}  // namespace h5serve::compute
