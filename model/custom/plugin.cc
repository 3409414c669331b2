#include "model/custom/plugin.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "compute/op.h"
#include "compute/ops/elementwise.h"
#include "model/custom/custom_objects.h"
#include "model/custom/definition.h"
#include "model/custom/lower_custom.h"
#include "model/custom/plugin_library.h"
#include "model/lower_model.h"

namespace h5serve::model {
namespace {

using compute::Shape;
using compute::ValueType;

// Stands for unknown dimensions when the shape rule is tried.
constexpr int64_t kTrialSize = 3;
// Larger inputs are not tried.
constexpr int64_t kMaxTrial = int64_t{1} << 24;

// One call of a plug-in's layer.
class PluginOp : public compute::Op {
 public:
  explicit PluginOp(std::shared_ptr<const PluginLayer> layer) : layer_(std::move(layer)) {}

  std::string_view name() const override { return "plugin"; }

  absl::StatusOr<std::vector<ValueType>> Infer(
      const compute::InferContext& context) const override {
    std::vector<Shape> inputs;
    for (int i = 0; i < context.size(); ++i) {
      if (context.dtype(i) != compute::DType::kFloat32) {
        return absl::InvalidArgumentError("a plug-in takes float32");
      }
      inputs.push_back(context.shape(i));
    }
    const absl::StatusOr<std::vector<Shape>> shapes = layer_->InferShapes(inputs);
    if (!shapes.ok()) return shapes.status();
    std::vector<ValueType> types;
    for (const Shape& shape : *shapes) types.push_back({compute::DType::kFloat32, shape});
    return types;
  }

  absl::Status Run(const compute::RunContext& context) const override {
    std::vector<std::pair<Shape, const float*>> inputs;
    std::vector<std::pair<Shape, float*>> outputs;
    for (int i = 0; i < context.num_inputs(); ++i) {
      inputs.emplace_back(context.input(i).shape, context.input(i).as<const float>());
    }
    // The number of outputs was checked when the model was loaded.
    std::vector<Shape> shapes;
    for (const auto& [shape, data] : inputs) shapes.push_back(shape);
    const absl::StatusOr<std::vector<Shape>> results = layer_->InferShapes(shapes);
    if (!results.ok()) return results.status();
    for (size_t i = 0; i < results->size(); ++i) {
      const compute::TensorView& output = context.output(static_cast<int>(i));
      if (!(output.shape == (*results)[i])) {
        return absl::InvalidArgumentError("the plug-in's shape rule changed its mind");
      }
      outputs.emplace_back(output.shape, output.as<float>());
    }
    return layer_->Run(inputs, outputs);
  }

 private:
  std::shared_ptr<const PluginLayer> layer_;
};

bool IsAllowed(const std::string& path, const std::vector<std::string>& allowed) {
  std::error_code error;
  return std::any_of(allowed.begin(), allowed.end(), [&](const std::string& each) {
    return each == path || std::filesystem::equivalent(each, path, error);
  });
}

// The shape rule with unknown dimensions must agree with the one without.
absl::Status CheckAgreement(const PluginLayer& layer, const std::vector<Shape>& inputs) {
  std::vector<Shape> known = inputs;
  for (Shape& shape : known) {
    for (int i = 0; i < shape.rank(); ++i) {
      if (shape[i] == compute::kUnknown) shape[i] = kTrialSize;
    }
    if (compute::CheckedElementCount(shape).value_or(kMaxTrial) >= kMaxTrial) {
      return absl::OkStatus();
    }
  }
  const absl::StatusOr<std::vector<Shape>> open = layer.InferShapes(inputs);
  const absl::StatusOr<std::vector<Shape>> closed = layer.InferShapes(known);
  if (!open.ok()) return open.status();
  if (!closed.ok()) return closed.status();
  bool agree = open->size() == closed->size();
  for (size_t i = 0; agree && i < open->size(); ++i) {
    agree = compute::Compatible((*closed)[i], (*open)[i]);
  }
  if (!agree) {
    return absl::InvalidArgumentError(
        "infer_shapes says other shapes for unknown dimensions than for known ones");
  }
  return layer.CheckShapeRule(known);
}

void Refuse(const LayerScope& scope, std::string_view why) {
  scope.Fail(Code::kCustomPluginFailed,
             fmt::format("layer {} ({}): plug-in {}: {}", scope.path(), scope.layer().written_class,
                         scope.layer().custom->plugin, why));
}

}  // namespace

std::vector<KerasTensor> LowerPlugin(const LayerScope& scope, const CallInputs& inputs) {
  const CustomDefinition& definition = *scope.layer().custom;
  const CustomObjects* custom = scope.lowering().custom();
  if (custom == nullptr || !IsAllowed(definition.plugin, custom->plugin_paths())) {
    Refuse(scope,
           "it is not among the plugins of the server's configuration, which alone may name "
           "libraries");
    return {};
  }
  std::vector<std::pair<std::string, compute::Tensor>> weights;
  for (const WeightRole& role : CustomRoles(scope.layer())) {
    const compute::Tensor* tensor = scope.WeightTensor(role.role);
    if (tensor == nullptr) {
      scope.Fail(Code::kWeightMissing,
                 fmt::format("layer {} has no usable weight {}", scope.path(), role.role));
      return {};
    }
    weights.emplace_back(role.role, *tensor);
  }
  const absl::StatusOr<std::shared_ptr<const PluginLayer>> layer =
      PluginLayer::Make(definition.plugin, scope.layer().written_class,
                        scope.layer().config.ToJson(), std::move(weights));
  if (!layer.ok()) {
    Refuse(scope, std::string(layer.status().message()));
    return {};
  }
  compute::Graph& graph = scope.graph();
  std::vector<compute::Value> values;
  std::vector<Shape> shapes;
  for (const KerasTensor& tensor : inputs.Tensors()) {
    values.push_back(compute::ops::Cast(graph, tensor.value, compute::DType::kFloat32));
    shapes.push_back(graph.shape(values.back()));
  }
  if (const absl::Status status = CheckAgreement(**layer, shapes); !status.ok()) {
    Refuse(scope, std::string(status.message()));
    return {};
  }
  std::vector<KerasTensor> outputs;
  for (compute::Value value : graph.Add(std::make_shared<PluginOp>(*layer), values)) {
    outputs.push_back({value, std::nullopt});
  }
  if (definition.mask == CustomDefinition::Mask::kPass && !outputs.empty()) {
    outputs[0].mask = inputs.Tensors()[0].mask;
  }
  return outputs;
}

}  // namespace h5serve::model
