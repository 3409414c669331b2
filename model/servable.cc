#include "model/servable.h"

#include <fmt/format.h>

namespace h5serve::model {

using compute::kUnknown;
using compute::Shape;
using compute::Tensor;

absl::Status Servable::CheckInputs(std::span<const Tensor> inputs) const {
  if (inputs.size() != signature_.inputs.size()) {
    return absl::InvalidArgumentError(fmt::format("the model has {} inputs, {} were sent",
                                                  signature_.inputs.size(), inputs.size()));
  }
  for (size_t i = 0; i < inputs.size(); ++i) {
    const TensorSpec& spec = signature_.inputs[i];
    if (inputs[i].dtype() != spec.dtype) {
      return absl::InvalidArgumentError(fmt::format("input \"{}\": expected dtype {}, got {}",
                                                    spec.name, compute::Name(spec.dtype),
                                                    compute::Name(inputs[i].dtype())));
    }
    if (!compute::Compatible(inputs[i].shape(), spec.shape)) {
      return absl::InvalidArgumentError(fmt::format("input \"{}\": expected shape {}, got {}",
                                                    spec.name, spec.shape.ToString(),
                                                    inputs[i].shape().ToString()));
    }
    const int64_t rows = inputs[i].shape().dim(0);
    const int64_t first = inputs[0].shape().dim(0);
    if (rows != first) {
      return absl::InvalidArgumentError(
          fmt::format("input \"{}\" has {} rows, input \"{}\" has {}: all inputs must have the "
                      "same batch size",
                      spec.name, rows, signature_.inputs[0].name, first));
    }
  }
  return absl::OkStatus();
}

absl::Status Servable::Predict(std::span<const Tensor> inputs,
                               const compute::Parallelism* parallelism,
                               std::vector<Tensor>* outputs) const {
  // Most models take and give the graph's own types: then nothing is copied.
  std::vector<Tensor> converted;
  bool convert = false;
  for (const Tensor& input : inputs) convert |= input.dtype() != compute::GraphDType(input.dtype());
  if (convert) {
    for (const Tensor& input : inputs) {
      absl::StatusOr<Tensor> cast = compute::Cast(input, compute::GraphDType(input.dtype()));
      if (!cast.ok()) return cast.status();
      converted.push_back(*std::move(cast));
    }
    inputs = converted;
  }
  if (absl::Status status = program_->Run(inputs, parallelism, outputs); !status.ok()) {
    return status;
  }
  for (size_t i = 0; i < outputs->size(); ++i) {
    if ((*outputs)[i].dtype() == signature_.outputs[i].dtype) continue;
    absl::StatusOr<Tensor> cast = compute::Cast((*outputs)[i], signature_.outputs[i].dtype);
    if (!cast.ok()) return cast.status();
    (*outputs)[i] = *std::move(cast);
  }
  return absl::OkStatus();
}

}  // namespace h5serve::model
