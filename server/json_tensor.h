// JSON values <-> tensors.
#pragma once

#include <simdjson.h>

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "compute/tensor.h"

namespace h5serve::server {

// JSON in which NaN, Infinity and -Infinity stand outside of strings, as Python
// writes them, with these words in quotes: FillTensor takes them for floats.
std::string QuoteNonFinite(std::string_view json);

// Parses JSON, those tokens allowed. The elements live as long as the parser
// is not used again. INVALID_ARGUMENT with what is wrong.
absl::StatusOr<simdjson::dom::element> ParseJsonDocument(std::string_view json,
                                                         simdjson::dom::parser* parser);

// Shape of nested lists as the first items of each tell; an object is a value
// (base64 bytes). INVALID_ARGUMENT beyond the ranks a tensor can have.
absl::StatusOr<compute::Shape> JsonShape(simdjson::dom::element value);

// Writes the values of nested lists of exactly `shape` to the elements of
// `tensor` from `offset` on. Numbers must be values of the tensor's type.
absl::Status FillTensor(simdjson::dom::element value, const compute::Shape& shape, int64_t offset,
                        compute::Tensor* tensor);

// JsonShape and FillTensor in one.
absl::StatusOr<compute::Tensor> TensorFromJson(simdjson::dom::element value, compute::DType dtype,
                                               int64_t max_bytes,
                                               const compute::Shape* declared = nullptr);

// Appends elements of `tensor` from `offset` on as nested lists of `shape`.
// Floats are as short as they can be read back, NaN and infinities as Python
// writes them. `base64`: strings as {"b64": …}.
void AppendJson(const compute::Tensor& tensor, const compute::Shape& shape, int64_t offset,
                bool base64, std::string* json);

std::string Base64(std::string_view bytes);
absl::StatusOr<std::string> FromBase64(std::string_view text);

}  // namespace h5serve::server
