// Attention over two or three sequences, without projections.
#include <fmt/format.h>

#include "compute/ops/elementwise.h"
#include "compute/ops/linear.h"
#include "compute/ops/reduce.h"
#include "compute/ops/shape_ops.h"
#include "model/layers/attention_parts.h"
#include "model/layers/layer_functions.h"

namespace h5serve::model {

namespace ops = compute::ops;

Value CausalMask(Graph& graph, Value scores) {
  const Value ones = ops::FillLike(graph, scores, graph.Constant(Tensor::Scalar(1.0f)));
  return AsBool(graph, ops::Triangle(graph, ones, 0, /*lower=*/true));
}

Value And(Graph& graph, Value a, Value b) {
  if (!a.valid()) return b;
  if (!b.valid()) return a;
  return ops::Binary(graph, ops::BinaryKind::kLogicalAnd, a, b);
}

Value Penalize(Graph& graph, Value scores, Value mask, float penalty) {
  const Value off = ops::AddScalar(graph, AsFloat(graph, mask), -1);
  return ops::Add(graph, scores, ops::MultiplyScalar(graph, off, penalty));
}

namespace {

struct Operands {
  Value query, value, key;
  Mask query_mask, value_mask;
};

// Masks given by the caller replace those of the tensors.
void TakeMasks(const LayerScope& scope, const CallInputs& inputs, Operands* operands) {
  const CallArgument* given = inputs.Keyword("mask");
  if (given == nullptr) return;
  if (given->kind != Argument::Kind::kList) {
    scope.Fail(Code::kUnsupportedArgument,
               fmt::format("layer {}: mask must be a list of masks", scope.path()));
    return;
  }
  operands->query_mask.reset();
  operands->value_mask.reset();
  if (!given->list.empty() && given->list[0].is_tensor()) {
    operands->query_mask = AsBool(scope.graph(), given->list[0].tensor.value);
  }
  if (given->list.size() > 1 && given->list[1].is_tensor()) {
    operands->value_mask = AsBool(scope.graph(), given->list[1].tensor.value);
  }
}

bool ReadOperands(const LayerScope& scope, const CallInputs& inputs, Operands* operands) {
  Graph& graph = scope.graph();
  CallInputs positional;
  positional.args = inputs.args;
  const std::vector<KerasTensor> tensors = InputList(scope, positional, 2);
  if (scope.failed()) return false;
  if (tensors.size() > 3) {
    scope.Fail(Code::kGraphInvalid,
               fmt::format("layer {} takes query, value and key, not {} tensors", scope.path(),
                           tensors.size()));
    return false;
  }
  operands->query = AsFloat(graph, tensors[0].value);
  operands->value = AsFloat(graph, tensors[1].value);
  operands->key = tensors.size() > 2 ? AsFloat(graph, tensors[2].value) : operands->value;
  operands->query_mask = tensors[0].mask;
  operands->value_mask = tensors[1].mask;
  TakeMasks(scope, inputs, operands);
  for (const KerasTensor& tensor : tensors) {
    if (!RequireRank(scope, tensor.value, 3)) return false;
  }
  return !scope.failed();
}

// scores (batch, queries, values) -> outputs. Source: Attention._apply_scores.
std::vector<KerasTensor> Distribute(const LayerScope& scope, const CallInputs& inputs,
                                    const Operands& operands, Value scores) {
  Graph& graph = scope.graph();
  const bool causal =
      scope.Bool("causal", false) || BoolArgument(scope, inputs, "use_causal_mask", false);
  const bool return_scores = BoolArgument(scope, inputs, "return_attention_scores", false);
  if (scope.failed()) return {};
  Value mask;
  if (operands.value_mask) mask = ops::ExpandDims(graph, *operands.value_mask, 1);
  if (causal) mask = And(graph, mask, CausalMask(graph, scores));
  if (mask.valid()) scores = Penalize(graph, scores, mask, 1e9f);
  const Value weights = ops::Softmax(graph, scores, {-1});
  Value y = ops::MatMul(graph, weights, operands.value);
  if (operands.query_mask) y = ZeroWhereMasked(graph, y, *operands.query_mask);
  std::vector<KerasTensor> outputs = One(y, operands.query_mask);
  if (return_scores) outputs.push_back({weights, std::nullopt});
  return outputs;
}

// f(scale · (query + key)) for each pair of query and key, summed over the features.
Value SumOfTanh(const LayerScope& scope, const Operands& operands, Value inner_scale,
                Value outer_scale) {
  Graph& graph = scope.graph();
  Value sum = ops::Add(graph, ops::ExpandDims(graph, operands.query, 2),
                       ops::ExpandDims(graph, operands.key, 1));
  if (inner_scale.valid()) sum = ops::Multiply(graph, sum, inner_scale);
  Value y = ops::Tanh(graph, sum);
  if (outer_scale.valid()) y = ops::Multiply(graph, y, outer_scale);
  return ops::Reduce(graph, ops::ReduceKind::kSum, y, {-1}, false);
}

}  // namespace

std::vector<KerasTensor> LowerAttention(const LayerScope& scope, const CallInputs& inputs) {
  Graph& graph = scope.graph();
  Operands operands;
  if (!ReadOperands(scope, inputs, &operands)) return {};
  const std::string mode = scope.Choice("score_mode", "dot", {"dot", "concat"});
  Value scale;
  if (scope.Bool("use_scale", false)) scale = scope.Weight("scale", Shape{});
  if (scope.failed()) return {};
  Value scores;
  if (mode == "dot") {
    scores = ops::MatMul(graph, operands.query, operands.key, false, true);
    if (scale.valid()) scores = ops::Multiply(graph, scores, scale);
  } else {
    const Value weight = scope.Weight("concat_score_weight", Shape{});
    if (scope.failed()) return {};
    scores = ops::Multiply(graph, SumOfTanh(scope, operands, scale, {}), weight);
  }
  return Distribute(scope, inputs, operands, scores);
}

std::vector<WeightRole> AttentionWeights(const Layer& layer, const Writer& writer) {
  std::vector<WeightRole> roles;
  if (ConfigBool(layer, "use_scale", false)) roles.push_back({"scale"});
  if (layer.config.StringOr("score_mode") == "concat") roles.push_back({"concat_score_weight"});
  return roles;
}

std::vector<KerasTensor> LowerAdditiveAttention(const LayerScope& scope, const CallInputs& inputs) {
  Operands operands;
  if (!ReadOperands(scope, inputs, &operands)) return {};
  Value scale;
  if (scope.Bool("use_scale", true)) {
    scale = scope.Weight("scale", Shape{scope.graph().shape(operands.query).back()});
  }
  if (scope.failed()) return {};
  return Distribute(scope, inputs, operands, SumOfTanh(scope, operands, {}, scale));
}

std::vector<WeightRole> AdditiveAttentionWeights(const Layer& layer, const Writer& writer) {
  if (!ConfigBool(layer, "use_scale", true)) return {};
  return {{"scale"}};
}

}  // namespace h5serve::model
