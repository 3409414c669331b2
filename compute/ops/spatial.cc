#include "compute/ops/spatial.h"

#include <fmt/format.h>

#include <algorithm>

namespace h5serve::compute::ops {
namespace {

int64_t FloorDivide(int64_t a, int64_t b) {
  const int64_t quotient = a / b;
  return quotient - (a % b != 0 && (a < 0) != (b < 0));
}

int64_t CeilDivide(int64_t a, int64_t b) { return -FloorDivide(-a, b); }

absl::Status CheckRange(std::string_view op, std::string_view what,
                        const std::vector<int64_t>& values, int spatial, int64_t smallest) {
  if (static_cast<int>(values.size()) != spatial) {
    return absl::InvalidArgumentError(
        fmt::format("{}: expected {} {}, got {}", op, spatial, what, values.size()));
  }
  for (int64_t value : values) {
    if (value < smallest || value > kMaxWindow) {
      return absl::InvalidArgumentError(
          fmt::format("{}: {} must be in [{}, {}], got {}", op, what, smallest, kMaxWindow, value));
    }
  }
  return absl::OkStatus();
}

}  // namespace

std::pair<int64_t, int64_t> WindowAxis::InsideTaps(int64_t o) const {
  const int64_t start = Start(o);
  const int64_t first = std::clamp<int64_t>(CeilDivide(-start, dilation), 0, size);
  const int64_t last = std::clamp<int64_t>(CeilDivide(in - start, dilation), first, size);
  return {first, last};
}

std::pair<int64_t, int64_t> WindowAxis::InsideOutputs() const {
  const int64_t reach = (size - 1) * dilation;
  const int64_t first = std::clamp<int64_t>(CeilDivide(before, stride), 0, out);
  // o * stride - before + reach <= in - 1
  const int64_t last =
      std::clamp<int64_t>(FloorDivide(in - 1 - reach + before, stride) + 1, first, out);
  return {first, last};
}

bool WindowAxis::AllInside() const {
  return InsideOutputs() == std::pair<int64_t, int64_t>(0, out);
}

WindowAttributes Completed(WindowAttributes attributes, int spatial) {
  spatial = std::max(spatial, 0);
  if (attributes.strides.empty()) attributes.strides.assign(spatial, 1);
  if (attributes.dilations.empty()) attributes.dilations.assign(spatial, 1);
  if (attributes.pads.empty()) attributes.pads.assign(spatial, {0, 0});
  return attributes;
}

absl::Status CheckWindowAttributes(std::string_view op, const WindowAttributes& attributes,
                                   int spatial) {
  if (absl::Status status = CheckRange(op, "strides", attributes.strides, spatial, 1);
      !status.ok()) {
    return status;
  }
  if (absl::Status status = CheckRange(op, "dilations", attributes.dilations, spatial, 1);
      !status.ok()) {
    return status;
  }
  std::vector<int64_t> before, after;
  for (const auto& [first, second] : attributes.pads) {
    before.push_back(first);
    after.push_back(second);
  }
  if (absl::Status status = CheckRange(op, "pads", before, spatial, 0); !status.ok()) {
    return status;
  }
  return CheckRange(op, "pads", after, spatial, 0);
}

absl::StatusOr<int> CheckImages(std::string_view op, const ValueType& type) {
  if (type.dtype != DType::kFloat32) {
    return absl::InvalidArgumentError(
        fmt::format("{}: expected float32 values, got {}", op, Name(type.dtype)));
  }
  const int spatial = type.shape.rank() - 2;
  if (spatial < 1 || spatial > kMaxSpatial) {
    return absl::InvalidArgumentError(
        fmt::format("{}: expected (batch, 1 to {} spatial axes, channels), got {}", op, kMaxSpatial,
                    type.shape.ToString()));
  }
  return spatial;
}

absl::StatusOr<int64_t> WindowOutput(std::string_view op, int axis, int64_t in, int64_t size,
                                     const WindowAttributes& attributes) {
  if (size < 1 || size > kMaxWindow) {
    return absl::InvalidArgumentError(
        fmt::format("{}: window sizes must be in [1, {}], got {}", op, kMaxWindow, size));
  }
  if (in == kUnknown) return kUnknown;
  const int64_t stride = attributes.strides[axis];
  if (attributes.same) {
    if (in < 1) {
      return absl::InvalidArgumentError(
          fmt::format("{}: spatial axis {} of the input is empty", op, axis));
    }
    return CeilDivide(in, stride);
  }
  const auto [before, after] = attributes.pads[axis];
  const int64_t reach = (size - 1) * attributes.dilations[axis] + 1;
  const int64_t padded = in + before + after;
  if (padded < reach) {
    return absl::InvalidArgumentError(
        fmt::format("{}: the window covers {} cells of spatial axis {}, but the {}input has {}", op,
                    reach, axis, before + after > 0 ? "padded " : "", padded));
  }
  return (padded - reach) / stride + 1;
}

int64_t SamePadBefore(int64_t in, int64_t out, int64_t size, int64_t stride, int64_t dilation) {
  const int64_t reach = (size - 1) * dilation + 1;
  return std::max<int64_t>((out - 1) * stride + reach - in, 0) / 2;
}

WindowAxes ResolveWindows(const Shape& x, std::span<const int64_t> sizes,
                          const WindowAttributes& attributes) {
  WindowAxes axes;
  const int spatial = static_cast<int>(sizes.size());
  for (int i = 0; i < spatial; ++i) {
    WindowAxis& axis = axes[kMaxSpatial - spatial + i];
    axis.in = x[1 + i];
    axis.size = sizes[i];
    axis.stride = attributes.strides[i];
    axis.dilation = attributes.dilations[i];
    const int64_t reach = (axis.size - 1) * axis.dilation + 1;
    if (attributes.same) {
      axis.out = CeilDivide(axis.in, axis.stride);
      axis.before = SamePadBefore(axis.in, axis.out, axis.size, axis.stride, axis.dilation);
    } else {
      axis.before = attributes.pads[i].first;
      axis.out = (axis.in + axis.before + attributes.pads[i].second - reach) / axis.stride + 1;
    }
  }
  return axes;
}

std::string JoinSizes(std::span<const int64_t> sizes) {
  return fmt::format("{}", fmt::join(sizes.begin(), sizes.end(), " x "));
}

}  // namespace h5serve::compute::ops
