// The optimiser: all passes in their order.
#pragma once

#include <vector>

#include "compute/graph.h"

namespace h5serve::compute::optimize {

// A graph that computes the same `outputs` (which are updated) without dead
// nodes and with packed weights. With `all` also the passes that change how
// values are computed; results may differ in rounding. Errors are the graph's
// status. May throw std::bad_alloc.
Graph Optimize(Graph graph, std::vector<Value>* outputs, bool all);

}  // namespace h5serve::compute::optimize
