// Whether the rows of a batch influence each other in a Lambda layer.
#pragma once

#include <functional>
#include <vector>

#include "compute/graph.h"

namespace h5serve::model {

// A tensor that a part of a graph depends on: its type, or its value when it is known.
struct TrialInput {
  compute::DType dtype = compute::DType::kFloat32;
  compute::Shape shape;
  const compute::Tensor* constant = nullptr;
};

// Builds the part once more, on other inputs; empty when it cannot be.
using BuildPart = std::function<std::vector<compute::Value>(
    compute::Graph& graph, const std::vector<compute::Value>& inputs)>;

// Runs the part on a few random rows, together and one by one. True unless both
// give the same: when a row's result depends on the others, when the results are
// not in rows, or when no trial is possible. Takes milliseconds.
bool MixesRows(const std::vector<TrialInput>& inputs, const BuildPart& build);

}  // namespace h5serve::model
