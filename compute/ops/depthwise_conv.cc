// DepthwiseConv: a convolution of each channel alone.
#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "compute/kernels/spatial_kernels.h"
#include "compute/ops/activation.h"
#include "compute/ops/conv_variants.h"
#include "compute/ops/filter_op.h"

namespace h5serve::compute::ops {
namespace {

class DepthwiseConvOp : public FilterOp {
 public:
  // `groups` is the number of input channels a grouped kernel is for, or 0 when
  // the kernel's last two dimensions are input channels and multiplier.
  DepthwiseConvOp(WindowAttributes window, int64_t groups, bool has_bias)
      : FilterOp(has_bias), window_(std::move(window)), groups_(groups) {}

  std::string_view name() const override { return "DepthwiseConv"; }

  absl::StatusOr<std::vector<ValueType>> Infer(const InferContext& context) const override {
    const absl::StatusOr<int> spatial = CheckImages(name(), context.input(0));
    if (!spatial.ok()) return spatial.status();
    if (absl::Status status = CheckInputs(context, *spatial + 2); !status.ok()) return status;
    if (absl::Status status = CheckWindowAttributes(name(), window_, *spatial); !status.ok()) {
      return status;
    }
    const Shape& kernel = KernelShape(context);
    const Shape& x = context.shape(0);
    const int64_t channels = InChannels(kernel);
    const int64_t out = kernel.dim(-2) * kernel.back();
    if (out % channels != 0) {
      return absl::InvalidArgumentError(fmt::format(
          "DepthwiseConv: {} output channels cannot be split into {} groups", out, channels));
    }
    if (x.back() != kUnknown && x.back() != channels) {
      return absl::InvalidArgumentError(
          fmt::format("DepthwiseConv: the kernel {} needs {} input channels, got {}",
                      kernel.ToString(), channels, x.ToString()));
    }
    if (absl::Status status = CheckBias(context, out); !status.ok()) return status;
    Shape y{x[0]};
    for (int i = 0; i < *spatial; ++i) {
      const absl::StatusOr<int64_t> size = WindowOutput(name(), i, x[1 + i], kernel[i], window_);
      if (!size.ok()) return size.status();
      y.push_back(*size);
    }
    y.push_back(out);
    return std::vector<ValueType>{{DType::kFloat32, y}};
  }

  absl::Status Run(const RunContext& context) const override;

  int64_t ScratchBytes(std::span<const ValueType> inputs) const override {
    const Shape& kernel = KernelShape(inputs);
    int64_t floats = PackScratchFloats(inputs);
    if (kernel.dim(-2) * kernel.back() != InChannels(kernel)) {
      floats += inputs[0].shape.num_elements() / std::max<int64_t>(inputs[0].shape[0], 1) *
                (kernel.dim(-2) * kernel.back() / InChannels(kernel));
    }
    return floats * static_cast<int64_t>(sizeof(float));
  }

  double Flops(std::span<const ValueType> inputs) const override {
    const Shape& kernel = KernelShape(inputs);
    const WindowAxes axes = Axes(inputs[0].shape, kernel);
    return 2.0 * static_cast<double>(inputs[0].shape[0] * axes[0].out * axes[1].out) *
           static_cast<double>(axes[2].out) * static_cast<double>(kernel.num_elements());
  }

 protected:
  std::shared_ptr<FilterOp> Clone() const override {
    return std::make_shared<DepthwiseConvOp>(*this);
  }
  bool CanTakeAddend() const override { return false; }
  int64_t PackedKernelFloats(const Shape& kernel) const override { return kernel.num_elements(); }
  void PackKernel(const Shape& shape, const float* kernel, float* packed) const override {
    std::copy_n(kernel, shape.num_elements(), packed);
  }
  Shape FactorShape(const Shape& kernel) const override {
    if (groups_ > 0) return Shape{kernel.back()};
    return Shape{kernel.dim(-2), kernel.back()};
  }

 private:
  int64_t InChannels(const Shape& kernel) const { return groups_ > 0 ? groups_ : kernel.dim(-2); }
  WindowAxes Axes(const Shape& x, const Shape& kernel) const {
    return ResolveWindows(x, kernel.dims().first(kernel.rank() - 2), window_);
  }

