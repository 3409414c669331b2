// The kinds of element-wise functions. Plain data: kernels include it too.
#pragma once

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
  kHardSigmoid,  // clip(p x + q, 0, 1)
  kHardSilu,     // x clip(x/6 + 1/2, 0, 1)
  kRelu,
  kLeakyRelu,    // x >= 0 ? x : p x
  kReluGeneral,  // Keras ReLU: see ReluGeneral
  kElu,          // x > 0 ? x : p (e^x - 1)
  kSelu,
  kCelu,  // max(0,x) + p expm1(min(0,x)/p)
  kGelu,  // exact, by erf
  kGeluTanh,
  kSoftplus,
  kSoftsign,
  kSilu,
  kMish,
  kHardTanh,
  kTanhShrink,
  kSoftShrink,  // p: lambda
  kHardShrink,  // p: lambda
  kThreshold,   // x > p ? x : q
  kSquareplus,  // (x + sqrt(x^2 + p)) / 2
  kSparsePlus,
  kSparseSigmoid,
  kClip,        // to [p, q]; NaN stays NaN
  kIsNan,       // bool
  kIsInf,       // bool
  kIsFinite,    // bool
  kLogicalNot,  // bool
};

// int64 with int64 gives int64 (kDivide, kPower with a negative exponent, kAtan2
// and kLogAddExp give float32); otherwise float32. Comparisons and logical ops give bool.
enum class BinaryKind {
  kAdd,
  kSubtract,
  kMultiply,
  kDivide,  // true division
  kFloorDivide,
  kMod,           // sign of the divisor, as NumPy
  kTruncatedMod,  // sign of the dividend, as C and tf.truncatemod
  kPower,
  kMaximum,
  kMinimum,
  kSquaredDifference,
  kDivideNoNan,
  kAtan2,
  kLogAddExp,
  kEqual,     // also strings
  kNotEqual,  // also strings
  kLess,
  kLessEqual,
  kGreater,
  kGreaterEqual,
  kLogicalAnd,
  kLogicalOr,
  kLogicalXor,
  kBitwiseAnd,  // int64
  kBitwiseOr,
  kBitwiseXor,
  kLeftShift,
  kRightShift,
};

}  // namespace h5serve::compute::ops
