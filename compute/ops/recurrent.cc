// Recurrent: SimpleRNN, LSTM and GRU over whole sequences.
#include "compute/ops/recurrent.h"

#include <fmt/format.h>

#include <algorithm>

#include "compute/kernels/gemm.h"
#include "compute/kernels/spatial_kernels.h"
#include "compute/ops/sequence_op.h"

namespace h5serve::compute::ops {
namespace {

using kernels::GemmArguments;

// Floats of the inputs' part of the gates that are computed ahead of their
// steps: enough rows for an efficient product, few enough to stay in cache.
constexpr int64_t kAheadFloats = 256 * 1024;
constexpr int64_t kAheadRows = 32;
// A step's product is worth waking threads from so many multiplications on.
constexpr int64_t kParallelStep = int64_t{1} << 21;

int64_t RoundUp16(int64_t n) { return (n + 15) / 16 * 16; }

// Sizes of one run.
struct Sizes {
  int64_t batch, time, in, units, gates;  // gates: floats of all gates

  int64_t steps_ahead() const {
    const int64_t rows = std::max<int64_t>(batch, 1);
    const int64_t fitting = kAheadFloats / (rows * gates);
    return std::clamp<int64_t>(std::max(fitting, (kAheadRows + rows - 1) / rows), 1, time);
  }
  // Scratch floats for each row of the batch: inputs' part, gates, reset state
  // of a GRU, and whether a valid step was seen.
  int64_t row_floats() const { return steps_ahead() * gates + gates + units + 1; }
};

class RecurrentOp : public SequenceOp {
 public:
  RecurrentOp(const RecurrentAttributes& attributes, const Layout& layout)
      : SequenceOp(layout), attributes_(attributes) {}

  std::string_view name() const override { return "Recurrent"; }
  absl::StatusOr<std::vector<ValueType>> Infer(const InferContext& context) const override;
  absl::Status Run(const RunContext& context) const override;

  int64_t ScratchBytes(std::span<const ValueType> inputs) const override {
    const Sizes sizes = SizesOf(inputs[0].shape);
    return (PackScratchFloats(inputs) + sizes.batch * sizes.row_floats()) *
           static_cast<int64_t>(sizeof(float));
  }
  double Flops(std::span<const ValueType> inputs) const override {
    const Sizes s = SizesOf(inputs[0].shape);
    return 2.0 * static_cast<double>(s.batch * s.time) * static_cast<double>(s.in + s.units) *
           static_cast<double>(s.gates);
  }

 protected:
  std::shared_ptr<SequenceOp> Clone() const override {
    return std::make_shared<RecurrentOp>(*this);
  }
  int64_t PackedWeightFloats(const Shape& kernel, const Shape& recurrent) const override;
  void PackWeights(const Shape& kernel_shape, const float* kernel, const Shape& recurrent_shape,
                   const float* recurrent, float* packed) const override;

 private:
  int gate_count() const {
    switch (attributes_.cell) {
      case CellKind::kLstm:
        return 4;
      case CellKind::kGru:
        return 3;
      default:
        return 1;
    }
  }
  // The candidate's product waits for the reset gate.
  bool splits_recurrent() const {
    return attributes_.cell == CellKind::kGru && !attributes_.reset_after;
  }
  int state_count() const { return attributes_.cell == CellKind::kLstm ? 2 : 1; }
  Sizes SizesOf(const Shape& x) const {
    return {x[0], x[1], x[2], attributes_.units, gate_count() * attributes_.units};
  }

