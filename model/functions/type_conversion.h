// Explicit casts, as a model asks for them.
#pragma once

#include "compute/graph.h"

namespace h5serve::model {

// x as `dtype`: in the graph's type for it, with the precision and the range of
// `dtype` where they are narrower than 32 bits.
compute::Value ConvertType(compute::Graph& graph, compute::Value x, compute::DType dtype);

}  // namespace h5serve::model
