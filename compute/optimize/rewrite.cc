#include "compute/optimize/rewrite.h"

#include <algorithm>

namespace h5serve::compute::optimize {
namespace {

std::vector<bool> LiveNodes(const Graph& graph, const std::vector<Value>& outputs) {
  std::vector<bool> needed(graph.values().size());
  for (Value value : outputs) needed[value.index] = true;
  std::vector<bool> live(graph.nodes().size());
  for (size_t i = live.size(); i-- > 0;) {
    const Graph::Node& node = graph.nodes()[i];
    live[i] = std::any_of(node.outputs.begin(), node.outputs.end(),
                          [&](Value value) { return needed[value.index]; });
    if (!live[i]) continue;
    for (Value value : node.inputs) needed[value.index] = true;
  }
  return live;
}

std::vector<int> CountUses(const Graph& graph, const std::vector<bool>& live,
                           const std::vector<Value>& outputs) {
  std::vector<int> uses(graph.values().size());
  for (Value value : outputs) uses[value.index] += 2;  // never a single use
  for (size_t i = 0; i < live.size(); ++i) {
    if (!live[i]) continue;
    for (Value value : graph.nodes()[i].inputs) ++uses[value.index];
  }
  return uses;
}

// Folding a constant must not make a program much larger than its weights.
int64_t FoldLimit(const Graph& graph) {
  int64_t largest = int64_t{1} << 20;
  for (const Graph::ValueInfo& info : graph.values()) {
    if (info.constant) largest = std::max(largest, info.constant->num_elements());
  }
  return largest;
}

}  // namespace

const Graph::Node* Site::Producer(int i) const {
  const int producer = graph->values()[inputs[i].index].node;
  return producer < 0 ? nullptr : &graph->nodes()[producer];
}

Graph Rewrite(const Graph& graph, std::span<const Pass> passes, std::vector<Value>* outputs) {
  Graph rewritten;
  rewritten.set_fold_limit(FoldLimit(graph));
  const std::vector<bool> live = LiveNodes(graph, *outputs);
  const std::vector<int> uses = CountUses(graph, live, *outputs);
  std::vector<Value> mapped(graph.values().size());
  // Users of each new value, among them those of all old values it stands for.
  std::vector<int> new_uses;
  const auto set = [&](Value from, Value to) {
    mapped[from.index] = to;
    if (new_uses.size() <= static_cast<size_t>(to.index)) new_uses.resize(to.index + 1);
    new_uses[to.index] += uses[from.index];
  };
  for (Value input : graph.inputs()) {
    set(input, rewritten.Input(graph.dtype(input), graph.shape(input)));
  }
  const auto map = [&](Value value) {
    const Tensor* constant = graph.constant(value);
    if (!mapped[value.index].valid() && constant != nullptr) {
      set(value, rewritten.Constant(*constant));
    }
    return mapped[value.index];
  };
  for (size_t i = 0; i < live.size(); ++i) {
    if (!live[i]) continue;
    const Graph::Node& node = graph.nodes()[i];
    Site site{&rewritten, &node, {}, {}};
    for (Value input : node.inputs) {
      site.inputs.push_back(map(input));
      site.only_user.push_back(new_uses[site.inputs.back().index] == 1);
    }
    rewritten.set_label(node.label);
    std::optional<std::vector<Value>> replacement;
    for (Pass pass : passes) {
      replacement = pass(site);
      if (replacement) break;
    }
    if (!replacement) replacement = rewritten.Add(node.op, site.inputs);
    if (!rewritten.status().ok()) return rewritten;
    for (size_t j = 0; j < node.outputs.size(); ++j) set(node.outputs[j], replacement->at(j));
  }
  for (Value& output : *outputs) output = map(output);
  return rewritten;
}

}  // namespace h5serve::compute::optimize
