// tensorflow.TensorProto and its companions <-> tensors and signatures.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "compute/tensor.h"
#include "model/servable.h"
#include "proto/tensorflow.pb.h"
#include "proto/tensorflow_serving.pb.h"

namespace h5serve::server {

// The tensor of a proto, sharing its memory where the wire form is ours; the
// proto must outlive it. INVALID_ARGUMENT, without the tensor's name, for what
// does not fit together. Nothing is converted: 16-bit and smaller integers must
// be in range.
// `declared` is the shape that is expected, where one is.
absl::StatusOr<compute::Tensor> DecodeTensor(const tensorflow::TensorProto& proto,
                                             int64_t max_bytes,
                                             const compute::Shape* declared = nullptr);

// The inputs of a request in signature order; errors name the input, what came
// and what was expected.
absl::StatusOr<std::vector<compute::Tensor>> DecodeInputs(
    const model::Signature& signature, const tensorflow::serving::PredictRequest& request,
    int64_t max_bytes);

// Numbers go to the typed fields, or to tensor_content if `as_content`.
void EncodeTensor(const compute::Tensor& tensor, bool as_content, tensorflow::TensorProto* proto);

// The signature as GetModelMetadata tells it.
void EncodeSignature(const model::Signature& signature, tensorflow::SignatureDef* proto);

// The tensors that examples stand for: a feature for each input, a row for each
// example. The context's features hold for examples that lack them.
absl::StatusOr<std::vector<compute::Tensor>> DecodeExamples(const model::Signature& signature,
                                                            const tensorflow::serving::Input& input,
                                                            int64_t max_bytes);

}  // namespace h5serve::server
