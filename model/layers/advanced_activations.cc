// Activations that are layers.

#include <fmt/format.h>

#include <limits>

#include "compute/ops/elementwise.h"
#include "compute/ops/reduce.h"
#include "model/layers/layer_functions.h"
#include "model/layers/layout.h"

namespace h5serve::model {

namespace ops = compute::ops;
using compute::Shape;
using compute::Value;
using ops::UnaryKind;

namespace {

// A weight of the input's shape without the batch; 1 on shared axes.
Value PerElement(const LayerScope& scope, Value x, std::string_view role) {
  const compute::Tensor* stored = scope.WeightTensor(role);
  const Shape shape = scope.graph().shape(x).Slice(1, scope.graph().rank(x));
  if (stored == nullptr || stored->shape().rank() != shape.rank()) {
    return scope.Weight(role, shape);
  }
  Shape expected;
  for (int i = 0; i < shape.rank(); ++i) {
    expected.push_back(stored->shape()[i] == 1 ? 1 : shape[i]);
  }
  return scope.Weight(role, expected);
}

}  // namespace

std::vector<KerasTensor> LowerLeakyRelu(const LayerScope& scope, const CallInputs& inputs) {
  const std::optional<KerasTensor> x = OnlyInput(scope, inputs);
  if (!x) return {};
  const float slope = scope.Has("negative_slope") ? scope.Float("negative_slope", 0.3f)
                                                  : scope.Float("alpha", 0.3f);
  return One(ops::Unary(scope.graph(), UnaryKind::kLeakyRelu, x->value, slope), x->mask);
}

std::vector<KerasTensor> LowerElu(const LayerScope& scope, const CallInputs& inputs) {
  const std::optional<KerasTensor> x = OnlyInput(scope, inputs);
  if (!x) return {};
  return One(ops::Unary(scope.graph(), UnaryKind::kElu, x->value, scope.Float("alpha", 1)),
             x->mask);
}

std::vector<KerasTensor> LowerReLU(const LayerScope& scope, const CallInputs& inputs) {
  const std::optional<KerasTensor> x = OnlyInput(scope, inputs);
  if (!x) return {};
  const float max = scope.Float("max_value", std::numeric_limits<float>::infinity());
  const float slope = scope.Float("negative_slope", 0);
  const float threshold = scope.Float("threshold", 0);
  return One(ops::ReluGeneral(scope.graph(), x->value, max, slope, threshold), x->mask);
}

std::vector<KerasTensor> LowerThresholdedRelu(const LayerScope& scope, const CallInputs& inputs) {
  const std::optional<KerasTensor> x = OnlyInput(scope, inputs);
  if (!x) return {};
  return One(ops::Unary(scope.graph(), UnaryKind::kThreshold, x->value, scope.Float("theta", 1), 0),
             x->mask);
}

std::vector<KerasTensor> LowerPRelu(const LayerScope& scope, const CallInputs& inputs) {
  const std::optional<KerasTensor> x = OnlyInput(scope, inputs);
  if (!x) return {};
  compute::Graph& graph = scope.graph();
  const Value alpha = PerElement(scope, x->value, "alpha");
  if (scope.failed()) return {};
  const Value positive = ops::Relu(graph, x->value);
  const Value negative = ops::Subtract(graph, x->value, positive);
  return One(ops::Add(graph, positive, ops::Multiply(graph, negative, alpha)), x->mask);
}

std::vector<WeightRole> PReluWeights(const Layer&, const Writer&) { return {{"alpha"}}; }

// alpha log(1 + e^(beta x)), Keras 1.
std::vector<KerasTensor> LowerParametricSoftplus(const LayerScope& scope,
                                                 const CallInputs& inputs) {
  const std::optional<KerasTensor> x = OnlyInput(scope, inputs);
  if (!x) return {};
  compute::Graph& graph = scope.graph();
  const Value alphas = PerElement(scope, x->value, "alphas");
  const Value betas = PerElement(scope, x->value, "betas");
  if (scope.failed()) return {};
  const Value y = ops::Unary(graph, UnaryKind::kSoftplus, ops::Multiply(graph, x->value, betas));
  return One(ops::Multiply(graph, y, alphas), x->mask);
}

std::vector<WeightRole> ParametricSoftplusWeights(const Layer&, const Writer&) {
  return {{"alphas"}, {"betas"}};
}

// S-shaped rectified linear, Keras 1: linear pieces below t_left and above
// t_left + |t_right|.
std::vector<KerasTensor> LowerSRelu(const LayerScope& scope, const CallInputs& inputs) {
  const std::optional<KerasTensor> x = OnlyInput(scope, inputs);
  if (!x) return {};
  compute::Graph& graph = scope.graph();
  const Value t_left = PerElement(scope, x->value, "t_left");
  const Value a_left = PerElement(scope, x->value, "a_left");
  const Value t_right = PerElement(scope, x->value, "t_right");
  const Value a_right = PerElement(scope, x->value, "a_right");
  if (scope.failed()) return {};
  const Value right = ops::Add(graph, t_left, ops::Unary(graph, UnaryKind::kAbs, t_right));
  // keras/layers/advanced_activations.py of 1.2.2: the left slope is cut off at the
  // right threshold like the middle piece.
  const Value z = ops::Subtract(graph, x->value, t_left);
  const Value zero = graph.Constant(compute::Tensor::Scalar(0.0f));
  const Value leaky = ops::Where(graph, ops::Binary(graph, ops::BinaryKind::kGreater, z, zero), z,
                                 ops::Multiply(graph, a_left, z));
  const Value center = ops::Add(
      graph, t_left,
      ops::Binary(graph, ops::BinaryKind::kMinimum, leaky, ops::Subtract(graph, right, t_left)));
  const Value above =
      ops::Multiply(graph, ops::Relu(graph, ops::Subtract(graph, x->value, right)), a_right);
  return One(ops::Add(graph, center, above), x->mask);
}

std::vector<WeightRole> SReluWeights(const Layer&, const Writer&) {
  return {{"t_left"}, {"a_left"}, {"t_right"}, {"a_right"}};
}

std::vector<KerasTensor> LowerSoftmax(const LayerScope& scope, const CallInputs& inputs) {
  const std::optional<KerasTensor> x = OnlyInput(scope, inputs);
  if (!x) return {};
  compute::Graph& graph = scope.graph();
  Value value = x->value;
  const CallArgument* mask = inputs.Keyword("mask");
  const std::vector<KerasTensor> tensors = inputs.Tensors();
  Value keep;
  if (mask != nullptr && mask->is_tensor()) keep = mask->tensor.value;
  if (tensors.size() > 1) keep = tensors[1].value;
  // The tensor's own mask counts since the layer takes one.
  const Writer& writer = scope.writer();
  const bool implicit = writer.dialect == Writer::Dialect::kKeras3 ||
                        (writer.dialect == Writer::Dialect::kTfKeras && writer.AtLeast(2, 4));
  if (!keep.valid() && implicit && x->mask && graph.rank(*x->mask) == graph.rank(value)) {
    keep = *x->mask;
  }
  if (keep.valid()) {
    const Value drop =
        ops::Unary(graph, UnaryKind::kLogicalNot, ops::Cast(graph, keep, compute::DType::kBool));
    value = ops::Add(
        graph, value,
        ops::MultiplyScalar(graph, ops::Cast(graph, drop, compute::DType::kFloat32), -1e9f));
  }
  return One(ops::Softmax(graph, value, scope.Ints("axis", {-1})), x->mask);
}

}  // namespace h5serve::model
