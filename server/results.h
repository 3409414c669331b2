// Outputs as TensorFlow Serving's Classify and Regress tell them.
#pragma once

#include "absl/status/status.h"
#include "model/servable.h"
#include "proto/tensorflow_serving.pb.h"
#include "server/inference.h"

namespace h5serve::server {

// INVALID_ARGUMENT unless the model has one output of floats, a vector of scores
// for each row. Files name no classes: the position is the label.
absl::Status FillClassification(const model::Signature& signature, const Outputs& outputs,
                                tensorflow::serving::ClassificationResult* result);

// INVALID_ARGUMENT unless the model has one output, a number for each row.
absl::Status FillRegression(const model::Signature& signature, const Outputs& outputs,
                            tensorflow::serving::RegressionResult* result);

}  // namespace h5serve::server
