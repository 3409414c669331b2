// Element-wise ops on int64, bool and strings. Integers wrap, as NumPy's do.
#include <fmt/format.h>

#include <string>

#include "compute/ops/elementwise.h"
#include "compute/ops/elementwise_ops.h"

namespace h5serve::compute::ops {
namespace {

int64_t Wrap(uint64_t value) { return static_cast<int64_t>(value); }
uint64_t Bits(int64_t value) { return static_cast<uint64_t>(value); }

class IntegerUnaryOp : public UnaryBase {
 public:
  explicit IntegerUnaryOp(UnaryKind kind) : UnaryBase(DType::kInt64), kind_(kind) {}
  std::string_view name() const override { return Name(kind_); }
  absl::Status Run(const RunContext& context) const override {
    const int64_t* x = context.input(0).as<int64_t>();
    int64_t* y = context.output(0).as<int64_t>();
    for (int64_t i = 0; i < context.input(0).size(); ++i) y[i] = Apply(x[i]);
    return absl::OkStatus();
  }

 private:
  int64_t Apply(int64_t x) const {
    switch (kind_) {
      case UnaryKind::kNegative:
        return Wrap(0 - Bits(x));
      case UnaryKind::kAbs:
        return x < 0 ? Wrap(0 - Bits(x)) : x;
      case UnaryKind::kSign:
        return (x > 0) - (x < 0);
      case UnaryKind::kSquare:
        return Wrap(Bits(x) * Bits(x));
      default:
        return x;
    }
  }

  UnaryKind kind_;
};

class LogicalNotOp : public UnaryBase {
 public:
  LogicalNotOp() : UnaryBase(DType::kBool) {}
  std::string_view name() const override { return Name(UnaryKind::kLogicalNot); }
  absl::Status Run(const RunContext& context) const override {
    const bool* x = context.input(0).as<bool>();
    bool* y = context.output(0).as<bool>();
    for (int64_t i = 0; i < context.input(0).size(); ++i) y[i] = !x[i];
    return absl::OkStatus();
  }
};

// y = f(a, b) element by element.
template <typename In, typename Out, typename F>
void Apply(const RunContext& context, F f) {
  const BroadcastPlan plan = PlanOf(context);
  const In* a = context.input(0).as<In>();
  const In* b = context.input(1).as<In>();
  Out* y = context.output(0).as<Out>();
  BroadcastFor(context, plan, [&](const Stretch& s) {
    const In* u = a + s.operands[0];
    const In* v = b + s.operands[1];
    for (int64_t i = 0; i < s.count; ++i) {
      y[s.output + i] = f(u[i * plan.inner_steps[0]], v[i * plan.inner_steps[1]]);
    }
  });
}

int64_t FloorDivide(int64_t a, int64_t b) {
  if (b == 0) return 0;  // refused before
  if (b == -1) return Wrap(0 - Bits(a));
  return a / b - (a % b != 0 && (a < 0) != (b < 0));
}

int64_t TruncatedMod(int64_t a, int64_t b) { return b == 0 || b == -1 ? 0 : a % b; }

int64_t Mod(int64_t a, int64_t b) {
  const int64_t remainder = TruncatedMod(a, b);
  return remainder != 0 && (remainder < 0) != (b < 0) ? remainder + b : remainder;
}

int64_t Power(int64_t base, int64_t exponent) {
  if (exponent < 0) return base == 1 ? 1 : base == -1 ? (exponent % 2 == 0 ? 1 : -1) : 0;
  uint64_t result = 1, square = Bits(base);
  for (uint64_t rest = Bits(exponent); rest != 0; rest >>= 1) {
    if (rest & 1) result *= square;
    square *= square;
  }
  return Wrap(result);
}

// Shifts by the width or more push all bits out, as in NumPy.
int64_t LeftShift(int64_t a, int64_t b) { return b < 0 || b > 63 ? 0 : Wrap(Bits(a) << b); }
int64_t RightShift(int64_t a, int64_t b) { return b < 0 || b > 63 ? (a < 0 ? -1 : 0) : a >> b; }

class IntegerBinaryOp : public BinaryBase {
 public:
  explicit IntegerBinaryOp(BinaryKind kind) : BinaryBase(kind, DType::kInt64) {}
  absl::Status Run(const RunContext& context) const override;

