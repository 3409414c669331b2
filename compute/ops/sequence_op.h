// What the recurrent ops have in common: inputs, packing, masks.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "compute/op.h"
#include "compute/ops/recurrent.h"

namespace h5serve::compute::ops {

// The weights of a cell as Run needs them.
struct CellWeights {
  const float* packed = nullptr;  // SequenceOp::PackWeights' result
  const float* bias = nullptr;    // or null
};

// An op over (batch, time, …) whose inputs are x, kernel, recurrent kernel,
// then, as far as there are any, bias, mask and initial states. When all weights
// are constants, it takes them into itself and x, mask and states remain.
class SequenceOp : public Op {
 public:
  // Which of the optional inputs there are.
  struct Layout {
    bool has_bias = false;
    bool has_mask = false;
    int states = 0;  // initial states among the inputs
  };
  static Layout LayoutOf(const RecurrentInputs& inputs);

  Specialized Specialize(std::span<const ValueType> inputs,
                         std::span<const Tensor* const> constants) const override;
  int64_t ConstantBytes() const override;

 protected:
  explicit SequenceOp(const Layout& layout) : layout_(layout) {}

  virtual std::shared_ptr<SequenceOp> Clone() const = 0;
  virtual int64_t PackedWeightFloats(const Shape& kernel, const Shape& recurrent) const = 0;
  virtual void PackWeights(const Shape& kernel_shape, const float* kernel,
                           const Shape& recurrent_shape, const float* recurrent,
                           float* packed) const = 0;

  bool packed() const { return !packed_.empty(); }
  // Number of inputs, float32 x and weights of known shape, mask bool (batch, time),
  // initial states of shape `state`.
  absl::Status CheckInputs(const InferContext& context) const;
  absl::Status CheckMaskAndStates(const InferContext& context, const Shape& state) const;
  absl::Status CheckBias(const InferContext& context, const Shape& expected) const;

  const Shape& KernelShape(std::span<const ValueType> inputs) const {
    return packed() ? kernel_shape_ : inputs[1].shape;
  }
  const Shape& RecurrentShape(std::span<const ValueType> inputs) const {
    return packed() ? recurrent_shape_ : inputs[2].shape;
  }
  // Floats at the start of the scratch memory for weights that are packed at
  // every run.
  int64_t PackScratchFloats(std::span<const ValueType> inputs) const;
  // Packs into `*scratch`, and moves it on, if need be.
  CellWeights Weights(const RunContext& context, float** scratch) const;
  const bool* Mask(const RunContext& context) const;                  // or null
  const float* InitialState(const RunContext& context, int i) const;  // or null
  const Layout& layout() const { return layout_; }

 private:
  int bias_input() const { return 3; }
  int mask_input() const { return packed() ? 1 : 3 + layout_.has_bias; }
  int state_input() const { return mask_input() + layout_.has_mask; }

  const Layout layout_;
  Shape kernel_shape_, recurrent_shape_;
  Tensor packed_;  // empty: the weights are inputs
  Tensor bias_;    // empty: none, or an input
};

// The types of all inputs, for the functions above.
std::vector<ValueType> InputTypes(const InferContext& context);
std::vector<ValueType> InputTypes(const RunContext& context);

// Applies a cell's activation to `count` gates of `units` values each.
void ApplyCellActivation(const CellActivation& activation, int64_t units, int64_t count,
                         float* values);
absl::Status CheckCellActivation(std::string_view op, const CellActivation& activation);

// The inputs of a recurrent op in order, and which of them there are.
std::vector<Value> OrderedInputs(const RecurrentInputs& inputs);

}  // namespace h5serve::compute::ops