  friend class SequenceRun;
  const RecurrentAttributes attributes_;
};

int64_t RecurrentOp::PackedWeightFloats(const Shape& kernel, const Shape& recurrent) const {
  const int64_t units = recurrent[0];
  const int64_t input = RoundUp16(kernels::PackedFloats(kernel[0], kernel[1]));
  if (!splits_recurrent()) return input + kernels::PackedFloats(units, recurrent[1]);
  return input + RoundUp16(kernels::PackedFloats(units, 2 * units)) +
         kernels::PackedFloats(units, units);
}

void RecurrentOp::PackWeights(const Shape& kernel_shape, const float* kernel,
                              const Shape& recurrent_shape, const float* recurrent,
                              float* packed) const {
  const int64_t units = recurrent_shape[0];
  const int64_t gates = recurrent_shape[1];
  kernels::PackMatrix(kernel, kernel_shape[0], gates, gates, 1, packed);
  packed += RoundUp16(kernels::PackedFloats(kernel_shape[0], gates));
  if (!splits_recurrent()) {
    kernels::PackMatrix(recurrent, units, gates, gates, 1, packed);
    return;
  }
  kernels::PackMatrix(recurrent, units, 2 * units, gates, 1, packed);
  packed += RoundUp16(kernels::PackedFloats(units, 2 * units));
  kernels::PackMatrix(recurrent + 2 * units, units, units, gates, 1, packed);
}

absl::StatusOr<std::vector<ValueType>> RecurrentOp::Infer(const InferContext& context) const {
  if (absl::Status status = CheckInputs(context); !status.ok()) return status;
  const std::vector<ValueType> types = InputTypes(context);
  const Shape& x = context.shape(0);
  const Shape& kernel = KernelShape(types);
  const Shape& recurrent = RecurrentShape(types);
  const int64_t units = attributes_.units;
  if (units < 1 || units > kMaxElements / 8) {
    return absl::InvalidArgumentError(fmt::format("Recurrent: cannot have {} units", units));
  }
  const int64_t gates = gate_count() * units;
  if (x.rank() != 3) {
    return absl::InvalidArgumentError(
        fmt::format("Recurrent: expected (batch, time, features), got {}", x.ToString()));
  }
  if (kernel.rank() != 2 || kernel[1] != gates || kernel[0] < 1 ||
      (x[2] != kUnknown && x[2] != kernel[0])) {
    return absl::InvalidArgumentError(
        fmt::format("Recurrent: expected a kernel of shape {}, got {}",
                    Shape{x[2], gates}.ToString(), kernel.ToString()));
  }
  if (recurrent != Shape{units, gates}) {
    return absl::InvalidArgumentError(
        fmt::format("Recurrent: expected a recurrent kernel of shape {}, got {}",
                    Shape{units, gates}.ToString(), recurrent.ToString()));
  }
  const bool two_biases = attributes_.cell == CellKind::kGru && attributes_.reset_after;
  if (absl::Status status = CheckBias(context, two_biases ? Shape{2, gates} : Shape{gates});
      !status.ok()) {
    return status;
  }
  for (const CellActivation* activation :
       {&attributes_.activation, &attributes_.recurrent_activation}) {
    if (absl::Status status = CheckCellActivation(name(), *activation); !status.ok()) {
      return status;
    }
  }
  if (layout().states != 0 && layout().states != state_count()) {
    return absl::InvalidArgumentError(fmt::format("Recurrent: expected {} initial states, got {}",
                                                  state_count(), layout().states));
  }
  const Shape state{x[0], units};
  if (absl::Status status = CheckMaskAndStates(context, state); !status.ok()) return status;
  std::vector<ValueType> outputs;
  outputs.push_back(
      {DType::kFloat32, attributes_.return_sequences ? Shape{x[0], x[1], units} : state});
  for (int i = 0; i < state_count(); ++i) outputs.push_back({DType::kFloat32, state});
  return outputs;
}

// Rows [first, first + rows) of the batch through all steps.
class SequenceRun {
 public:
  SequenceRun(const RecurrentOp& op, const RunContext& context, const CellWeights& weights,
              const bool* mask, int64_t first, int64_t rows, float* scratch,
              const Parallelism* parallelism)
      : attributes_(op.attributes_),
        context_(context),
        sizes_(op.SizesOf(context.input(0).shape)),
        table_(kernels::GetSpatialKernels()),
        bias_(weights.bias),
        mask_(mask),
        first_(first),
        rows_(rows),
        parallelism_(parallelism),
        kernel_(weights.packed),
        recurrent_(kernel_ + RoundUp16(kernels::PackedFloats(sizes_.in, sizes_.gates))),
        candidate_(recurrent_ + RoundUp16(kernels::PackedFloats(sizes_.units, 2 * sizes_.units))),
        h_(context.output(1).as<float>() + first * sizes_.units),
        c_(attributes_.cell == CellKind::kLstm
               ? context.output(2).as<float>() + first * sizes_.units
               : nullptr),
        ahead_(scratch),
        gates_(ahead_ + rows * sizes_.steps_ahead() * sizes_.gates),
        reset_(gates_ + rows * sizes_.gates),
        seen_(reset_ + rows * sizes_.units) {}

  void Run(const float* initial_h, const float* initial_c) {
    Start(initial_h, h_);
    if (c_ != nullptr) Start(initial_c, c_);
    std::fill_n(seen_, rows_, attributes_.masked_start_is_state ? 1.0f : 0.0f);
    const int64_t ahead = sizes_.steps_ahead();
    for (int64_t begin = 0; begin < sizes_.time; begin += ahead) {
      const int64_t end = std::min(begin + ahead, sizes_.time);
      // Times in rising order; going backwards, the last of them is the first step.
      const int64_t from = attributes_.go_backwards ? sizes_.time - end : begin;
      InputProduct(from, end - begin);
      for (int64_t step = begin; step < end; ++step) {
        const int64_t time = attributes_.go_backwards ? sizes_.time - 1 - step : step;
        Step(ahead_ + (time - from) * rows_ * sizes_.gates, time);
        if (attributes_.return_sequences || step + 1 == sizes_.time) Emit(step, time);
      }
    }
  }

