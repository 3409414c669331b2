// Layers whose weights Keras 3 stored as small integers.
#pragma once

#include <vector>

#include "model/layers/layer_support.h"

namespace h5serve::model {

// Roles of a Dense or EinsumDense in the order Keras 3 creates them.
std::vector<WeightRole> QuantizedKernelRoles(const Layer& layer);
std::vector<WeightRole> QuantizedEmbeddingRoles(const Layer& layer);

// The layer without its activation. Modes other than int8 and int4 are
// QUANTIZED_UNSUPPORTED.
Value QuantizedDense(const LayerScope& scope, Value x, int64_t units);
Value QuantizedEmbedding(const LayerScope& scope, Value ids);

}  // namespace h5serve::model
