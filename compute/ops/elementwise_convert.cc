// Conversions between element types, and selection.
#include <fmt/format.h>

#include <cmath>
#include <limits>
#include <string>

#include "compute/kernels/dispatch.h"
#include "compute/ops/elementwise.h"
#include "compute/ops/elementwise_ops.h"

namespace h5serve::compute::ops {
namespace {

int64_t Truncate(float value) {
  if (std::isnan(value)) return 0;
  if (value >= 0x1p63f) return std::numeric_limits<int64_t>::max();
  if (value < -0x1p63f) return std::numeric_limits<int64_t>::min();
  return static_cast<int64_t>(value);
}

template <typename From, typename To, typename F>
void Convert(const RunContext& context, F f) {
  const From* x = context.input(0).as<From>();
  To* y = context.output(0).as<To>();
  context.ParallelFor(context.input(0).size(), 32768, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) y[i] = f(x[i]);
  });
}

template <typename From>
void ConvertFrom(const RunContext& context) {
  switch (context.output(0).dtype) {
    case DType::kFloat32:
      Convert<From, float>(context, [](From x) { return static_cast<float>(x); });
      break;
    case DType::kInt64:
      Convert<From, int64_t>(context, [](From x) {
        if constexpr (std::is_same_v<From, float>) {
          return Truncate(x);
        } else {
          return static_cast<int64_t>(x);
        }
      });
      break;
    default:
      Convert<From, bool>(context, [](From x) { return x != From{0}; });
  }
}

class CastOp : public UnaryBase {
 public:
  explicit CastOp(DType output) : UnaryBase(output) {}
  std::string_view name() const override { return "Cast"; }
  bool CanRunInPlace() const override { return false; }
  absl::Status Run(const RunContext& context) const override {
    switch (context.input(0).dtype) {
      case DType::kFloat32:
        ConvertFrom<float>(context);
        break;
      case DType::kInt64:
        ConvertFrom<int64_t>(context);
        break;
      default:
        ConvertFrom<bool>(context);
    }
    return absl::OkStatus();
  }
};

int64_t WrapTo(DType dtype, int64_t value) {
  switch (dtype) {
    case DType::kInt8:
      return static_cast<int8_t>(value);
    case DType::kInt16:
      return static_cast<int16_t>(value);
    case DType::kInt32:
      return static_cast<int32_t>(value);
    case DType::kUInt8:
      return static_cast<uint8_t>(value);
    case DType::kUInt16:
      return static_cast<uint16_t>(value);
    case DType::kUInt32:
      return static_cast<uint32_t>(value);
    default:
      return value;
  }
}

float RoundTo(DType dtype, float value) {
  if (dtype == DType::kFloat16) return HalfToFloat(FloatToHalf(value));
  return BFloat16ToFloat(FloatToBFloat16(value));
}

class RoundThroughOp : public UnaryBase {
 public:
  RoundThroughOp(DType input, DType through) : UnaryBase(input), through_(through) {}
  std::string_view name() const override { return "RoundThrough"; }
  absl::Status Run(const RunContext& context) const override {
    const DType through = through_;
    const bool floats = IsFloat(through);
    if (output() == DType::kFloat32) {
      Convert<float, float>(context, [=](float x) {
        return floats ? RoundTo(through, x) : static_cast<float>(WrapTo(through, Truncate(x)));
      });
    } else {
      Convert<int64_t, int64_t>(context, [=](int64_t x) {
        return floats ? Truncate(RoundTo(through, static_cast<float>(x))) : WrapTo(through, x);
      });
    }
    return absl::OkStatus();
  }

 private:
  DType through_;
};

template <typename T>
void SelectEach(const RunContext& context, const BroadcastPlan& plan) {
  const bool* condition = context.input(0).as<bool>();
  const T* a = context.input(1).as<T>();
  const T* b = context.input(2).as<T>();
  T* y = context.output(0).as<T>();
  const auto& steps = plan.inner_steps;
  BroadcastFor(context, plan, [&](const Stretch& s) {
    for (int64_t i = 0; i < s.count; ++i) {
      y[s.output + i] = condition[s.operands[0] + i * steps[0]] ? a[s.operands[1] + i * steps[1]]
                                                                : b[s.operands[2] + i * steps[2]];
    }
  });
}

