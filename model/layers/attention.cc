// Attention, AdditiveAttention, MultiHeadAttention, GroupedQueryAttention.

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "compute/ops/elementwise.h"
#include "compute/ops/linear.h"
#include "compute/ops/reduce.h"
#include "compute/ops/shape_ops.h"
#include "model/layers/layer_functions.h"
#include "model/layers/layout.h"

namespace h5serve::model {

namespace ops = compute::ops;
using compute::DType;
using compute::Shape;
using compute::Value;
using ops::BinaryKind;
using ops::UnaryKind;

namespace {

constexpr float kMasked = -1e9f;

Value ToFloat(compute::Graph& graph, Value x) { return ops::Cast(graph, x, DType::kFloat32); }

// scores + (1 - keep) * -1e9.
Value MaskScores(compute::Graph& graph, Value scores, Value keep) {
  const Value drop =
      ops::Unary(graph, UnaryKind::kLogicalNot, ops::Cast(graph, keep, DType::kBool));
  return ops::Add(graph, scores, ops::MultiplyScalar(graph, ToFloat(graph, drop), kMasked));
}

// Lower triangle of ones with the shape of the last two axes of `scores`.
Value CausalMask(compute::Graph& graph, Value scores) {
  const Value one = graph.Constant(compute::Tensor::Scalar(1.0f));
  return ops::Cast(graph, ops::Triangle(graph, ops::FillLike(graph, scores, one), 0, true),
                   DType::kBool);
}

bool KeywordFlag(const CallInputs& inputs, std::string_view name) {
  const CallArgument* value = inputs.Keyword(name);
  return value != nullptr && value->constant.is_bool() && value->constant.as_bool();
}

// Query, value and key of a dense attention, with masks.
struct DenseInputs {
  KerasTensor query, value, key;
  std::optional<Value> query_mask, value_mask;
};

std::optional<DenseInputs> ParseDense(const LayerScope& scope, const CallInputs& inputs) {
  std::vector<KerasTensor> tensors = inputs.Tensors();
  if (tensors.size() < 2) {
    scope.Fail(Code::kGraphInvalid, fmt::format("layer {} needs query and value", scope.path()));
    return std::nullopt;
  }
  DenseInputs in{tensors[0], tensors[1], tensors.size() > 2 ? tensors[2] : tensors[1],
                 tensors[0].mask, tensors[1].mask};
  if (const CallArgument* mask = inputs.Keyword("mask")) {
    const auto pick = [&](size_t i, std::optional<Value>* into) {
      if (i < mask->list.size()) {
        into->reset();
        if (mask->list[i].is_tensor()) {
          *into = ops::Cast(scope.graph(), mask->list[i].tensor.value, DType::kBool);
        }
      }
    };
    pick(0, &in.query_mask);
    pick(1, &in.value_mask);
  }
  return in;
}

std::vector<KerasTensor> FinishDense(const LayerScope& scope, const CallInputs& inputs,
                                     const DenseInputs& in, Value scores) {
  compute::Graph& graph = scope.graph();
  // One penalty for both masks: where nothing is left, all places count alike.
  std::optional<Value> keep;
  if (in.value_mask) keep = ops::ExpandDims(graph, *in.value_mask, 1);
  if (scope.Bool("causal", false) || KeywordFlag(inputs, "use_causal_mask")) {
    const Value causal = CausalMask(graph, scores);
    keep = keep ? ops::Binary(graph, BinaryKind::kLogicalAnd, *keep, causal) : causal;
  }
  if (keep) scores = MaskScores(graph, scores, *keep);
  const Value weights = ops::Softmax(graph, scores, {-1});
  Value y = ops::MatMul(graph, weights, in.value.value);
  if (in.query_mask) {
    y = ops::Multiply(graph, y, ToFloat(graph, ops::ExpandDims(graph, *in.query_mask, -1)));
  }
  std::vector<KerasTensor> results{{y, in.query_mask}};
  if (KeywordFlag(inputs, "return_attention_scores")) results.push_back({weights, std::nullopt});
  return results;
}

Value Scalar(const LayerScope& scope, std::string_view role) { return scope.Weight(role, Shape{}); }

}  // namespace

std::vector<KerasTensor> LowerAttention(const LayerScope& scope, const CallInputs& inputs) {
  const std::optional<DenseInputs> in = ParseDense(scope, inputs);
  if (!in) return {};
  compute::Graph& graph = scope.graph();
  const std::string mode = scope.Choice("score_mode", "dot", {"dot", "concat"});
  const bool scaled = scope.Bool("use_scale", false);
  Value scores;
  if (mode == "dot") {
    scores = ops::MatMul(graph, in->query.value, in->key.value, false, true);
    if (scaled) scores = ops::Multiply(graph, scores, Scalar(scope, "scale"));
  } else {
    const Value q = ops::ExpandDims(graph, in->query.value, 2);
    const Value k = ops::ExpandDims(graph, in->key.value, 1);
    Value sum = ops::Add(graph, q, k);
    if (scaled) sum = ops::Multiply(graph, sum, Scalar(scope, "scale"));
    scores = ops::Reduce(graph, ops::ReduceKind::kSum, ops::Tanh(graph, sum), {-1}, false);
    scores = ops::Multiply(graph, scores, Scalar(scope, "concat_score_weight"));
  }
  if (scope.failed()) return {};
  return FinishDense(scope, inputs, *in, scores);
}

std::vector<WeightRole> AttentionWeights(const Layer& layer, const Writer&) {
  std::vector<WeightRole> roles;
  const ConfigValue& scale = layer.config["use_scale"];
  if (scale.is_bool() && scale.as_bool()) roles.push_back({"scale"});
  if (layer.config.StringOr("score_mode") == "concat") roles.push_back({"concat_score_weight"});
  return roles;
}

std::vector<KerasTensor> LowerAdditiveAttention(const LayerScope& scope, const CallInputs& inputs) {
  const std::optional<DenseInputs> in = ParseDense(scope, inputs);
  if (!in) return {};
  compute::Graph& graph = scope.graph();
  Value sum = ops::Tanh(graph, ops::Add(graph, ops::ExpandDims(graph, in->query.value, 2),
                                        ops::ExpandDims(graph, in->key.value, 1)));
  if (scope.Bool("use_scale", true)) {
    sum = ops::Multiply(graph, sum, scope.Weight("scale", {graph.shape(in->query.value).dim(-1)}));
  }
  if (scope.failed()) return {};
  return FinishDense(scope, inputs, *in,
                     ops::Reduce(graph, ops::ReduceKind::kSum, sum, {-1}, false));
}

std::vector<WeightRole> AdditiveAttentionWeights(const Layer& layer, const Writer&) {
  const ConfigValue& scale = layer.config["use_scale"];
  if (scale.is_bool() && !scale.as_bool()) return {};
  return {{"scale"}};
}

namespace {

// Query, value, key: positional or by keyword; key defaults to value.
struct HeadInputs {
  KerasTensor query, value, key;
  std::optional<Value> query_mask, value_mask, key_mask;
  std::optional<Value> attention_mask;
  bool causal = false;
  bool scores = false;
};

std::optional<KerasTensor> TensorAt(const CallInputs& inputs, size_t position,
                                    std::string_view keyword) {
  const std::vector<KerasTensor> positional = inputs.Tensors();
  if (position < positional.size()) return positional[position];
  const CallArgument* named = inputs.Keyword(keyword);
  if (named != nullptr && named->is_tensor()) return named->tensor;
  return std::nullopt;
}

std::optional<Value> MaskAt(const CallInputs& inputs, std::string_view keyword) {
  const CallArgument* named = inputs.Keyword(keyword);
  if (named != nullptr && named->is_tensor()) return named->tensor.value;
  return std::nullopt;
}

std::optional<HeadInputs> ParseHeads(const LayerScope& scope, const CallInputs& inputs) {
  HeadInputs in;
  const std::optional<KerasTensor> query = TensorAt(inputs, 0, "query");
  const std::optional<KerasTensor> value = TensorAt(inputs, 1, "value");
  if (!query || !value) {
    scope.Fail(Code::kGraphInvalid, fmt::format("layer {} needs query and value", scope.path()));
    return std::nullopt;
  }
  in.query = *query;
  in.value = *value;
  in.key = TensorAt(inputs, 2, "key").value_or(*value);
  in.attention_mask = MaskAt(inputs, "attention_mask");
  const std::vector<KerasTensor> positional = inputs.Tensors();
  in.causal = KeywordFlag(inputs, "use_causal_mask");
  in.scores = KeywordFlag(inputs, "return_attention_scores");
  // Masks of the tensors count since tf.keras 2.10.
  const Writer& writer = scope.writer();
  const bool automatic = writer.dialect == Writer::Dialect::kKeras3 || writer.AtLeast(2, 10);
  const auto mask_of = [&](const KerasTensor& tensor, std::string_view keyword) {
    const std::optional<Value> given = MaskAt(inputs, keyword);
    if (given) return given;
    return automatic ? tensor.mask : std::nullopt;
  };
  in.query_mask = mask_of(in.query, "query_mask");
  in.value_mask = mask_of(in.value, "value_mask");
  // A key that is the value has the value's mask already.
  const bool own_key = TensorAt(inputs, 2, "key").has_value();
  if (own_key) in.key_mask = mask_of(in.key, "key_mask");
  return in;
}

// What may attend to what, (batch, query…, key…); nullopt when everything may.
std::optional<Value> CombinedMask(compute::Graph& graph, const HeadInputs& in, Value scores) {
  std::optional<Value> mask;
  const auto add = [&](Value next) {
    mask = mask ? ops::Binary(graph, BinaryKind::kLogicalAnd, *mask, next) : next;
  };
  const auto steps = [&](Value given, int64_t axis) {
    add(ops::ExpandDims(graph, ops::Cast(graph, given, DType::kBool), axis));
  };
  if (in.query_mask) steps(*in.query_mask, -1);
  if (in.value_mask) steps(*in.value_mask, -2);
  if (in.key_mask) steps(*in.key_mask, -2);
  if (in.attention_mask) add(ops::Cast(graph, *in.attention_mask, DType::kBool));
  if (in.causal) {
    // Over the last two axes of one head.
    const Value head = ops::SliceAxis(graph, scores, 1, 0, 1);
    add(CausalMask(graph, ops::Squeeze(graph, head, {1})));
  }
  return mask;
}

// Labels of an einsum over inputs with several free axes: 'b' for the batch,
// letters for the others.
class Labels {
 public:
  std::string Fresh(int count) {
    std::string labels;
    for (int i = 0; i < count; ++i) labels += next_++;
    return labels;
  }

