#include "model/layers/activation.h"

#include <fmt/format.h>

#include <array>
#include <cmath>
#include <limits>
#include <memory>
#include <optional>

#include "compute/ops/elementwise.h"
#include "compute/ops/reduce.h"
#include "compute/ops/shape_ops.h"
#include "model/custom/catalogue.h"
#include "model/custom/custom_objects.h"
#include "model/custom/lower_custom.h"
#include "model/dialect/class_names.h"
#include "model/lower_model.h"

namespace h5serve::model {
namespace {

namespace ops = compute::ops;
using compute::Value;
using ops::UnaryKind;

// An element function with its parameters.
struct Element {
  std::string_view name;
  UnaryKind kind;
  float p = 0;
  float q = 0;
};

// Defaults are those of keras.activations (leaky_relu's slope differs from the
// LeakyReLU layer's).
constexpr auto kElements = std::to_array<Element>({
    {"celu", UnaryKind::kCelu, 1},
    {"elu", UnaryKind::kElu, 1},
    {"exponential", UnaryKind::kExp},
    {"exp", UnaryKind::kExp},
    {"gelu", UnaryKind::kGelu},
    {"gelu_new", UnaryKind::kGeluTanh},
    {"hard_shrink", UnaryKind::kHardShrink, 0.5f},
    {"hard_silu", UnaryKind::kHardSilu},
    {"hard_swish", UnaryKind::kHardSilu},
    {"hard_tanh", UnaryKind::kHardTanh},
    {"identity", UnaryKind::kIdentity},
    {"leaky_relu", UnaryKind::kLeakyRelu, 0.2f},
    {"linear", UnaryKind::kIdentity},
    {"log_sigmoid", UnaryKind::kLogSigmoid},
    {"mish", UnaryKind::kMish},
    {"relu", UnaryKind::kRelu},
    {"relu6", UnaryKind::kClip, 0, 6},
    {"selu", UnaryKind::kSelu},
    {"sigmoid", UnaryKind::kSigmoid},
    {"silu", UnaryKind::kSilu},
    {"soft_shrink", UnaryKind::kSoftShrink, 0.5f},
    {"softplus", UnaryKind::kSoftplus},
    {"softsign", UnaryKind::kSoftsign},
    {"sparse_plus", UnaryKind::kSparsePlus},
    {"sparse_sigmoid", UnaryKind::kSparseSigmoid},
    {"squareplus", UnaryKind::kSquareplus, 4},
    {"swish", UnaryKind::kSilu},
    {"tanh", UnaryKind::kTanh},
    {"tanh_shrink", UnaryKind::kTanhShrink},
});

// Keras 3 redefined hard_sigmoid: the era of the file decides.
Element HardSigmoid(const Writer& writer) {
  if (writer.dialect == Writer::Dialect::kKeras3) {
    return {"hard_sigmoid", UnaryKind::kHardSigmoid, 1.0f / 6.0f, 0.5f};
  }
  return {"hard_sigmoid", UnaryKind::kHardSigmoid, 0.2f, 0.5f};
}

std::optional<Element> FindElement(const Writer& writer, std::string_view name) {
  if (name == "hard_sigmoid") return HardSigmoid(writer);
  for (const Element& element : kElements) {
    if (element.name == name) return element;
  }
  return std::nullopt;
}

Value Glu(compute::Graph& graph, Value x) {
  const int64_t width = graph.shape(x).dim(-1);
  if (width < 2 || width % 2 != 0) {
    return graph.Fail(absl::InvalidArgumentError(
        fmt::format("glu needs an even last dimension, got {}", graph.shape(x).ToString())));
  }
  const std::vector<Value> halves = ops::Split(graph, x, {width / 2, width / 2}, -1);
  return ops::Multiply(graph, halves[0], ops::Sigmoid(graph, halves[1]));
}

// Functions that look along an axis.
std::optional<Value> AxisFunction(compute::Graph& graph, std::string_view name, Value x) {
  if (name == "softmax" || name == "softmax_v2") return ops::Softmax(graph, x, {-1});
  if (name == "log_softmax" || name == "log_softmax_v2") return ops::LogSoftmax(graph, x, -1);
  if (name == "sparsemax") return ops::Sparsemax(graph, x, -1);
  if (name == "glu") return Glu(graph, x);
  return std::nullopt;
}

// The name in a string or a function object. A name of a package of somebody
// else's stays whole, so that it never passes for Keras' function of that name.
std::string_view ActivationName(const ConfigValue& activation) {
  std::string_view name;
  if (activation.is_string()) name = activation.as_string();
  if (activation.is_dict() && activation["config"].is_string()) {
    name = activation["config"].as_string();
  }
  for (std::string_view prefix : {"keras>", "keras.activations.", "builtins>"}) {
    if (name.starts_with(prefix)) name.remove_prefix(prefix.size());
  }
  return name;
}

float DictFloat(const ConfigValue& config, std::initializer_list<std::string_view> keys,
                float otherwise) {
  for (std::string_view key : keys) {
    const ConfigValue* value = &config[key];
    while (value->is_list() && value->as_list().size() == 1) value = &value->as_list()[0];
    if (value->is_number()) return static_cast<float>(value->as_float());
  }
  return otherwise;
}

// A layer instance as activation: only those without weights.
std::optional<Value> LayerInstance(const LayerScope& scope, const ConfigValue& entry, Value x) {
  compute::Graph& graph = scope.graph();
  const std::string name = CanonicalClass(entry);
  const ConfigValue& config = entry["config"];
  if (name == "LeakyReLU") {
    return ops::Unary(graph, UnaryKind::kLeakyRelu, x,
                      DictFloat(config, {"negative_slope", "alpha"}, 0.3f));
  }
  if (name == "ELU") return ops::Unary(graph, UnaryKind::kElu, x, DictFloat(config, {"alpha"}, 1));
  if (name == "ReLU") {
    return ops::ReluGeneral(
        graph, x, DictFloat(config, {"max_value"}, std::numeric_limits<float>::infinity()),
        DictFloat(config, {"negative_slope"}, 0), DictFloat(config, {"threshold"}, 0));
  }
  if (name == "Softmax") {
    const ConfigValue& axis = config["axis"];
    std::vector<int64_t> axes{-1};
    if (axis.ToInt()) axes = {*axis.ToInt()};
    return ops::Softmax(graph, x, axes);
  }
  if (name == "Activation") {
    return ApplyActivationValue(scope, "activation", config["activation"], x);
  }
  return std::nullopt;
}

// What a name or an object {class_name, config} means to the operator, or to the
// catalogue; null when they do not know it.
std::shared_ptr<const CustomDefinition> FindDefinition(const LayerScope& scope,
                                                       const ConfigValue& activation,
                                                       bool catalogue) {
  const bool object = activation.is_dict() && !activation["config"].is_string();
  const std::string name(ActivationName(activation));
  if (catalogue) {
    if (!object) return CatalogueFunction(name);
    const bool known = FindLayerClass(CanonicalClass(activation)) != nullptr;
    return CatalogueDefinitionFor(activation, scope.writer(), known);
  }
  const CustomObjects* custom = scope.lowering().custom();
  if (custom == nullptr) return nullptr;
  DiagnosisList& diagnoses = scope.lowering().diagnoses();
  return object ? custom->Find(activation, &diagnoses) : custom->FindFunction(name, &diagnoses);
}

// Applies a definition as a layer of its name.
Value ApplyDefinition(const LayerScope& scope, std::string_view key, const ConfigValue& activation,
                      std::shared_ptr<const CustomDefinition> definition, Value x) {
  Layer layer;
  layer.name = std::string(key);
  layer.class_name = layer.written_class = definition->name;
  layer.json_pointer = scope.layer().json_pointer;
  layer.config = activation.is_dict() && activation["config"].is_dict()
                     ? activation["config"]
                     : ConfigValue(ConfigValue::Dict{});
  layer.custom = std::move(definition);
  if (!IsLoweredByDefinition(layer)) {
    scope.Fail(Code::kCustomDefinitionInvalid,
               fmt::format("{} of layer {} is a function, which custom_objects must define by an "
                           "expression",
                           key, scope.path()));
    return {};
  }
  CallInputs inputs;
  inputs.args.emplace_back();
  inputs.args[0].kind = Argument::Kind::kTensor;
  inputs.args[0].tensor = {x, std::nullopt};
  const std::vector<KerasTensor> outputs = scope.Apply(layer, inputs);
  return outputs.size() == 1 ? outputs[0].value : Value{};
}

// The element function that a definition is another name of: "relu(x)".
std::optional<std::string> PlainElement(const CustomDefinition& definition) {
  if (!definition.expression || definition.expression->statements.size() != 1) return std::nullopt;
  const ExpressionNode& call = *definition.expression->statements[0].value;
  if (call.kind != ExpressionNode::Kind::kCall || call.children.size() != 2 ||
      call.children[0]->kind != ExpressionNode::Kind::kName ||
      call.children[1]->kind != ExpressionNode::Kind::kName || call.children[1]->text != "x") {
    return std::nullopt;
  }
  return call.children[0]->text;
}

void Unknown(const LayerScope& scope, std::string_view key, const ConfigValue& activation) {
  scope.Fail(Code::kUnknownActivation,
             fmt::format("{} {} of layer {} is no function of Keras", key, activation.ToJson(120),
                         scope.path()),
             {fmt::format("write its formula in custom_objects: {{\"custom_objects\": {{\"{}\": "
                          "{{\"expression\": \"…\"}}}}}}, in terms of x",
                          activation.is_dict() && !activation["config"].is_string()
                              ? activation.StringOr("class_name")
                              : ActivationName(activation))});
}

}  // namespace

Value ApplyActivationValue(const LayerScope& scope, std::string_view key,
                           const ConfigValue& activation, Value x) {
  compute::Graph& graph = scope.graph();
  if (activation.is_null()) return x;
  if (auto definition = FindDefinition(scope, activation, false)) {
    return ApplyDefinition(scope, key, activation, std::move(definition), x);
  }
  const std::string_view name = ActivationName(activation);
  if (const std::optional<Element> element = FindElement(scope.writer(), name)) {
    if (element->kind == UnaryKind::kIdentity) return x;
    return ops::Unary(graph, element->kind, x, element->p, element->q);
  }
  if (const std::optional<Value> value = AxisFunction(graph, name, x)) return *value;
  if (activation.is_dict() && activation["config"].is_dict()) {
    if (const std::optional<Value> value = LayerInstance(scope, activation, x)) return *value;
  }
  if (auto definition = FindDefinition(scope, activation, true)) {
    return ApplyDefinition(scope, key, activation, std::move(definition), x);
  }
  Unknown(scope, key, activation);
  return {};
}

bool IsElementwise(const LayerScope& scope, std::string_view key) {
  const ConfigValue& activation = scope.config()[key];
  return activation.is_null() ||
         (FindElement(scope.writer(), ActivationName(activation)).has_value() &&
          FindDefinition(scope, activation, false) == nullptr);
}

Value ApplyActivation(const LayerScope& scope, std::string_view key, Value x) {
  return ApplyActivationValue(scope, key, scope.config()[key], x);
}

ops::CellActivation CellActivationOf(const LayerScope& scope, std::string_view key,
                                     std::string_view otherwise) {
  const ConfigValue* stored = scope.config().Find(key);
  const ConfigValue activation = stored == nullptr ? ConfigValue(std::string(otherwise)) : *stored;
  if (activation.is_null()) return {UnaryKind::kIdentity, 0, 0, false};
  std::string name(ActivationName(activation));
  auto definition = FindDefinition(scope, activation, false);
  if (!definition && !FindElement(scope.writer(), name)) {
    definition = FindDefinition(scope, activation, true);
  }
  if (definition) {
    // A cell computes element by element.
    name = PlainElement(*definition).value_or("");
    if (name == "hard_sigmoid" || !FindElement(scope.writer(), name)) {
      scope.Fail(Code::kUnsupportedArgument,
                 fmt::format("{} of layer {} is defined by {}; inside a recurrent cell only other "
                             "names of Keras' element functions are served, such as \"tanh(x)\"",
                             key, scope.path(), definition->name));
      return {};
    }
  }
  if (name == "softmax") return {UnaryKind::kIdentity, 0, 0, true};
  if (const std::optional<Element> element = FindElement(scope.writer(), name)) {
    return {element->kind, element->p, element->q, false};
  }
  if (activation.is_dict() && activation["config"].is_dict()) {
    const ConfigValue& config = activation["config"];
    const std::string class_name = CanonicalClass(activation);
    if (class_name == "LeakyReLU") {
      return {UnaryKind::kLeakyRelu, DictFloat(config, {"negative_slope", "alpha"}, 0.3f), 0,
              false};
    }
    if (class_name == "ELU") return {UnaryKind::kElu, DictFloat(config, {"alpha"}, 1), 0, false};
  }
  Unknown(scope, key, activation);
  return {};
}

}  // namespace h5serve::model
