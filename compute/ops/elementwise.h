// Element-wise ops. Operands broadcast as in NumPy.
#pragma once

#include "compute/graph.h"
#include "compute/ops/element_kinds.h"

namespace h5serve::compute::ops {

Value Unary(Graph& graph, UnaryKind kind, Value x, float p = 0, float q = 0);
std::string_view Name(UnaryKind kind);

// Keras' ReLU: f(x) = max_value for x >= max_value, x for threshold <= x <
// max_value, negative_slope (x - threshold) below. max_value may be infinity.
Value ReluGeneral(Graph& graph, Value x, float max_value, float negative_slope, float threshold);

Value Binary(Graph& graph, BinaryKind kind, Value a, Value b);
std::string_view Name(BinaryKind kind);

// Shorthands.
Value Add(Graph& graph, Value a, Value b);
Value Subtract(Graph& graph, Value a, Value b);
Value Multiply(Graph& graph, Value a, Value b);
Value Divide(Graph& graph, Value a, Value b);
Value AddScalar(Graph& graph, Value x, float scalar);
Value MultiplyScalar(Graph& graph, Value x, float scalar);
Value Relu(Graph& graph, Value x);
Value Sigmoid(Graph& graph, Value x);
Value Tanh(Graph& graph, Value x);

// condition ? a : b, all three broadcast. a and b are brought to one type.
Value Where(Graph& graph, Value condition, Value a, Value b);

// To float32, int64 (towards zero) or bool (non-zero).
Value Cast(Graph& graph, Value x, DType dtype);

// Converts through a narrower type and back: rounds to float16 or bfloat16
// precision, or wraps to an integer's width.
Value RoundThrough(Graph& graph, Value x, DType dtype);

}  // namespace h5serve::compute::ops