 private:
  char next_ = 'a';
};

Value Project(const LayerScope& scope, Value x, const std::string& name, int64_t heads,
              int64_t width) {
  compute::Graph& graph = scope.graph();
  const int64_t in = graph.shape(x).dim(-1);
  const Value kernel = scope.Weight(name + "/kernel", {in, heads, width});
  if (scope.failed()) return {};
  const Value flat = ops::Reshape(graph, kernel, {graph.shape(kernel)[0], heads * width});
  Value bias;
  if (scope.Bool("use_bias", true)) {
    bias = ops::Reshape(graph, scope.Weight(name + "/bias", {heads, width}), {heads * width});
  }
  return ops::SplitAxis(graph, ops::Dense(graph, x, flat, bias), graph.rank(x) - 1, heads, width);
}

// Context and scores over any set of attention axes. q, k, v are
// (batch, …, heads, width); axes are those attended over.
struct Attended {
  Value context, weights;
};

Attended Attend(const LayerScope& scope, const HeadInputs& in, Value q, Value k, Value v,
                const std::vector<int64_t>& axes) {
  compute::Graph& graph = scope.graph();
  const int rank = graph.rank(q);
  Labels labels;
  // Axes of the query; the key shares those that are not attended over.
  const std::string q_labels = labels.Fresh(rank);
  std::string k_labels = q_labels;
  for (int64_t axis : axes) k_labels[axis] = labels.Fresh(1)[0];
  std::string v_labels = k_labels;
  v_labels.back() = labels.Fresh(1)[0];
  std::string score_labels, context_labels = q_labels;
  // (batch and free axes, heads, query axes, key axes).
  for (int i = 0; i < rank - 2; ++i) {
    if (std::find(axes.begin(), axes.end(), i) == axes.end()) score_labels += q_labels[i];
  }
  score_labels += q_labels[rank - 2];
  for (int64_t axis : axes) score_labels += q_labels[axis];
  for (int64_t axis : axes) score_labels += k_labels[axis];
  context_labels.back() = v_labels.back();
  Value scores = ops::Einsum(graph, q_labels + "," + k_labels + "->" + score_labels, {q, k});
  const std::optional<Value> mask = CombinedMask(graph, in, scores);
  if (mask) {
    Value keep = *mask;
    // Masks have no axis for heads: it goes before the attention axes.
    const int at = -static_cast<int>(axes.size()) * 2 - 1;
    while (graph.rank(keep) < graph.rank(scores) && !scope.failed()) {
      keep = ops::ExpandDims(graph, keep, at);
    }
    scores = MaskScores(graph, scores, keep);
  }
  std::vector<int64_t> softmax_axes;
  for (size_t i = 0; i < axes.size(); ++i) softmax_axes.push_back(-1 - static_cast<int64_t>(i));
  const Value weights = ops::Softmax(graph, scores, softmax_axes);
  const Value context =
      ops::Einsum(graph, score_labels + "," + v_labels + "->" + context_labels, {weights, v});
  return {context, weights};
}

// Contracts heads and width with the output kernel.
Value ProjectOut(const LayerScope& scope, Value context) {
  compute::Graph& graph = scope.graph();
  const compute::Tensor* stored = scope.WeightTensor("attention_output/kernel");
  const Value kernel =
      scope.Weight("attention_output/kernel", stored == nullptr ? Shape{} : stored->shape());
  if (scope.failed()) return {};
  const Shape shape = graph.shape(kernel);
  const int rank = graph.rank(context);
  if (shape.rank() < 3 || shape[0] != graph.shape(context).dim(-2) ||
      shape[1] != graph.shape(context).dim(-1)) {
    scope.Fail(Code::kWeightShapeMismatch,
               fmt::format("layer {}, attention_output/kernel: expected {} heads of {}, stored {}",
                           scope.path(), graph.shape(context).dim(-2), graph.shape(context).dim(-1),
                           shape.ToString()));
    return {};
  }
  int64_t width = 1;
  for (int i = 2; i < shape.rank(); ++i) width *= shape[i];
  const Value flat = ops::Reshape(graph, kernel, {shape[0] * shape[1], width});
  Value bias;
  if (scope.Bool("use_bias", true)) {
    bias = ops::Reshape(graph, scope.Weight("attention_output/bias", shape.Slice(2, shape.rank())),
                        {width});
  }
  Value y = ops::Dense(graph, ops::MergeAxes(graph, context, rank - 2, rank), flat, bias);
  for (int i = shape.rank() - 1; i > 2; --i) {
    y = ops::SplitAxis(graph, y, graph.rank(y) - 1 - (shape.rank() - 1 - i), compute::kUnknown,
                       shape[i]);
  }
  return y;
}

}  // namespace

namespace {

bool IsGated(const Layer& layer) {
  const ConfigValue& gate = layer.config["use_gate"];
  return gate.is_bool() && gate.as_bool() && layer.class_name == "GroupedQueryAttention";
}

// What Keras 3.15 added to both kinds of heads.
bool RefuseVariants(const LayerScope& scope) {
  for (std::string_view key : {"use_gate", "sliding_window"}) {
    if (key == "use_gate" && IsGated(scope.layer())) continue;
    const ConfigValue& value = scope.config()[key];
    if (value.is_null() || (value.is_bool() && !value.as_bool())) continue;
    scope.Fail(Code::kUnsupportedArgument,
               fmt::format("{}.{} = {}", scope.path(), key, value.ToJson(40)));
    return true;
  }
  return false;
}

}  // namespace

std::vector<KerasTensor> LowerMultiHeadAttention(const LayerScope& scope,
                                                 const CallInputs& inputs) {
  const std::optional<HeadInputs> in = ParseHeads(scope, inputs);
  if (!in) return {};
  compute::Graph& graph = scope.graph();
  const int64_t heads = scope.PositiveInt("num_heads");
  const int64_t key_dim = scope.PositiveInt("key_dim");
  const int64_t value_dim = scope.Has("value_dim") ? scope.PositiveInt("value_dim") : key_dim;
  if (RefuseVariants(scope)) return {};
  const int rank = graph.rank(in->query.value);
  std::vector<int64_t> axes = scope.Ints("attention_axes", {});
  if (axes.empty()) {
    for (int i = 1; i < rank - 1; ++i) axes.push_back(i);
  }
  for (int64_t& axis : axes) {
    if (axis < 0) axis += rank;
    if (axis < 1 || axis >= rank - 1) scope.BadValue("attention_axes", "outside the input");
  }
  if (scope.failed()) return {};
  Value q = Project(scope, in->query.value, "query", heads, key_dim);
  const Value k = Project(scope, in->key.value, "key", heads, key_dim);
  const Value v = Project(scope, in->value.value, "value", heads, value_dim);
  if (scope.failed()) return {};
  q = ops::MultiplyScalar(graph, q, 1.0f / std::sqrt(static_cast<float>(key_dim)));
  const Attended attended = Attend(scope, *in, q, k, v, axes);
  const Value y = ProjectOut(scope, attended.context);
  if (scope.failed()) return {};
  std::vector<KerasTensor> results{{y, in->query_mask}};
  if (in->scores) results.push_back({attended.weights, std::nullopt});
  return results;
}

std::vector<WeightRole> MultiHeadAttentionWeights(const Layer& layer, const Writer&) {
  const ConfigValue& use_bias = layer.config["use_bias"];
  const bool biased = !use_bias.is_bool() || use_bias.as_bool();
  std::vector<WeightRole> roles;
  for (const char* part : {"query", "key", "gate", "value", "attention_output"}) {
    if (std::string_view(part) == "gate" && !IsGated(layer)) continue;
    roles.push_back({std::string(part) + "/kernel"});
    if (biased) roles.push_back({std::string(part) + "/bias"});
  }
  return roles;
}

std::vector<KerasTensor> LowerGroupedQueryAttention(const LayerScope& scope,
                                                    const CallInputs& inputs) {
  const std::optional<HeadInputs> in = ParseHeads(scope, inputs);
  if (!in || RefuseVariants(scope)) return {};
  compute::Graph& graph = scope.graph();
  const int64_t width = scope.PositiveInt("head_dim");
  const int64_t heads = scope.PositiveInt("num_query_heads");
  const int64_t pairs = scope.PositiveInt("num_key_value_heads");
  if (scope.failed()) return {};
  if (heads % pairs != 0) {
    scope.BadValue("num_query_heads", "must be a multiple of num_key_value_heads");
    return {};
  }
  Value q = Project(scope, in->query.value, "query", heads, width);
  Value k = Project(scope, in->key.value, "key", pairs, width);
  Value v = Project(scope, in->value.value, "value", pairs, width);
  if (scope.failed()) return {};
  k = ops::Repeat(graph, k, heads / pairs, 2);
  v = ops::Repeat(graph, v, heads / pairs, 2);
  q = ops::MultiplyScalar(graph, q, 1.0f / std::sqrt(static_cast<float>(width)));
  Attended attended = Attend(scope, *in, q, k, v, {1});
  if (IsGated(scope.layer())) {
    const Value gate = Project(scope, in->query.value, "gate", heads, width);
    if (scope.failed()) return {};
    attended.context = ops::Multiply(graph, attended.context, ops::Sigmoid(graph, gate));
  }
  const Value y = ProjectOut(scope, attended.context);
  if (scope.failed()) return {};
  std::vector<KerasTensor> results{{y, in->query_mask}};
  if (in->scores) results.push_back({attended.weights, std::nullopt});
  return results;
}

}  // namespace h5serve::model
