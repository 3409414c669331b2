#include "compute/ops/elementwise.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>

#include "compute/kernels/dispatch.h"
#include "compute/ops/elementwise_ops.h"
#include "compute/ops/small_rows.h"

namespace h5serve::compute::ops {
namespace {

constexpr int64_t kGrain = 32768;       // elements worth a thread, cheap functions
constexpr int64_t kCostlyGrain = 4096;  // the same, for exponentials and the like

constexpr std::string_view kUnaryNames[] = {
    "Identity",   "Negative",      "Abs",         "Sign",       "Square",      "Sqrt",
    "Rsqrt",      "Reciprocal",    "Exp",         "Expm1",      "Log",         "Log1p",
    "Log2",       "Log10",         "Sin",         "Cos",        "Tan",         "Asin",
    "Acos",       "Atan",          "Sinh",        "Cosh",       "Tanh",        "Asinh",
    "Acosh",      "Atanh",         "Erf",         "Erfinv",     "Floor",       "Ceil",
    "Round",      "Trunc",         "Sigmoid",     "LogSigmoid", "HardSigmoid", "HardSilu",
    "Relu",       "LeakyRelu",     "ReluGeneral", "Elu",        "Selu",        "Celu",
    "Gelu",       "GeluTanh",      "Softplus",    "Softsign",   "Silu",        "Mish",
    "HardTanh",   "TanhShrink",    "SoftShrink",  "HardShrink", "Threshold",   "Squareplus",
    "SparsePlus", "SparseSigmoid", "Clip",        "IsNan",      "IsInf",       "IsFinite",
    "LogicalNot"};
static_assert(std::size(kUnaryNames) == static_cast<size_t>(UnaryKind::kLogicalNot) + 1);

constexpr std::string_view kBinaryNames[] = {"Add",
                                             "Subtract",
                                             "Multiply",
                                             "Divide",
                                             "FloorDivide",
                                             "Mod",
                                             "TruncatedMod",
                                             "Power",
                                             "Maximum",
                                             "Minimum",
                                             "SquaredDifference",
                                             "DivideNoNan",
                                             "Atan2",
                                             "LogAddExp",
                                             "Equal",
                                             "NotEqual",
                                             "Less",
                                             "LessEqual",
                                             "Greater",
                                             "GreaterEqual",
                                             "LogicalAnd",
                                             "LogicalOr",
                                             "LogicalXor",
                                             "BitwiseAnd",
                                             "BitwiseOr",
                                             "BitwiseXor",
                                             "LeftShift",
                                             "RightShift"};
static_assert(std::size(kBinaryNames) == static_cast<size_t>(BinaryKind::kRightShift) + 1);

class ReluGeneralOp : public UnaryBase {
 public:
  ReluGeneralOp(float max_value, float negative_slope, float threshold)
      : UnaryBase(DType::kFloat32),
        max_value_(max_value),
        negative_slope_(negative_slope),
        threshold_(threshold) {}
  std::string_view name() const override { return "ReluGeneral"; }
  absl::Status Run(const RunContext& context) const override {
    const float* x = context.input(0).as<float>();
    float* y = context.output(0).as<float>();
    context.ParallelFor(context.input(0).size(), kGrain, [&](int64_t begin, int64_t end) {
      kernels::Kernels().relu_general(max_value_, negative_slope_, threshold_, x + begin, y + begin,
                                      end - begin);
    });
    return absl::OkStatus();
  }

 private:
  float max_value_, negative_slope_, threshold_;
};

class ClassifyOp : public UnaryBase {
 public:
  explicit ClassifyOp(UnaryKind kind) : UnaryBase(DType::kBool), kind_(kind) {}
  std::string_view name() const override { return Name(kind_); }
  absl::Status Run(const RunContext& context) const override {
    kernels::Kernels().classify(kind_, context.input(0).as<float>(), context.output(0).as<bool>(),
                                context.input(0).size());
    return absl::OkStatus();
  }

