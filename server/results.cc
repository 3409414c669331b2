#include "server/results.h"

#include <fmt/format.h>

#include <vector>

namespace h5serve::server {
namespace {

// The only output as float32 with its rows and the values of each; errors say
// what the method needs.
struct FloatRows {
  compute::Tensor tensor;
  int64_t rows = 0;
  int64_t width = 0;
};

absl::StatusOr<FloatRows> OnlyOutput(std::string_view method, const model::Signature& signature,
                                     const Outputs& outputs) {
  if (outputs.size() != 1 || !compute::IsFloat(outputs[0].dtype()) ||
      outputs[0].shape().rank() > 2 || outputs[0].shape().rank() < 1) {
    std::vector<std::string> shapes;
    for (const model::TensorSpec& spec : signature.outputs) {
      shapes.push_back(fmt::format("{} {}", compute::Name(spec.dtype), spec.shape.ToString()));
    }
    return absl::InvalidArgumentError(
        fmt::format("Expected {} signature: one float output of shape (batch, n), but the model "
                    "has {}; use Predict",
                    method, fmt::join(shapes, ", ")));
  }
  absl::StatusOr<compute::Tensor> tensor = compute::Cast(outputs[0], compute::DType::kFloat32);
  if (!tensor.ok()) return tensor.status();
  const compute::Shape& shape = tensor->shape();
  return FloatRows{*tensor, shape[0], shape.rank() == 2 ? shape[1] : 1};
}

}  // namespace

absl::Status FillClassification(const model::Signature& signature, const Outputs& outputs,
                                tensorflow::serving::ClassificationResult* result) {
  const absl::StatusOr<FloatRows> scores = OnlyOutput("classification", signature, outputs);
  if (!scores.ok()) return scores.status();
  const float* value = scores->tensor.data<float>();
  for (int64_t row = 0; row < scores->rows; ++row) {
    auto* classifications = result->add_classifications();
    for (int64_t i = 0; i < scores->width; ++i) {
      auto* one = classifications->add_classes();
      // Keras files name no classes: the position is the label.
      one->set_label(fmt::format("{}", i));
      one->set_score(*value++);
    }
  }
  return absl::OkStatus();
}

absl::Status FillRegression(const model::Signature& signature, const Outputs& outputs,
                            tensorflow::serving::RegressionResult* result) {
  const absl::StatusOr<FloatRows> values = OnlyOutput("regression", signature, outputs);
  if (!values.ok()) return values.status();
  if (values->width != 1) {
    return absl::InvalidArgumentError(
        fmt::format("Expected regression signature: one value for each row, but the output has "
                    "{}; use Predict",
                    values->width));
  }
  for (int64_t row = 0; row < values->rows; ++row) {
    result->add_regressions()->set_value(values->tensor.data<float>()[row]);
  }
  return absl::OkStatus();
}

}  // namespace h5serve::server
