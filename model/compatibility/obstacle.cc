#include "model/compatibility/obstacle.h"

#include <algorithm>
#include <iterator>

namespace h5serve::model {
namespace {

// In the order of the enumerators. <- add a cause HERE
constexpr CauseInfo kCauses[] = {
    {Cause::kUnreadable, "UNREADABLE", "get an intact copy of the file"},
    {Cause::kContainer, "CONTAINER", "save the model as .h5 with the Keras that wrote it"},
    {Cause::kFileName, "FILE_NAME", "rename the file to .h5"},
    {Cause::kNoModelConfig, "NO_MODEL_CONFIG",
     "build the model in code and call `load_weights`, or save it whole with `model.save`"},
    {Cause::kSequentialForm, "SEQUENTIAL_FORM",
     "load it with a Keras that reads both forms and "
     "save it again"},
    {Cause::kUnknownClass, "UNKNOWN_CLASS",
     "pass your own class in `custom_objects`; for a class of another Keras use that Keras"},
    {Cause::kOperationNode, "OPERATION_NODE", "save as `.keras`, or wrap the operation in a layer"},
    {Cause::kMissingArgument, "MISSING_ARGUMENT", "use the Keras that wrote the file"},
    {Cause::kUnknownArgument, "UNKNOWN_ARGUMENT",
     "use the Keras that wrote the file, or remove the key from model_config"},
    {Cause::kArgumentMisread, "ARGUMENT_MISREAD", "save as `.keras` instead of `.h5`"},
    {Cause::kUnknownActivation, "UNKNOWN_ACTIVATION", "pass the function in `custom_objects`"},
    {Cause::kUnknownInitializer, "UNKNOWN_INITIALIZER",
     "map the name in `custom_objects`; initializers do not matter for predictions"},
    {Cause::kInitializerArgument, "INITIALIZER_ARGUMENT",
     "remove the key from model_config; initializers do not matter for predictions"},
    {Cause::kRegularizerForm, "REGULARIZER_FORM",
     "set the regularizer to null in model_config; it does not matter for predictions"},
    {Cause::kWrappedLayerForm, "WRAPPED_LAYER_FORM", "use the Keras that wrote the file"},
    {Cause::kModulePath, "MODULE_PATH", "use the Keras that wrote the file, or save as .h5"},
    {Cause::kNameNotAllowed, "NAME_NOT_ALLOWED",
     "rename the layer in model_config and in model_weights"},
    {Cause::kNoInputShape, "NO_INPUT_SHAPE",
     "give the first layer an input shape and save the model again"},
    {Cause::kLambdaBytecode, "LAMBDA_BYTECODE",
     "use that Python, or replace the Lambda by layers and save again"},
    {Cause::kLambdaSafeMode, "LAMBDA_SAFE_MODE",
     "pass `safe_mode=False` if you trust the file; it then still needs the Python that wrote it"},
    {Cause::kLambdaFunctionName, "LAMBDA_FUNCTION_NAME", "pass the function in `custom_objects`"},
    {Cause::kIntegerEmbedding, "INTEGER_EMBEDDING",
     "remove input_dtype from the Embedding's config"},
    {Cause::kInputShapeMisread, "INPUT_SHAPE_MISREAD",
     "use tf_keras (`TF_USE_LEGACY_KERAS=1`), or put an InputLayer before the first layer"},
    {Cause::kNodeIndex, "NODE_INDEX", "use tf_keras (`TF_USE_LEGACY_KERAS=1`)"},
    {Cause::kWeightShape, "WEIGHT_SHAPE", "use the Keras that wrote the file"},
    {Cause::kOptimizerClass, "OPTIMIZER_CLASS", "`load_model(path, compile=False)`"},
    {Cause::kOptimizerArgument, "OPTIMIZER_ARGUMENT", "`load_model(path, compile=False)`"},
    {Cause::kLossName, "LOSS_NAME", "`load_model(path, compile=False)`"},
    {Cause::kMissingOnBackend, "MISSING_ON_BACKEND", "use the TensorFlow backend"},
};

constexpr bool InOrder() {
  for (size_t i = 0; i < std::size(kCauses); ++i) {
    if (static_cast<size_t>(kCauses[i].cause) != i) return false;
  }
  return true;
}
static_assert(InOrder());
static_assert(std::size(kCauses) == static_cast<size_t>(Cause::kMissingOnBackend) + 1);

}  // namespace

const CauseInfo& Info(Cause cause) { return kCauses[static_cast<size_t>(cause)]; }

std::span<const CauseInfo> AllCauses() { return kCauses; }

std::string_view Name(Cause cause) { return Info(cause).name; }

bool ReleaseVerdict::loads() const {
  return std::ranges::all_of(obstacles,
                             [](const Obstacle& obstacle) { return !obstacle.only_with.empty(); });
}

}  // namespace h5serve::model
