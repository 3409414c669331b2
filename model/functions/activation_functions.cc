// Activation functions.
#include <fmt/format.h>

#include <limits>

#include "compute/ops/elementwise.h"
#include "compute/ops/reduce.h"
#include "compute/ops/shape_ops.h"
#include "model/functions/function_call.h"

namespace h5serve::model {
namespace {

using compute::Graph;
using compute::Value;
using compute::ops::Unary;
using compute::ops::UnaryKind;

FunctionArgument Result(Value value) { return FunctionArgument::Tensor(value); }

template <UnaryKind kind>
FunctionArgument Plain(FunctionCall& call) {
  return Result(Unary(call.graph(), kind, call.Tensor("x")));
}

// One parameter with its default in thousandths (templates take no floats).
template <UnaryKind kind, int thousandths>
FunctionArgument WithParameter(FunctionCall& call) {
  const float p = static_cast<float>(call.Float("p", thousandths / 1000.0));
  return Result(Unary(call.graph(), kind, call.Tensor("x"), p));
}

FunctionArgument Relu(FunctionCall& call) {
  const float slope = static_cast<float>(call.Float("negative_slope", 0));
  const float threshold = static_cast<float>(call.Float("threshold", 0));
  const float infinity = std::numeric_limits<float>::infinity();
  const float max_value = static_cast<float>(call.Float("max_value", infinity));
  const Value x = call.Tensor("x");
  if (slope == 0 && threshold == 0 && max_value == infinity) {
    return Result(compute::ops::Relu(call.graph(), x));
  }
  return Result(compute::ops::ReluGeneral(call.graph(), x, max_value, slope, threshold));
}

FunctionArgument Relu6(FunctionCall& call) {
  return Result(Unary(call.graph(), UnaryKind::kClip, call.Tensor("x"), 0, 6));
}

FunctionArgument ConcatenatedRelu(FunctionCall& call) {
  Graph& graph = call.graph();
  const Value x = call.Tensor("x");
  const Value negative = Unary(graph, UnaryKind::kNegative, x);
  return Result(compute::ops::Concat(
      graph, {compute::ops::Relu(graph, x), compute::ops::Relu(graph, negative)},
      call.Int("axis", -1)));
}

FunctionArgument Gelu(FunctionCall& call) {
  const bool approximate = call.Bool("approximate", true);
  return Result(
      Unary(call.graph(), approximate ? UnaryKind::kGeluTanh : UnaryKind::kGelu, call.Tensor("x")));
}

// Keras 3 changed the slope from 0.2 to 1/6.
FunctionArgument HardSigmoid(FunctionCall& call) {
  const bool keras3 = call.context().writer.dialect == Writer::Dialect::kKeras3 &&
                      call.name_space() != FunctionNamespace::kBackend;
  return Result(Unary(call.graph(), UnaryKind::kHardSigmoid, call.Tensor("x"),
                      keras3 ? 1.0f / 6.0f : 0.2f, 0.5f));
}

FunctionArgument Silu(FunctionCall& call) {
  Graph& graph = call.graph();
  const Value x = call.Tensor("x");
  const float beta = static_cast<float>(call.Float("beta", 1));
  if (beta == 1) return Result(Unary(graph, UnaryKind::kSilu, x));
  const Value gate = compute::ops::Sigmoid(graph, compute::ops::MultiplyScalar(graph, x, beta));
  return Result(compute::ops::Multiply(graph, x, gate));
}

FunctionArgument Threshold(FunctionCall& call) {
  const float threshold = static_cast<float>(call.Float("threshold", 0));
  const float other = static_cast<float>(call.Float("default_value", 0));
  return Result(Unary(call.graph(), UnaryKind::kThreshold, call.Tensor("x"), threshold, other));
}

FunctionArgument Glu(FunctionCall& call) {
  Graph& graph = call.graph();
  const Value x = call.Tensor("x");
  const int64_t axis = call.Int("axis", -1);
  const std::optional<int> normal = compute::NormalizeAxis(axis, graph.rank(x));
  const int64_t size = normal ? graph.shape(x)[*normal] : compute::kUnknown;
  if (size <= 0 || size % 2 != 0) {
    return call.Invalid(fmt::format("cannot halve axis {} of {}", axis, graph.shape(x).ToString()));
  }
  const std::vector<Value> halves = compute::ops::Split(graph, x, {size / 2, size / 2}, *normal);
  return Result(compute::ops::Multiply(graph, halves[0], compute::ops::Sigmoid(graph, halves[1])));
}

// An axis of None means all axes together in keras.ops, the last one in tf.
std::vector<int64_t> SoftmaxAxes(FunctionCall& call) {
  if (const auto axes = call.Ints("axis")) return *axes;
  if (call.is_tensorflow()) return {-1};
  return {};
}

FunctionArgument Softmax(FunctionCall& call) {
  const Value x = call.Tensor("x");
  return Result(compute::ops::Softmax(call.graph(), x, SoftmaxAxes(call)));
}

FunctionArgument LogSoftmax(FunctionCall& call) {
  Graph& graph = call.graph();
  const Value x = call.Tensor("x");
  const std::vector<int64_t> axes = SoftmaxAxes(call);
  if (axes.size() == 1) return Result(compute::ops::LogSoftmax(graph, x, axes[0]));
  const Value sum =
      compute::ops::Reduce(graph, compute::ops::ReduceKind::kLogSumExp, x, axes, true);
  return Result(compute::ops::Subtract(graph, x, sum));
}

FunctionArgument Sparsemax(FunctionCall& call) {
  return Result(compute::ops::Sparsemax(call.graph(), call.Tensor("x"), call.Int("axis", -1)));
}

constexpr FunctionRow kFunctions[] = {
    {"relu", "x, negative_slope, max_value, threshold; alpha=negative_slope", Relu},
    {"relu6", "x", Relu6},
    {"crelu", "x, axis", ConcatenatedRelu},
    {"leaky_relu", "x, negative_slope=p; alpha=p", WithParameter<UnaryKind::kLeakyRelu, 200>},
    {"elu", "x, alpha=p", WithParameter<UnaryKind::kElu, 1000>},
    {"selu", "x", Plain<UnaryKind::kSelu>},
    {"celu", "x, alpha=p", WithParameter<UnaryKind::kCelu, 1000>},
    {"gelu", "x, approximate", Gelu},
    {"activations.gelu", "x, approximate:false", Gelu},
    {"sigmoid", "x", Plain<UnaryKind::kSigmoid>},
    {"log_sigmoid", "x", Plain<UnaryKind::kLogSigmoid>},
    {"hard_sigmoid", "x", HardSigmoid},
    {"hard_silu", "x", Plain<UnaryKind::kHardSilu>},
    {"hard_swish", "x", Plain<UnaryKind::kHardSilu>},
    {"hard_tanh", "x", Plain<UnaryKind::kHardTanh>},
    {"hard_shrink", "x, threshold=p; lambd=p", WithParameter<UnaryKind::kHardShrink, 500>},
    {"soft_shrink", "x, threshold=p; lambd=p", WithParameter<UnaryKind::kSoftShrink, 500>},
    {"tanh_shrink", "x", Plain<UnaryKind::kTanhShrink>},
    {"threshold", "x, threshold, default_value; value=default_value", Threshold},
    {"squareplus", "x, b=p", WithParameter<UnaryKind::kSquareplus, 4000>},
    {"sparse_plus", "x", Plain<UnaryKind::kSparsePlus>},
    {"sparse_sigmoid", "x", Plain<UnaryKind::kSparseSigmoid>},
    {"sparsemax", "x, axis", Sparsemax},
    {"glu", "x, axis", Glu},
    {"silu", "x; beta", Silu},
    {"swish", "x; beta", Silu},
    {"mish", "x", Plain<UnaryKind::kMish>},
    {"softplus", "x", Plain<UnaryKind::kSoftplus>},
    {"softsign", "x", Plain<UnaryKind::kSoftsign>},
    {"tanh", "x", Plain<UnaryKind::kTanh>},
    {"exponential", "x", Plain<UnaryKind::kExp>},
    {"softmax", "x, axis:-1", Softmax},
    {"log_softmax", "x, axis:-1", LogSoftmax},
};

}  // namespace

std::span<const FunctionRow> ActivationFunctions() { return kFunctions; }

}  // namespace h5serve::model
