#include "model/training_call.h"

#include <fmt/format.h>

#include <algorithm>

namespace h5serve::model {
namespace {

// Models nest at most as deep as they are lowered.
constexpr int kMaxDepth = 64;

bool IsPositive(const ConfigValue& value) { return value.is_number() && value.as_float() > 0; }

// True when the layer draws random numbers in training.
bool DrawsRandomNumbers(const Layer& layer) {
  const std::string& name = layer.class_name;
  if (name.find("Dropout") != std::string::npos && name != "DropoutWrapper") {
    return layer.config["rate"].is_null() || IsPositive(layer.config["rate"]);
  }
  if (name == "GaussianNoise") return true;
  if (name.starts_with("Random") && name != "RandomFourierFeatures") return true;
  return IsPositive(layer.config["dropout"]) || IsPositive(layer.config["recurrent_dropout"]);
}

// A frozen BatchNormalization keeps its statistics in tf.keras 2.
bool UsesBatchStatistics(const Layer& layer, const Writer& writer) {
  if (layer.class_name != "BatchNormalization") return false;
  return layer.trainable || writer.dialect != Writer::Dialect::kTfKeras || !writer.AtLeast(2, 3);
}

std::string Problem(const Layer& layer, const Writer& writer, int depth) {
  if (depth > kMaxDepth || layer.custom != nullptr) return "";
  if (DrawsRandomNumbers(layer)) return fmt::format("{} draws random numbers then", layer.name);
  if (UsesBatchStatistics(layer, writer)) {
    return fmt::format("{} normalizes with the statistics of the batch then", layer.name);
  }
  for (const auto& inner : layer.inner) {
    if (std::string problem = Problem(*inner, writer, depth + 1); !problem.empty()) return problem;
  }
  if (layer.nested == nullptr) return "";
  for (const auto& inner : layer.nested->layers) {
    if (std::string problem = Problem(*inner, writer, depth + 1); !problem.empty()) return problem;
  }
  return "";
}

}  // namespace

std::string TrainingCallProblem(const Layer& layer, const CallInputs& inputs,
                                const Writer& writer) {
  if (writer.dialect == Writer::Dialect::kKeras3) return "";
  const CallArgument* training = inputs.Keyword("training");
  if (training == nullptr) return "";
  const ConfigValue& value = training->constant;
  const bool trains =
      (value.is_bool() && value.as_bool()) || (value.is_int() && value.as_int() != 0);
  return trains ? Problem(layer, writer, 0) : "";
}

}  // namespace h5serve::model