  const WindowAttributes window_;
  const int64_t groups_;
};

// Each channel `multiplier` times.
void RepeatChannels(const float* x, int64_t count, int64_t multiplier, float* out) {
  for (int64_t i = 0; i < count; ++i, out += multiplier) std::fill_n(out, multiplier, x[i]);
}

// The row of outputs (depth, row) of an image.
kernels::DepthwiseRow RowArguments(const WindowAxes& axes, int64_t channels, int64_t depth,
                                   int64_t row, const float* image, const float* weights) {
  const auto& [deep, vertical, horizontal] = axes;
  const auto [first_plane, last_plane] = deep.InsideTaps(depth);
  const auto [first_row, last_row] = vertical.InsideTaps(row);
  const int64_t in_row = horizontal.in * channels;
  const int64_t weight_row = horizontal.size * channels;
  kernels::DepthwiseRow r;
  r.planes = last_plane - first_plane;
  r.rows = last_row - first_row;
  r.plane_stride = deep.dilation * vertical.in * in_row;
  r.row_stride = vertical.dilation * in_row;
  r.weight_plane_stride = vertical.size * weight_row;
  r.weight_row_stride = weight_row;
  if (r.planes > 0 && r.rows > 0) {
    r.x = image + (deep.Start(depth) + first_plane * deep.dilation) * vertical.in * in_row +
          (vertical.Start(row) + first_row * vertical.dilation) * in_row;
    r.weights = weights + first_plane * r.weight_plane_stride + first_row * weight_row;
  }
  r.channels = channels;
  r.columns_in = horizontal.in;
  r.columns_out = horizontal.out;
  r.taps = horizontal.size;
  r.stride = horizontal.stride;
  r.dilation = horizontal.dilation;
  r.before = horizontal.before;
  std::tie(r.inside_first, r.inside_last) = horizontal.InsideOutputs();
  return r;
}

absl::Status DepthwiseConvOp::Run(const RunContext& context) const {
  const Shape& x = context.input(0).shape;
  const Shape kernel = KernelShape(context);
  const WindowAxes axes = Axes(x, kernel);
  float* scratch = context.scratch<float>();
  const float* weights = PackedKernel(context, scratch);
  if (!packed()) scratch += (kernel.num_elements() + 15) / 16 * 16;
  const float* bias = Bias(context);
  const int64_t in_channels = InChannels(kernel);
  const int64_t channels = kernel.dim(-2) * kernel.back();
  const int64_t multiplier = channels / in_channels;
  const int64_t images = x[0];
  const int64_t cells = axes[0].in * axes[1].in * axes[2].in;
  const int64_t image_rows = axes[0].out * axes[1].out;
  const int64_t row_floats = axes[2].out * channels;
  const ClampRange clamp = ClampOf(activation_, activation_p_, activation_q_);
  const auto& table = kernels::GetSpatialKernels();

  // Rows [begin, end) of all images; `first` is the image that `data` begins with.
  const auto run_rows = [&](const float* data, int64_t begin, int64_t end, int64_t first) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t image = i / image_rows;
      const int64_t row = i % image_rows;
      kernels::DepthwiseRow r = RowArguments(axes, channels, row / axes[1].out, row % axes[1].out,
                                             data + (image - first) * cells * channels, weights);
      r.bias = bias;
      r.y = context.output(0).as<float>() + i * row_floats;
      r.low = clamp.low;
      r.high = clamp.high;
      table.depthwise_row(r);
      if (!clamp.exact) ApplyActivation(activation_, activation_p_, activation_q_, row_floats, r.y);
    }
  };
  const int64_t grain = std::max<int64_t>(1, 32768 / std::max<int64_t>(row_floats, 1));
  if (multiplier == 1) {
    context.ParallelFor(images * image_rows, grain, [&](int64_t begin, int64_t end) {
      run_rows(context.input(0).as<float>(), begin, end, 0);
    });
    return absl::OkStatus();
  }
  for (int64_t image = 0; image < images; ++image) {
    RepeatChannels(context.input(0).as<float>() + image * cells * in_channels, cells * in_channels,
                   multiplier, scratch);
    context.ParallelFor(image_rows, grain, [&](int64_t begin, int64_t end) {
      run_rows(scratch, image * image_rows + begin, image * image_rows + end, image);
    });
  }
  return absl::OkStatus();
}

}  // namespace

Value ChannelwiseConv(Graph& graph, Value x, Value kernel, Value bias,
                      const ConvAttributes& attributes, bool grouped_kernel) {
  std::vector<Value> inputs = {x, kernel};
  if (bias.valid()) inputs.push_back(bias);
  return graph.Add1(
      std::make_shared<DepthwiseConvOp>(WindowOf(attributes, graph.rank(x) - 2),
                                        grouped_kernel ? attributes.groups : 0, bias.valid()),
      std::move(inputs));
}

Value DepthwiseConv(Graph& graph, Value x, Value kernel, Value bias,
                    const ConvAttributes& attributes) {
  // With one channel the kernel is that of an ordinary convolution.
  if (graph.rank(kernel) >= 2 && graph.shape(kernel).dim(-2) == 1) {
    ConvAttributes single = attributes;
    single.groups = 1;
    return GemmConv(graph, x, kernel, bias, single);
  }
  return ChannelwiseConv(graph, x, kernel, bias, attributes, /*grouped_kernel=*/false);
}

}  // namespace h5serve::compute::ops
