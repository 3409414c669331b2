// Element-wise ops. Operands broadcast as in NumPy.
#pragma once

#include "compute/graph.h"

namespace h5serve::compute::ops {

// Functions of one float32 argument, unless said otherwise; integers and bools
// are converted to float32 first, except for kNegative, kAbs, kSign, kSquare,
// kIdentity (which keep int64) and kLogicalNot (bool).
// Formulas are Keras 3's; p and q are the parameters of Unary.
enum class UnaryKind {
  kIdentity,
  kNegative,
  kAbs,
  kSign,
  kSquare,
  kSqrt,
  kRsqrt,
  kReciprocal,
  kExp,
  kExpm1,
  kLog,
  kLog1p,
  kLog2,
  kLog10,
  kSin,
  kCos,
  kTan,
  kAsin,
  kAcos,
  kAtan,
  kSinh,
  kCosh,
  kTanh,
  kAsinh,
  kAcosh,
  kAtanh,
  kErf,
  kErfinv,
  kFloor,
  kCeil,
  kRound,  // half to even
  kTrunc,
  kSigmoid,
  kLogSigmoid,
  kHardSigmoid,   // clip(p x + q, 0, 1)
  kHardSilu,      // x clip(x/6 + 1/2, 0, 1)
  kRelu,
  kLeakyRelu,     // x >= 0 ? x : p x
  kReluGeneral,   // Keras ReLU: see ReluGeneral
  kElu,           // x > 0 ? x : p (e^x - 1)
  kSelu,
  kCelu,          // max(0,x) + p expm1(min(0,x)/p)
  kGelu,          // exact, by erf
  kGeluTanh,
  kSoftplus,
  kSoftsign,
  kSilu,
  kMish,
  kHardTanh,
  kTanhShrink,
  kSoftShrink,    // p: lambda
  kHardShrink,    // p: lambda
  kThreshold,     // x > p ? x : q
  kSquareplus,    // (x + sqrt(x^2 + p)) / 2
  kSparsePlus,
  kSparseSigmoid,
  kClip,          // to [p, q]; NaN stays NaN
  kIsNan,         // bool
  kIsInf,         // bool
  kIsFinite,      // bool
  kLogicalNot,    // bool
};

Value Unary(Graph& graph, UnaryKind kind, Value x, float p = 0, float q = 0);
std::string_view Name(UnaryKind kind);

// Keras' ReLU: f(x) = max_value for x >= max_value, x for threshold <= x <
// max_value, negative_slope (x - threshold) below. max_value may be infinity.
Value ReluGeneral(Graph& graph, Value x, float max_value, float negative_slope, float threshold);

// int64 with int64 gives int64 (kDivide, kPower with a negative exponent, kAtan2
// and kLogAddExp give float32); otherwise float32. Comparisons and logical ops give bool.
enum class BinaryKind {
  kAdd,
  kSubtract,
  kMultiply,
  kDivide,       // true division
  kFloorDivide,
  kMod,          // sign of the divisor, as NumPy
  kTruncatedMod, // sign of the dividend, as C and tf.truncatemod
  kPower,
  kMaximum,
  kMinimum,
  kSquaredDifference,
  kDivideNoNan,
  kAtan2,
  kLogAddExp,
  kEqual,        // also strings
  kNotEqual,     // also strings
  kLess,
  kLessEqual,
  kGreater,
  kGreaterEqual,
  kLogicalAnd,
  kLogicalOr,
  kLogicalXor,
  kBitwiseAnd,   // int64
  kBitwiseOr,
  kBitwiseXor,
  kLeftShift,
  kRightShift,
};

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
