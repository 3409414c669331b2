// The .npy format, apart from where its bytes lie.
// https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "absl/status/statusor.h"
#include "compute/tensor.h"

namespace h5serve::model {

// Reads exactly `size` bytes; false when there are fewer or on an error.
using ReadExactly = std::function<bool(char* destination, uint64_t size)>;

// Decodes an array of `size_bytes` with its header, believing no size before it
// has been compared with `size_bytes`.
absl::StatusOr<compute::Tensor> DecodeNpy(uint64_t size_bytes, const ReadExactly& read);

absl::StatusOr<std::string> EncodeNpy(const compute::Tensor& tensor);

}  // namespace h5serve::model
