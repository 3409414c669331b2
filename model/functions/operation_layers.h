// Layers that stand for one function call in a graph.
#pragma once

#include <vector>

#include "model/functions/function_table.h"
#include "model/lowering.h"

namespace h5serve::model {

// tf.keras: a function called on Keras tensors, an index, a node of a
// TensorFlow graph, and accesses to what a tensor's class has.
std::vector<KerasTensor> LowerTFOpLambda(const LayerScope& scope, const CallInputs& inputs);
std::vector<KerasTensor> LowerSlicingOpLambda(const LayerScope& scope, const CallInputs& inputs);
std::vector<KerasTensor> LowerTensorFlowOpLayer(const LayerScope& scope, const CallInputs& inputs);
std::vector<KerasTensor> LowerClassMethod(const LayerScope& scope, const CallInputs& inputs);
std::vector<KerasTensor> LowerInstanceProperty(const LayerScope& scope, const CallInputs& inputs);

// How a Keras 3 operation is lowered; null for a class that is no supported
// operation, or that is called as the layer of the same name.
LowerFunction FindOperationLowering(const Layer& layer);

// A call's argument as functions take it: slices and ellipses as what they are.
FunctionArgument ToFunctionArgument(const CallArgument& argument);
FunctionArgument ToFunctionArgument(const ConfigValue& value);

// What functions in this layer may depend on.
FunctionContext ContextOf(const LayerScope& scope);

// Reports a failed call as UNSUPPORTED_OP, UNSUPPORTED_ARGUMENT or SHAPE_INFERENCE_FAILED.
void ReportFunctionFailure(const LayerScope& scope, const absl::Status& status);

}  // namespace h5serve::model
