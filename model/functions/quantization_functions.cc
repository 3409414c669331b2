// Rounding to what narrow integers hold, as networks are trained for them.
#include <cmath>

#include "compute/ops/elementwise.h"
#include "model/functions/function_call.h"

namespace h5serve::model {
namespace {

using compute::Graph;
using compute::Tensor;
using compute::Value;
namespace ops = compute::ops;

// tensorflow/core/kernels/fake_quant_ops_functor.h: the range is moved so that
// zero is one of its steps.
FunctionArgument FakeQuant(FunctionCall& call) {
  Graph& graph = call.graph();
  const Value x = call.Tensor("x");
  const int64_t bits = call.Int("num_bits", 8);
  const auto low = static_cast<float>(call.Float("min", -6));
  const auto high = static_cast<float>(call.Float("max", 6));
  if (bits < 2 || bits > 16) return call.Unsupported("num_bits", "expected 2 to 16");
  if (!(low <= 0) || !(high >= 0)) return call.Invalid("the range must hold zero");
  if (!call.ok()) return {};
  if (low == 0 && high == 0) {
    return FunctionArgument::Tensor(ops::MultiplyScalar(graph, x, 0.0f));
  }
  const float first = call.Bool("narrow_range", false) ? 1.0f : 0.0f;
  const auto last = static_cast<float>((int64_t{1} << bits) - 1);
  const float scale = (high - low) / (last - first);
  const float zero_point = std::fmin(std::fmax(std::round(first - low / scale), first), last);
  const float nudged_low = (first - zero_point) * scale;
  const float nudged_high = (last - zero_point) * scale;
  const float inverse = 1.0f / scale;
  const float zero_step = std::floor(-nudged_low * inverse + 0.5f);
  const auto scalar = [&](float value) { return graph.Constant(Tensor::Scalar(value)); };
  Value y = ops::Binary(graph, ops::BinaryKind::kMaximum, x, scalar(nudged_low));
  y = ops::Binary(graph, ops::BinaryKind::kMinimum, y, scalar(nudged_high));
  y = ops::MultiplyScalar(graph, ops::AddScalar(graph, y, -nudged_low), inverse);
  y = ops::Unary(graph, ops::UnaryKind::kFloor, ops::AddScalar(graph, y, 0.5f - zero_step));
  return FunctionArgument::Tensor(ops::MultiplyScalar(graph, y, scale));
}

constexpr FunctionRow kFunctions[] = {
    {"<fake_quant>", "x, min, max, num_bits, narrow_range", FakeQuant},
};

}  // namespace

std::span<const FunctionRow> QuantizationFunctions() { return kFunctions; }

}  // namespace h5serve::model
