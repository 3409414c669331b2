// ConvTranspose: the adjoint of a convolution.
//
// The outputs whose places are equal modulo the stride read the same taps, and
// among themselves they are an ordinary correlation with stride 1. So the
// kernel is split into one kernel per phase, and no result is scattered.
#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "compute/kernels/gemm.h"
#include "compute/ops/convolution.h"
#include "compute/ops/correlation.h"
#include "compute/ops/filter_op.h"
#include "compute/ops/spatial.h"

namespace h5serve::compute::ops {
namespace {

int64_t CeilDivide(int64_t a, int64_t b) { return (a + b - 1) / b; }
int64_t RoundUp16(int64_t n) { return CeilDivide(n, 16) * 16; }

// One axis of a transposed convolution with all sizes known.
struct TransposedAxis {
  int64_t in = 1, out = 1, size = 1, stride = 1, dilation = 1, before = 0;

  int64_t common() const { return std::gcd(stride, dilation); }
  // Taps t and t + tap_step() reach the same outputs.
  int64_t tap_step() const { return stride / common(); }
  // Phases that have taps; phase p has the taps p, p + tap_step(), ….
  int64_t phases() const { return std::min(tap_step(), size); }
  int64_t taps(int64_t phase) const { return CeilDivide(size - phase, tap_step()); }
  // First output of a phase, not below 0.
  int64_t first_output(int64_t phase) const {
    const int64_t place = (phase * dilation - before) % stride;
    return place < 0 ? place + stride : place;
  }
  int64_t outputs(int64_t phase) const {
    return std::max<int64_t>(CeilDivide(out - first_output(phase), stride), 0);
  }
  // True when every output belongs to a phase.
  bool covered() const { return phases() == stride; }

  // The correlation of a phase, whose taps are in falling order.
  WindowAxis Window(int64_t phase) const {
    const int64_t last_tap = phase + (taps(phase) - 1) * tap_step();
    return {.in = in,
            .out = outputs(phase),
            .size = taps(phase),
            .stride = 1,
            .dilation = dilation / common(),
            .before = -(first_output(phase) + before - last_tap * dilation) / stride};
  }
};
using TransposedAxes = std::array<TransposedAxis, kMaxSpatial>;
using Phase = std::array<int64_t, kMaxSpatial>;

class ConvTransposeOp : public FilterOp {
 public:
  ConvTransposeOp(ConvTransposeAttributes attributes, bool has_bias)
      : FilterOp(has_bias), attributes_(std::move(attributes)) {}

  std::string_view name() const override { return "ConvTranspose"; }

  absl::StatusOr<std::vector<ValueType>> Infer(const InferContext& context) const override;
  absl::Status Run(const RunContext& context) const override;

  int64_t ScratchBytes(std::span<const ValueType> inputs) const override {
    int64_t floats = 0;
    ForPhases(inputs[0].shape, KernelShape(inputs),
              [&](const Correlation& correlation, const Phase&, int64_t) {
                floats = std::max(floats, CorrelationScratchFloats(correlation));
              });
    return (PackScratchFloats(inputs) + floats) * static_cast<int64_t>(sizeof(float));
  }

  double Flops(std::span<const ValueType> inputs) const override {
    const Shape& x = inputs[0].shape;
    return 2.0 * static_cast<double>(x.num_elements() / std::max<int64_t>(x.back(), 1)) *
           static_cast<double>(KernelShape(inputs).num_elements());
  }

 protected:
  std::shared_ptr<FilterOp> Clone() const override {
    return std::make_shared<ConvTransposeOp>(*this);
  }
  int64_t PackedKernelFloats(const Shape& kernel) const override {
    int64_t floats = 0;
    ForKernels(kernel, [&](const Phase&, const FilterShape& filter, int64_t offset) {
      floats = offset + RoundUp16(PackedFilterFloats(filter));
    });
    return floats;
  }
  void PackKernel(const Shape& shape, const float* kernel, float* packed) const override;
  Shape FactorShape(const Shape& kernel) const override { return Shape{kernel.dim(-2), 1}; }

 private:
  absl::Status CheckAttributes(int spatial) const;
  // Output size of an axis of known size.
  int64_t OutputSize(int axis, int64_t in, int64_t size) const;
  TransposedAxis Axis(int axis, int64_t in, int64_t size) const;
  // All axes; input sizes are 1 where only the kernel counts.
  TransposedAxes Axes(const Shape* x, const Shape& kernel) const;

  // Calls f(phase, filter, offset of its packed form) for each phase with taps.
  template <typename F>
  void ForKernels(const Shape& kernel, F f) const {
    const TransposedAxes axes = Axes(nullptr, kernel);
    int64_t offset = 0;
    Phase phase;
    for (phase[0] = 0; phase[0] < axes[0].phases(); ++phase[0]) {
      for (phase[1] = 0; phase[1] < axes[1].phases(); ++phase[1]) {
        for (phase[2] = 0; phase[2] < axes[2].phases(); ++phase[2]) {
          FilterShape filter{.in = kernel.back(), .out = kernel.dim(-2)};
          for (int i = 0; i < kMaxSpatial; ++i) filter.taps *= axes[i].taps(phase[i]);
          f(phase, filter, offset);
          offset += RoundUp16(PackedFilterFloats(filter));
        }
      }
    }
  }

