#include "compute/optimize/fold_scale.h"

#include <algorithm>
#include <cmath>

#include "compute/ops/elementwise.h"
#include "compute/ops/elementwise_ops.h"
#include "compute/optimize/channel_vector.h"

namespace h5serve::compute::optimize {
namespace {

constexpr size_t kKernel = 1;
constexpr size_t kBias = 2;

// Very large or small factors could overflow a kernel whose products with the
// input would not.
bool IsModerate(const Tensor& factor) {
  const float* values = factor.data<float>();
  return std::all_of(values, values + factor.num_elements(), [](float value) {
    const float magnitude = std::fabs(value);
    return value == 0 || (magnitude > 1e-12f && magnitude < 1e12f);
  });
}

std::optional<std::vector<Value>> FoldFactor(Site& site, const Graph::Node& producer,
                                             const Shape& factor_shape, const Tensor& factor) {
  if (!IsModerate(factor)) return std::nullopt;
  Graph& graph = *site.graph;
  std::vector<Value> inputs = producer.inputs;
  const Value kernel_factor = graph.Constant(factor.Reshaped(factor_shape));
  inputs[kKernel] = ops::Multiply(graph, inputs[kKernel], kernel_factor);
  if (inputs.size() > kBias) {
    inputs[kBias] = ops::Multiply(graph, inputs[kBias], graph.Constant(factor));
  }
  return graph.Add(producer.op, std::move(inputs));
}

std::optional<std::vector<Value>> FoldSummand(Site& site, const Graph::Node& producer,
                                              const Tensor& summand, bool subtract) {
  Graph& graph = *site.graph;
  std::vector<Value> inputs = producer.inputs;
  Value vector = graph.Constant(summand);
  std::shared_ptr<const Op> op = producer.op;
  if (inputs.size() > kBias) {
    inputs[kBias] = subtract ? ops::Subtract(graph, inputs[kBias], vector)
                             : ops::Add(graph, inputs[kBias], vector);
  } else {
    op = op->WithBias();
    if (op == nullptr) return std::nullopt;
    if (subtract) vector = ops::Unary(graph, ops::UnaryKind::kNegative, vector);
    inputs.push_back(vector);
  }
  return graph.Add(std::move(op), std::move(inputs));
}

}  // namespace

std::optional<std::vector<Value>> FoldScale(Site& site) {
  const auto* binary = dynamic_cast<const ops::BinaryOp*>(site.node->op.get());
  if (binary == nullptr) return std::nullopt;
  const ops::BinaryKind kind = binary->kind();
  const bool multiply = kind == ops::BinaryKind::kMultiply;
  const bool subtract = kind == ops::BinaryKind::kSubtract;
  if (!multiply && !subtract && kind != ops::BinaryKind::kAdd) return std::nullopt;
  // Which operand is the constant; `constant - x` is not of this form.
  const Graph& graph = *site.graph;
  const int constant = graph.constant(site.inputs[1]) != nullptr ? 1 : 0;
  if (graph.constant(site.inputs[constant]) == nullptr || (subtract && constant == 0)) {
    return std::nullopt;
  }
  const int x = 1 - constant;
  const Graph::Node* found = site.Producer(x);
  if (!site.only_user[x] || found == nullptr || found->inputs.size() <= kKernel) {
    return std::nullopt;
  }
  const Graph::Node producer = *found;  // the graph's nodes move when it grows
  for (size_t i = kKernel; i < producer.inputs.size(); ++i) {
    if (graph.constant(producer.inputs[i]) == nullptr) return std::nullopt;
  }
  const std::optional<Shape> factor_shape =
      producer.op->KernelFactorShape(graph.shape(producer.inputs[kKernel]));
  if (!factor_shape) return std::nullopt;
  const std::optional<Tensor> vector =
      ChannelVector(graph, site.inputs[constant], graph.shape(site.inputs[x]));
  if (!vector) return std::nullopt;
  site.graph->set_label(producer.label);
  return multiply ? FoldFactor(site, producer, *factor_shape, *vector)
                  : FoldSummand(site, producer, *vector, subtract);
}

}  // namespace h5serve::compute::optimize
