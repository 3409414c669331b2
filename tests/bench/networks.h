// The networks that the speed of `compute` is measured with: those of the tables
// in docs/performance.md, with random weights.
#pragma once

#include <string>
#include <vector>

#include "compute/graph.h"

namespace h5serve::bench {

struct Network {
  std::string name;
  compute::Graph graph;
  compute::Value input;
  compute::Value output;
  double flops = 0;        // of one row, as far as products go
  int64_t vocabulary = 0;  // inputs are indices below this, where it is not 0
};

std::vector<std::string> NetworkNames();
// REQUIRES: one of NetworkNames().
Network MakeNetwork(const std::string& name);

}  // namespace h5serve::bench