 private:
  void Start(const float* initial, float* state) const {
    if (initial == nullptr) {
      std::fill_n(state, rows_ * sizes_.units, 0.0f);
    } else {
      std::copy_n(initial + first_ * sizes_.units, rows_ * sizes_.units, state);
    }
  }

  bool Valid(int64_t row, int64_t time) const {
    return mask_ == nullptr || mask_[(first_ + row) * sizes_.time + time];
  }

  // The inputs' part of the gates of `count` times: (time, row, gate).
  void InputProduct(int64_t from, int64_t count) const {
    GemmArguments g;
    g.a = context_.input(0).as<float>() + (first_ * sizes_.time + from) * sizes_.in;
    g.c = ahead_;
    // Rows of a block share tiles, so the longer of the two are the rows.
    if (count >= rows_) {
      g.blocks = rows_;
      g.a_block_stride = sizes_.time * sizes_.in;
      g.c_block_stride = sizes_.gates;
      g.rows = count;
      g.a_row_stride = sizes_.in;
      g.c_row_stride = rows_ * sizes_.gates;
    } else {
      g.blocks = count;
      g.a_block_stride = sizes_.in;
      g.c_block_stride = rows_ * sizes_.gates;
      g.rows = rows_;
      g.a_row_stride = sizes_.time * sizes_.in;
      g.c_row_stride = sizes_.gates;
    }
    g.b = kernel_;
    g.k = sizes_.in;
    g.n = sizes_.gates;
    g.bias = bias_;
    kernels::Gemm(g, parallelism_);
  }

  // gates[:, column…column + n) = a (rows, units) · b, plus addend or bias.
  void StepProduct(const float* a, const float* b, int64_t column, int64_t n, const float* addend,
                   const float* bias) const {
    GemmArguments g;
    g.rows = rows_;
    g.a = a;
    g.a_row_stride = sizes_.units;
    g.b = b;
    g.k = sizes_.units;
    g.n = n;
    g.c = gates_ + column;
    g.c_row_stride = sizes_.gates;
    if (addend != nullptr) {
      g.addend = addend + column;
      g.addend_row_stride = sizes_.gates;
    }
    g.bias = bias;
    kernels::Gemm(g, rows_ * sizes_.units * n >= kParallelStep ? parallelism_ : nullptr);
  }

  void Step(const float* input, int64_t time) {
    switch (attributes_.cell) {
      case CellKind::kSimple:
        SimpleStep(input, time);
        break;
      case CellKind::kLstm:
        LstmStep(input, time);
        break;
      case CellKind::kGru:
        attributes_.reset_after ? GruResetAfterStep(input, time) : GruStep(input, time);
        break;
    }
    for (int64_t row = 0; row < rows_; ++row) {
      if (Valid(row, time)) seen_[row] = 1;
    }
  }

  void SimpleStep(const float* input, int64_t time) {
    StepProduct(h_, recurrent_, 0, sizes_.units, input, nullptr);
    for (int64_t row = 0; row < rows_; ++row) {
      if (!Valid(row, time)) continue;
      float* h = h_ + row * sizes_.units;
      std::copy_n(gates_ + row * sizes_.units, sizes_.units, h);
      Activate(h);
    }
  }

  void LstmStep(const float* input, int64_t time) {
    const int64_t units = sizes_.units;
    StepProduct(h_, recurrent_, 0, sizes_.gates, input, nullptr);
    for (int64_t row = 0; row < rows_; ++row) {
      if (!Valid(row, time)) continue;
      float* gates = gates_ + row * sizes_.gates;
      float* h = h_ + row * units;
      RecurrentActivate(gates, 2);
      Activate(gates + 2 * units);
      RecurrentActivate(gates + 3 * units, 1);
      table_.lstm_carry(gates, gates + units, gates + 2 * units, units, c_ + row * units, h);
      Activate(h);
      table_.multiply(gates + 3 * units, h, units, h);
    }
  }

