#include "compute/optimize/fuse_addend.h"

#include "compute/ops/elementwise_ops.h"

namespace h5serve::compute::optimize {
namespace {

// Surely of one shape in every run: unknown sizes of the batch are one size,
// other unknown sizes might still broadcast.
bool SameShape(const Shape& a, const Shape& b) {
  if (!(a == b)) return false;
  for (int axis = 1; axis < a.rank(); ++axis) {
    if (a[axis] == kUnknown) return false;
  }
  return a.rank() > 1;
}

}  // namespace

std::optional<std::vector<Value>> FuseAddend(Site& site) {
  const auto* add = dynamic_cast<const ops::BinaryOp*>(site.node->op.get());
  if (add == nullptr || add->kind() != ops::BinaryKind::kAdd) return std::nullopt;
  if (site.inputs[0] == site.inputs[1] ||
      !SameShape(site.graph->shape(site.inputs[0]), site.graph->shape(site.inputs[1]))) {
    return std::nullopt;
  }
  // The one computed last: the other is there when it runs.
  const int last = site.inputs[1].index > site.inputs[0].index ? 1 : 0;
  for (int i : {last, 1 - last}) {
    const Graph::Node* producer = site.Producer(i);
    if (!site.only_user[i] || producer == nullptr || producer->outputs.size() != 1) continue;
    std::shared_ptr<const Op> fused = producer->op->WithAddend();
    if (fused == nullptr) continue;
    std::vector<Value> inputs = producer->inputs;
    inputs.push_back(site.inputs[1 - i]);
    site.graph->set_label(producer->label);
    return site.graph->Add(std::move(fused), std::move(inputs));
  }
  return std::nullopt;
}

}  // namespace h5serve::compute::optimize
