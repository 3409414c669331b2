// Attention of several heads with learnt projections.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "compute/ops/elementwise.h"
#include "compute/ops/linear.h"
#include "compute/ops/reduce.h"
#include "compute/ops/shape_ops.h"
#include "model/layers/attention_parts.h"
#include "model/layers/layer_functions.h"

namespace h5serve::model {

namespace ops = compute::ops;

namespace {

struct Operands {
  KerasTensor query, value, key;
  bool has_key = false;
  Value attention_mask;
  bool causal = false;
  bool return_scores = false;
};

Mask MaskArgument(const LayerScope& scope, const CallInputs& inputs, std::string_view name,
                  const Mask& otherwise) {
  const CallArgument* given = inputs.Keyword(name);
  if (given == nullptr || !given->is_tensor()) return otherwise;
  return AsBool(scope.graph(), given->tensor.value);
}

bool ReadOperands(const LayerScope& scope, const CallInputs& inputs, Operands* operands) {
  Graph& graph = scope.graph();
  const CallArgument* query = FindArgument(inputs, 0, "query");
  const CallArgument* value = FindArgument(inputs, 1, "value");
  const CallArgument* key = FindArgument(inputs, 2, "key");
  const auto tensor = [](const CallArgument* argument) {
    return argument != nullptr && argument->is_tensor();
  };
  if (!tensor(query) || !tensor(value) || (key != nullptr && !tensor(key))) {
    scope.Fail(Code::kGraphInvalid,
               fmt::format("layer {} is called with query, value and perhaps key", scope.path()));
    return false;
  }
  operands->query = query->tensor;
  operands->value = value->tensor;
  operands->has_key = key != nullptr;
  operands->key = key != nullptr ? key->tensor : value->tensor;
  operands->query.mask = MaskArgument(scope, inputs, "query_mask", operands->query.mask);
  operands->value.mask = MaskArgument(scope, inputs, "value_mask", operands->value.mask);
  operands->key.mask = MaskArgument(scope, inputs, "key_mask", operands->key.mask);
  const CallArgument* mask = inputs.Keyword("attention_mask");
  if (tensor(mask)) operands->attention_mask = AsBool(graph, mask->tensor.value);
  operands->causal = BoolArgument(scope, inputs, "use_causal_mask", false);
  operands->return_scores = BoolArgument(scope, inputs, "return_attention_scores", false);
  return !scope.failed();
}

// tf.keras looks at the masks of its inputs since 2.10.
bool UsesInputMasks(const LayerScope& scope) {
  return IsKeras3(scope) || scope.writer().AtLeast(2, 10);
}

// (batch, queries, keys), or invalid.
Value CombinedMask(const LayerScope& scope, const Operands& operands) {
  Graph& graph = scope.graph();
  Value mask;
  if (UsesInputMasks(scope)) {
    if (operands.query.mask) mask = ops::ExpandDims(graph, *operands.query.mask, -1);
    if (operands.value.mask) {
      mask = And(graph, mask, ops::ExpandDims(graph, *operands.value.mask, -2));
    }
    if (operands.has_key && operands.key.mask &&
        !(operands.key.value == operands.value.value && !IsKeras3(scope))) {
      mask = And(graph, mask, ops::ExpandDims(graph, *operands.key.mask, -2));
    }
  }
  return And(graph, mask, operands.attention_mask);
}

// Softmax over the last `axes` axes of scores that `mask` allows.
Value MaskedSoftmax(const LayerScope& scope, Value scores, Value mask, int axes) {
  Graph& graph = scope.graph();
  std::vector<int64_t> over;
  for (int i = axes; i >= 1; --i) over.push_back(-i);
  if (mask.valid()) scores = Penalize(graph, scores, mask, 1e9f);
  return ops::Softmax(graph, scores, over);
}

// Brings a mask to the rank of the scores with axes before the last 2 · axes.
Value ExpandToScores(Graph& graph, Value mask, int rank, int axes) {
  while (mask.valid() && graph.rank(mask) < rank) {
    mask = ops::ExpandDims(graph, mask, -2 * axes - 1);
  }
  return mask;
}

struct Attended {
  Value y, scores;
};

// q (batch, queries, heads, size), k and v (batch, keys, heads, size).
Attended AttendSequence(const LayerScope& scope, Value q, Value k, Value v, Value mask, bool causal,
                        float scale) {
  Graph& graph = scope.graph();
  const std::vector<int> heads_first{0, 2, 1, 3};
  q = ops::Transpose(graph, ops::MultiplyScalar(graph, q, scale), heads_first);
  k = ops::Transpose(graph, k, heads_first);
  v = ops::Transpose(graph, v, heads_first);
  const Value scores = ops::MatMul(graph, q, k, false, true);
  mask = ExpandToScores(graph, mask, 4, 1);
  if (causal) mask = And(graph, mask, CausalMask(graph, scores));
  const Value weights = MaskedSoftmax(scope, scores, mask, 1);
  return {ops::Transpose(graph, ops::MatMul(graph, weights, v), heads_first), weights};
}

// Labels of einsum for attention over some axes of tensors of `rank` (with heads
// and features). Source: _build_attention_equation.
struct Equations {
  std::string product, combine;
};
Equations AttentionEquations(int rank, const std::vector<int>& axes) {
  std::string target, source, product;
  for (int i = 0; i < rank; ++i) target += static_cast<char>('a' + i);
  char next = static_cast<char>('a' + rank);
  const auto attended = [&](int axis) {
    return std::find(axes.begin(), axes.end(), axis) != axes.end();
  };
  for (int i = 0; i < rank; ++i) source += attended(i) ? next++ : target[i];
  for (int i = 0; i + 1 < rank; ++i) {
    if (!attended(i)) product += target[i];
  }
  for (int axis : axes) product += target[axis];
  for (int axis : axes) product += source[axis];
  return {fmt::format("{},{}->{}", source, target, product),
          fmt::format("{},{}->{}", product, source, target)};
}

Attended AttendAxes(const LayerScope& scope, Value q, Value k, Value v, Value mask, bool causal,
                    float scale, const std::vector<int>& axes) {
  Graph& graph = scope.graph();
  const Equations equations = AttentionEquations(graph.rank(q), axes);
  q = ops::MultiplyScalar(graph, q, scale);
  const Value scores = ops::Einsum(graph, equations.product, {k, q});
  const int count = static_cast<int>(axes.size());
  mask = ExpandToScores(graph, mask, graph.rank(scores), count);
  if (causal) {
    if (count != 1) {
      scope.Fail(Code::kUnsupportedArgument,
                 fmt::format("layer {}: a causal mask over {} axes", scope.path(), count));
      return {};
    }
    mask = And(graph, mask, CausalMask(graph, scores));
  }
  const Value weights = MaskedSoftmax(scope, scores, mask, count);
  return {ops::Einsum(graph, equations.combine, {weights, v}), weights};
}

std::vector<int> AttentionAxes(const LayerScope& scope, int rank) {
  std::vector<int> axes;
  if (!scope.Has("attention_axes")) {
    for (int axis = 1; axis < rank - 2; ++axis) axes.push_back(axis);
    return axes;
  }
  for (int64_t axis : scope.Ints("attention_axes", {})) {
    // Negative axes count from the end of the input, which has no heads.
    const int64_t normal = axis >= 0 ? axis : rank - 1 + axis;
    if (normal < 1 || normal > rank - 3) {
      scope.BadValue("attention_axes", "axes between the batch and the features are expected");
      return {};
    }
    axes.push_back(static_cast<int>(normal));
  }
  std::vector<int> sorted = axes;
  std::sort(sorted.begin(), sorted.end());
  if (axes.empty() || std::adjacent_find(sorted.begin(), sorted.end()) != sorted.end()) {
    scope.BadValue("attention_axes", "different axes are expected");
  }
  return axes;
}

std::string BiasOf(bool use_bias, const char* part) {
  return use_bias ? std::string(part) + "/bias" : "";
}

bool RefuseVariants(const LayerScope& scope) {
  if (scope.Bool("use_gate", false)) {
    scope.Fail(Code::kUnsupportedArgument, fmt::format("{}.use_gate = true", scope.path()));
  }
  if (scope.Has("sliding_window")) {
    scope.Fail(Code::kUnsupportedArgument,
               fmt::format("{}.sliding_window = {}", scope.path(),
                           scope.config()["sliding_window"].ToJson(40)));
  }
  return scope.failed();
}

std::vector<WeightRole> ProjectionRoles(const Layer& layer) {
  const bool use_bias = ConfigBool(layer, "use_bias", true);
  std::vector<WeightRole> roles;
  for (const char* part : {"query", "key", "value", "attention_output"}) {
    roles.push_back({std::string(part) + "/kernel"});
    if (use_bias) roles.push_back({std::string(part) + "/bias"});
  }
  return roles;
}

}  // namespace

std::vector<KerasTensor> LowerMultiHeadAttention(const LayerScope& scope,
                                                 const CallInputs& inputs) {
  Graph& graph = scope.graph();
  Operands operands;
  if (!ReadOperands(scope, inputs, &operands) || RefuseVariants(scope)) return {};
  const int64_t key_dim = scope.PositiveInt("key_dim");
  const bool use_bias = scope.Bool("use_bias", true);
  const int rank = graph.rank(operands.query.value) + 1;
  if (scope.failed()) return {};
  if (rank < 4 || graph.rank(operands.value.value) + 1 != rank ||
      graph.rank(operands.key.value) + 1 != rank || rank > 10) {
    graph.Fail(absl::InvalidArgumentError(
        fmt::format("attention takes tensors of one rank of 3 or more, not {} and {}",
                    graph.shape(operands.query.value).ToString(),
                    graph.shape(operands.value.value).ToString())));
    return {};
  }
  const std::vector<int> axes = AttentionAxes(scope, rank);
  if (scope.failed()) return {};
  const Value q =
      Project(scope, operands.query.value, 1, "query/kernel", BiasOf(use_bias, "query"));
  const Value k = Project(scope, operands.key.value, 1, "key/kernel", BiasOf(use_bias, "key"));
  const Value v =
      Project(scope, operands.value.value, 1, "value/kernel", BiasOf(use_bias, "value"));
  if (scope.failed()) return {};
  if (graph.rank(q) != rank || graph.rank(k) != rank || graph.rank(v) != rank) {
    graph.Fail(absl::InvalidArgumentError("the projections' kernels have another rank than 3"));
    return {};
  }
  const Value mask = CombinedMask(scope, operands);
  const float scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(key_dim)));
  const Attended attended = rank == 4
                                ? AttendSequence(scope, q, k, v, mask, operands.causal, scale)
                                : AttendAxes(scope, q, k, v, mask, operands.causal, scale, axes);
  if (scope.failed()) return {};
  const Value y = Project(scope, attended.y, 2, "attention_output/kernel",
                          BiasOf(use_bias, "attention_output"));
  std::vector<KerasTensor> outputs = One(y, operands.query.mask);
  if (operands.return_scores) outputs.push_back({attended.scores, std::nullopt});
  return outputs;
}

