#include "compute/ops/sequence_op.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "compute/ops/activation.h"
#include "compute/ops/filter_op.h"

namespace h5serve::compute::ops {
namespace {

int64_t RoundUp16(int64_t n) { return (n + 15) / 16 * 16; }

void Softmax(int64_t units, float* values) {
  const float largest = *std::max_element(values, values + units);
  float total = 0;
  for (int64_t i = 0; i < units; ++i) {
    values[i] = std::exp(values[i] - largest);
    total += values[i];
  }
  for (int64_t i = 0; i < units; ++i) values[i] /= total;
}

}  // namespace

SequenceOp::Layout SequenceOp::LayoutOf(const RecurrentInputs& inputs) {
  return {inputs.bias.valid(), inputs.mask.valid(), static_cast<int>(inputs.initial_states.size())};
}

Specialized SequenceOp::Specialize(std::span<const ValueType> inputs,
                                   std::span<const Tensor* const> constants) const {
  const int weights = 2 + layout_.has_bias;
  if (packed() || static_cast<int>(constants.size()) < 1 + weights) return {};
  for (int i = 1; i <= weights; ++i) {
    if (constants[i] == nullptr) return {};
  }
  std::shared_ptr<SequenceOp> op = Clone();
  op->kernel_shape_ = constants[1]->shape();
  op->recurrent_shape_ = constants[2]->shape();
  op->packed_ = Tensor::Allocate(
      DType::kFloat32, Shape{PackedWeightFloats(op->kernel_shape_, op->recurrent_shape_)});
  PackWeights(op->kernel_shape_, constants[1]->data<float>(), op->recurrent_shape_,
              constants[2]->data<float>(), op->packed_.mutable_data<float>());
  if (layout_.has_bias) op->bias_ = *constants[bias_input()];
  Specialized result{op, {0}};
  for (int i = 1 + weights; i < static_cast<int>(inputs.size()); ++i) result.inputs.push_back(i);
  return result;
}

int64_t SequenceOp::ConstantBytes() const {
  return (packed_.empty() ? 0 : packed_.size_bytes()) + (bias_.empty() ? 0 : bias_.size_bytes());
}

absl::Status SequenceOp::CheckInputs(const InferContext& context) const {
  if (context.size() != state_input() + layout_.states) {
    return absl::InvalidArgumentError(fmt::format("{}: expected {} inputs, got {}", name(),
                                                  state_input() + layout_.states, context.size()));
  }
  for (int i = 0; i < context.size(); ++i) {
    const DType expected = layout_.has_mask && i == mask_input() ? DType::kBool : DType::kFloat32;
    if (context.dtype(i) != expected) {
      return absl::InvalidArgumentError(fmt::format("{}: input {} must be {}, not {}", name(), i,
                                                    compute::Name(expected),
                                                    compute::Name(context.dtype(i))));
    }
    if (i > 0 && i < mask_input() && !context.shape(i).known()) {
      return absl::InvalidArgumentError(
          fmt::format("{}: the shapes of the weights must be known", name()));
    }
  }
  const Shape& x = context.shape(0);
  if (x.rank() >= 2 && x[1] == 0) {
    return absl::InvalidArgumentError(
        fmt::format("{}: the input has no time steps: {}", name(), x.ToString()));
  }
  return absl::OkStatus();
}

absl::Status SequenceOp::CheckMaskAndStates(const InferContext& context, const Shape& state) const {
  const Shape& x = context.shape(0);
  if (layout_.has_mask && !Compatible(context.shape(mask_input()), Shape{x[0], x[1]})) {
    return absl::InvalidArgumentError(fmt::format("{}: expected a mask of shape {}, got {}", name(),
                                                  Shape{x[0], x[1]}.ToString(),
                                                  context.shape(mask_input()).ToString()));
  }
  for (int i = 0; i < layout_.states; ++i) {
    if (!Compatible(context.shape(state_input() + i), state)) {
      return absl::InvalidArgumentError(
          fmt::format("{}: expected initial states of shape {}, got {}", name(), state.ToString(),
                      context.shape(state_input() + i).ToString()));
    }
  }
  return absl::OkStatus();
}

absl::Status SequenceOp::CheckBias(const InferContext& context, const Shape& expected) const {
  if (!layout_.has_bias) return absl::OkStatus();
  const Shape& bias = packed() ? bias_.shape() : context.shape(bias_input());
  if (bias == expected) return absl::OkStatus();
  return absl::InvalidArgumentError(fmt::format("{}: expected a bias of shape {}, got {}", name(),
                                                expected.ToString(), bias.ToString()));
}

int64_t SequenceOp::PackScratchFloats(std::span<const ValueType> inputs) const {
  return packed() ? 0 : RoundUp16(PackedWeightFloats(inputs[1].shape, inputs[2].shape));
}

CellWeights SequenceOp::Weights(const RunContext& context, float** scratch) const {
  CellWeights weights;
  if (packed()) {
    weights.packed = packed_.data<float>();
    if (layout_.has_bias) weights.bias = bias_.data<float>();
    return weights;
  }
  const TensorView& kernel = context.input(1);
  const TensorView& recurrent = context.input(2);
  PackWeights(kernel.shape, kernel.as<float>(), recurrent.shape, recurrent.as<float>(), *scratch);
  weights.packed = *scratch;
  *scratch += RoundUp16(PackedWeightFloats(kernel.shape, recurrent.shape));
  if (layout_.has_bias) weights.bias = context.input(bias_input()).as<float>();
  return weights;
}

const bool* SequenceOp::Mask(const RunContext& context) const {
  return layout_.has_mask ? context.input(mask_input()).as<bool>() : nullptr;
}

const float* SequenceOp::InitialState(const RunContext& context, int i) const {
  return i < layout_.states ? context.input(state_input() + i).as<float>() : nullptr;
}

std::vector<ValueType> InputTypes(const InferContext& context) {
  std::vector<ValueType> types;
  for (int i = 0; i < context.size(); ++i) types.push_back(context.input(i));
  return types;
}

std::vector<ValueType> InputTypes(const RunContext& context) {
  std::vector<ValueType> types;
  for (int i = 0; i < context.num_inputs(); ++i) {
    types.push_back({context.input(i).dtype, context.input(i).shape});
  }
  return types;
}

void ApplyCellActivation(const CellActivation& activation, int64_t units, int64_t count,
                         float* values) {
  if (!activation.softmax) {
    ApplyActivation(activation.kind, activation.p, activation.q, units * count, values);
    return;
  }
  for (int64_t i = 0; i < count; ++i) Softmax(units, values + i * units);
}

absl::Status CheckCellActivation(std::string_view op, const CellActivation& activation) {
  if (activation.softmax ||
      (IsFloatFunction(activation.kind) && activation.kind != UnaryKind::kReluGeneral)) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(fmt::format("{}: not an activation of a cell", op));
}

std::vector<Value> OrderedInputs(const RecurrentInputs& inputs) {
  std::vector<Value> values = {inputs.x, inputs.kernel, inputs.recurrent_kernel};
  if (inputs.bias.valid()) values.push_back(inputs.bias);
  if (inputs.mask.valid()) values.push_back(inputs.mask);
  values.insert(values.end(), inputs.initial_states.begin(), inputs.initial_states.end());
  return values;
}

}  // namespace h5serve::compute::ops
