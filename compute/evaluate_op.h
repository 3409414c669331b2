// Runs single ops outside a plan: for constants, and for diagnosis.
#pragma once

#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "compute/op.h"
#include "compute/tensor.h"

namespace h5serve::compute {

TensorView ViewOf(const Tensor& tensor);

// Runs `op` once into new tensors of the given (known, checked) types. An input
// of which only the shape is read may be a tensor without memory: then
// `input_types` says its shape. Views share memory.
absl::StatusOr<std::vector<Tensor>> EvaluateOp(const Op& op, std::span<const Tensor> inputs,
                                               std::span<const ValueType> input_types,
                                               std::span<const ValueType> output_types);

// The types `op` gives, checked: all sizes within bounds, views really views.
absl::StatusOr<std::vector<ValueType>> InferChecked(const Op& op, const InferContext& context);

}  // namespace h5serve::compute
