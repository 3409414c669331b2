// Rebuilds a graph node by node, letting passes replace what they know better.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "compute/graph.h"

namespace h5serve::compute::optimize {

// A node that is about to be copied into the new graph.
struct Site {
  Graph* graph;  // the new one
  const Graph::Node* node;
  std::vector<Value> inputs;  // of the node, in the new graph
  // Whether the node is the only user of that input, which is no output of the
  // graph: its producer may be replaced.
  std::vector<bool> only_user;

  // The node in the new graph that makes input i, or null.
  const Graph::Node* Producer(int i) const;
};

// Gives the values that replace the node's outputs, or nullopt to leave it. What
// a pass adds to the graph is seen as producer by the nodes that follow; nodes
// left without users disappear in the next rewrite.
using Pass = std::optional<std::vector<Value>> (*)(Site& site);

// Copies what `outputs` need (and all inputs) into a new graph, and updates
// `outputs`. At each node the first pass that answers wins. After an error the
// graph is incomplete; the error is its status.
Graph Rewrite(const Graph& graph, std::span<const Pass> passes, std::vector<Value>* outputs);

}  // namespace h5serve::compute::optimize
