// Conv: a convolution as neural networks mean it.
#include <fmt/format.h>

#include "compute/ops/conv_variants.h"
#include "compute/ops/convolution.h"
#include "compute/ops/correlation.h"
#include "compute/ops/filter_op.h"
#include "compute/ops/spatial.h"
#include "compute/ops/winograd.h"

namespace h5serve::compute::ops {
namespace {

class ConvOp : public FilterOp {
 public:
  ConvOp(WindowAttributes window, int64_t groups, bool has_bias)
      : FilterOp(has_bias), window_(std::move(window)), groups_(groups) {}

  std::string_view name() const override { return "Conv"; }

  absl::StatusOr<std::vector<ValueType>> Infer(const InferContext& context) const override {
    const absl::StatusOr<int> spatial = CheckImages(name(), context.input(0));
    if (!spatial.ok()) return spatial.status();
    if (absl::Status status = CheckInputs(context, *spatial + 2); !status.ok()) return status;
    if (absl::Status status = CheckWindowAttributes(name(), window_, *spatial); !status.ok()) {
      return status;
    }
    const Shape& kernel = KernelShape(context);
    const Shape& x = context.shape(0);
    const int64_t out = kernel.back();
    if (absl::Status status = CheckChannels(x, kernel); !status.ok()) return status;
    if (absl::Status status = CheckBias(context, out); !status.ok()) return status;
    Shape y{x[0]};
    for (int i = 0; i < *spatial; ++i) {
      const absl::StatusOr<int64_t> size = WindowOutput(name(), i, x[1 + i], kernel[i], window_);
      if (!size.ok()) return size.status();
      y.push_back(*size);
    }
    y.push_back(out);
    if (absl::Status status = CheckAddend(context, y); !status.ok()) return status;
    return std::vector<ValueType>{{DType::kFloat32, y}};
  }

  absl::Status Run(const RunContext& context) const override {
    Correlation correlation = Describe(context.input(0).shape, KernelShape(context));
    float* scratch = context.scratch<float>();
    correlation.x = context.input(0).as<float>();
    correlation.packed_filter = PackedKernel(context, scratch);
    correlation.bias = Bias(context);
    correlation.addend = Addend(context);
    correlation.y = context.output(0).as<float>();
    correlation.activation = activation_;
    correlation.activation_p = activation_p_;
    correlation.activation_q = activation_q_;
    if (!packed()) scratch += (PackedFilterFloats(correlation.filter) + 15) / 16 * 16;
    if (winograd_) {
      RunWinograd(correlation, scratch, context.parallelism());
    } else {
      RunCorrelation(correlation, scratch, context.parallelism());
    }
    return absl::OkStatus();
  }

  int64_t ScratchBytes(std::span<const ValueType> inputs) const override {
    const Correlation correlation = Describe(inputs[0].shape, KernelShape(inputs));
    const int64_t floats =
        winograd_ ? WinogradScratchFloats(correlation) : CorrelationScratchFloats(correlation);
    return (PackScratchFloats(inputs) + floats) * static_cast<int64_t>(sizeof(float));
  }

  // The algorithm is chosen with the form the kernel is packed in, so the size of
  // the images must be known.
  Specialized Specialize(std::span<const ValueType> inputs,
                         std::span<const Tensor* const> constants) const override {
    if (packed() || constants.size() < 2 || constants[1] == nullptr) return {};
    const Shape& x = inputs[0].shape;
    if (!x.Slice(1, x.rank() - 1).known() || !SuitsWinograd(Describe(x, constants[1]->shape()))) {
      return FilterOp::Specialize(inputs, constants);
    }
    ConvOp op(*this);
    op.winograd_ = true;
    return op.FilterOp::Specialize(inputs, constants);
  }

  double Flops(std::span<const ValueType> inputs) const override {
    const Correlation c = Describe(inputs[0].shape, KernelShape(inputs));
    return 2.0 * static_cast<double>(c.images * c.out_cells()) *
           static_cast<double>(c.filter.taps * c.filter.in) * static_cast<double>(c.filter.out);
  }

 protected:
  std::shared_ptr<FilterOp> Clone() const override { return std::make_shared<ConvOp>(*this); }
  int64_t PackedKernelFloats(const Shape& kernel) const override {
    if (winograd_) return WinogradFilterFloats(kernel.dim(-2), kernel.back());
    return PackedFilterFloats(Filter(kernel));
  }
  void PackKernel(const Shape& shape, const float* kernel, float* packed) const override {
    if (winograd_) {
      PackWinogradFilter(shape.dim(-2), shape.back(), kernel, packed);
    } else {
      PackFilter(Filter(shape), kernel, packed);
    }
  }
  Shape FactorShape(const Shape& kernel) const override { return Shape{kernel.back()}; }

 private:
  absl::Status CheckChannels(const Shape& x, const Shape& kernel) const {
    const int64_t in = kernel.dim(-2);
    const int64_t out = kernel.back();
    if (groups_ < 1 || groups_ > out || out % groups_ != 0) {
      return absl::InvalidArgumentError(
          fmt::format("Conv: {} output channels cannot be split into {} groups", out, groups_));
    }
    if (x.back() != kUnknown && x.back() != in * groups_) {
      return absl::InvalidArgumentError(
          fmt::format("Conv: the kernel {} with {} groups needs {} input channels, got {}",
                      kernel.ToString(), groups_, in * groups_, x.ToString()));
    }
    return absl::OkStatus();
  }

  FilterShape Filter(const Shape& kernel) const {
    FilterShape filter;
    for (int i = 0; i < kernel.rank() - 2; ++i) filter.taps *= kernel[i];
    filter.in = kernel.dim(-2);
    filter.out = kernel.back();
    filter.groups = groups_;
    return filter;
  }

  Correlation Describe(const Shape& x, const Shape& kernel) const {
    Correlation correlation;
    correlation.images = x[0];
    correlation.axes = ResolveWindows(x, kernel.dims().first(kernel.rank() - 2), window_);
    correlation.filter = Filter(kernel);
    SetDenseStrides(correlation);
    return correlation;
  }

  const WindowAttributes window_;
  const int64_t groups_;
  bool winograd_ = false;  // the packed kernel is Winograd's
};

}  // namespace

WindowAttributes WindowOf(const ConvAttributes& attributes, int spatial) {
  return Completed({.strides = attributes.strides,
                    .dilations = attributes.dilations,
                    .same = attributes.same,
                    .pads = attributes.pads},
                   spatial);
}

Value GemmConv(Graph& graph, Value x, Value kernel, Value bias, const ConvAttributes& attributes) {
  std::vector<Value> inputs = {x, kernel};
  if (bias.valid()) inputs.push_back(bias);
  return graph.Add1(std::make_shared<ConvOp>(WindowOf(attributes, graph.rank(x) - 2),
                                             attributes.groups, bias.valid()),
                    std::move(inputs));
}

Value Conv(Graph& graph, Value x, Value kernel, Value bias, const ConvAttributes& attributes) {
  // One input channel per group is what the depthwise kernels are made for.
  if (attributes.groups > 1 && graph.rank(kernel) >= 2 && graph.shape(kernel).dim(-2) == 1) {
    return ChannelwiseConv(graph, x, kernel, bias, attributes, /*grouped_kernel=*/true);
  }
  return GemmConv(graph, x, kernel, bias, attributes);
}

}  // namespace h5serve::compute::ops