  // Calls f(correlation, place of its first output, offset of its packed kernel)
  // for each phase that has outputs; pointers of the correlation are not set.
  template <typename F>
  void ForPhases(const Shape& x, const Shape& kernel, F f) const {
    const TransposedAxes axes = Axes(&x, kernel);
    ForKernels(kernel, [&](const Phase& phase, const FilterShape& filter, int64_t offset) {
      Correlation c;
      c.images = x[0];
      c.filter = filter;
      Phase first;
      for (int i = 0; i < kMaxSpatial; ++i) {
        c.axes[i] = axes[i].Window(phase[i]);
        first[i] = axes[i].first_output(phase[i]);
      }
      if (c.out_cells() == 0) return;
      c.x_image_stride = c.in_cells() * c.in_channels();
      int64_t stride = filter.out;
      for (int i = kMaxSpatial - 1; i >= 0; --i) {
        c.y_strides[i] = stride * axes[i].stride;
        stride *= axes[i].out;
      }
      c.y_image_stride = stride;
      c.addend_strides = c.y_strides;
      c.addend_image_stride = c.y_image_stride;
      f(c, first, offset);
    });
  }

  const ConvTransposeAttributes attributes_;
};

absl::Status ConvTransposeOp::CheckAttributes(int spatial) const {
  const WindowAttributes window =
      Completed({attributes_.strides, attributes_.dilations, false, {}}, spatial);
  if (absl::Status status = CheckWindowAttributes(name(), window, spatial); !status.ok()) {
    return status;
  }
  for (const auto* list :
       {&attributes_.output_padding, &attributes_.output_spatial, &attributes_.before}) {
    if (!list->empty() && static_cast<int>(list->size()) != spatial) {
      return absl::InvalidArgumentError(
          fmt::format("ConvTranspose: expected {} sizes, got {}", spatial, list->size()));
    }
    for (int64_t value : *list) {
      if (value < (list == &attributes_.output_spatial ? kUnknown : 0) || value > kMaxWindow) {
        return absl::InvalidArgumentError(
            fmt::format("ConvTranspose: sizes must be in [0, {}], got {}", kMaxWindow, value));
      }
    }
  }
  return absl::OkStatus();
}

int64_t ConvTransposeOp::OutputSize(int axis, int64_t in, int64_t size) const {
  if (!attributes_.output_spatial.empty() && attributes_.output_spatial[axis] != kUnknown) {
    return attributes_.output_spatial[axis];
  }
  if (in == kUnknown) return kUnknown;
  const int64_t stride = attributes_.strides[axis];
  const int64_t reach = (size - 1) * attributes_.dilations[axis] + 1;
  if (attributes_.output_padding.empty()) {
    return in * stride + (attributes_.same ? 0 : std::max<int64_t>(reach - stride, 0));
  }
  return (in - 1) * stride + reach - (attributes_.same ? reach / 2 * 2 : 0) +
         attributes_.output_padding[axis];
}

TransposedAxis ConvTransposeOp::Axis(int axis, int64_t in, int64_t size) const {
  TransposedAxis result{.in = in,
                        .out = OutputSize(axis, in, size),
                        .size = size,
                        .stride = attributes_.strides[axis],
                        .dilation = attributes_.dilations[axis]};
  if (!attributes_.before.empty()) {
    result.before = attributes_.before[axis];
  } else if (attributes_.same) {
    result.before = SamePadBefore(result.out, in, size, result.stride, result.dilation);
  }
  return result;
}

TransposedAxes ConvTransposeOp::Axes(const Shape* x, const Shape& kernel) const {
  TransposedAxes axes;
  const int spatial = kernel.rank() - 2;
  for (int i = 0; i < spatial; ++i) {
    axes[kMaxSpatial - spatial + i] = Axis(i, x == nullptr ? 1 : (*x)[1 + i], kernel[i]);
  }
  return axes;
}

absl::StatusOr<std::vector<ValueType>> ConvTransposeOp::Infer(const InferContext& context) const {
  const absl::StatusOr<int> spatial = CheckImages(name(), context.input(0));
  if (!spatial.ok()) return spatial.status();
  if (absl::Status status = CheckInputs(context, *spatial + 2); !status.ok()) return status;
  if (absl::Status status = CheckAttributes(*spatial); !status.ok()) return status;
  const Shape& kernel = KernelShape(context);
  const Shape& x = context.shape(0);
  if (x.back() != kUnknown && x.back() != kernel.back()) {
    return absl::InvalidArgumentError(
        fmt::format("ConvTranspose: the kernel {} needs {} input channels, got {}",
                    kernel.ToString(), kernel.back(), x.ToString()));
  }
  if (absl::Status status = CheckBias(context, kernel.dim(-2)); !status.ok()) return status;
  Shape y{x[0]};
  for (int i = 0; i < *spatial; ++i) {
    if (kernel[i] > kMaxWindow) {
      return absl::InvalidArgumentError(fmt::format(
          "ConvTranspose: kernel sizes must be at most {}, got {}", kMaxWindow, kernel[i]));
    }
    const int64_t out = OutputSize(i, x[1 + i], kernel[i]);
    if (x[1 + i] == 0 || (out != kUnknown && (out < 1 || out > kMaxElements))) {
      return absl::InvalidArgumentError(
          fmt::format("ConvTranspose: no output of size {} on spatial axis {} for an input of {}",
                      out, i, x[1 + i]));
    }
    y.push_back(out);
  }
  y.push_back(kernel.dim(-2));
  if (absl::Status status = CheckAddend(context, y); !status.ok()) return status;
  return std::vector<ValueType>{{DType::kFloat32, y}};
}

void ConvTransposeOp::PackKernel(const Shape& shape, const float* kernel, float* packed) const {
  const TransposedAxes axes = Axes(nullptr, shape);
  std::vector<float> part;
  ForKernels(shape, [&](const Phase& phase, const FilterShape& filter, int64_t offset) {
    part.assign(filter.taps * filter.in * filter.out, 0.0f);
    float* to = part.data();
    // Tap `index` of the phase, counted backwards.
    const auto tap = [&](int axis, int64_t index) {
      return phase[axis] + (axes[axis].taps(phase[axis]) - 1 - index) * axes[axis].tap_step();
    };
    for (int64_t i = 0; i < axes[0].taps(phase[0]); ++i) {
      for (int64_t j = 0; j < axes[1].taps(phase[1]); ++j) {
        for (int64_t k = 0; k < axes[2].taps(phase[2]); ++k) {
          const int64_t place = (tap(0, i) * axes[1].size + tap(1, j)) * axes[2].size + tap(2, k);
          const float* from = kernel + place * filter.in * filter.out;
          for (int64_t channel = 0; channel < filter.in; ++channel) {
            for (int64_t out = 0; out < filter.out; ++out) {
              *to++ = from[out * filter.in + channel];
            }
          }
        }
      }
    }
    PackFilter(filter, part.data(), packed + offset);
  });
}

absl::Status ConvTransposeOp::Run(const RunContext& context) const {
  const Shape& x = context.input(0).shape;
  const Shape& y = context.output(0).shape;
  const Shape kernel = KernelShape(context);
  float* scratch = context.scratch<float>();
  const float* packed_kernel = PackedKernel(context, scratch);
  if (!packed()) scratch += RoundUp16(PackedKernelFloats(kernel));
  float* out = context.output(0).as<float>();
  const float* addend = Addend(context);

  bool covered = true;
  for (const TransposedAxis& axis : Axes(&x, kernel)) covered = covered && axis.covered();
  if (!covered) {
    // Places that no tap reaches: a product of nothing, plus bias and addend.
    kernels::GemmArguments rest;
    rest.n = y.back();
    rest.rows = y.num_elements() / y.back();
    rest.c = out;
    rest.c_row_stride = y.back();
    rest.bias = Bias(context);
    rest.addend = addend;
    rest.addend_row_stride = y.back();
    rest.activation = activation_;
    rest.activation_p = activation_p_;
    rest.activation_q = activation_q_;
    kernels::Gemm(rest, context.parallelism());
  }
  ForPhases(x, kernel, [&](Correlation correlation, const Phase& first, int64_t offset) {
    int64_t place = 0;
    int64_t stride = y.back();
    for (int i = kMaxSpatial - 1; i >= 0; --i) {
      place += first[i] * stride;
      const int axis = i - (kMaxSpatial - (y.rank() - 2));
      if (axis >= 0) stride *= y[1 + axis];
    }
    correlation.x = context.input(0).as<float>();
    correlation.packed_filter = packed_kernel + offset;
    correlation.bias = Bias(context);
    correlation.addend = addend == nullptr ? nullptr : addend + place;
    correlation.y = out + place;
    correlation.activation = activation_;
    correlation.activation_p = activation_p_;
    correlation.activation_q = activation_q_;
    RunCorrelation(correlation, scratch, context.parallelism());
  });
  return absl::OkStatus();
}

}  // namespace

Value ConvTranspose(Graph& graph, Value x, Value kernel, Value bias,
                    const ConvTransposeAttributes& attributes) {
  ConvTransposeAttributes completed = attributes;
  const size_t spatial = static_cast<size_t>(std::max(graph.rank(x) - 2, 0));
  if (completed.strides.empty()) completed.strides.assign(spatial, 1);
  if (completed.dilations.empty()) completed.dilations.assign(spatial, 1);
  std::vector<Value> inputs = {x, kernel};
  if (bias.valid()) inputs.push_back(bias);
  return graph.Add1(std::make_shared<ConvTransposeOp>(std::move(completed), bias.valid()),
                    std::move(inputs));
}

}  // namespace h5serve::compute::ops