 private:
  template <typename F>
  static absl::Status Each(const RunContext& context, F f) {
    Apply<int64_t, int64_t>(context, f);
    return absl::OkStatus();
  }
  static absl::Status CheckDivisor(const RunContext& context) {
    if (context.output(0).size() == 0) return absl::OkStatus();
    const int64_t* b = context.input(1).as<int64_t>();
    for (int64_t i = 0; i < context.input(1).size(); ++i) {
      if (b[i] == 0) return absl::InvalidArgumentError("integer division by zero");
    }
    return absl::OkStatus();
  }
};

absl::Status IntegerBinaryOp::Run(const RunContext& context) const {
  switch (kind()) {
    case BinaryKind::kAdd:
      return Each(context, [](int64_t a, int64_t b) { return Wrap(Bits(a) + Bits(b)); });
    case BinaryKind::kSubtract:
      return Each(context, [](int64_t a, int64_t b) { return Wrap(Bits(a) - Bits(b)); });
    case BinaryKind::kMultiply:
      return Each(context, [](int64_t a, int64_t b) { return Wrap(Bits(a) * Bits(b)); });
    case BinaryKind::kMaximum:
      return Each(context, [](int64_t a, int64_t b) { return a > b ? a : b; });
    case BinaryKind::kMinimum:
      return Each(context, [](int64_t a, int64_t b) { return a < b ? a : b; });
    case BinaryKind::kSquaredDifference:
      return Each(context, [](int64_t a, int64_t b) {
        const uint64_t difference = Bits(a) - Bits(b);
        return Wrap(difference * difference);
      });
    case BinaryKind::kPower:
      return Each(context, Power);
    case BinaryKind::kBitwiseAnd:
      return Each(context, [](int64_t a, int64_t b) { return a & b; });
    case BinaryKind::kBitwiseOr:
      return Each(context, [](int64_t a, int64_t b) { return a | b; });
    case BinaryKind::kBitwiseXor:
      return Each(context, [](int64_t a, int64_t b) { return a ^ b; });
    case BinaryKind::kLeftShift:
      return Each(context, LeftShift);
    case BinaryKind::kRightShift:
      return Each(context, RightShift);
    default:
      break;
  }
  if (absl::Status status = CheckDivisor(context); !status.ok()) return status;
  if (kind() == BinaryKind::kFloorDivide) return Each(context, FloorDivide);
  if (kind() == BinaryKind::kMod) return Each(context, Mod);
  if (kind() == BinaryKind::kTruncatedMod) return Each(context, TruncatedMod);
  return absl::InternalError(fmt::format("{} of integers", Name(kind())));
}

class LogicalBinaryOp : public BinaryBase {
 public:
  explicit LogicalBinaryOp(BinaryKind kind) : BinaryBase(kind, DType::kBool) {}
  absl::Status Run(const RunContext& context) const override {
    switch (kind()) {
      case BinaryKind::kLogicalAnd:
      case BinaryKind::kBitwiseAnd:
        Apply<bool, bool>(context, [](bool a, bool b) { return a && b; });
        break;
      case BinaryKind::kLogicalOr:
      case BinaryKind::kBitwiseOr:
        Apply<bool, bool>(context, [](bool a, bool b) { return a || b; });
        break;
      default:
        Apply<bool, bool>(context, [](bool a, bool b) { return a != b; });
    }
    return absl::OkStatus();
  }
};

class IntegerComparisonOp : public BinaryBase {
 public:
  explicit IntegerComparisonOp(BinaryKind kind) : BinaryBase(kind, DType::kBool) {}
  absl::Status Run(const RunContext& context) const override {
    switch (kind()) {
      case BinaryKind::kEqual:
        Apply<int64_t, bool>(context, [](int64_t a, int64_t b) { return a == b; });
        break;
      case BinaryKind::kNotEqual:
        Apply<int64_t, bool>(context, [](int64_t a, int64_t b) { return a != b; });
        break;
      case BinaryKind::kLess:
        Apply<int64_t, bool>(context, [](int64_t a, int64_t b) { return a < b; });
        break;
      case BinaryKind::kLessEqual:
        Apply<int64_t, bool>(context, [](int64_t a, int64_t b) { return a <= b; });
        break;
      case BinaryKind::kGreater:
        Apply<int64_t, bool>(context, [](int64_t a, int64_t b) { return a > b; });
        break;
      default:
        Apply<int64_t, bool>(context, [](int64_t a, int64_t b) { return a >= b; });
    }
    return absl::OkStatus();
  }
};

class StringComparisonOp : public BinaryBase {
 public:
  explicit StringComparisonOp(BinaryKind kind) : BinaryBase(kind, DType::kBool) {}
  absl::Status Run(const RunContext& context) const override {
    const bool equal = kind() == BinaryKind::kEqual;
    Apply<std::string, bool>(
        context, [equal](const std::string& a, const std::string& b) { return (a == b) == equal; });
    return absl::OkStatus();
  }
};

}  // namespace

std::shared_ptr<const Op> MakeIntegerUnary(UnaryKind kind) {
  if (kind == UnaryKind::kLogicalNot) return std::make_shared<LogicalNotOp>();
  return std::make_shared<IntegerUnaryOp>(kind);
}

std::shared_ptr<const Op> MakeIntegerBinary(BinaryKind kind) {
  return std::make_shared<IntegerBinaryOp>(kind);
}

std::shared_ptr<const Op> MakeLogicalBinary(BinaryKind kind) {
  return std::make_shared<LogicalBinaryOp>(kind);
}

std::shared_ptr<const Op> MakeIntegerComparison(BinaryKind kind) {
  return std::make_shared<IntegerComparisonOp>(kind);
}

std::shared_ptr<const Op> MakeStringComparison(BinaryKind kind) {
  return std::make_shared<StringComparisonOp>(kind);
}

}  // namespace h5serve::compute::ops
