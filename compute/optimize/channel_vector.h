#pragma once

#include <optional>

#include "compute/graph.h"

namespace h5serve::compute::optimize {

// The constant `value` as a vector with one element for each channel (last axis)
// of `output`: where it is a scalar, or has that many elements on the last axis
// and no others.
std::optional<Tensor> ChannelVector(const Graph& graph, Value value, const Shape& output);

}  // namespace h5serve::compute::optimize
