// Runs single ops the ways a program does.
#pragma once

#include <functional>
#include <random>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "compute/graph.h"
#include "compute/tensor.h"

namespace h5serve::compute {

// Builds ops from values of the given tensors and gives their outputs.
using OpBuilder = std::function<std::vector<Value>(Graph&, const std::vector<Value>&)>;

// Runs the one op that `build` adds, with all tensors as inputs, or, when
// `specialize`, with all but the first as constants that the op may take into
// itself. `threads` > 1 runs ranges of its loops out of order. Scratch memory is
// exactly what the op asked for, and checked not to be exceeded.
struct RunOptions {
  bool specialize = false;
  int threads = 1;
  // Applied to the op before it runs, if it can take it.
  std::function<std::shared_ptr<const Op>(const Op&)> rewrite;
};
absl::StatusOr<std::vector<Tensor>> RunOp(const OpBuilder& build,
                                          const std::vector<Tensor>& tensors,
                                          const RunOptions& options);

// Normally distributed values.
Tensor RandomTensor(std::mt19937& random, const Shape& shape);
// Uniform in [low, high].
int64_t RandomInt(std::mt19937& random, int64_t low, int64_t high);

// The largest difference, relative to the largest expected magnitude (or 1).
double RelativeError(const Tensor& actual, const std::vector<double>& expected);

}  // namespace h5serve::compute
