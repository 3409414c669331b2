#include "compute/optimize/move_transpose.h"

#include <algorithm>

#include "compute/ops/shape_ops.h"

namespace h5serve::compute::optimize {
namespace {

const std::vector<int>* PermutationOf(const Graph::Node* node) {
  return node == nullptr ? nullptr : node->op->Permutation();
}

std::vector<int> Inverse(const std::vector<int>& permutation) {
  std::vector<int> inverse(permutation.size());
  for (size_t i = 0; i < permutation.size(); ++i) inverse[permutation[i]] = static_cast<int>(i);
  return inverse;
}

// Whether the constant, broadcast, leaves the shape as it is.
bool FitsInto(const Shape& constant, const Shape& shape) {
  if (constant.rank() > shape.rank()) return false;
  const int offset = shape.rank() - constant.rank();
  for (int axis = 0; axis < constant.rank(); ++axis) {
    if (constant[axis] != 1 && constant[axis] != shape[offset + axis]) return false;
  }
  return true;
}

// The constant as it is before the permutation.
Value Unpermute(Graph& graph, Value constant, const std::vector<int>& permutation) {
  const Tensor& tensor = *graph.constant(constant);
  if (tensor.num_elements() == 1) return constant;
  Shape full = tensor.shape();
  while (full.rank() < static_cast<int>(permutation.size())) full.Insert(0, 1);
  return ops::Transpose(graph, graph.Constant(tensor.Reshaped(full)), Inverse(permutation));
}

}  // namespace

std::optional<std::vector<Value>> MergeTransposes(Site& site) {
  const std::vector<int>* second = site.node->op->Permutation();
  if (second == nullptr) return std::nullopt;
  const Graph::Node* producer = site.Producer(0);
  const std::vector<int>* first = PermutationOf(producer);
  if (first == nullptr || first->size() != second->size()) return std::nullopt;
  std::vector<int> merged(second->size());
  for (size_t i = 0; i < merged.size(); ++i) merged[i] = (*first)[(*second)[i]];
  const Value source = producer->inputs[0];
  if (std::is_sorted(merged.begin(), merged.end())) return std::vector<Value>{source};
  return std::vector<Value>{ops::Transpose(*site.graph, source, merged)};
}

std::optional<std::vector<Value>> SinkTranspose(Site& site) {
  const Graph::Node& node = *site.node;
  if (node.outputs.size() != 1 || node.inputs.empty()) return std::nullopt;
  const bool elementwise = node.op->IsElementwise();
  // All inputs must come through the same permutation, one of them into this
  // node alone, or be constants that broadcast into what does.
  std::shared_ptr<const Op> transpose;
  const std::vector<int>* permutation = nullptr;
  Shape shape;
  bool worthwhile = false;
  for (size_t i = 0; i < site.inputs.size(); ++i) {
    const Graph::Node* producer = site.Producer(static_cast<int>(i));
    const std::vector<int>* found = PermutationOf(producer);
    if (found == nullptr) {
      if (!elementwise || site.graph->constant(site.inputs[i]) == nullptr) return std::nullopt;
      continue;
    }
    if (permutation != nullptr && *found != *permutation) return std::nullopt;
    permutation = found;
    transpose = producer->op;
    shape = site.graph->shape(site.inputs[i]);
    worthwhile = worthwhile || site.only_user[i];
  }
  if (permutation == nullptr || !worthwhile) return std::nullopt;
  for (Value input : site.inputs) {
    const Tensor* constant = site.graph->constant(input);
    if (constant != nullptr && !FitsInto(constant->shape(), shape)) return std::nullopt;
  }
  std::shared_ptr<const Op> op = elementwise ? node.op : node.op->Unpermuted(*permutation);
  if (op == nullptr) return std::nullopt;
  std::vector<Value> inputs;
  for (size_t i = 0; i < site.inputs.size(); ++i) {
    const Graph::Node* producer = site.Producer(static_cast<int>(i));
    if (PermutationOf(producer) != nullptr) {
      inputs.push_back(producer->inputs[0]);
    } else {
      inputs.push_back(Unpermute(*site.graph, site.inputs[i], *permutation));
    }
  }
  const std::vector<Value> result = site.graph->Add(std::move(op), std::move(inputs));
  return site.graph->Add(std::move(transpose), {result.at(0)});
}

}  // namespace h5serve::compute::optimize
