// Element types as the two APIs number and name them, and what both decoders
// check alike.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "compute/dtype.h"
#include "compute/shape.h"
#include "compute/tensor.h"

namespace h5serve::server {

// Number of tensorflow.DataType, and back.
int TensorFlowType(compute::DType dtype);
std::optional<compute::DType> FromTensorFlowType(int number);
// "FP32", "BYTES", …, and back.
std::string_view InferenceType(compute::DType dtype);
std::optional<compute::DType> FromInferenceType(std::string_view name);
// Number of inference.DataType.
int InferenceTypeNumber(compute::DType dtype);

// INVALID_ARGUMENT for more dimensions than a tensor may have.
absl::Status CheckRank(int64_t rank);

// A shape from a request: INVALID_ARGUMENT for negative sizes, too many
// dimensions, what does not fit `declared` (where given), and more elements than
// `max_bytes` can hold.
absl::StatusOr<compute::Shape> DecodeShape(std::span<const int64_t> dims, compute::DType dtype,
                                           int64_t max_bytes,
                                           const compute::Shape* declared = nullptr);

// A tensor over little-endian row-major bytes, without a copy where their
// alignment allows. The bytes must outlive it. INVALID_ARGUMENT when the size
// does not fit and for booleans other than 0 and 1.
absl::StatusOr<compute::Tensor> DecodeRaw(std::string_view bytes, compute::DType dtype,
                                          const compute::Shape& shape);

// The bytes of a tensor that is no string.
std::string_view RawBytes(const compute::Tensor& tensor);

}  // namespace h5serve::server