class WhereOp : public Op {
 public:
  std::string_view name() const override { return "Where"; }
  bool IsElementwise() const override { return true; }
  absl::StatusOr<std::vector<ValueType>> Infer(const InferContext& context) const override {
    absl::StatusOr<Shape> shape = BroadcastInputs(context);
    if (!shape.ok()) return shape.status();
    return std::vector<ValueType>{{context.dtype(1), *shape}};
  }
  absl::Status Run(const RunContext& context) const override {
    const BroadcastPlan plan = PlanOf(context);
    switch (context.output(0).dtype) {
      case DType::kFloat32:
        SelectFloats(context, plan);
        break;
      case DType::kInt64:
        SelectEach<int64_t>(context, plan);
        break;
      case DType::kString:
        SelectEach<std::string>(context, plan);
        break;
      default:
        SelectEach<bool>(context, plan);
    }
    return absl::OkStatus();
  }

 private:
  static void SelectFloats(const RunContext& context, const BroadcastPlan& plan) {
    const bool* condition = context.input(0).as<bool>();
    const float* a = context.input(1).as<float>();
    const float* b = context.input(2).as<float>();
    float* y = context.output(0).as<float>();
    const auto& steps = plan.inner_steps;
    BroadcastFor(context, plan, [&](const Stretch& s) {
      kernels::Kernels().select(condition + s.operands[0], steps[0], a + s.operands[1], steps[1],
                                b + s.operands[2], steps[2], y + s.output, s.count);
    });
  }
};

}  // namespace

Value Cast(Graph& graph, Value x, DType dtype) {
  if (!x.valid()) return x;
  const DType target = GraphDType(dtype);
  if (graph.dtype(x) == target) return x;
  if (graph.dtype(x) == DType::kString || target == DType::kString) {
    return graph.Fail(absl::InvalidArgumentError(
        fmt::format("cannot convert {} to {}", Name(graph.dtype(x)), Name(target))));
  }
  return graph.Add1(std::make_shared<CastOp>(target), {x});
}

Value RoundThrough(Graph& graph, Value x, DType dtype) {
  if (!x.valid()) return x;
  if (dtype == DType::kBool) {
    return Cast(graph, Cast(graph, x, DType::kBool), graph.dtype(x));
  }
  if (graph.dtype(x) == DType::kString || dtype == DType::kString) {
    if (graph.dtype(x) == dtype) return x;
    return graph.Fail(absl::InvalidArgumentError(
        fmt::format("cannot convert {} to {}", Name(graph.dtype(x)), Name(dtype))));
  }
  // Every bool fits into every type; these types are what the graph computes in.
  const bool exact = graph.dtype(x) == DType::kBool || dtype == DType::kFloat64 ||
                     (dtype == DType::kFloat32 && graph.dtype(x) == DType::kFloat32) ||
                     (!IsFloat(dtype) && SizeOf(dtype) == 8 && graph.dtype(x) == DType::kInt64);
  if (exact) return x;
  if (dtype == DType::kFloat32) {
    return Cast(graph, Cast(graph, x, DType::kFloat32), graph.dtype(x));
  }
  return graph.Add1(std::make_shared<RoundThroughOp>(graph.dtype(x), dtype), {x});
}

Value Where(Graph& graph, Value condition, Value a, Value b) {
  if (!condition.valid()) return condition;
  if (!a.valid()) return a;
  if (!b.valid()) return b;
  DType common = graph.dtype(a);
  if (common != graph.dtype(b)) {
    const bool floats = common == DType::kFloat32 || graph.dtype(b) == DType::kFloat32;
    common = floats ? DType::kFloat32 : DType::kInt64;
  }
  condition = Cast(graph, condition, DType::kBool);
  a = Cast(graph, a, common);
  b = Cast(graph, b, common);
  return graph.Add1(std::make_shared<WhereOp>(), {condition, a, b});
}

}  // namespace h5serve::compute::ops
