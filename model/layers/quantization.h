// Layers whose weights Keras 3 stored as small integers.
#pragma once

#include <string>
#include <vector>

#include "compute/graph.h"
#include "model/lowering.h"

namespace h5serve::model {

// The quantization mode ("int8", "int4", "float8", …) of the layer's dtype policy
// or quantization_config; "" without.
std::string QuantizationMode(const Layer& layer);

// Roles of a Dense or EinsumDense in the order Keras 3 creates them.
std::vector<WeightRole> QuantizedKernelRoles(const Layer& layer);
std::vector<WeightRole> QuantizedEmbeddingRoles(const Layer& layer);

// The layer without its activation. Modes other than int8 and int4 are
// QUANTIZED_UNSUPPORTED.
compute::Value QuantizedDense(const LayerScope& scope, compute::Value x, int64_t units);
compute::Value QuantizedEmbedding(const LayerScope& scope, compute::Value ids);

}  // namespace h5serve::model
