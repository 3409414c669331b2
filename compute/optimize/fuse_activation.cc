#include "compute/optimize/fuse_activation.h"

#include "compute/ops/elementwise_ops.h"

namespace h5serve::compute::optimize {

std::optional<std::vector<Value>> FuseActivation(Site& site) {
  const auto* unary = dynamic_cast<const ops::UnaryOp*>(site.node->op.get());
  if (unary == nullptr || !site.only_user[0]) return std::nullopt;
  const Graph::Node* producer = site.Producer(0);
  if (producer == nullptr || producer->outputs.size() != 1) return std::nullopt;
  std::shared_ptr<const Op> fused =
      producer->op->WithActivation(unary->kind(), unary->p(), unary->q());
  if (fused == nullptr) return std::nullopt;
  site.graph->set_label(producer->label);
  return site.graph->Add(std::move(fused), std::vector<Value>(producer->inputs));
}

}  // namespace h5serve::compute::optimize
