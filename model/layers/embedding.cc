// Embeddings.
#include <fmt/format.h>

#include "compute/ops/elementwise.h"
#include "compute/ops/linear.h"
#include "compute/ops/shape_ops.h"
#include "compute/ops/text.h"
#include "model/layers/layer_functions.h"
#include "model/layers/layer_support.h"
#include "model/layers/quantization.h"

namespace h5serve::model {

namespace ops = compute::ops;

namespace {

Mask NonZero(const LayerScope& scope, Value ids) {
  if (!scope.Bool("mask_zero", false)) return std::nullopt;
  Graph& graph = scope.graph();
  const Value zero =
      graph.Constant(graph.dtype(ids) == compute::DType::kInt64 ? Tensor::Scalar(int64_t{0})
                                                                : Tensor::Scalar(0.0f));
  return ops::Binary(graph, ops::BinaryKind::kNotEqual, ids, zero);
}

Value Table(const LayerScope& scope) {
  const int64_t rows = scope.PositiveInt("input_dim");
  const int64_t columns = scope.PositiveInt("output_dim");
  if (scope.failed()) return {};
  return WeightWithLora(scope, "embeddings", Shape{rows, columns}, "lora_embeddings");
}

}  // namespace

std::vector<KerasTensor> LowerEmbedding(const LayerScope& scope, const CallInputs& inputs) {
  Graph& graph = scope.graph();
  const KerasTensor input = SingleInput(scope, inputs);
  if (scope.failed()) return {};
  const Value ids = AsInt(graph, input.value);
  if (!QuantizationMode(scope.layer()).empty()) {
    const Value y = QuantizedEmbedding(scope, ids);
    return One(y, NonZero(scope, input.value));
  }
  const Value table = Table(scope);
  if (scope.failed()) return {};
  return One(ops::Embedding(graph, table, ids), NonZero(scope, input.value));
}

std::vector<WeightRole> EmbeddingWeights(const Layer& layer, const Writer& writer) {
  if (!QuantizationMode(layer).empty()) return QuantizedEmbeddingRoles(layer);
  const std::optional<int64_t> rank = layer.config["lora_rank"].ToInt();
  if (!rank || *rank <= 0) return {{"embeddings"}};
  return {{"embeddings", false}, {"lora_embeddings_a"}, {"lora_embeddings_b"}};
}

// An embedding that also maps back: reverse=True gives logits over the rows.
std::vector<KerasTensor> LowerReversibleEmbedding(const LayerScope& scope,
                                                  const CallInputs& inputs) {
  Graph& graph = scope.graph();
  bool reverse = BoolArgument(scope, inputs, "reverse", false);
  if (inputs.args.size() > 1 && inputs.args[1].constant.is_bool()) {
    reverse = inputs.args[1].constant.as_bool();
  }
  if (!reverse) return LowerEmbedding(scope, inputs);
  const KerasTensor input = SingleInput(scope, inputs);
  if (scope.failed()) return {};
  const Value x = AsFloat(graph, input.value);
  if (!QuantizationMode(scope.layer()).empty()) {
    scope.Fail(Code::kQuantizedUnsupported,
               fmt::format("layer {} maps back through quantized embeddings", scope.path()));
    return {};
  }
  Value logits;
  if (scope.Bool("tie_weights", true)) {
    logits = ops::MatMul(graph, x, Table(scope), false, true);
  } else {
    const Shape shape{scope.PositiveInt("output_dim"), scope.PositiveInt("input_dim")};
    logits = ops::Dense(graph, x, scope.Weight("reverse_embeddings", shape), {});
  }
  if (scope.Has("logit_soft_cap")) {
    const float cap = scope.Float("logit_soft_cap", 1);
    if (!(cap > 0)) scope.BadValue("logit_soft_cap", "a positive number is expected");
    if (scope.failed()) return {};
    logits = ops::MultiplyScalar(
        graph, ops::Tanh(graph, ops::MultiplyScalar(graph, logits, 1 / cap)), cap);
  }
  return One(logits, input.mask);
}

std::vector<WeightRole> ReversibleEmbeddingWeights(const Layer& layer, const Writer& writer) {
  std::vector<WeightRole> roles = EmbeddingWeights(layer, writer);
  if (!ConfigBool(layer, "tie_weights", true)) {
    roles.insert(roles.begin() + 1, {"reverse_embeddings"});
  }
  return roles;
}

}  // namespace h5serve::model
