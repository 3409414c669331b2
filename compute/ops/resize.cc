// Resize: images of another size.
#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "compute/kernels/spatial_kernels.h"
#include "compute/ops/convolution.h"
#include "compute/ops/resize_weights.h"
#include "compute/ops/spatial.h"

namespace h5serve::compute::ops {
namespace {

class ResizeOp : public Op {
 public:
  explicit ResizeOp(ResizeAttributes attributes) : attributes_(std::move(attributes)) {}

  std::string_view name() const override { return "Resize"; }
  absl::StatusOr<std::vector<ValueType>> Infer(const InferContext& context) const override;
  absl::Status Run(const RunContext& context) const override;

  int64_t ScratchBytes(std::span<const ValueType> inputs) const override {
    if (attributes_.method == ResizeMethod::kNearest) return 0;
    const Sizes sizes = SizesOf(inputs[0].shape);
    // The results of the first and the second pass over one image.
    const int64_t first = sizes.out[0] * sizes.in[1] * sizes.in[2];
    const int64_t second = sizes.out[0] * sizes.out[1] * sizes.in[2];
    return (first + second) * inputs[0].shape.back() * static_cast<int64_t>(sizeof(float));
  }

 private:
  struct Sizes {
    std::array<int64_t, kMaxSpatial> in = {1, 1, 1};
    std::array<int64_t, kMaxSpatial> out = {1, 1, 1};
  };
  int64_t OutputSize(int axis, int64_t in) const {
    return attributes_.size.empty() ? in * attributes_.scale[axis] : attributes_.size[axis];
  }
  Sizes SizesOf(const Shape& x) const {
    Sizes sizes;
    const int spatial = x.rank() - 2;
    for (int i = 0; i < spatial; ++i) {
      sizes.in[kMaxSpatial - spatial + i] = x[1 + i];
      sizes.out[kMaxSpatial - spatial + i] = OutputSize(i, x[1 + i]);
    }
    return sizes;
  }

  const ResizeAttributes attributes_;
};

absl::StatusOr<std::vector<ValueType>> ResizeOp::Infer(const InferContext& context) const {
  const absl::StatusOr<int> spatial = CheckImages(name(), context.input(0));
  if (!spatial.ok()) return spatial.status();
  const std::vector<int64_t>& sizes =
      attributes_.size.empty() ? attributes_.scale : attributes_.size;
  if (static_cast<int>(sizes.size()) != *spatial) {
    return absl::InvalidArgumentError(
        fmt::format("Resize: expected {} sizes, got {}", *spatial, sizes.size()));
  }
  const Shape& x = context.shape(0);
  Shape y{x[0]};
  for (int i = 0; i < *spatial; ++i) {
    if (sizes[i] < 1 || sizes[i] > kMaxWindow) {
      return absl::InvalidArgumentError(
          fmt::format("Resize: sizes must be in [1, {}], got {}", kMaxWindow, sizes[i]));
    }
    if (x[1 + i] == 0) {
      return absl::InvalidArgumentError(
          fmt::format("Resize: spatial axis {} of the input is empty", i));
    }
    const int64_t out =
        x[1 + i] == kUnknown && attributes_.size.empty() ? kUnknown : OutputSize(i, x[1 + i]);
    if (out > kMaxWindow) {
      return absl::InvalidArgumentError(fmt::format(
          "Resize: spatial axis {} would have {} cells, more than {}", i, out, kMaxWindow));
    }
    y.push_back(out);
  }
  y.push_back(x.back());
  return std::vector<ValueType>{{DType::kFloat32, y}};
}

using AxesWeights = std::array<AxisWeights, kMaxSpatial>;

// Copies the nearest cells.
void RunNearest(const RunContext& context, const AxesWeights& axes, int64_t images,
                int64_t channels) {
  const auto& [deep, vertical, horizontal] = axes;
  const int64_t in_row = horizontal.in * channels;
  const int64_t out_row = horizontal.out * channels;
  const int64_t planes = images * deep.out;
  const auto run = [&](int64_t begin, int64_t end) {
    const float* previous = nullptr;
    for (int64_t i = begin; i < end; ++i) {
      const int64_t row = i % axes[1].out;
      const int64_t depth = i / axes[1].out % axes[0].out;
      const int64_t image = i / axes[1].out / axes[0].out;
      const float* from =
          context.input(0).as<float>() +
          ((image * axes[0].in + axes[0].first[depth]) * axes[1].in + axes[1].first[row]) * in_row;
      float* to = context.output(0).as<float>() + i * out_row;
      if (from == previous) {
        std::memcpy(to, to - out_row, out_row * sizeof(float));
        continue;
      }
      previous = from;
      for (int64_t column = 0; column < axes[2].out; ++column) {
        std::copy_n(from + axes[2].first[column] * channels, channels, to + column * channels);
      }
    }
  };
  context.ParallelFor(planes * vertical.out,
                      std::max<int64_t>(1, 65536 / std::max<int64_t>(out_row, 1)), run);
}

// One axis of one image: `outer` slices of `inner` floats per cell.
void RunPass(const RunContext& context, const AxisWeights& axis, int64_t outer, int64_t inner,
             const float* x, float* y) {
  const auto& table = kernels::GetSpatialKernels();
  context.ParallelFor(
      outer * axis.out, std::max<int64_t>(1, 16384 / std::max<int64_t>(inner * axis.taps, 1)),
      [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
          const int64_t o = i % axis.out;
          table.weighted_sum(x + (i / axis.out * axis.in + axis.first[o]) * inner, inner,
                             &axis.weights[o * axis.taps], axis.taps, inner, y + i * inner);
        }
      });
}

absl::Status ResizeOp::Run(const RunContext& context) const {
  const Shape& x = context.input(0).shape;
  const int64_t channels = x.back();
  const Sizes sizes = SizesOf(x);
  AxesWeights axes;
  for (int i = 0; i < kMaxSpatial; ++i) {
    axes[i] = ComputeAxisWeights(attributes_, sizes.in[i], sizes.out[i]);
  }
  if (attributes_.method == ResizeMethod::kNearest) {
    RunNearest(context, axes, x[0], channels);
    return absl::OkStatus();
  }
  const int64_t in_floats = sizes.in[0] * sizes.in[1] * sizes.in[2] * channels;
  const int64_t out_floats = sizes.out[0] * sizes.out[1] * sizes.out[2] * channels;
  float* buffers[2] = {
      context.scratch<float>(),
      context.scratch<float>() + sizes.out[0] * sizes.in[1] * sizes.in[2] * channels};
  for (int64_t image = 0; image < x[0]; ++image) {
    const float* from = context.input(0).as<float>() + image * in_floats;
    float* out = context.output(0).as<float>() + image * out_floats;
    int64_t outer = 1;
    int64_t inner = in_floats;
    for (int i = 0; i < kMaxSpatial; ++i) {
      inner /= axes[i].in;
      if (i + 1 == kMaxSpatial) {
        RunPass(context, axes[i], outer, inner, from, out);
      } else if (!axes[i].IsIdentity()) {
        RunPass(context, axes[i], outer, inner, from, buffers[i]);
        from = buffers[i];
      }
      outer *= axes[i].out;
    }
  }
  return absl::OkStatus();
}

}  // namespace

Value Resize(Graph& graph, Value x, const ResizeAttributes& attributes) {
  return graph.Add1(std::make_shared<ResizeOp>(attributes), {x});
}

}  // namespace h5serve::compute::ops
