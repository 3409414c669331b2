// Sizes and places of windows that slide over spatial axes.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "compute/op.h"
#include "compute/shape.h"

namespace h5serve::compute::ops {

inline constexpr int kMaxSpatial = 3;
// Bound of strides, dilations, pads and window sizes: products of two of them
// and a size of a tensor stay far from overflow.
inline constexpr int64_t kMaxWindow = int64_t{1} << 24;

// A window over one axis with all sizes known. Output o covers the input cells
// o * stride + t * dilation - before for t in [0, size); cells outside [0, in)
// do not exist. `before` may be negative (cells are skipped).
struct WindowAxis {
  int64_t in = 1;
  int64_t out = 1;
  int64_t size = 1;
  int64_t stride = 1;
  int64_t dilation = 1;
  int64_t before = 0;

  // Input cell of tap 0 of output o; may be outside.
  int64_t Start(int64_t o) const { return o * stride - before; }
  // Taps [first, last) of output o that are inside the input.
  std::pair<int64_t, int64_t> InsideTaps(int64_t o) const;
  // Outputs [first, last) all of whose taps are inside.
  std::pair<int64_t, int64_t> InsideOutputs() const;
  // True when every tap of every output is inside.
  bool AllInside() const;
  bool trivial() const { return in == 1 && out == 1 && size == 1 && before == 0; }
};

// Three axes, the first ones trivial when there are fewer.
using WindowAxes = std::array<WindowAxis, kMaxSpatial>;

// Strides, dilations and padding of a sliding window, as the ops get them.
struct WindowAttributes {
  std::vector<int64_t> strides;
  std::vector<int64_t> dilations;
  bool same = false;
  std::vector<std::pair<int64_t, int64_t>> pads;
};

// Adds ones where strides or dilations are empty, and zero pads.
WindowAttributes Completed(WindowAttributes attributes, int spatial);

// Checks that there are `spatial` strides, dilations and pads, all in range.
absl::Status CheckWindowAttributes(std::string_view op, const WindowAttributes& attributes,
                                   int spatial);

// Checks that `type` is float32 (batch, 1 to 3 spatial axes, channels) and
// gives the number of spatial axes.
absl::StatusOr<int> CheckImages(std::string_view op, const ValueType& type);

// Output size of spatial axis `axis`; kUnknown for an unknown input size.
// INVALID_ARGUMENT when the window does not fit.
absl::StatusOr<int64_t> WindowOutput(std::string_view op, int axis, int64_t in, int64_t size,
                                     const WindowAttributes& attributes);

// The axes for a known input shape (batch, spatial…, channels) that
// WindowOutput has accepted.
WindowAxes ResolveWindows(const Shape& x, std::span<const int64_t> sizes,
                          const WindowAttributes& attributes);

// The cells before the first one that "same" padding adds by TensorFlow's rule.
int64_t SamePadBefore(int64_t in, int64_t out, int64_t size, int64_t stride, int64_t dilation);

// "2 x 3", for messages.
std::string JoinSizes(std::span<const int64_t> sizes);

}  // namespace h5serve::compute::ops
