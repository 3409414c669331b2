// LocallyConnected: a convolution with a kernel of its own at each place.
#include <fmt/format.h>

#include <algorithm>

#include "compute/kernels/spatial_kernels.h"
#include "compute/ops/convolution.h"
#include "compute/ops/spatial.h"

namespace h5serve::compute::ops {
namespace {

// Images whose patches of one place are gathered at a time.
constexpr int64_t kImagesAtOnce = 64;

class LocallyConnectedOp : public Op {
 public:
  LocallyConnectedOp(std::vector<int64_t> sizes, WindowAttributes window, bool has_bias)
      : sizes_(std::move(sizes)), window_(std::move(window)), has_bias_(has_bias) {}

  std::string_view name() const override { return "LocallyConnected"; }
  absl::StatusOr<std::vector<ValueType>> Infer(const InferContext& context) const override;
  absl::Status Run(const RunContext& context) const override;

  int64_t ScratchBytes(std::span<const ValueType> inputs) const override {
    const Shape& kernel = inputs[1].shape;
    return (SlotFloats(kernel) * Slots(kernel)) * static_cast<int64_t>(sizeof(float));
  }

  double Flops(std::span<const ValueType> inputs) const override {
    return 2.0 * static_cast<double>(inputs[0].shape[0]) *
           static_cast<double>(inputs[1].shape.num_elements());
  }

 private:
  static int64_t SlotFloats(const Shape& kernel) { return kImagesAtOnce * kernel[1]; }
  // Places that are computed at the same time, at most.
  static int64_t Slots(const Shape& kernel) {
    return std::clamp<int64_t>((int64_t{1} << 22) / std::max<int64_t>(SlotFloats(kernel), 1), 1,
                               std::clamp<int64_t>(kernel[0], 1, 16));
  }

  const std::vector<int64_t> sizes_;
  const WindowAttributes window_;
  const bool has_bias_;
};

absl::StatusOr<std::vector<ValueType>> LocallyConnectedOp::Infer(
    const InferContext& context) const {
  const absl::StatusOr<int> spatial = CheckImages(name(), context.input(0));
  if (!spatial.ok()) return spatial.status();
  if (absl::Status status = CheckWindowAttributes(name(), window_, *spatial); !status.ok()) {
    return status;
  }
  for (int i = 1; i < context.size(); ++i) {
    if (context.dtype(i) != DType::kFloat32 || !context.shape(i).known()) {
      return absl::InvalidArgumentError(
          "LocallyConnected: expected float32 weights of known shape");
    }
  }
  const Shape& x = context.shape(0);
  const Shape& kernel = context.shape(1);
  if (static_cast<int>(sizes_.size()) != *spatial || kernel.rank() != 3) {
    return absl::InvalidArgumentError(
        fmt::format("LocallyConnected: expected {} kernel sizes and a kernel of rank 3, got {} "
                    "and {}",
                    *spatial, sizes_.size(), kernel.ToString()));
  }
  Shape y{x[0]};
  int64_t patch = 1;
  int64_t places = 1;
  bool known = x.back() != kUnknown;
  for (int i = 0; i < *spatial; ++i) {
    const absl::StatusOr<int64_t> out = WindowOutput(name(), i, x[1 + i], sizes_[i], window_);
    if (!out.ok()) return out.status();
    y.push_back(*out);
    known = known && *out != kUnknown;
    if (sizes_[i] > kernel[1] || *out > kernel[0]) patch = 0;
    patch *= sizes_[i];
    places *= *out;
  }
  y.push_back(kernel[2]);
  if (known && (patch == 0 || places != kernel[0] || patch * x.back() != kernel[1])) {
    return absl::InvalidArgumentError(
        fmt::format("LocallyConnected: the kernel {} does not fit windows of {} over {}",
                    kernel.ToString(), JoinSizes(sizes_), x.ToString()));
  }
  if (has_bias_ && known && context.shape(2) != y.Slice(1, y.rank())) {
    return absl::InvalidArgumentError(
        fmt::format("LocallyConnected: expected a bias of shape {}, got {}",
                    y.Slice(1, y.rank()).ToString(), context.shape(2).ToString()));
  }
  return std::vector<ValueType>{{DType::kFloat32, y}};
}

// Copies the window of output `place` of one image.
void GatherWindow(const WindowAxes& axes, int64_t channels, const float* image, int64_t place,
                  float* out) {
  const auto& [deep, vertical, horizontal] = axes;
  const int64_t column = place % horizontal.out;
  const int64_t row = place / horizontal.out % vertical.out;
  const int64_t depth = place / horizontal.out / vertical.out;
  const int64_t run = horizontal.size * channels;
  for (int64_t i = 0; i < deep.size; ++i) {
    for (int64_t j = 0; j < vertical.size; ++j, out += run) {
      const int64_t line = (deep.Start(depth) + i) * vertical.in + vertical.Start(row) + j;
      std::copy_n(image + (line * horizontal.in + horizontal.Start(column)) * channels, run, out);
    }
  }
}

absl::Status LocallyConnectedOp::Run(const RunContext& context) const {
  const Shape& x = context.input(0).shape;
  const Shape& kernel = context.input(1).shape;
  const WindowAxes axes = ResolveWindows(x, sizes_, window_);
  const int64_t images = x[0];
  const int64_t channels = x.back();
  const int64_t image_floats = axes[0].in * axes[1].in * axes[2].in * channels;
  const int64_t places = kernel[0];
  const int64_t patch = kernel[1];
  const int64_t out = kernel[2];
  const float* bias = has_bias_ ? context.input(2).as<float>() : nullptr;
  const auto& table = kernels::GetSpatialKernels();

  const auto run_place = [&](int64_t place, float* patches) {
    for (int64_t image = 0; image < images; image += kImagesAtOnce) {
      const int64_t count = std::min(kImagesAtOnce, images - image);
      for (int64_t i = 0; i < count; ++i) {
        GatherWindow(axes, channels, context.input(0).as<float>() + (image + i) * image_floats,
                     place, patches + i * patch);
      }
      table.product(patches, context.input(1).as<float>() + place * patch * out,
                    bias == nullptr ? nullptr : bias + place * out, count, patch, out,
                    context.output(0).as<float>() + (image * places + place) * out, places * out);
    }
  };
  const int64_t slots = Slots(kernel);
  context.ParallelFor(slots, 1, [&](int64_t begin, int64_t end) {
    for (int64_t slot = begin; slot < end; ++slot) {
      float* patches = context.scratch<float>() + slot * SlotFloats(kernel);
      for (int64_t i = slot * places / slots; i < (slot + 1) * places / slots; ++i) {
        run_place(i, patches);
      }
    }
  });
  return absl::OkStatus();
}

}  // namespace

Value LocallyConnected(Graph& graph, Value x, Value kernel, Value bias,
                       const std::vector<int64_t>& kernel_size,
                       const std::vector<int64_t>& strides) {
  WindowAttributes window;
  window.strides = strides;
  std::vector<Value> inputs = {x, kernel};
  if (bias.valid()) inputs.push_back(bias);
  return graph.Add1(std::make_shared<LocallyConnectedOp>(
                        kernel_size, Completed(std::move(window), graph.rank(x) - 2), bias.valid()),
                    std::move(inputs));
}

}  // namespace h5serve::compute::ops