  void GruStep(const float* input, int64_t time) {
    const int64_t units = sizes_.units;
    StepProduct(h_, recurrent_, 0, 2 * units, input, nullptr);
    for (int64_t row = 0; row < rows_; ++row) {
      float* gates = gates_ + row * sizes_.gates;
      RecurrentActivate(gates, 2);
      table_.multiply(gates + units, h_ + row * units, units, reset_ + row * units);
    }
    StepProduct(reset_, candidate_, 2 * units, units, input, nullptr);
    for (int64_t row = 0; row < rows_; ++row) {
      if (!Valid(row, time)) continue;
      float* gates = gates_ + row * sizes_.gates;
      Activate(gates + 2 * units);
      table_.gru_mix(gates, gates + 2 * units, units, h_ + row * units);
    }
  }

  void GruResetAfterStep(const float* input, int64_t time) {
    const int64_t units = sizes_.units;
    StepProduct(h_, recurrent_, 0, sizes_.gates, nullptr,
                bias_ == nullptr ? nullptr : bias_ + sizes_.gates);
    for (int64_t row = 0; row < rows_; ++row) {
      if (!Valid(row, time)) continue;
      float* gates = gates_ + row * sizes_.gates;
      const float* x = input + row * sizes_.gates;
      table_.add(gates, x, 2 * units, gates);
      RecurrentActivate(gates, 2);
      float* candidate = gates + 2 * units;
      table_.multiply_add(x + 2 * units, gates + units, candidate, units, candidate);
      Activate(candidate);
      table_.gru_mix(gates, candidate, units, h_ + row * units);
    }
  }

  void Activate(float* values) const {
    ApplyCellActivation(attributes_.activation, sizes_.units, 1, values);
  }
  void RecurrentActivate(float* values, int64_t count) const {
    ApplyCellActivation(attributes_.recurrent_activation, sizes_.units, count, values);
  }

  // Writes the output of a step. A masked step repeats the output before it,
  // which is h, or zeros before the first valid step (or the initial h).
  void Emit(int64_t step, int64_t time) const {
    const int64_t units = sizes_.units;
    for (int64_t row = 0; row < rows_; ++row) {
      float* y =
          context_.output(0).as<float>() +
          (attributes_.return_sequences ? (first_ + row) * sizes_.time + step : first_ + row) *
              units;
      const bool repeats = !attributes_.zero_output_for_mask && seen_[row] != 0;
      if (Valid(row, time) || repeats) {
        std::copy_n(h_ + row * units, units, y);
      } else {
        std::fill_n(y, units, 0.0f);
      }
    }
  }

  const RecurrentAttributes& attributes_;
  const RunContext& context_;
  const Sizes sizes_;
  const kernels::SpatialKernels& table_;
  const float* bias_;
  const bool* mask_;
  const int64_t first_, rows_;
  const Parallelism* parallelism_;
  const float* kernel_;
  const float* recurrent_;
  const float* candidate_;  // kernel of a GRU's candidate, where it is apart
  // States: the outputs themselves. c is null but for LSTM.
  float* const h_;
  float* const c_;
  float* const ahead_;
  float* const gates_;
  float* const reset_;
  float* const seen_;  // 1 where a masked step of the row repeats h
};

absl::Status RecurrentOp::Run(const RunContext& context) const {
  float* scratch = context.scratch<float>();
  const CellWeights weights = Weights(context, &scratch);
  const Sizes sizes = SizesOf(context.input(0).shape);
  const int64_t threads = context.parallelism() == nullptr ? 1 : context.parallelism()->threads();
  const auto run = [&](int64_t begin, int64_t end, const Parallelism* parallelism) {
    SequenceRun(*this, context, weights, Mask(context), begin, end - begin,
                scratch + begin * sizes.row_floats(), parallelism)
        .Run(InitialState(context, 0), InitialState(context, 1));
  };
  if (sizes.batch == 0) return absl::OkStatus();
  // Rows of the batch never meet, so that threads need not wait for each other
  // at every step; a single sequence can only split its products.
  if (threads > 1 && sizes.batch > 1 &&
      Flops(InputTypes(context)) > static_cast<double>(kParallelStep)) {
    context.ParallelFor(sizes.batch, (sizes.batch + threads - 1) / threads,
                        [&](int64_t begin, int64_t end) { run(begin, end, nullptr); });
  } else {
    run(0, sizes.batch, context.parallelism());
  }
  return absl::OkStatus();
}

}  // namespace

std::vector<Value> Recurrent(Graph& graph, const RecurrentInputs& inputs,
                             const RecurrentAttributes& attributes) {
  return graph.Add(std::make_shared<RecurrentOp>(attributes, RecurrentOp::LayoutOf(inputs)),
                   OrderedInputs(inputs));
}

}  // namespace h5serve::compute::ops
