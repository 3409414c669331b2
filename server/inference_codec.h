// inference.ModelInferRequest and ModelInferResponse <-> tensors.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "compute/tensor.h"
#include "model/servable.h"
#include "proto/inference.pb.h"

namespace h5serve::server {

// BYTES as the binary form writes them: each element after its length in four
// little-endian bytes.
absl::StatusOr<compute::Tensor> DecodeBytes(std::string_view raw, const compute::Shape& shape);
void AppendRaw(const compute::Tensor& tensor, std::string* raw);

// The inputs of a request in signature order, sharing its memory where the wire
// form is ours. Errors name the input, what came and what was expected.
absl::StatusOr<std::vector<compute::Tensor>> DecodeInferInputs(
    const model::Signature& signature, const inference::ModelInferRequest& request,
    int64_t max_bytes);

// An output as asked for.
struct InferOutput {
  int index = 0;        // in the signature
  int top_classes = 0;  // > 0: the classification extension's answer
};
absl::StatusOr<std::vector<InferOutput>> SelectInferOutputs(
    const model::Signature& signature, const inference::ModelInferRequest& request);

// The form of the answer is that of the request: raw for raw inputs, typed for
// typed ones where every output has a typed form.
absl::Status EncodeInferOutputs(const model::Signature& signature,
                                std::span<const compute::Tensor> tensors,
                                std::span<const InferOutput> outputs, bool raw,
                                inference::ModelInferResponse* response);

// "score:index" of the `count` largest values of each row, as BYTES.
absl::StatusOr<compute::Tensor> TopClasses(const compute::Tensor& scores, int count);

}  // namespace h5serve::server
