// Arithmetic, comparisons and logic.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

#include "compute/ops/elementwise.h"
#include "compute/ops/shape_ops.h"
#include "compute/ops/text.h"
#include "model/functions/function_call.h"
#include "model/functions/number_folding.h"
#include "model/functions/type_conversion.h"

namespace h5serve::model {
namespace {

using compute::DType;
using compute::Graph;
using compute::Value;
using compute::ops::Binary;
using compute::ops::BinaryKind;
using compute::ops::Cast;
using compute::ops::Unary;
using compute::ops::UnaryKind;
using compute::ops::Where;

FunctionArgument Result(Value value) { return FunctionArgument::Tensor(value); }

Value Constant(FunctionCall& call, float value) {
  return call.graph().Constant(compute::Tensor::Scalar(value));
}

bool IsNumber(const FunctionArgument& argument) {
  return argument.is_constant() && (argument.constant.is_number() || argument.constant.is_bool());
}

// --- one and two operands ------------------------------------------------------

template <UnaryKind kind>
FunctionArgument One(FunctionCall& call) {
  const FunctionArgument& x = call.Get("x");
  if (IsNumber(x)) {
    if (auto folded = FoldNumber(kind, x.constant))
      return FunctionArgument::Constant(*std::move(folded));
  }
  return Result(Unary(call.graph(), kind, call.Tensor("x")));
}

// Functions that leave integers alone.
template <UnaryKind kind>
FunctionArgument Rounding(FunctionCall& call) {
  const Value x = call.Tensor("x");
  if (call.graph().dtype(x) == DType::kInt64) return Result(x);
  const int64_t decimals = call.Int("decimals", 0);
  if (decimals == 0) return Result(Unary(call.graph(), kind, x));
  const float scale = static_cast<float>(std::pow(10.0, static_cast<double>(decimals)));
  Value y = compute::ops::MultiplyScalar(call.graph(), x, scale);
  y = Unary(call.graph(), kind, y);
  return Result(compute::ops::MultiplyScalar(call.graph(), y, 1.0f / scale));
}

template <BinaryKind kind>
FunctionArgument Two(FunctionCall& call) {
  const FunctionArgument& a = call.Get("x1");
  const FunctionArgument& b = call.Get("x2");
  if (IsNumber(a) && IsNumber(b)) {
    if (auto folded = FoldNumbers(kind, a.constant, b.constant)) {
      return FunctionArgument::Constant(*std::move(folded));
    }
  }
  return Result(Binary(call.graph(), kind, call.Tensor("x1"), call.Tensor("x2")));
}

// Logical functions see any number as a truth value.
template <BinaryKind kind>
FunctionArgument Logical(FunctionCall& call) {
  Graph& graph = call.graph();
  return Result(Binary(graph, kind, Cast(graph, call.Tensor("x1"), DType::kBool),
                       Cast(graph, call.Tensor("x2"), DType::kBool)));
}

// `&`, `|` and `^` are logical for bools.
template <BinaryKind bits, BinaryKind logic>
FunctionArgument Bitwise(FunctionCall& call) {
  const Value a = call.Tensor("x1"), b = call.Tensor("x2");
  const bool logical =
      call.graph().dtype(a) == DType::kBool && call.graph().dtype(b) == DType::kBool;
  return Result(Binary(call.graph(), logical ? logic : bits, a, b));
}

FunctionArgument Invert(FunctionCall& call) {
  Graph& graph = call.graph();
  const Value x = call.Tensor("x");
  if (graph.dtype(x) == DType::kBool) return Result(Unary(graph, UnaryKind::kLogicalNot, x));
  if (graph.dtype(x) != DType::kInt64) return call.Invalid("expected integers or bools");
  const Value all = graph.Constant(compute::Tensor::Scalar(int64_t{-1}));
  return Result(Binary(graph, BinaryKind::kBitwiseXor, x, all));
}

// Integers are divided towards zero, as C does.
FunctionArgument TruncatedDivide(FunctionCall& call) {
  Graph& graph = call.graph();
  const Value a = call.Tensor("x1"), b = call.Tensor("x2");
  if (graph.dtype(a) != DType::kInt64 || graph.dtype(b) != DType::kInt64) {
    return Result(Binary(graph, BinaryKind::kDivide, a, b));
  }
  const Value rest = Binary(graph, BinaryKind::kTruncatedMod, a, b);
  return Result(Binary(graph, BinaryKind::kFloorDivide, compute::ops::Subtract(graph, a, rest), b));
}

FunctionArgument Clip(FunctionCall& call) {
  Graph& graph = call.graph();
  const Value x = call.Tensor("x");
  const FunctionArgument& low = call.Get("x_min");
  const FunctionArgument& high = call.Get("x_max");
  const auto number = [](const FunctionArgument& a) { return a.is_null() || IsNumber(a); };
  if (graph.dtype(x) == DType::kFloat32 && number(low) && number(high)) {
    const float infinity = std::numeric_limits<float>::infinity();
    const float p = static_cast<float>(call.Float("x_min", -infinity));
    const float q = static_cast<float>(call.Float("x_max", infinity));
    return Result(Unary(graph, UnaryKind::kClip, x, p, q));
  }
  Value y = x;
  if (!high.is_null()) y = Binary(graph, BinaryKind::kMinimum, y, call.Tensor("x_max"));
  if (!low.is_null()) y = Binary(graph, BinaryKind::kMaximum, y, call.Tensor("x_min"));
  return Result(y);
}

// A condition of lower rank chooses whole rows.
FunctionArgument Select(FunctionCall& call) {
  Graph& graph = call.graph();
  if (!call.Has("x1") || !call.Has("x2")) {
    return call.Fail(absl::UnimplementedError(
        "positions of true elements: the size of the result would depend on the data"));
  }
  Value condition = Cast(graph, call.Tensor("condition"), DType::kBool);
  const Value a = call.Tensor("x1"), b = call.Tensor("x2");
  const bool rows = call.Bool("rows", false);
  const int rank = std::max(graph.rank(a), graph.rank(b));
  while (rows && condition.valid() && graph.rank(condition) > 0 && graph.rank(condition) < rank) {
    condition = compute::ops::ExpandDims(graph, condition, -1);
  }
  return Result(Where(graph, condition, a, b));
}

FunctionArgument AddAll(FunctionCall& call) {
  const std::vector<Value> xs = call.Tensors("xs");
  if (xs.empty()) return call.Invalid("nothing to add");
  Value sum = xs[0];
  for (size_t i = 1; i < xs.size(); ++i) sum = compute::ops::Add(call.graph(), sum, xs[i]);
  return Result(sum);
}

// The bias lies along the channels.
FunctionArgument BiasAdd(FunctionCall& call) {
  Graph& graph = call.graph();
  const Value x = call.Tensor("x");
  Value bias = call.Tensor("bias");
  const bool first = call.ChannelsFirst("data_format");
  if (first && graph.rank(bias) == 1) {
    for (int axis = 2; axis < graph.rank(x); ++axis) {
      bias = compute::ops::ExpandDims(graph, bias, -1);
    }
  } else if (first && graph.rank(bias) > 1) {
    bias = compute::ops::MoveAxis(graph, bias, -1, 0);
  }
  return Result(compute::ops::Add(graph, x, bias));
}

FunctionArgument Identity(FunctionCall& call) {
  const FunctionArgument& x = call.Get("x");
  if (x.is_list() && !x.is_static()) return x;
  return Result(call.Tensor("x"));
}

FunctionArgument CastFunction(FunctionCall& call) {
  const std::optional<DType> dtype = call.DType("dtype");
  const Value x = call.Tensor("x");
  if (!dtype) return Result(x);
  return Result(ConvertType(call.graph(), x, *dtype));
}

FunctionArgument NanToNum(FunctionCall& call) {
  Graph& graph = call.graph();
  const Value x = Cast(graph, call.Tensor("x"), DType::kFloat32);
  const float top = std::numeric_limits<float>::max();
  const float infinity = std::numeric_limits<float>::infinity();
  const auto equals = [&](float v) {
    return Binary(graph, BinaryKind::kEqual, x, Constant(call, v));
  };
  Value y = Where(graph, Unary(graph, UnaryKind::kIsNan, x),
                  Constant(call, static_cast<float>(call.Float("nan", 0))), x);
  y = Where(graph, equals(infinity), Constant(call, static_cast<float>(call.Float("posinf", top))),
            y);
  return Result(Where(graph, equals(-infinity),
                      Constant(call, static_cast<float>(call.Float("neginf", -top))), y));
}

FunctionArgument IsClose(FunctionCall& call) {
  Graph& graph = call.graph();
  const Value a = Cast(graph, call.Tensor("x1"), DType::kFloat32);
  const Value b = Cast(graph, call.Tensor("x2"), DType::kFloat32);
  if (call.Bool("equal_nan", false))
    return call.Unsupported("equal_nan", "NaN equals nothing here");
  const float rtol = static_cast<float>(call.Float("rtol", 1e-5));
  const float atol = static_cast<float>(call.Float("atol", 1e-8));
  const Value distance = Unary(graph, UnaryKind::kAbs, compute::ops::Subtract(graph, a, b));
  Value bound = compute::ops::MultiplyScalar(graph, Unary(graph, UnaryKind::kAbs, b), rtol);
  bound = compute::ops::AddScalar(graph, bound, atol);
  const Value near = Binary(graph, BinaryKind::kLessEqual, distance, bound);
  return Result(
      Binary(graph, BinaryKind::kLogicalOr, near, Binary(graph, BinaryKind::kEqual, a, b)));
}

FunctionArgument Hypot(FunctionCall& call) {
  Graph& graph = call.graph();
  const Value a = Unary(graph, UnaryKind::kSquare, call.Tensor("x1"));
  const Value b = Unary(graph, UnaryKind::kSquare, call.Tensor("x2"));
  return Result(Unary(graph, UnaryKind::kSqrt, compute::ops::Add(graph, a, b)));
}

FunctionArgument Heaviside(FunctionCall& call) {
  Graph& graph = call.graph();
  const Value x = Cast(graph, call.Tensor("x1"), DType::kFloat32);
  const Value zero = Constant(call, 0);
  const Value at_zero =
      Where(graph, Binary(graph, BinaryKind::kEqual, x, zero), call.Tensor("x2"),
            Cast(graph, Binary(graph, BinaryKind::kGreater, x, zero), DType::kFloat32));
  return Result(at_zero);
}

// x1 f(x2), and zero where x1 is zero whatever f gives.
template <UnaryKind kind>
FunctionArgument TimesNoNan(FunctionCall& call) {
  Graph& graph = call.graph();
  const Value x = Cast(graph, call.Tensor("x1"), DType::kFloat32);
  const Value y = Cast(graph, call.Tensor("x2"), DType::kFloat32);
  const Value product = compute::ops::Multiply(graph, x, Unary(graph, kind, y));
  const Value zero = Constant(call, 0);
  return Result(Where(graph, Binary(graph, BinaryKind::kEqual, x, zero), zero, product));
}

FunctionArgument MultiplyNoNan(FunctionCall& call) {
  Graph& graph = call.graph();
  const Value y = call.Tensor("x2");
  const Value product = compute::ops::Multiply(graph, call.Tensor("x1"), y);
  const Value zero = Constant(call, 0);
  return Result(Where(graph, Binary(graph, BinaryKind::kEqual, y, zero), zero, product));
}

template <int numerator, int denominator>
FunctionArgument Scaled(FunctionCall& call) {
  const double scale = numerator == 0 ? 180 / std::numbers::pi : std::numbers::pi / denominator;
  return Result(
      compute::ops::MultiplyScalar(call.graph(), call.Tensor("x"), static_cast<float>(scale)));
}

FunctionArgument Exp2(FunctionCall& call) {
  const Value two = Constant(call, 2);
  return Result(Binary(call.graph(), BinaryKind::kPower, two, call.Tensor("x")));
}

FunctionArgument Cbrt(FunctionCall& call) {
  Graph& graph = call.graph();
  const Value x = Cast(graph, call.Tensor("x"), DType::kFloat32);
  const Value root = Binary(graph, BinaryKind::kPower, Unary(graph, UnaryKind::kAbs, x),
                            Constant(call, 1.0f / 3.0f));
  return Result(compute::ops::Multiply(graph, Unary(graph, UnaryKind::kSign, x), root));
}

template <bool positive>
FunctionArgument IsSignedInfinity(FunctionCall& call) {
  Graph& graph = call.graph();
  const float infinity = std::numeric_limits<float>::infinity();
  return Result(Binary(graph, BinaryKind::kEqual, call.Tensor("x"),
                       Constant(call, positive ? infinity : -infinity)));
}

FunctionArgument SignBit(FunctionCall& call) {
  return Result(Binary(call.graph(), BinaryKind::kLess, call.Tensor("x"), Constant(call, 0)));
}

FunctionArgument ZeroLike(FunctionCall& call) {
  return Result(compute::ops::MultiplyScalar(call.graph(), call.Tensor("x"), 0));
}

FunctionArgument Digitize(FunctionCall& call) {
  const FunctionArgument& bins = call.Get("bins");
  const Value table = ToTensor(call.graph(), bins);
  const compute::Tensor* known = call.graph().constant(Cast(call.graph(), table, DType::kFloat32));
  if (known == nullptr) return call.Unsupported("bins", "bins must be known when the model loads");
  const float* data = known->data<float>();
  return Result(compute::ops::Bucketize(call.graph(), call.Tensor("x"),
                                        std::vector<float>(data, data + known->num_elements())));
}

FunctionArgument ReciprocalNoNan(FunctionCall& call) {
  const Value one = Constant(call, 1);
  return Result(Binary(call.graph(), BinaryKind::kDivideNoNan, one, call.Tensor("x")));
}

// K.sqrt takes negative numbers for zero.
FunctionArgument ClippedSqrt(FunctionCall& call) {
  Graph& graph = call.graph();
  const Value x = Binary(graph, BinaryKind::kMaximum, call.Tensor("x"), Constant(call, 0));
  return Result(Unary(graph, UnaryKind::kSqrt, x));
}

// Clips to the range of the type before the cast.
FunctionArgument SaturateCast(FunctionCall& call) {
  Graph& graph = call.graph();
  Value x = call.Tensor("x");
  const std::optional<DType> dtype = call.DType("dtype");
  if (!dtype) return Result(x);
  const bool is_signed = *dtype == DType::kInt8 || *dtype == DType::kInt16;
  const bool is_unsigned = *dtype == DType::kUInt8 || *dtype == DType::kUInt16;
  if (is_signed || is_unsigned) {
    const int bits = static_cast<int>(8 * compute::SizeOf(*dtype));
    const int64_t low = is_signed ? -(int64_t{1} << (bits - 1)) : 0;
    const int64_t high = (int64_t{1} << (is_signed ? bits - 1 : bits)) - 1;
    x = Binary(graph, BinaryKind::kMaximum, x, graph.Constant(compute::Tensor::Scalar(low)));
    x = Binary(graph, BinaryKind::kMinimum, x, graph.Constant(compute::Tensor::Scalar(high)));
  }
  return Result(ConvertType(graph, x, *dtype));
}

constexpr FunctionRow kFunctions[] = {
    {"abs", "x", One<UnaryKind::kAbs>},
    {"absolute", "x", One<UnaryKind::kAbs>},
    {"fabs", "x", One<UnaryKind::kAbs>},
    {"negative", "x", One<UnaryKind::kNegative>},
    {"positive", "x", Identity},
    {"sign", "x", One<UnaryKind::kSign>},
    {"square", "x", One<UnaryKind::kSquare>},
    {"sqrt", "x", One<UnaryKind::kSqrt>},
    {"rsqrt", "x", One<UnaryKind::kRsqrt>},
    {"reciprocal", "x", One<UnaryKind::kReciprocal>},
    {"exp", "x", One<UnaryKind::kExp>},
    {"exp2", "x", Exp2},
    {"expm1", "x", One<UnaryKind::kExpm1>},
    {"log", "x", One<UnaryKind::kLog>},
    {"log1p", "x", One<UnaryKind::kLog1p>},
    {"log2", "x", One<UnaryKind::kLog2>},
    {"log10", "x", One<UnaryKind::kLog10>},
    {"cbrt", "x", Cbrt},
    {"sin", "x", One<UnaryKind::kSin>},
    {"cos", "x", One<UnaryKind::kCos>},
    {"tan", "x", One<UnaryKind::kTan>},
    {"arcsin", "x", One<UnaryKind::kAsin>},
    {"arccos", "x", One<UnaryKind::kAcos>},
    {"arctan", "x", One<UnaryKind::kAtan>},
    {"sinh", "x", One<UnaryKind::kSinh>},
    {"cosh", "x", One<UnaryKind::kCosh>},
    {"arcsinh", "x", One<UnaryKind::kAsinh>},
    {"arccosh", "x", One<UnaryKind::kAcosh>},
    {"arctanh", "x", One<UnaryKind::kAtanh>},
    {"erf", "x", One<UnaryKind::kErf>},
    {"erfinv", "x", One<UnaryKind::kErfinv>},
    {"floor", "x", Rounding<UnaryKind::kFloor>},
    {"ceil", "x", Rounding<UnaryKind::kCeil>},
    {"round", "x, decimals", Rounding<UnaryKind::kRound>},
    {"trunc", "x", Rounding<UnaryKind::kTrunc>},
    {"isnan", "x", One<UnaryKind::kIsNan>},
    {"isinf", "x", One<UnaryKind::kIsInf>},
    {"isfinite", "x", One<UnaryKind::kIsFinite>},
    {"isposinf", "x", IsSignedInfinity<true>},
    {"isneginf", "x", IsSignedInfinity<false>},
    {"signbit", "x", SignBit},
    {"logical_not", "x", One<UnaryKind::kLogicalNot>},
    {"invert", "x", Invert},
    {"bitwise_not", "x", Invert},
    {"bitwise_invert", "x", Invert},
    {"conj", "x", Identity},
    {"conjugate", "x", Identity},
    {"real", "x", Identity},
    {"imag", "x", ZeroLike},
    {"deg2rad", "x", Scaled<1, 180>},
    {"rad2deg", "x", Scaled<0, 0>},
    {"add", "x1, x2", Two<BinaryKind::kAdd>},
    {"subtract", "x1, x2", Two<BinaryKind::kSubtract>},
    {"multiply", "x1, x2", Two<BinaryKind::kMultiply>},
    {"divide", "x1, x2", Two<BinaryKind::kDivide>},
    {"true_divide", "x1, x2", Two<BinaryKind::kDivide>},
    {"floor_divide", "x1, x2", Two<BinaryKind::kFloorDivide>},
    {"truncated_divide", "x1, x2", TruncatedDivide},
    {"mod", "x1, x2", Two<BinaryKind::kMod>},
    {"fmod", "x1, x2", Two<BinaryKind::kTruncatedMod>},
    {"power", "x1, x2", Two<BinaryKind::kPower>},
    {"maximum", "x1, x2", Two<BinaryKind::kMaximum>},
    {"minimum", "x1, x2", Two<BinaryKind::kMinimum>},
    {"fmax", "x1, x2", Two<BinaryKind::kMaximum>},
    {"fmin", "x1, x2", Two<BinaryKind::kMinimum>},
    {"squared_difference", "x1, x2", Two<BinaryKind::kSquaredDifference>},
    {"divide_no_nan", "x1, x2", Two<BinaryKind::kDivideNoNan>},
    {"multiply_no_nan", "x1, x2", MultiplyNoNan},
    {"xlogy", "x1, x2", TimesNoNan<UnaryKind::kLog>},
    {"xlog1py", "x1, x2", TimesNoNan<UnaryKind::kLog1p>},
    {"xdivy", "x1, x2", TimesNoNan<UnaryKind::kReciprocal>},
    {"arctan2", "x1, x2", Two<BinaryKind::kAtan2>},
    {"logaddexp", "x1, x2", Two<BinaryKind::kLogAddExp>},
    {"hypot", "x1, x2", Hypot},
    {"heaviside", "x1, x2", Heaviside},
    {"equal", "x1, x2", Two<BinaryKind::kEqual>},
    {"not_equal", "x1, x2", Two<BinaryKind::kNotEqual>},
    {"less", "x1, x2", Two<BinaryKind::kLess>},
    {"less_equal", "x1, x2", Two<BinaryKind::kLessEqual>},
    {"greater", "x1, x2", Two<BinaryKind::kGreater>},
    {"greater_equal", "x1, x2", Two<BinaryKind::kGreaterEqual>},
    {"isclose", "x1, x2, rtol, atol, equal_nan", IsClose},
    {"logical_and", "x1, x2", Logical<BinaryKind::kLogicalAnd>},
    {"logical_or", "x1, x2", Logical<BinaryKind::kLogicalOr>},
    {"logical_xor", "x1, x2", Logical<BinaryKind::kLogicalXor>},
    {"bitwise_and", "x1=x1, x2; x=x1, y=x2",
     Bitwise<BinaryKind::kBitwiseAnd, BinaryKind::kLogicalAnd>},
    {"bitwise_or", "x1=x1, x2; x=x1, y=x2",
     Bitwise<BinaryKind::kBitwiseOr, BinaryKind::kLogicalOr>},
    {"bitwise_xor", "x1=x1, x2; x=x1, y=x2",
     Bitwise<BinaryKind::kBitwiseXor, BinaryKind::kLogicalXor>},
    {"left_shift", "x1, x2; x=x1, y=x2", Two<BinaryKind::kLeftShift>},
    {"right_shift", "x1, x2; x=x1, y=x2", Two<BinaryKind::kRightShift>},
    {"bitwise_left_shift", "x1, x2; x=x1, y=x2", Two<BinaryKind::kLeftShift>},
    {"bitwise_right_shift", "x1, x2; x=x1, y=x2", Two<BinaryKind::kRightShift>},
    {"clip", "x, x_min, x_max", Clip},
    {"where", "condition, x1, x2", Select},
    {"<select>", "condition, x1, x2; rows", Select},
    {"nan_to_num", "x, nan, posinf, neginf", NanToNum},
    {"digitize", "x, bins", Digitize},
    {"cast", "x, dtype", CastFunction},
    {"convert_to_tensor", "x, dtype, sparse=!, ragged=!", CastFunction},
    {"stop_gradient", "x; variable=x", Identity},
    {"copy", "x", Identity},
    {"linear", "x", Identity},
    {"<identity>", "x", Identity},
    {"<reciprocal_no_nan>", "x", ReciprocalNoNan},
    {"<clipped_sqrt>", "x", ClippedSqrt},
    {"<saturate_cast>", "x, dtype", SaturateCast},
    {"<add_all>", "xs", AddAll},
    {"<bias_add>", "x, bias, data_format", BiasAdd},
};

}  // namespace

std::span<const FunctionRow> ElementwiseFunctions() { return kFunctions; }

}  // namespace h5serve::model
