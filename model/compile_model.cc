#include "model/compile_model.h"

#include <fmt/format.h>

#include "model/custom/custom_objects.h"
#include "model/custom/skeleton.h"
#include "model/dialect/check_layers.h"
#include "model/dialect/translate.h"
#include "model/dialect/weights.h"
#include "model/dialect/writer.h"
#include "model/lower_model.h"
#include "model/model_inputs.h"
#include "model/policy.h"

namespace h5serve::model {
namespace {

using compute::DType;
using compute::Value;

// The element type Keras gives a layer's output: that of its dtype policy.
DType OutputDType(const Layer& layer, DType graph_dtype) {
  if (graph_dtype != DType::kFloat32) return graph_dtype;
  const std::string_view policy = layer.config.StringOr("dtype");
  if (policy == "float64") return DType::kFloat64;
  if (policy == "float16" || policy == "mixed_float16") return DType::kFloat16;
  return DType::kFloat32;
}

int64_t CountParameters(const LayerWeights& weights) {
  int64_t count = 0;
  for (const auto& [role, tensor] : weights) count += tensor.num_elements();
  return count;
}

int64_t LayerParameters(const Layer& layer, const ModelWeights& weights, int depth) {
  if (depth > 64) return 0;
  int64_t count = 0;
  const auto at = weights.find(&layer);
  if (at != weights.end()) count += CountParameters(at->second);
  for (const auto& inner : layer.inner) count += LayerParameters(*inner, weights, depth + 1);
  if (layer.nested) {
    for (const auto& inner : layer.nested->layers) {
      count += LayerParameters(*inner, weights, depth + 1);
    }
  }
  return count;
}

std::string PublicName(const config::ModelOptions& options, const std::string& keras_name) {
  const auto at = options.names.find(keras_name);
  return at == options.names.end() ? keras_name : at->second;
}

void Lower(const ModelWeights& weights, const CustomObjects& custom,
           const config::ModelOptions& options, DiagnosisList* diagnoses, UnderstoodModel* result) {
  Lowering lowering(result->writer, weights, &result->graph, diagnoses, &custom);
  CheckLayers(*result->model, lowering, options.compatibility.unknown_config_key != "warn",
              diagnoses);
  std::vector<KerasTensor> inputs;
  for (const TensorSpec& spec : result->signature.inputs) {
    inputs.push_back({result->graph.Input(compute::GraphDType(spec.dtype), spec.shape), {}});
  }
  const std::vector<KerasTensor> outputs = lowering.LowerModel(*result->model, inputs, "");
  result->output_shapes = lowering.output_shapes();
  result->batch_dependent = diagnoses->Contains(Code::kBatchDependent);
  for (size_t i = 0; i < outputs.size(); ++i) {
    const Value value = outputs[i].value;
    if (!value.valid()) return;
    const Layer& layer = *result->model->layers[result->model->outputs[i].layer];
    const std::string& name = result->model->output_names[i];
    result->outputs.push_back(value);
    result->signature.outputs.push_back({PublicName(options, name), name,
                                         OutputDType(layer, result->graph.dtype(value)),
                                         result->graph.shape(value)});
  }
}

// Adds to the diagnosis of a model's unknown class which weights the file holds
// and what a definition looks like.
void DescribeModelClass(const ModelImage& image, DiagnosisList* diagnoses) {
  for (Diagnosis& diagnosis : diagnoses->items()) {
    if (diagnosis.code != Code::kCustomModelClass) continue;
    std::string weights;
    for (const auto& [path, tensor] : image.datasets) {
      if (path.starts_with("optimizer")) continue;
      if (weights.size() > 400) {
        weights += ", …";
        break;
      }
      weights +=
          fmt::format("{}{} {}", weights.empty() ? "" : ", ", path, tensor.shape().ToString());
    }
    diagnosis.message += weights.empty() ? "; no weights" : "; weights " + weights;
    diagnosis.remedies.insert(
        diagnosis.remedies.begin(),
        "give its graph, as to_json() of a functional model of the same layers writes it: " +
            GraphSkeleton(diagnosis.where.class_name));
  }
}

}  // namespace

int CountLayers(const KerasModel& model) {
  int count = 0;
  for (const auto& layer : model.layers) {
    count += layer->nested ? CountLayers(*layer->nested) : 1;
  }
  return count;
}

UnderstoodModel UnderstandModel(const ModelImage& image, const config::ModelOptions& options,
                                DiagnosisList* diagnoses) {
  UnderstoodModel result;
  const absl::StatusOr<ConfigValue> config = ParseJson(image.model_config.value_or(""));
  if (!config.ok()) {
    diagnoses->Add(Code::kModelConfigInvalid,
                   fmt::format("model_config is {}", std::string(config.status().message())));
    return result;
  }
  result.writer = DetectWriter(image, *config, diagnoses);
  CheckWriter(result.writer, options.compatibility, diagnoses);
  const CustomObjects custom(options);
  result.model = TranslateModel(*config, result.writer, &custom, diagnoses);
  if (!result.model) {
    DescribeModelClass(image, diagnoses);
    return result;
  }
  result.layers = CountLayers(*result.model);
  const ModelWeights weights = BindWeights(result.model.get(), image, result.writer, diagnoses);
  for (const auto& [layer, roles] : weights) result.parameters += CountParameters(roles);
  for (const auto& layer : result.model->layers) {
    result.layer_parameters[layer->name] = LayerParameters(*layer, weights, 0);
  }
  if (!DescribeInputs(*result.model, weights, options, diagnoses, &result.signature)) {
    // All problems are told at once.
    const Lowering lowering(result.writer, weights, &result.graph, diagnoses, &custom);
    CheckLayers(*result.model, lowering, options.compatibility.unknown_config_key != "warn",
                diagnoses);
    return result;
  }
  Lower(weights, custom, options, diagnoses, &result);
  custom.ReportInvalid(diagnoses);
  if (image.training_config) {
    diagnoses->Add(Code::kInfoTrainingConfigIgnored,
                   "the optimizer, loss and metrics stored in the file are not needed to serve it "
                   "and were ignored");
  }
  return result;
}

}  // namespace h5serve::model
