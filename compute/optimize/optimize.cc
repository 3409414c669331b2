#include "compute/optimize/optimize.h"

#include "compute/optimize/rewrite.h"
#include "compute/optimize/specialize.h"

namespace h5serve::compute::optimize {

Graph Optimize(Graph graph, std::vector<Value>* outputs, bool all) {
  static constexpr Pass kSpecialize[] = {Specialize};
  graph = Rewrite(graph, {}, outputs);
  if (!graph.status().ok()) return graph;
  graph = Rewrite(graph, kSpecialize, outputs);
  if (!graph.status().ok()) return graph;
  // Constants that have gone into ops are dropped.
  return Rewrite(graph, {}, outputs);
}

}  // namespace h5serve::compute::optimize
