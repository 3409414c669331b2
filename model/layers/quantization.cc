#include "model/layers/quantization.h"

#include <fmt/format.h>

#include "compute/ops/elementwise.h"
#include "compute/ops/linear.h"
#include "compute/ops/reduce.h"
#include "compute/ops/shape_ops.h"
#include "compute/ops/text.h"

namespace h5serve::model {

namespace ops = compute::ops;
using compute::Graph;
using compute::Shape;
using compute::Tensor;
using compute::Value;

namespace {

// Only the plain int8 scheme is computed: per-channel weights and, for Dense,
// inputs quantized row by row. Others change what the stored numbers mean.
bool RequireInt8(const LayerScope& scope) {
  const std::string mode = QuantizationMode(scope.layer());
  const bool configured = scope.config()["quantization_config"].is_dict();
  if (mode == "int8" && !configured && !scope.Has("lora_rank")) return true;
  scope.Fail(Code::kQuantizedUnsupported,
             fmt::format("layer {} is quantized as {}{}", scope.path(), mode,
                         configured ? " with a quantization_config" : ""));
  return false;
}

Value IntegersAsFloat(const LayerScope& scope, std::string_view role, const Shape& shape) {
  if (!scope.Weight(role, shape).valid()) return {};
  absl::StatusOr<Tensor> floats =
      compute::Cast(*scope.WeightTensor(role), compute::DType::kFloat32);
  if (!floats.ok()) return scope.graph().Fail(floats.status());
  return scope.graph().Constant(*floats);
}

}  // namespace

std::string QuantizationMode(const Layer& layer) {
  const ConfigValue& config = layer.config["quantization_config"];
  if (config.is_dict()) {
    const std::string_view mode = config["config"].StringOr("mode");
    if (!mode.empty()) return std::string(mode);
    const std::string_view name = config.StringOr("class_name");
    if (name.starts_with("Int8")) return "int8";
    if (name.starts_with("Int4")) return "int4";
    if (name.starts_with("Float8")) return "float8";
    if (!name.empty()) return std::string(name);
  }
  // A quantized policy is named "int8_from_float32".
  const std::string_view policy = layer.config.StringOr("dtype");
  const size_t from = policy.find("_from_");
  return from == std::string_view::npos ? "" : std::string(policy.substr(0, from));
}

std::vector<WeightRole> QuantizedKernelRoles(const Layer& layer) {
  std::vector<WeightRole> roles{{"kernel", false}, {"kernel_scale", false}};
  const ConfigValue& use_bias = layer.config["use_bias"];
  if (!use_bias.is_bool() || use_bias.as_bool()) roles.push_back({"bias", true});
  return roles;
}

std::vector<WeightRole> QuantizedEmbeddingRoles(const Layer& layer) {
  return {{"embeddings", false}, {"embeddings_scale", false}};
}

// x is scaled to int8 by its row's largest absolute value. Source: Dense._int8_call
// and quantizers.abs_max_quantize of Keras 3.
Value QuantizedDense(const LayerScope& scope, Value x, int64_t units) {
  Graph& graph = scope.graph();
  if (!RequireInt8(scope)) return {};
  const int64_t size = graph.shape(x).back();
  const Value kernel = IntegersAsFloat(scope, "kernel", Shape{size, units});
  const Value kernel_scale = scope.Weight("kernel_scale", Shape{units});
  const Value bias = scope.Bool("use_bias", true) ? scope.Weight("bias", {units}) : Value{};
  if (scope.failed()) return {};
  constexpr float kEpsilon = 1e-7f;
  const Value largest = ops::Reduce(graph, ops::ReduceKind::kMax,
                                    ops::Unary(graph, ops::UnaryKind::kAbs, x), {-1}, true);
  const Value scale = ops::Divide(graph, graph.Constant(Tensor::Scalar(127.0f)),
                                  ops::AddScalar(graph, largest, kEpsilon));
  const Value rounded = ops::Unary(graph, ops::UnaryKind::kRound, ops::Multiply(graph, x, scale));
  const Value quantized = ops::Unary(graph, ops::UnaryKind::kClip, rounded, -127, 127);
  Value y = ops::Dense(graph, quantized, kernel, {});
  y = ops::Divide(graph, y, ops::Multiply(graph, scale, kernel_scale));
  return bias.valid() ? ops::Add(graph, y, bias) : y;
}

Value QuantizedEmbedding(const LayerScope& scope, Value ids) {
  Graph& graph = scope.graph();
  if (!RequireInt8(scope)) return {};
  const int64_t rows = scope.PositiveInt("input_dim");
  const int64_t columns = scope.PositiveInt("output_dim");
  if (scope.failed()) return {};
  const Value table = IntegersAsFloat(scope, "embeddings", Shape{rows, columns});
  const Value scales = scope.Weight("embeddings_scale", Shape{rows});
  if (scope.failed()) return {};
  const Value scale_table = ops::Reshape(graph, scales, Shape{rows, 1});
  return ops::Divide(graph, ops::Embedding(graph, table, ids),
                     ops::Embedding(graph, scale_table, ids));
}

}  // namespace h5serve::model
