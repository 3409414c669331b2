// Activations that are layers.
#include <fmt/format.h>

#include <cmath>
#include <limits>

#include "compute/ops/elementwise.h"
#include "compute/ops/reduce.h"
#include "compute/ops/shape_ops.h"
#include "model/layers/layer_functions.h"
#include "model/layers/layer_support.h"

namespace h5serve::model {

namespace ops = compute::ops;
using ops::UnaryKind;

namespace {

// Shape of a weight that has one value per element of a row, 1 on shared axes.
// Keras 1 forgot to save shared_axes, so 1 is accepted everywhere.
Value ElementWeight(const LayerScope& scope, std::string_view role, Value x) {
  Graph& graph = scope.graph();
  const Tensor* stored = scope.WeightTensor(role);
  Shape wanted;
  for (int axis = 1; axis < graph.rank(x); ++axis) {
    const int64_t size = graph.shape(x)[axis];
    const bool shared =
        stored != nullptr && axis <= stored->shape().rank() && stored->shape()[axis - 1] == 1;
    wanted.push_back(shared ? 1 : size);
  }
  return scope.Weight(role, wanted);
}

// A number that may also be written as a list of one or be null.
float Parameter(const LayerScope& scope, std::string_view name, std::string_view other_name,
                float otherwise) {
  return scope.Has(name) ? scope.Float(name, otherwise) : scope.Float(other_name, otherwise);
}

}  // namespace

std::vector<KerasTensor> LowerLeakyRelu(const LayerScope& scope, const CallInputs& inputs) {
  Graph& graph = scope.graph();
  const KerasTensor input = SingleInput(scope, inputs);
  const float slope = Parameter(scope, "negative_slope", "alpha", 0.3f);
  return One(ops::Unary(graph, UnaryKind::kLeakyRelu, AsFloat(graph, input.value), slope),
             input.mask);
}

std::vector<KerasTensor> LowerElu(const LayerScope& scope, const CallInputs& inputs) {
  Graph& graph = scope.graph();
  const KerasTensor input = SingleInput(scope, inputs);
  return One(
      ops::Unary(graph, UnaryKind::kElu, AsFloat(graph, input.value), scope.Float("alpha", 1)),
      input.mask);
}

std::vector<KerasTensor> LowerReLU(const LayerScope& scope, const CallInputs& inputs) {
  Graph& graph = scope.graph();
  const KerasTensor input = SingleInput(scope, inputs);
  const float infinity = std::numeric_limits<float>::infinity();
  const float max_value = scope.Float("max_value", infinity);
  const float slope = scope.Float("negative_slope", 0);
  const float threshold = scope.Float("threshold", 0);
  if (max_value < 0) scope.BadValue("max_value", "a number >= 0 is expected");
  if (slope < 0) scope.BadValue("negative_slope", "a number >= 0 is expected");
  if (scope.failed()) return {};
  const Value x = AsFloat(graph, input.value);
  if (max_value == infinity && threshold == 0) {
    return One(
        slope == 0 ? ops::Relu(graph, x) : ops::Unary(graph, UnaryKind::kLeakyRelu, x, slope),
        input.mask);
  }
  if (slope == 0 && threshold == 0) {
    return One(ops::Unary(graph, UnaryKind::kClip, x, 0, max_value), input.mask);
  }
  return One(ops::ReluGeneral(graph, x, max_value, slope, threshold), input.mask);
}

std::vector<KerasTensor> LowerThresholdedRelu(const LayerScope& scope, const CallInputs& inputs) {
  Graph& graph = scope.graph();
  const KerasTensor input = SingleInput(scope, inputs);
  const float theta = scope.Float("theta", 1);
  return One(ops::Unary(graph, UnaryKind::kThreshold, AsFloat(graph, input.value), theta, 0),
             input.mask);
}

// max(x, 0) + alpha min(x, 0)
std::vector<KerasTensor> LowerPRelu(const LayerScope& scope, const CallInputs& inputs) {
  Graph& graph = scope.graph();
  const KerasTensor input = SingleInput(scope, inputs);
  const Value x = AsFloat(graph, input.value);
  const Value alpha = ElementWeight(scope, "alpha", x);
  if (scope.failed()) return {};
  const Value below =
      ops::Unary(graph, UnaryKind::kClip, x, -std::numeric_limits<float>::infinity(), 0);
  return One(ops::Add(graph, ops::Relu(graph, x), ops::Multiply(graph, alpha, below)), input.mask);
}

std::vector<WeightRole> PReluWeights(const Layer& layer, const Writer& writer) {
  return {{"alpha"}};
}

// Piecewise linear with knots at t_left and t_left + |t_right|. Source:
// keras/layers/advanced_activations.py of 1.2.2.
std::vector<KerasTensor> LowerSRelu(const LayerScope& scope, const CallInputs& inputs) {
  Graph& graph = scope.graph();
  const KerasTensor input = SingleInput(scope, inputs);
  const Value x = AsFloat(graph, input.value);
  const Value t_left = ElementWeight(scope, "t_left", x);
  const Value a_left = ElementWeight(scope, "a_left", x);
  const Value t_right = ElementWeight(scope, "t_right", x);
  const Value a_right = ElementWeight(scope, "a_right", x);
  if (scope.failed()) return {};
  const Value right = ops::Add(graph, t_left, ops::Unary(graph, UnaryKind::kAbs, t_right));
  const Value left_line =
      ops::Add(graph, t_left, ops::Multiply(graph, a_left, ops::Subtract(graph, x, t_left)));
  const Value right_line =
      ops::Add(graph, right, ops::Multiply(graph, a_right, ops::Subtract(graph, x, right)));
  const Value above = ops::Binary(graph, ops::BinaryKind::kGreater, x, right);
  const Value below = ops::Binary(graph, ops::BinaryKind::kLess, x, t_left);
  const Value upper = ops::Where(graph, above, right_line, x);
  return One(ops::Where(graph, below, left_line, upper), input.mask);
}

std::vector<WeightRole> SReluWeights(const Layer& layer, const Writer& writer) {
  return {{"t_left"}, {"a_left"}, {"t_right"}, {"a_right"}};
}

// alpha ln(1 + e^(beta x))
std::vector<KerasTensor> LowerParametricSoftplus(const LayerScope& scope,
                                                 const CallInputs& inputs) {
  Graph& graph = scope.graph();
  const KerasTensor input = SingleInput(scope, inputs);
  const Value x = AsFloat(graph, input.value);
  const Value alpha = ElementWeight(scope, "alpha", x);
  const Value beta = ElementWeight(scope, "beta", x);
  if (scope.failed()) return {};
  const Value soft = ops::Unary(graph, UnaryKind::kSoftplus, ops::Multiply(graph, beta, x));
  return One(ops::Multiply(graph, alpha, soft), input.mask);
}

std::vector<WeightRole> ParametricSoftplusWeights(const Layer& layer, const Writer& writer) {
  return {{"alpha"}, {"beta"}};
}

// Masked places get no share. The mask has the shape of x or broadcasts to it.
std::vector<KerasTensor> LowerSoftmax(const LayerScope& scope, const CallInputs& inputs) {
  Graph& graph = scope.graph();
  KerasTensor input = SingleInput(scope, inputs);
  if (inputs.args.size() > 1 && inputs.args[1].is_tensor()) {
    input.mask = AsBool(graph, inputs.args[1].tensor.value);
  }
  const std::vector<int64_t> axes = scope.Ints("axis", {-1});
  if (scope.failed()) return {};
  Value x = AsFloat(graph, input.value);
  if (!input.mask) return One(ops::Softmax(graph, x, axes));
  const Value mask = AsFloat(graph, *input.mask);
  // x + (1 - mask) · -1e9
  const Value penalty = ops::MultiplyScalar(graph, ops::AddScalar(graph, mask, -1), 1e9f);
  const Value y = ops::Softmax(graph, ops::Add(graph, x, penalty), axes);
  const bool zeroed =
      (IsKeras3(scope) && scope.writer().AtLeast(3, 9)) || scope.Bool("robust_masking", false);
  return One(zeroed ? ops::Multiply(graph, y, mask) : y, input.mask);
}

}  // namespace h5serve::model
