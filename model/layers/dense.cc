// Dense layers and what is made of them.
#include <fmt/format.h>

#include "compute/ops/elementwise.h"
#include "compute/ops/linear.h"
#include "compute/ops/reduce.h"
#include "compute/ops/shape_ops.h"
#include "model/layers/layer_functions.h"
#include "model/layers/layer_support.h"
#include "model/layers/quantization.h"

namespace h5serve::model {

namespace ops = compute::ops;

namespace {

int64_t LastSize(const Graph& graph, Value x) {
  return graph.rank(x) == 0 ? kUnknown : graph.shape(x).back();
}

// A keras.layers.EinsumDense equation that contracts trailing axes of x with
// leading axes of the kernel, in the same order: the number of axes contracted,
// or 0 when it does anything else.
int ContractedTrailingAxes(std::string_view equation) {
  const size_t comma = equation.find(',');
  const size_t arrow = equation.find("->");
  if (comma == std::string_view::npos || arrow == std::string_view::npos || arrow < comma) return 0;
  std::string_view x = equation.substr(0, comma);
  const std::string_view kernel = equation.substr(comma + 1, arrow - comma - 1);
  std::string_view y = equation.substr(arrow + 2);
  if (equation.find(' ') != std::string_view::npos) return 0;
  for (size_t n = 1; n <= std::min(x.size(), kernel.size()); ++n) {
    const std::string_view bound = kernel.substr(0, n);
    const std::string_view free = kernel.substr(n);
    if (!x.ends_with(bound) || bound.find('.') != std::string_view::npos) continue;
    const std::string_view rest = x.substr(0, x.size() - n);
    if (y.size() == rest.size() + free.size() && y.starts_with(rest) && y.ends_with(free) &&
        y.find_first_of(bound) == std::string_view::npos) {
      return static_cast<int>(n);
    }
  }
  return 0;
}

}  // namespace

std::vector<KerasTensor> LowerDense(const LayerScope& scope, const CallInputs& inputs) {
  Graph& graph = scope.graph();
  const KerasTensor input = SingleInput(scope, inputs);
  const int64_t units = scope.PositiveInt("units");
  if (scope.failed()) return {};
  if (graph.rank(input.value) < 2) {
    graph.Fail(absl::InvalidArgumentError(
        fmt::format("Dense takes rank 2 or more, not {}", graph.shape(input.value).ToString())));
    return {};
  }
  const Value x = AsFloat(graph, input.value);
  if (!QuantizationMode(scope.layer()).empty()) {
    return One(ApplyActivation(scope, QuantizedDense(scope, x, units)), input.mask);
  }
  const Value kernel =
      WeightWithLora(scope, "kernel", Shape{LastSize(graph, x), units}, "lora_kernel");
  const Value bias = OptionalBias(scope, units);
  if (scope.failed()) return {};
  return One(ApplyActivation(scope, ops::Dense(graph, x, kernel, bias)), input.mask);
}

std::vector<WeightRole> DenseWeights(const Layer& layer, const Writer& writer) {
  if (!QuantizationMode(layer).empty()) return QuantizedKernelRoles(layer);
  return KernelBiasRoles(layer);
}

std::vector<KerasTensor> LowerEinsumDense(const LayerScope& scope, const CallInputs& inputs) {
  Graph& graph = scope.graph();
  const KerasTensor input = SingleInput(scope, inputs);
  std::string equation = scope.String("equation", "");
  if (scope.failed()) return {};
  std::erase(equation, ' ');
  const Value x = AsFloat(graph, input.value);
  const bool has_bias = scope.Has("bias_axes");
  if (!QuantizationMode(scope.layer()).empty()) {
    scope.Fail(Code::kQuantizedUnsupported,
               fmt::format("layer {} is an EinsumDense quantized as {}", scope.path(),
                           QuantizationMode(scope.layer())));
    return {};
  }
  const Tensor* stored = scope.WeightTensor("kernel");
  const int contracted = ContractedTrailingAxes(equation);
  const bool plain = stored != nullptr && scope.WeightTensor("lora_kernel_a") == nullptr;
  // A bias over all the kernel's output axes is one vector of the product.
  const Tensor* bias_tensor = scope.WeightTensor("bias");
  const bool whole_bias =
      !has_bias ||
      (bias_tensor != nullptr && stored != nullptr &&
       bias_tensor->shape() == stored->shape().Slice(contracted, stored->shape().rank()));
  if (contracted > 0 && plain && whole_bias) {
    return One(
        ApplyActivation(scope, Project(scope, x, contracted, "kernel", has_bias ? "bias" : "")),
        std::nullopt);
  }
  Shape any;
  for (int i = 0; stored != nullptr && i < stored->shape().rank(); ++i) any.push_back(kUnknown);
  const Value kernel = WeightWithLora(scope, "kernel", any, "lora_kernel");
  if (scope.failed()) return {};
  Value y = ops::Einsum(graph, equation, {x, kernel});
  if (has_bias) {
    Shape shape;
    for (int i = 0; bias_tensor != nullptr && i < bias_tensor->shape().rank(); ++i) {
      shape.push_back(kUnknown);
    }
    y = ops::Add(graph, y, scope.Weight("bias", shape));
  }
  return One(ApplyActivation(scope, y), std::nullopt);
}

std::vector<WeightRole> EinsumDenseWeights(const Layer& layer, const Writer& writer) {
  Layer biased;
  biased.config = layer.config;
  if (biased.config.is_dict()) {
    biased.config.as_dict().insert_or_assign("use_bias", !layer.config["bias_axes"].is_null());
  }
  if (!QuantizationMode(biased).empty()) return QuantizedKernelRoles(biased);
  return KernelBiasRoles(biased);
}

// y = act(x W + b) t + x (1 - t) with t = sigmoid(x W_carry + b_carry). Source:
// keras/layers/core.py of 1.2.2.
std::vector<KerasTensor> LowerHighway(const LayerScope& scope, const CallInputs& inputs) {
  Graph& graph = scope.graph();
  const KerasTensor input = SingleInput(scope, inputs);
  const Value x = AsFloat(graph, input.value);
  const int64_t size = LastSize(graph, x);
  const bool use_bias = scope.Bool("use_bias", true);
  const Value kernel = scope.Weight("W", Shape{size, size});
  const Value carry = scope.Weight("W_carry", Shape{size, size});
  const Value bias = use_bias ? scope.Weight("b", Shape{size}) : Value{};
  const Value bias_carry = use_bias ? scope.Weight("b_carry", Shape{size}) : Value{};
  if (scope.failed()) return {};
  const Value gate = ops::Sigmoid(graph, ops::Dense(graph, x, carry, bias_carry));
  const Value transformed = ApplyActivation(scope, ops::Dense(graph, x, kernel, bias));
  // act t + (1 - t) x = x + t (act - x)
  const Value kept = ops::Multiply(
      graph, ops::AddScalar(graph, ops::Unary(graph, ops::UnaryKind::kNegative, gate), 1), x);
  return One(ops::Add(graph, ops::Multiply(graph, transformed, gate), kept), input.mask);
}

std::vector<WeightRole> HighwayWeights(const Layer& layer, const Writer& writer) {
  if (!ConfigBool(layer, "use_bias", true)) return {{"W"}, {"W_carry"}};
  return {{"W"}, {"W_carry"}, {"b"}, {"b_carry"}};
}

// The largest of nb_feature linear maps.
std::vector<KerasTensor> LowerMaxoutDense(const LayerScope& scope, const CallInputs& inputs) {
  Graph& graph = scope.graph();
  const KerasTensor input = SingleInput(scope, inputs);
  const Value x = AsFloat(graph, input.value);
  const int64_t features = scope.Int("nb_feature", 4);
  const int64_t units = scope.PositiveInt(scope.Has("units") ? "units" : "output_dim");
  const int64_t size = LastSize(graph, x);
  if (scope.failed() || !RequireRank(scope, x, 2)) return {};
  const Value kernel = scope.Weight("kernel", Shape{features, size, units});
  Value y = ops::Einsum(graph, "bi,fio->bfo", {x, kernel});
  if (scope.Bool("use_bias", true)) {
    y = ops::Add(graph, y, scope.Weight("bias", Shape{features, units}));
  }
  return One(ops::Reduce(graph, ops::ReduceKind::kMax, y, {1}, false));
}

std::vector<WeightRole> KernelBiasWeights(const Layer& layer, const Writer& writer) {
  return KernelBiasRoles(layer);
}

// cos(x kernel / scale + bias), the inner product's random features. Source:
// keras/layers/kernelized.py of 2.10.
std::vector<KerasTensor> LowerRandomFourierFeatures(const LayerScope& scope,
                                                    const CallInputs& inputs) {
  Graph& graph = scope.graph();
  const KerasTensor input = SingleInput(scope, inputs);
  const Value x = AsFloat(graph, input.value);
  const int64_t units = scope.PositiveInt("output_dim");
  if (scope.failed() || !RequireRank(scope, x, 2)) return {};
  const Value kernel = scope.Weight("unscaled_kernel", Shape{LastSize(graph, x), units});
  const Value bias = scope.Weight("bias", Shape{units});
  const Value scale = scope.Weight("kernel_scale", Shape{1});
  if (scope.failed()) return {};
  const Value scaled = ops::Divide(graph, kernel, scale);
  return One(ops::Unary(graph, ops::UnaryKind::kCos, ops::Dense(graph, x, scaled, bias)));
}

std::vector<WeightRole> RandomFourierFeaturesWeights(const Layer& layer, const Writer& writer) {
  // Only the scale is created trainable.
  return {{"kernel_scale"}, {"unscaled_kernel", false}, {"bias", false}};
}

}  // namespace h5serve::model