 private:
  UnaryKind kind_;
};

class FloatComparisonOp : public BinaryBase {
 public:
  explicit FloatComparisonOp(BinaryKind kind) : BinaryBase(kind, DType::kBool) {}
  absl::Status Run(const RunContext& context) const override {
    const BroadcastPlan plan = PlanOf(context);
    const float* a = context.input(0).as<float>();
    const float* b = context.input(1).as<float>();
    bool* y = context.output(0).as<bool>();
    BroadcastFor(context, plan, [&](const Stretch& s) {
      kernels::Kernels().compare(kind(), a + s.operands[0], plan.inner_steps[0], b + s.operands[1],
                                 plan.inner_steps[1], y + s.output, s.count);
    });
    return absl::OkStatus();
  }
};

bool IsCostly(UnaryKind kind) { return kind >= UnaryKind::kExp && kind <= UnaryKind::kErfinv; }

bool KeepsIntegers(UnaryKind kind) {
  return kind == UnaryKind::kNegative || kind == UnaryKind::kAbs || kind == UnaryKind::kSign ||
         kind == UnaryKind::kSquare || kind == UnaryKind::kIdentity;
}

bool IsComparison(BinaryKind kind) {
  return kind >= BinaryKind::kEqual && kind <= BinaryKind::kGreaterEqual;
}

bool IsLogical(BinaryKind kind) {
  return kind >= BinaryKind::kLogicalAnd && kind <= BinaryKind::kLogicalXor;
}

bool IsBitwise(BinaryKind kind) { return kind >= BinaryKind::kBitwiseAnd; }

// True when an integer power must be computed in floating point.
bool HasNegative(const Tensor* tensor) {
  if (tensor == nullptr || tensor->dtype() != DType::kInt64) return false;
  const int64_t* values = tensor->data<int64_t>();
  return std::any_of(values, values + tensor->num_elements(),
                     [](int64_t value) { return value < 0; });
}

bool NeedsFloat(const Graph& graph, BinaryKind kind, Value b) {
  return kind == BinaryKind::kDivide || kind == BinaryKind::kDivideNoNan ||
         kind == BinaryKind::kAtan2 || kind == BinaryKind::kLogAddExp ||
         (kind == BinaryKind::kPower && HasNegative(graph.constant(b)));
}

Value NoStrings(Graph& graph, std::string_view name) {
  return graph.Fail(absl::InvalidArgumentError(fmt::format("{} of strings", name)));
}

Value LogicalOrBitwise(Graph& graph, BinaryKind kind, Value a, Value b) {
  const bool bools = graph.dtype(a) == DType::kBool && graph.dtype(b) == DType::kBool;
  if (IsBitwise(kind) && !(bools && kind <= BinaryKind::kBitwiseXor)) {
    if (graph.dtype(a) == DType::kFloat32 || graph.dtype(b) == DType::kFloat32) {
      return graph.Fail(
          absl::InvalidArgumentError(fmt::format("{} of floating-point numbers", Name(kind))));
    }
    return graph.Add1(MakeIntegerBinary(kind),
                      {Cast(graph, a, DType::kInt64), Cast(graph, b, DType::kInt64)});
  }
  return graph.Add1(MakeLogicalBinary(kind),
                    {Cast(graph, a, DType::kBool), Cast(graph, b, DType::kBool)});
}

}  // namespace

absl::StatusOr<std::vector<ValueType>> UnaryBase::Infer(const InferContext& context) const {
  return std::vector<ValueType>{{output_, context.shape(0)}};
}

std::string_view UnaryOp::name() const { return Name(kind_); }

absl::Status UnaryOp::Run(const RunContext& context) const {
  const float* x = context.input(0).as<float>();
  float* y = context.output(0).as<float>();
  context.ParallelFor(context.input(0).size(), IsCostly(kind_) ? kCostlyGrain : kGrain,
                      [&](int64_t begin, int64_t end) {
                        kernels::Kernels().unary(kind_, p_, q_, x + begin, y + begin, end - begin);
                      });
  return absl::OkStatus();
}

std::string_view BinaryBase::name() const { return Name(kind_); }

absl::StatusOr<std::vector<ValueType>> BinaryBase::Infer(const InferContext& context) const {
  absl::StatusOr<Shape> shape = BroadcastInputs(context);
  if (!shape.ok()) return shape.status();
  return std::vector<ValueType>{{output_, *shape}};
}

absl::Status BinaryOp::Run(const RunContext& context) const {
  const BroadcastPlan plan = PlanOf(context);
  const float* a = context.input(0).as<float>();
  const float* b = context.input(1).as<float>();
  float* y = context.output(0).as<float>();
  const auto binary = kernels::Kernels().binary;
  // A short vector with every row of a matrix.
  const bool rows = plan.rank == 1 && plan.inner_steps[0] == 1 && plan.inner_steps[1] == 1;
  for (int vector = 0; rows && vector < 2; ++vector) {
    if (plan.strides[0][vector] != 0 || plan.strides[0][1 - vector] != plan.inner) continue;
    const SmallRows repeated(vector == 0 ? a : b, plan.inner);
    context.ParallelFor(plan.outer, kGrain / plan.inner + 1, [&](int64_t begin, int64_t end) {
      repeated.ForEach(begin, end, [&](int64_t row, int64_t count, int64_t width) {
        for (int64_t i = 0; i < count; ++i) {
          const int64_t at = row * plan.inner + i * width;
          const float* left = vector == 0 ? repeated.data() : a + at;
          const float* right = vector == 1 ? repeated.data() : b + at;
          binary(kind(), left, 1, right, 1, y + at, width);
        }
      });
    });
    return absl::OkStatus();
  }
  BroadcastFor(context, plan, [&](const Stretch& s) {
    binary(kind(), a + s.operands[0], plan.inner_steps[0], b + s.operands[1], plan.inner_steps[1],
           y + s.output, s.count);
  });
  return absl::OkStatus();
}

BroadcastPlan PlanOf(const RunContext& context) {
  std::array<const Shape*, BroadcastPlan::kOperands> shapes{};
  for (int i = 0; i < context.num_inputs(); ++i) shapes[i] = &context.input(i).shape;
  return MakeBroadcastPlan(context.output(0).shape,
                           std::span(shapes).first(static_cast<size_t>(context.num_inputs())));
}

absl::StatusOr<Shape> BroadcastInputs(const InferContext& context) {
  Shape shape = context.shape(0);
  for (int i = 1; i < context.size(); ++i) {
    const std::optional<Shape> joined = Broadcast(shape, context.shape(i));
    if (!joined) {
      return absl::InvalidArgumentError(fmt::format("shapes {} and {} do not broadcast",
                                                    shape.ToString(), context.shape(i).ToString()));
    }
    shape = *joined;
  }
  return shape;
}

std::string_view Name(UnaryKind kind) { return kUnaryNames[static_cast<int>(kind)]; }

std::string_view Name(BinaryKind kind) { return kBinaryNames[static_cast<int>(kind)]; }

Value Unary(Graph& graph, UnaryKind kind, Value x, float p, float q) {
  if (!x.valid()) return x;
  const DType dtype = graph.dtype(x);
  if (kind == UnaryKind::kIdentity) return x;
  if (dtype == DType::kString) return NoStrings(graph, Name(kind));
  if (kind == UnaryKind::kLogicalNot) {
    return graph.Add1(MakeIntegerUnary(kind), {Cast(graph, x, DType::kBool)});
  }
  if (KeepsIntegers(kind) && dtype != DType::kFloat32) {
    return graph.Add1(MakeIntegerUnary(kind), {Cast(graph, x, DType::kInt64)});
  }
  x = Cast(graph, x, DType::kFloat32);
  if (kind == UnaryKind::kIsNan || kind == UnaryKind::kIsInf || kind == UnaryKind::kIsFinite) {
    return graph.Add1(std::make_shared<ClassifyOp>(kind), {x});
  }
  if (kind == UnaryKind::kReluGeneral) return ReluGeneral(graph, x, p, q, 0);
  return graph.Add1(std::make_shared<UnaryOp>(kind, p, q), {x});
}

Value ReluGeneral(Graph& graph, Value x, float max_value, float negative_slope, float threshold) {
  if (!x.valid()) return x;
  if (graph.dtype(x) == DType::kString) return NoStrings(graph, "ReluGeneral");
  x = Cast(graph, x, DType::kFloat32);
  // The forms that can be fused into what comes before.
  if (threshold == 0 && negative_slope == 0 && max_value >= 0) {
    if (std::isinf(max_value)) return Unary(graph, UnaryKind::kRelu, x);
    return Unary(graph, UnaryKind::kClip, x, 0, max_value);
  }
  if (threshold == 0 && std::isinf(max_value) && max_value > 0) {
    return Unary(graph, UnaryKind::kLeakyRelu, x, negative_slope);
  }
  return graph.Add1(std::make_shared<ReluGeneralOp>(max_value, negative_slope, threshold), {x});
}

Value Binary(Graph& graph, BinaryKind kind, Value a, Value b) {
  if (!a.valid()) return a;
  if (!b.valid()) return b;
  const DType type_a = graph.dtype(a), type_b = graph.dtype(b);
  if (type_a == DType::kString || type_b == DType::kString) {
    const bool equality = kind == BinaryKind::kEqual || kind == BinaryKind::kNotEqual;
    if (type_a != type_b || !equality) return NoStrings(graph, Name(kind));
    return graph.Add1(MakeStringComparison(kind), {a, b});
  }
  if (IsLogical(kind) || IsBitwise(kind)) return LogicalOrBitwise(graph, kind, a, b);
  const bool floats =
      type_a == DType::kFloat32 || type_b == DType::kFloat32 || NeedsFloat(graph, kind, b);
  const DType common = floats ? DType::kFloat32 : DType::kInt64;
  std::shared_ptr<const Op> op;
  if (IsComparison(kind)) {
    op = floats ? std::make_shared<FloatComparisonOp>(kind) : MakeIntegerComparison(kind);
  } else {
    op = floats ? std::make_shared<BinaryOp>(kind) : MakeIntegerBinary(kind);
  }
  return graph.Add1(std::move(op), {Cast(graph, a, common), Cast(graph, b, common)});
}

Value Add(Graph& graph, Value a, Value b) { return Binary(graph, BinaryKind::kAdd, a, b); }

Value Subtract(Graph& graph, Value a, Value b) {
  return Binary(graph, BinaryKind::kSubtract, a, b);
}

Value Multiply(Graph& graph, Value a, Value b) {
  return Binary(graph, BinaryKind::kMultiply, a, b);
}

Value Divide(Graph& graph, Value a, Value b) { return Binary(graph, BinaryKind::kDivide, a, b); }

Value AddScalar(Graph& graph, Value x, float scalar) {
  return Add(graph, x, graph.Constant(Tensor::Scalar(scalar)));
}

Value MultiplyScalar(Graph& graph, Value x, float scalar) {
  return Multiply(graph, x, graph.Constant(Tensor::Scalar(scalar)));
}

Value Relu(Graph& graph, Value x) { return Unary(graph, UnaryKind::kRelu, x); }

Value Sigmoid(Graph& graph, Value x) { return Unary(graph, UnaryKind::kSigmoid, x); }

Value Tanh(Graph& graph, Value x) { return Unary(graph, UnaryKind::kTanh, x); }

}  // namespace h5serve::compute::ops