std::vector<WeightRole> MultiHeadAttentionWeights(const Layer& layer, const Writer& writer) {
  return ProjectionRoles(layer);
}

// Several query heads share one key and value head. Source:
// keras/src/layers/attention/grouped_query_attention.py.
std::vector<KerasTensor> LowerGroupedQueryAttention(const LayerScope& scope,
                                                    const CallInputs& inputs) {
  Graph& graph = scope.graph();
  Operands operands;
  if (!ReadOperands(scope, inputs, &operands) || RefuseVariants(scope)) return {};
  const int64_t head_dim = scope.PositiveInt("head_dim");
  const int64_t query_heads = scope.PositiveInt("num_query_heads");
  const int64_t shared_heads = scope.PositiveInt("num_key_value_heads");
  const bool use_bias = scope.Bool("use_bias", true);
  if (query_heads % shared_heads != 0) {
    scope.BadValue("num_key_value_heads", "a divisor of num_query_heads is expected");
  }
  if (scope.failed()) return {};
  for (const KerasTensor* tensor : {&operands.query, &operands.value, &operands.key}) {
    if (!RequireRank(scope, tensor->value, 3)) return {};
  }
  const Value q =
      Project(scope, operands.query.value, 1, "query/kernel", BiasOf(use_bias, "query"));
  Value k = Project(scope, operands.key.value, 1, "key/kernel", BiasOf(use_bias, "key"));
  Value v = Project(scope, operands.value.value, 1, "value/kernel", BiasOf(use_bias, "value"));
  if (scope.failed()) return {};
  if (query_heads != shared_heads) {
    k = ops::Repeat(graph, k, query_heads / shared_heads, 2);
    v = ops::Repeat(graph, v, query_heads / shared_heads, 2);
  }
  const float scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(head_dim)));
  const Attended attended =
      AttendSequence(scope, q, k, v, CombinedMask(scope, operands), operands.causal, scale);
  if (scope.failed()) return {};
  const Value y = Project(scope, attended.y, 2, "attention_output/kernel",
                          BiasOf(use_bias, "attention_output"));
  std::vector<KerasTensor> outputs = One(y, operands.query.mask);
  if (operands.return_scores) outputs.push_back({attended.scores, std::nullopt});
  return outputs;
}

}  // namespace h5serve::model
