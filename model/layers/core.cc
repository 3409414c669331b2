// Dense and its relatives, embeddings, and layers that do nothing at inference.

#include <fmt/format.h>

#include "compute/ops/elementwise.h"
#include "compute/ops/linear.h"
#include "compute/ops/reduce.h"
#include "compute/ops/shape_ops.h"
#include "compute/ops/text.h"
#include "model/layers/activation.h"
#include "model/layers/layer_functions.h"
#include "model/layers/layout.h"
#include "model/layers/quantization.h"

namespace h5serve::model {

namespace ops = compute::ops;
using compute::kUnknown;
using compute::Shape;
using compute::Value;

namespace {

bool Flag(const Layer& layer, std::string_view key, bool otherwise) {
  const ConfigValue& value = layer.config[key];
  return value.is_bool() ? value.as_bool() : otherwise;
}

bool HasLora(const Layer& layer) { return !layer.config["lora_rank"].is_null(); }

// True, with a diagnosis, for a quantized layer that is not computed.
bool RefuseQuantized(const LayerScope& scope) {
  const std::string mode = QuantizationMode(scope.layer());
  if (mode.empty()) return false;
  scope.Fail(Code::kQuantizedUnsupported,
             fmt::format("layer {} is a {} quantized as {}", scope.path(), scope.layer().class_name,
                         mode));
  return true;
}

// w + alpha / rank * A B: how Keras 3 merges low-rank updates.
Value WithLora(const LayerScope& scope, Value w, std::string_view a_role, std::string_view b_role) {
  compute::Graph& graph = scope.graph();
  const int64_t rank = scope.PositiveInt("lora_rank");
  const Shape shape = graph.shape(w);
  Shape a_shape = shape, b_shape{rank};
  a_shape.back() = rank;
  b_shape.push_back(shape.back());
  const Value a = scope.Weight(a_role, a_shape);
  const Value b = scope.Weight(b_role, b_shape);
  if (scope.failed()) return {};
  const float alpha = scope.Float("lora_alpha", static_cast<float>(rank));
  return ops::Add(
      graph, w,
      ops::MultiplyScalar(graph, ops::Dense(graph, a, b, {}), alpha / static_cast<float>(rank)));
}

}  // namespace

std::vector<KerasTensor> LowerDense(const LayerScope& scope, const CallInputs& inputs) {
  const std::optional<KerasTensor> x = OnlyInput(scope, inputs);
  if (!x) return {};
  compute::Graph& graph = scope.graph();
  const int64_t units = scope.PositiveInt("units");
  if (graph.rank(x->value) < 2) {
    graph.Fail(absl::InvalidArgumentError(
        fmt::format("Dense takes rank 2 or more, not {}", graph.shape(x->value).ToString())));
    return {};
  }
  if (!QuantizationMode(scope.layer()).empty()) {
    if (scope.failed()) return {};
    return One(ApplyActivation(scope, "activation", QuantizedDense(scope, x->value, units)),
               x->mask);
  }
  Value kernel = scope.Weight("kernel", {graph.shape(x->value).dim(-1), units});
  const Value bias = scope.Bool("use_bias", true) ? scope.Weight("bias", {units}) : Value{};
  if (scope.failed()) return {};
  if (HasLora(scope.layer())) kernel = WithLora(scope, kernel, "lora_kernel_a", "lora_kernel_b");
  Value y;
  const std::optional<compute::DType> half = HalfPrecision(scope.layer());
  if (half && scope.writer().dialect == Writer::Dialect::kKeras3) {
    y = ops::HalfProduct(graph, ops::RoundThrough(graph, x->value, *half), kernel, *half);
    if (bias.valid()) y = ops::RoundThrough(graph, ops::Add(graph, y, bias), *half);
  } else {
    y = ops::Dense(graph, x->value, kernel, bias);
  }
  return One(ApplyActivation(scope, "activation", y), x->mask);
}

std::vector<WeightRole> DenseWeights(const Layer& layer, const Writer&) {
  if (!QuantizationMode(layer).empty()) return QuantizedKernelRoles(layer);
  const bool lora = HasLora(layer);
  std::vector<WeightRole> roles{{"kernel", !lora}};
  if (Flag(layer, "use_bias", true)) roles.push_back({"bias"});
  if (lora) {
    roles.push_back({"lora_kernel_a"});
    roles.push_back({"lora_kernel_b"});
  }
  return roles;
}

std::vector<KerasTensor> LowerEinsumDense(const LayerScope& scope, const CallInputs& inputs) {
  const std::optional<KerasTensor> x = OnlyInput(scope, inputs);
  if (!x || RefuseQuantized(scope)) return {};
  compute::Graph& graph = scope.graph();
  const std::string equation = scope.String("equation", "");
  const compute::Tensor* stored = scope.WeightTensor("kernel");
  Value kernel = scope.Weight("kernel", stored == nullptr ? Shape{} : stored->shape());
  if (scope.failed()) return {};
  if (HasLora(scope.layer())) kernel = WithLora(scope, kernel, "lora_kernel_a", "lora_kernel_b");
  Value y = ops::Einsum(graph, equation, {x->value, kernel});
  if (const compute::Tensor* bias = scope.WeightTensor("bias")) {
    y = ops::Add(graph, y, scope.Weight("bias", bias->shape()));
  }
  return One(ApplyActivation(scope, "activation", y));
}

std::vector<WeightRole> EinsumDenseWeights(const Layer& layer, const Writer&) {
  const bool lora = HasLora(layer);
  std::vector<WeightRole> roles{{"kernel", !lora}};
  if (!layer.config["bias_axes"].is_null()) roles.push_back({"bias"});
  if (lora) {
    roles.push_back({"lora_kernel_a"});
    roles.push_back({"lora_kernel_b"});
  }
  return roles;
}

// Keras 1: y = max over features of x W_f + b_f.
std::vector<KerasTensor> LowerMaxoutDense(const LayerScope& scope, const CallInputs& inputs) {
  const std::optional<KerasTensor> x = InputOfRank(scope, inputs, 2);
  if (!x) return {};
  compute::Graph& graph = scope.graph();
  const int64_t features = scope.Int("nb_feature", 4);
  const int64_t units = scope.PositiveInt("output_dim");
  const Value kernel = scope.Weight("kernel", {features, graph.shape(x->value).dim(-1), units});
  if (scope.failed()) return {};
  Value y = ops::Einsum(graph, "bi,fio->bfo", {x->value, kernel});
  if (scope.Bool("use_bias", true)) y = ops::Add(graph, y, scope.Weight("bias", {features, units}));
  return One(ops::Reduce(graph, ops::ReduceKind::kMax, y, {1}, false));
}

std::vector<WeightRole> KernelBiasWeights(const Layer& layer, const Writer&) {
  std::vector<WeightRole> roles{{"kernel"}};
  if (Flag(layer, "use_bias", true)) roles.push_back({"bias"});
  return roles;
}

// y = act(x W + b) T + x (1 - T) with T = sigmoid(x W_carry + b_carry).
std::vector<KerasTensor> LowerHighway(const LayerScope& scope, const CallInputs& inputs) {
  const std::optional<KerasTensor> x = InputOfRank(scope, inputs, 2);
  if (!x) return {};
  compute::Graph& graph = scope.graph();
  const int64_t width = graph.shape(x->value).dim(-1);
  const bool biased = scope.Bool("use_bias", true);
  const Value w = scope.Weight("kernel", {width, width});
  const Value carry = scope.Weight("W_carry", {width, width});
  const Value bias = biased ? scope.Weight("bias", {width}) : Value{};
  const Value carry_bias = biased ? scope.Weight("b_carry", {width}) : Value{};
  if (scope.failed()) return {};
  const Value gate = ops::Sigmoid(graph, ops::Dense(graph, x->value, carry, carry_bias));
  const Value h = ApplyActivation(scope, "activation", ops::Dense(graph, x->value, w, bias));
  const Value y = ops::Add(graph, ops::Multiply(graph, h, gate),
                           ops::Subtract(graph, x->value, ops::Multiply(graph, x->value, gate)));
  return One(y);
}

std::vector<WeightRole> HighwayWeights(const Layer& layer, const Writer&) {
  std::vector<WeightRole> roles{{"kernel"}, {"W_carry"}};
  if (Flag(layer, "use_bias", true)) {
    roles.push_back({"bias"});
    roles.push_back({"b_carry"});
  }
  return roles;
}

namespace {

Value EmbeddingTable(const LayerScope& scope) {
  const Value table =
      scope.Weight("embeddings", {scope.PositiveInt("input_dim"), scope.PositiveInt("output_dim")});
  if (scope.failed() || !HasLora(scope.layer())) return table;
  return WithLora(scope, table, "lora_embeddings_a", "lora_embeddings_b");
}

}  // namespace

std::vector<KerasTensor> LowerEmbedding(const LayerScope& scope, const CallInputs& inputs) {
  const std::optional<KerasTensor> x = OnlyInput(scope, inputs);
  if (!x) return {};
  compute::Graph& graph = scope.graph();
  const Value ids = ops::Cast(graph, x->value, compute::DType::kInt64);
  const bool quantized = !QuantizationMode(scope.layer()).empty();
  const Value y = quantized ? QuantizedEmbedding(scope, ids)
                            : ops::Embedding(graph, EmbeddingTable(scope), ids);
  if (scope.failed()) return {};
  std::optional<Value> mask;
  if (scope.Bool("mask_zero", false)) {
    // Of the ids as they came: Keras compares before it casts.
    const Value zero = ops::Cast(graph, graph.Constant(compute::Tensor::Scalar(int64_t{0})),
                                 graph.dtype(x->value));
    mask = ops::Binary(graph, ops::BinaryKind::kNotEqual, x->value, zero);
  }
  return One(y, mask);
}

std::vector<WeightRole> EmbeddingWeights(const Layer& layer, const Writer&) {
  if (!QuantizationMode(layer).empty()) return QuantizedEmbeddingRoles(layer);
  if (!HasLora(layer)) return {{"embeddings"}};
  return {{"embeddings", false}, {"lora_embeddings_a"}, {"lora_embeddings_b"}};
}

// An embedding that also maps back: reverse=True gives a value for each row.
std::vector<KerasTensor> LowerReversibleEmbedding(const LayerScope& scope,
                                                  const CallInputs& inputs) {
  const CallArgument* flag = inputs.args.size() > 1 ? &inputs.args[1] : inputs.Keyword("reverse");
  const bool reverse = flag != nullptr && flag->constant.is_bool() && flag->constant.as_bool();
  if (!reverse) return LowerEmbedding(scope, inputs);
  const std::optional<KerasTensor> x = OnlyInput(scope, inputs);
  if (!x || RefuseQuantized(scope)) return {};
  compute::Graph& graph = scope.graph();
  Value logits;
  if (scope.Bool("tie_weights", true)) {
    logits = ops::MatMul(graph, x->value, EmbeddingTable(scope), false, true);
  } else {
    const Value kernel = scope.Weight(
        "reverse_embeddings", {scope.PositiveInt("output_dim"), scope.PositiveInt("input_dim")});
    logits = ops::Dense(graph, x->value, kernel, {});
  }
  if (scope.failed()) return {};
  if (scope.Has("logit_soft_cap")) {
    const float cap = scope.Float("logit_soft_cap", 1);
    if (!(cap > 0)) scope.BadValue("logit_soft_cap", "a positive number is expected");
    if (scope.failed()) return {};
    logits = ops::MultiplyScalar(
        graph, ops::Tanh(graph, ops::MultiplyScalar(graph, logits, 1 / cap)), cap);
  }
  return One(logits, x->mask);
}

std::vector<WeightRole> ReversibleEmbeddingWeights(const Layer& layer, const Writer& writer) {
  std::vector<WeightRole> roles = EmbeddingWeights(layer, writer);
  if (!Flag(layer, "tie_weights", true)) roles.insert(roles.begin() + 1, {"reverse_embeddings"});
  return roles;
}

// Everything that changes nothing at inference; masks pass.
std::vector<KerasTensor> LowerIdentity(const LayerScope& scope, const CallInputs& inputs) {
  const std::vector<KerasTensor> tensors = inputs.Tensors();
  if (tensors.empty()) {
    scope.Fail(Code::kGraphInvalid,
               fmt::format("layer {} is called without a tensor", scope.path()));
    return {};
  }
  return tensors;
}

// Augmentation: the identity at inference; like most layers of Keras it does
// not pass masks.
std::vector<KerasTensor> LowerAugmentation(const LayerScope& scope, const CallInputs& inputs) {
  const std::optional<KerasTensor> x = OnlyInput(scope, inputs);
  if (!x) return {};
  return One(x->value);
}

// Layers of Keras that no file can be served with.
std::vector<KerasTensor> LowerUnsupported(const LayerScope& scope, const CallInputs&) {
  scope.Fail(Code::kUnsupportedLayer, fmt::format("layer {} is of class {}, which is not supported",
                                                  scope.path(), scope.layer().class_name));
  return {};
}

std::vector<KerasTensor> LowerFeatureColumns(const LayerScope& scope, const CallInputs&) {
  scope.Fail(Code::kFeatureColumnsUnsupported,
             fmt::format("layer {} is made of feature columns: {}", scope.path(),
                         scope.config()["feature_columns"].ToJson(200)));
  return {};
}

// Inner layers one after the other.
std::vector<KerasTensor> LowerPipeline(const LayerScope& scope, const CallInputs& inputs) {
  std::optional<KerasTensor> x = OnlyInput(scope, inputs);
  for (const auto& inner : scope.layer().inner) {
    if (!x || scope.failed()) return {};
    CallInputs call;
    call.args.emplace_back();
    call.args[0].kind = Argument::Kind::kTensor;
    call.args[0].tensor = *x;
    const std::vector<KerasTensor> outputs = scope.Apply(*inner, call);
    if (outputs.size() != 1) return {};
    x = outputs[0];
  }
  if (!x) return {};
  return One(x->value);
}

std::vector<KerasTensor> LowerMasking(const LayerScope& scope, const CallInputs& inputs) {
  const std::optional<KerasTensor> x = OnlyInput(scope, inputs);
  if (!x) return {};
  compute::Graph& graph = scope.graph();
  const Value value = graph.Constant(compute::Tensor::Scalar(scope.Float("mask_value", 0)));
  const Value differs = ops::Binary(graph, ops::BinaryKind::kNotEqual, x->value, value);
  const Value kept = ops::Reduce(graph, ops::ReduceKind::kAny, differs, {-1}, true);
  const Value y = ops::Multiply(graph, x->value, ops::Cast(graph, kept, compute::DType::kFloat32));
  return One(y, ops::Squeeze(graph, kept, {-1}));
}

std::vector<KerasTensor> LowerActivation(const LayerScope& scope, const CallInputs& inputs) {
  const std::optional<KerasTensor> x = OnlyInput(scope, inputs);
  if (!x) return {};
  return One(ApplyActivation(scope, "activation", x->value), x->mask);
}

// A factor per channel that two public networks carry under classes of their own.
std::vector<KerasTensor> LowerLayerScale(const LayerScope& scope, const CallInputs& inputs) {
  const std::optional<KerasTensor> x = OnlyInput(scope, inputs);
  if (!x) return {};
  compute::Graph& graph = scope.graph();
  const Value gamma = scope.Weight("gamma", {graph.shape(x->value).dim(-1)});
  if (scope.failed()) return {};
  return One(ops::Multiply(graph, x->value, gamma));
}

std::vector<WeightRole> LayerScaleWeights(const Layer&, const Writer&) { return {{"gamma"}}; }

// InceptionResNetV2 of Keras 3: the first input plus the scaled second.
std::vector<KerasTensor> LowerCustomScale(const LayerScope& scope, const CallInputs& inputs) {
  const std::vector<KerasTensor> x = inputs.Tensors();
  if (x.size() != 2) {
    scope.Fail(Code::kGraphInvalid, fmt::format("layer {} needs two inputs", scope.path()));
    return {};
  }
  compute::Graph& graph = scope.graph();
  return One(
      ops::Add(graph, x[0].value, ops::MultiplyScalar(graph, x[1].value, scope.Float("scale", 1))));
}

// cos(x W / scale + b), the random features of an RBF kernel.
std::vector<KerasTensor> LowerRandomFourierFeatures(const LayerScope& scope,
                                                    const CallInputs& inputs) {
  const std::optional<KerasTensor> x = InputOfRank(scope, inputs, 2);
  if (!x) return {};
  compute::Graph& graph = scope.graph();
  const int64_t units = scope.PositiveInt("output_dim");
  const Value kernel = scope.Weight("unscaled_kernel", {graph.shape(x->value).dim(-1), units});
  const compute::Tensor* scale = scope.WeightTensor("kernel_scale");
  const Value factor = scope.Weight("kernel_scale", scale == nullptr ? Shape{1} : scale->shape());
  const Value bias = scope.Weight("bias", {units});
  if (scope.failed()) return {};
  const Value scaled = ops::Divide(graph, kernel, factor);
  return One(ops::Unary(graph, ops::UnaryKind::kCos, ops::Dense(graph, x->value, scaled, bias)));
}

std::vector<WeightRole> RandomFourierFeaturesWeights(const Layer&, const Writer&) {
  return {{"kernel_scale"}, {"unscaled_kernel", false}, {"bias", false}};
}

}  // namespace h5serve::model
