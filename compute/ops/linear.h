// Products of matrices.
#pragma once

#include <string>
#include <vector>

#include "compute/graph.h"

namespace h5serve::compute::ops {

// x (…, in) · kernel (in, out) + bias (out): the last axis of x is contracted.
// `bias` may be invalid (absent). A constant kernel is packed once.
Value Dense(Graph& graph, Value x, Value kernel, Value bias);

// x (…, in) · kernel (in, out) as NumPy multiplies arrays of `half` (kFloat16 or
// kBFloat16); both must hold values of that type already.
Value HalfProduct(Graph& graph, Value x, Value kernel, DType half);

// NumPy's matmul, with optional transposition of the last two axes.
Value MatMul(Graph& graph, Value a, Value b, bool transpose_a = false, bool transpose_b = false);

// NumPy's einsum for one or two operands; "..." allowed, repeated labels within
// one operand too. Element type float32.
Value Einsum(Graph& graph, const std::string& equation, const std::vector<Value>& operands);

// Contracts axes of a with axes of b, as numpy.tensordot.
Value TensorDot(Graph& graph, Value a, Value b, std::vector<int64_t> axes_a,
                std::vector<int64_t> axes_b);

}  // namespace h5serve::compute::ops
