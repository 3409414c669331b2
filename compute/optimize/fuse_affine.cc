#include "compute/optimize/fuse_affine.h"

#include "compute/ops/affine.h"
#include "compute/ops/elementwise_ops.h"
#include "compute/optimize/channel_vector.h"

namespace h5serve::compute::optimize {
namespace {

// x and a vector per channel, of `node` with these inputs, when it is op(x, vector).
struct Pattern {
  Value x;
  Tensor vector;
};
std::optional<Pattern> Match(const Graph& graph, const Op& op, const std::vector<Value>& inputs,
                             ops::BinaryKind kind) {
  const auto* binary = dynamic_cast<const ops::BinaryOp*>(&op);
  if (binary == nullptr || binary->kind() != kind) return std::nullopt;
  const int constant = graph.constant(inputs[1]) != nullptr ? 1 : 0;
  const Value x = inputs[1 - constant];
  if (graph.constant(x) != nullptr) return std::nullopt;
  std::optional<Tensor> vector = ChannelVector(graph, inputs[constant], graph.shape(x));
  if (!vector) return std::nullopt;
  return Pattern{x, *std::move(vector)};
}

}  // namespace

std::optional<std::vector<Value>> FuseAffine(Site& site) {
  Graph& graph = *site.graph;
  const std::optional<Pattern> sum =
      Match(graph, *site.node->op, site.inputs, ops::BinaryKind::kAdd);
  if (!sum) return std::nullopt;
  const int x = sum->x == site.inputs[0] ? 0 : 1;
  const Graph::Node* producer = site.Producer(x);
  if (producer == nullptr || !site.only_user[x]) return std::nullopt;
  const std::optional<Pattern> product =
      Match(graph, *producer->op, producer->inputs, ops::BinaryKind::kMultiply);
  if (!product) return std::nullopt;
  const Value scale = graph.Constant(product->vector), shift = graph.Constant(sum->vector);
  return graph.Add(std::make_shared<ops::AffineOp>(), {product->x, scale, shift});
}

}  // namespace h5serve::compute::optimize
