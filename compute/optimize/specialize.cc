#include "compute/optimize/specialize.h"

namespace h5serve::compute::optimize {

std::optional<std::vector<Value>> Specialize(Site& site) {
  std::vector<ValueType> types;
  std::vector<const Tensor*> constants;
  for (Value input : site.inputs) {
    types.push_back({site.graph->dtype(input), site.graph->shape(input)});
    constants.push_back(site.graph->constant(input));
  }
  Specialized special = site.node->op->Specialize(types, constants);
  if (special.op == nullptr) return std::nullopt;
  std::vector<Value> inputs;
  for (int i : special.inputs) inputs.push_back(site.inputs[i]);
  return site.graph->Add(std::move(special.op), std::move(inputs));
}

}  // namespace h5serve::compute::optimize
