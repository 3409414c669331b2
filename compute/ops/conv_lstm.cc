// ConvLstm: an LSTM whose products are convolutions.
#include <fmt/format.h>

#include <algorithm>

#include "compute/kernels/spatial_kernels.h"
#include "compute/ops/correlation.h"
#include "compute/ops/recurrent.h"
#include "compute/ops/sequence_op.h"
#include "compute/ops/spatial.h"

namespace h5serve::compute::ops {
namespace {

int64_t RoundUp16(int64_t n) { return (n + 15) / 16 * 16; }

class ConvLstmOp : public SequenceOp {
 public:
  ConvLstmOp(ConvLstmAttributes attributes, int spatial, const Layout& layout)
      : SequenceOp(layout),
        attributes_(std::move(attributes)),
        window_(Completed({attributes_.strides, attributes_.dilations, attributes_.same, {}},
                          spatial)) {}

  std::string_view name() const override { return "ConvLstm"; }
  absl::StatusOr<std::vector<ValueType>> Infer(const InferContext& context) const override;
  absl::Status Run(const RunContext& context) const override;

  int64_t ScratchBytes(std::span<const ValueType> inputs) const override {
    const Correlation input = InputCorrelation(inputs[0].shape, KernelShape(inputs));
    const Correlation recurrent = RecurrentCorrelation(input, RecurrentShape(inputs));
    const int64_t floats =
        PackScratchFloats(inputs) + RoundUp16(input.images * input.y_image_stride) +
        std::max(CorrelationScratchFloats(input), CorrelationScratchFloats(recurrent)) +
        input.images;
    return floats * static_cast<int64_t>(sizeof(float));
  }

  double Flops(std::span<const ValueType> inputs) const override {
    const Correlation input = InputCorrelation(inputs[0].shape, KernelShape(inputs));
    return 2.0 * static_cast<double>(input.images * inputs[0].shape[1] * input.out_cells()) *
           static_cast<double>(KernelShape(inputs).num_elements() +
                               RecurrentShape(inputs).num_elements());
  }

 protected:
  std::shared_ptr<SequenceOp> Clone() const override { return std::make_shared<ConvLstmOp>(*this); }
  int64_t PackedWeightFloats(const Shape& kernel, const Shape& recurrent) const override {
    return RoundUp16(PackedFilterFloats(Filter(kernel))) + PackedFilterFloats(Filter(recurrent));
  }
  void PackWeights(const Shape& kernel_shape, const float* kernel, const Shape& recurrent_shape,
                   const float* recurrent, float* packed) const override {
    PackFilter(Filter(kernel_shape), kernel, packed);
    PackFilter(Filter(recurrent_shape), recurrent,
               packed + RoundUp16(PackedFilterFloats(Filter(kernel_shape))));
  }

 private:
  static FilterShape Filter(const Shape& kernel) {
    FilterShape filter{.in = kernel.dim(-2), .out = kernel.back()};
    for (int i = 0; i < kernel.rank() - 2; ++i) filter.taps *= kernel[i];
    return filter;
  }

  // The convolution of the images of one time step with the gates' kernel.
  Correlation InputCorrelation(const Shape& x, const Shape& kernel) const {
    const int spatial = kernel.rank() - 2;
    Correlation c;
    c.images = x[0];
    Shape step{x[0]};
    for (int i = 0; i < spatial + 1; ++i) step.push_back(x[2 + i]);
    c.axes = ResolveWindows(step, kernel.dims().first(spatial), window_);
    if (attributes_.same && attributes_.theano_same) {
      for (WindowAxis& axis : c.axes) axis.before = ((axis.size - 1) * axis.dilation + 1) / 2;
    }
    c.filter = Filter(kernel);
    SetDenseStrides(c);
    c.x_image_stride *= x[1];
    return c;
  }

