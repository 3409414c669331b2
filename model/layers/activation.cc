// Activation functions by every name Keras ever gave them.
#include <fmt/format.h>

#include <array>

#include "compute/ops/elementwise.h"
#include "compute/ops/reduce.h"
#include "compute/ops/shape_ops.h"
#include "model/dialect/class_names.h"
#include "model/layers/layer_functions.h"
#include "model/layers/layer_support.h"
#include "model/lower_model.h"

namespace h5serve::model {

namespace ops = compute::ops;
using ops::CellActivation;
using ops::UnaryKind;

namespace {

struct Named {
  std::string_view name;
  UnaryKind kind;
  float p = 0, q = 0;
};

// Element-wise functions; hard_sigmoid depends on the writer and stands apart.
constexpr auto kElementwise = std::to_array<Named>({
    {"linear", UnaryKind::kIdentity},
    {"identity", UnaryKind::kIdentity},
    {"relu", UnaryKind::kRelu},
    {"relu6", UnaryKind::kClip, 0, 6},
    {"leaky_relu", UnaryKind::kLeakyRelu, 0.2f},
    {"elu", UnaryKind::kElu, 1},
    {"selu", UnaryKind::kSelu},
    {"celu", UnaryKind::kCelu, 1},
    {"gelu", UnaryKind::kGelu},
    {"gelu_new", UnaryKind::kGeluTanh},
    {"sigmoid", UnaryKind::kSigmoid},
    {"log_sigmoid", UnaryKind::kLogSigmoid},
    {"hard_silu", UnaryKind::kHardSilu},
    {"hard_swish", UnaryKind::kHardSilu},
    {"tanh", UnaryKind::kTanh},
    {"hard_tanh", UnaryKind::kHardTanh},
    {"tanh_shrink", UnaryKind::kTanhShrink},
    {"soft_shrink", UnaryKind::kSoftShrink, 0.5f},
    {"hard_shrink", UnaryKind::kHardShrink, 0.5f},
    {"exponential", UnaryKind::kExp},
    {"softplus", UnaryKind::kSoftplus},
    {"softsign", UnaryKind::kSoftsign},
    {"swish", UnaryKind::kSilu},
    {"silu", UnaryKind::kSilu},
    {"mish", UnaryKind::kMish},
    {"squareplus", UnaryKind::kSquareplus, 4},
    {"sparse_plus", UnaryKind::kSparsePlus},
    {"sparse_sigmoid", UnaryKind::kSparseSigmoid},
});

// The name in "relu", {"class_name": "function", "config": "relu"} and
// {"class_name": "relu"}; "" for other dicts.
std::string_view FunctionName(const ConfigValue& activation) {
  if (activation.is_string()) return activation.as_string();
  if (!activation.is_dict()) return "";
  if (activation["config"].is_string()) return activation["config"].as_string();
  const std::string_view class_name = activation.StringOr("class_name");
  const ConfigValue& config = activation["config"];
  const bool bare = config.is_null() || (config.is_dict() && config.as_dict().empty());
  return bare && FindLayerClass(ResolveClassAlias(class_name)) == nullptr ? class_name : "";
}

std::string_view WithoutKerasPackage(std::string_view name) {
  for (std::string_view prefix : {"keras>", "keras.activations.", "tf.nn.", "builtins>"}) {
    if (name.starts_with(prefix)) return name.substr(prefix.size());
  }
  return name;
}

std::optional<Named> FindElementwise(const LayerScope& scope, std::string_view name) {
  if (name == "hard_sigmoid") {
    // Keras 3 changed the slope from 0.2 to 1/6.
    return Named{name, UnaryKind::kHardSigmoid, IsKeras3(scope) ? 1.0f / 6.0f : 0.2f, 0.5f};
  }
  for (const Named& row : kElementwise) {
    if (row.name == name) return row;
  }
  return std::nullopt;
}

Value Softmax(const LayerScope& scope, Value x) {
  Graph& graph = scope.graph();
  if (graph.rank(x) == 1) {
    return graph.Fail(absl::InvalidArgumentError("softmax of a tensor of rank 1"));
  }
  return ops::Softmax(graph, x, {-1});
}

Value Glu(const LayerScope& scope, Value x) {
  Graph& graph = scope.graph();
  const int64_t size = graph.rank(x) == 0 ? 0 : graph.shape(x).back();
  if (size <= 0 || size % 2 != 0) {
    return graph.Fail(
        absl::InvalidArgumentError(fmt::format("glu cannot halve {}", graph.shape(x).ToString())));
  }
  const std::vector<Value> halves = ops::Split(graph, x, {size / 2, size / 2}, -1);
  return ops::Multiply(graph, halves[0], ops::Sigmoid(graph, halves[1]));
}

void FailUnknown(const LayerScope& scope, std::string_view key, const ConfigValue& activation) {
  scope.Fail(Code::kUnknownActivation, fmt::format("{}.{} = {} is no activation of any Keras",
                                                   scope.path(), key, activation.ToJson(120)));
}

// A layer or a user's own function in place of an activation.
Value ApplyLayer(const LayerScope& scope, const ConfigValue& activation, std::string_view key,
                 std::string class_name, const ConfigValue& config, Value x) {
  Layer layer;
  layer.name = std::string(key);
  layer.class_name = class_name;
  layer.written_class = std::move(class_name);
  layer.json_pointer = scope.layer().json_pointer + "/config/" + std::string(key);
  layer.config = config.is_dict() ? config : ConfigValue(ConfigValue::Dict{});
  const LayerClass* row = FindLayerClass(layer.class_name);
  if (scope.lowering().LowerFunctionOf(layer) == nullptr) {
    FailUnknown(scope, key, activation);
    return {};
  }
  if (row != nullptr && row->weights != nullptr && !row->weights(layer, scope.writer()).empty()) {
    scope.Fail(Code::kUnsupportedArgument, fmt::format("{}.{}: a {} with weights as activation",
                                                       scope.path(), key, layer.class_name));
    return {};
  }
  CallInputs inputs;
  inputs.args.emplace_back();
  inputs.args[0].kind = Argument::Kind::kTensor;
  inputs.args[0].tensor = {x, std::nullopt};
  const std::vector<KerasTensor> outputs = scope.Apply(layer, inputs);
  return outputs.size() == 1 ? outputs[0].value : Value{};
}

}  // namespace

Value ApplyActivationValue(const LayerScope& scope, std::string_view key,
                           const ConfigValue& activation, Value x) {
  Graph& graph = scope.graph();
  if (activation.is_null() || !x.valid()) return x;
  const std::string_view written = FunctionName(activation);
  const std::string_view name = WithoutKerasPackage(written);
  if (const auto row = FindElementwise(scope, name)) {
    if (row->kind == UnaryKind::kIdentity) return x;
    return ops::Unary(graph, row->kind, x, row->p, row->q);
  }
  if (name == "softmax" || name == "softmax_v2") return Softmax(scope, x);
  if (name == "log_softmax") return ops::LogSoftmax(graph, x, -1);
  if (name == "sparsemax") return ops::Sparsemax(graph, x, -1);
  if (name == "glu") return Glu(scope, x);
  if (!written.empty()) {
    return ApplyLayer(scope, activation, key, std::string(written), {}, x);
  }
  if (activation.is_dict() && activation["class_name"].is_string()) {
    return ApplyLayer(scope, activation, key, CanonicalClass(activation), activation["config"], x);
  }
  FailUnknown(scope, key, activation);
  return {};
}

Value ApplyActivation(const LayerScope& scope, std::string_view key, Value x) {
  return ApplyActivationValue(scope, key, scope.config()[key], x);
}

Value ActivateChannels(const LayerScope& scope, Value y, bool channels_first) {
  if (!channels_first) return ApplyActivation(scope, y);
  const ConfigValue& activation = scope.config()["activation"];
  const bool elementwise =
      FindElementwise(scope, WithoutKerasPackage(FunctionName(activation))).has_value();
  if (elementwise) return ToChannelsFirst(scope.graph(), ApplyActivation(scope, y));
  return ApplyActivation(scope, ToChannelsFirst(scope.graph(), y));
}

CellActivation CellActivationOf(const LayerScope& scope, std::string_view key,
                                std::string_view otherwise) {
  const ConfigValue* written = scope.config().Find(key);
  // An explicit null is linear; an absent key has the default of its version.
  const ConfigValue activation =
      written == nullptr ? ConfigValue(std::string(otherwise)) : *written;
  if (activation.is_null()) return {UnaryKind::kIdentity, 0, 0, false};
  const std::string_view name = WithoutKerasPackage(FunctionName(activation));
  if (const auto row = FindElementwise(scope, name)) return {row->kind, row->p, row->q, false};
  if (name == "softmax" || name == "softmax_v2") return {UnaryKind::kIdentity, 0, 0, true};
  const ConfigValue& config = activation["config"];
  if (activation.StringOr("class_name") == "LeakyReLU") {
    const ConfigValue& slope = config[IsKeras3(scope) ? "negative_slope" : "alpha"];
    return {UnaryKind::kLeakyRelu, slope.is_number() ? static_cast<float>(slope.as_float()) : 0.3f,
            0, false};
  }
  if (activation.StringOr("class_name") == "ELU") {
    const ConfigValue& alpha = config["alpha"];
    return {UnaryKind::kElu, alpha.is_number() ? static_cast<float>(alpha.as_float()) : 1.0f, 0,
            false};
  }
  if (name == "log_softmax" || name == "sparsemax" || name == "glu" || activation.is_dict()) {
    scope.Fail(Code::kUnsupportedArgument, fmt::format("{}.{} = {} inside a recurrent layer",
                                                       scope.path(), key, activation.ToJson(120)));
  } else {
    FailUnknown(scope, key, activation);
  }
  return {};
}

std::vector<KerasTensor> LowerActivation(const LayerScope& scope, const CallInputs& inputs) {
  const KerasTensor input = SingleInput(scope, inputs);
  return One(ApplyActivation(scope, input.value), input.mask);
}

}  // namespace h5serve::model
