// Layers that do nothing, or nearly nothing, when a model is served.
#include <fmt/format.h>

#include "compute/ops/elementwise.h"
#include "compute/ops/reduce.h"
#include "compute/ops/shape_ops.h"
#include "model/layers/layer_functions.h"
#include "model/layers/layer_support.h"

namespace h5serve::model {

namespace ops = compute::ops;

// Dropout, noise and the like: the input with its mask.
std::vector<KerasTensor> LowerIdentity(const LayerScope& scope, const CallInputs& inputs) {
  const KerasTensor input = SingleInput(scope, inputs);
  return One(input.value, input.mask);
}

// Random image layers: their masks stop, as no Keras passes them on.
std::vector<KerasTensor> LowerAugmentation(const LayerScope& scope, const CallInputs& inputs) {
  const KerasTensor input = SingleInput(scope, inputs);
  return One(input.value);
}

// Steps whose features all equal mask_value are masked and become zero.
std::vector<KerasTensor> LowerMasking(const LayerScope& scope, const CallInputs& inputs) {
  Graph& graph = scope.graph();
  const KerasTensor input = SingleInput(scope, inputs);
  const float mask_value = scope.Float("mask_value", 0);
  if (scope.failed()) return {};
  const Value x = AsFloat(graph, input.value);
  const Value differs =
      ops::Binary(graph, ops::BinaryKind::kNotEqual, x, graph.Constant(Tensor::Scalar(mask_value)));
  const Value mask = ops::Reduce(graph, ops::ReduceKind::kAny, differs, {-1}, false);
  return One(ZeroWhereMasked(graph, x, mask), mask);
}

// Scales each channel by its own weight. Source: keras/applications/convnext.py.
std::vector<KerasTensor> LowerLayerScale(const LayerScope& scope, const CallInputs& inputs) {
  Graph& graph = scope.graph();
  const KerasTensor input = SingleInput(scope, inputs);
  const int64_t size = graph.rank(input.value) == 0 ? kUnknown : graph.shape(input.value).back();
  const Value gamma = scope.Weight("gamma", Shape{size});
  return One(ops::Multiply(graph, AsFloat(graph, input.value), gamma));
}

std::vector<WeightRole> LayerScaleWeights(const Layer& layer, const Writer& writer) {
  return {{"gamma"}};
}

// inputs[0] + scale · inputs[1]. Source: keras/applications/inception_resnet_v2.py.
std::vector<KerasTensor> LowerCustomScale(const LayerScope& scope, const CallInputs& inputs) {
  Graph& graph = scope.graph();
  const std::vector<KerasTensor> tensors = InputList(scope, inputs, 2);
  if (scope.failed()) return {};
  const float scale = scope.Float("scale", 1);
  return One(ops::Add(graph, tensors[0].value,
                      ops::MultiplyScalar(graph, AsFloat(graph, tensors[1].value), scale)));
}

// tf.keras' wrapper around any Python callable: nothing in the file tells which.
std::vector<KerasTensor> LowerUnsupported(const LayerScope& scope, const CallInputs& inputs) {
  scope.Fail(Code::kUnsupportedLayer, fmt::format("layer {} is a {}, which is not supported",
                                                  scope.path(), scope.layer().class_name));
  return {};
}

std::vector<KerasTensor> LowerFeatureColumns(const LayerScope& scope, const CallInputs& inputs) {
  scope.Fail(Code::kFeatureColumnsUnsupported,
             fmt::format("layer {} is made of feature columns: {}", scope.path(),
                         scope.config()["feature_columns"].ToJson(200)));
  return {};
}

// Inner layers one after the other.
std::vector<KerasTensor> LowerPipeline(const LayerScope& scope, const CallInputs& inputs) {
  KerasTensor x = SingleInput(scope, inputs);
  for (const auto& inner : scope.layer().inner) {
    if (scope.failed()) return {};
    CallInputs call;
    call.args.emplace_back();
    call.args[0].kind = Argument::Kind::kTensor;
    call.args[0].tensor = x;
    const std::vector<KerasTensor> outputs = scope.Apply(*inner, call);
    if (outputs.size() != 1) return {};
    x = outputs[0];
  }
  return One(x.value);
}

}  // namespace h5serve::model