  // The convolution of the hidden state, whose images are the input's outputs.
  Correlation RecurrentCorrelation(const Correlation& input, const Shape& kernel) const {
    Correlation c;
    c.images = input.images;
    c.filter = Filter(kernel);
    const int spatial = kernel.rank() - 2;
    for (int i = 0; i < spatial; ++i) {
      WindowAxis& axis = c.axes[kMaxSpatial - spatial + i];
      axis.in = axis.out = input.axes[kMaxSpatial - spatial + i].out;
      axis.size = kernel[i];
      axis.before = attributes_.theano_same ? kernel[i] / 2 : (kernel[i] - 1) / 2;
    }
    SetDenseStrides(c);
    return c;
  }

  void UpdateCells(const RunContext& context, const bool* mask, int64_t time, int64_t cells,
                   float* gates) const;
  void Emit(const RunContext& context, const bool* mask, const float* seen, int64_t step,
            int64_t time, int64_t cells) const;

  const ConvLstmAttributes attributes_;
  const WindowAttributes window_;
};

absl::StatusOr<std::vector<ValueType>> ConvLstmOp::Infer(const InferContext& context) const {
  if (absl::Status status = CheckInputs(context); !status.ok()) return status;
  const std::vector<ValueType> types = InputTypes(context);
  const Shape& x = context.shape(0);
  const Shape& kernel = KernelShape(types);
  const Shape& recurrent = RecurrentShape(types);
  const int64_t filters = attributes_.filters;
  const int spatial = x.rank() - 3;
  if (spatial < 1 || spatial > kMaxSpatial) {
    return absl::InvalidArgumentError(
        fmt::format("ConvLstm: expected (batch, time, 1 to {} spatial axes, channels), got {}",
                    kMaxSpatial, x.ToString()));
  }
  if (absl::Status status = CheckWindowAttributes(name(), window_, spatial); !status.ok()) {
    return status;
  }
  if (filters < 1 || filters > kMaxElements / 8 || kernel.rank() != spatial + 2 ||
      recurrent.rank() != spatial + 2 || kernel.back() != 4 * filters || kernel.dim(-2) < 1 ||
      recurrent.back() != 4 * filters || recurrent.dim(-2) != filters ||
      (x.back() != kUnknown && x.back() != kernel.dim(-2))) {
    return absl::InvalidArgumentError(
        fmt::format("ConvLstm: kernels {} and {} do not fit {} filters over an input of shape {}",
                    kernel.ToString(), recurrent.ToString(), filters, x.ToString()));
  }
  if (absl::Status status = CheckBias(context, Shape{4 * filters}); !status.ok()) return status;
  for (const CellActivation* activation :
       {&attributes_.activation, &attributes_.recurrent_activation}) {
    if (absl::Status status = CheckCellActivation(name(), *activation); !status.ok()) {
      return status;
    }
  }
  if (layout().states != 0 && layout().states != 2) {
    return absl::InvalidArgumentError(
        fmt::format("ConvLstm: expected 2 initial states, got {}", layout().states));
  }
  Shape state{x[0]};
  for (int i = 0; i < spatial; ++i) {
    if (recurrent[i] < 1 || recurrent[i] > kMaxWindow) {
      return absl::InvalidArgumentError(
          fmt::format("ConvLstm: not a recurrent kernel: {}", recurrent.ToString()));
    }
    const absl::StatusOr<int64_t> out = WindowOutput(name(), i, x[2 + i], kernel[i], window_);
    if (!out.ok()) return out.status();
    state.push_back(*out);
  }
  state.push_back(filters);
  if (absl::Status status = CheckMaskAndStates(context, state); !status.ok()) return status;
  Shape y = state;
  if (attributes_.return_sequences) y.Insert(1, x[1]);
  return std::vector<ValueType>{
      {DType::kFloat32, y}, {DType::kFloat32, state}, {DType::kFloat32, state}};
}

// h and c of all images that are valid at `time`, from the gates' sums.
void ConvLstmOp::UpdateCells(const RunContext& context, const bool* mask, int64_t time,
                             int64_t cells, float* gates) const {
  const Shape& x = context.input(0).shape;
  const int64_t filters = attributes_.filters;
  const auto& table = kernels::GetSpatialKernels();
  context.ParallelFor(
      x[0] * cells, std::max<int64_t>(1, 4096 / filters), [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
          if (mask != nullptr && !mask[i / cells * x[1] + time]) continue;
          float* gate = gates + i * 4 * filters;
          float* h = context.output(1).as<float>() + i * filters;
          float* c = context.output(2).as<float>() + i * filters;
          ApplyCellActivation(attributes_.recurrent_activation, filters, 2, gate);
          ApplyCellActivation(attributes_.activation, filters, 1, gate + 2 * filters);
          ApplyCellActivation(attributes_.recurrent_activation, filters, 1, gate + 3 * filters);
          table.lstm_carry(gate, gate + filters, gate + 2 * filters, filters, c, h);
          ApplyCellActivation(attributes_.activation, filters, 1, h);
          table.multiply(gate + 3 * filters, h, filters, h);
        }
      });
}

// Writes the output of a step; masked steps repeat the output before them.
void ConvLstmOp::Emit(const RunContext& context, const bool* mask, const float* seen, int64_t step,
                      int64_t time, int64_t cells) const {
  const Shape& x = context.input(0).shape;
  const int64_t image = cells * attributes_.filters;
  for (int64_t row = 0; row < x[0]; ++row) {
    float* y = context.output(0).as<float>() +
               (attributes_.return_sequences ? row * x[1] + step : row) * image;
    const bool valid = mask == nullptr || mask[row * x[1] + time];
    if (valid || seen[row] != 0) {
      std::copy_n(context.output(1).as<float>() + row * image, image, y);
    } else {
      std::fill_n(y, image, 0.0f);
    }
  }
}

absl::Status ConvLstmOp::Run(const RunContext& context) const {
  const std::vector<ValueType> types = InputTypes(context);
  const Shape& x = types[0].shape;
  float* scratch = context.scratch<float>();
  const CellWeights weights = Weights(context, &scratch);
  const bool* mask = Mask(context);

  Correlation input = InputCorrelation(x, KernelShape(types));
  Correlation recurrent = RecurrentCorrelation(input, RecurrentShape(types));
  const int64_t cells = input.out_cells();
  const int64_t step_floats = input.in_cells() * input.in_channels();
  float* gates = scratch;
  float* tiles = gates + RoundUp16(input.images * input.y_image_stride);
  float* seen =
      tiles + std::max(CorrelationScratchFloats(input), CorrelationScratchFloats(recurrent));
  input.packed_filter = weights.packed;
  input.bias = weights.bias;
  input.y = gates;
  recurrent.packed_filter = weights.packed + RoundUp16(PackedFilterFloats(input.filter));
  recurrent.x = context.output(1).as<float>();
  recurrent.y = gates;
  recurrent.addend = gates;
  for (int i = 0; i < 2; ++i) {
    float* state = context.output(1 + i).as<float>();
    if (const float* initial = InitialState(context, i)) {
      std::copy_n(initial, context.output(1 + i).size(), state);
    } else {
      std::fill_n(state, context.output(1 + i).size(), 0.0f);
    }
  }
  std::fill_n(seen, x[0], 0.0f);
  for (int64_t step = 0; step < x[1]; ++step) {
    const int64_t time = attributes_.go_backwards ? x[1] - 1 - step : step;
    input.x = context.input(0).as<float>() + time * step_floats;
    RunCorrelation(input, tiles, context.parallelism());
    RunCorrelation(recurrent, tiles, context.parallelism());
    UpdateCells(context, mask, time, cells, gates);
    for (int64_t row = 0; row < x[0]; ++row) {
      if (mask == nullptr || mask[row * x[1] + time]) seen[row] = 1;
    }
    if (attributes_.return_sequences || step + 1 == x[1]) {
      Emit(context, mask, seen, step, time, cells);
    }
  }
  return absl::OkStatus();
}

}  // namespace

std::vector<Value> ConvLstm(Graph& graph, const RecurrentInputs& inputs,
                            const ConvLstmAttributes& attributes) {
  return graph.Add(std::make_shared<ConvLstmOp>(attributes, graph.rank(inputs.x) - 3,
                                                SequenceOp::LayoutOf(inputs)),
                   OrderedInputs(inputs));
}

}  // namespace h5serve::compute::ops
