// Runs a small graph, for tests of ops.
#pragma once

#include <functional>
#include <vector>

#include "absl/status/statusor.h"
#include "compute/graph.h"
#include "compute/tensor.h"

namespace h5serve::compute {

using BuildFunction = std::function<std::vector<Value>(Graph&, const std::vector<Value>&)>;

// Builds a graph over inputs of the types of `inputs`, compiles it and runs it
// once. With open_dimensions every dimension of the inputs is kUnknown while the
// graph is built.
absl::StatusOr<std::vector<Tensor>> Evaluate(const std::vector<Tensor>& inputs,
                                             const BuildFunction& build,
                                             bool open_dimensions = false);

// The elements of the only output as doubles; fails the test on an error.
std::vector<double> Numbers(const std::vector<Tensor>& inputs,
                            const std::function<Value(Graph&, const std::vector<Value>&)>& build,
                            Shape* shape = nullptr, bool open_dimensions = false);

// The elements of a float32, int64 or bool tensor.
std::vector<double> AsNumbers(const Tensor& tensor);

// 0, 1, 2, … as float32 or int64.
Tensor Counting(const Shape& shape);
Tensor CountingInts(const Shape& shape);

// Repeatable values between -1 and 1.
Tensor Noise(const Shape& shape, uint32_t seed = 1);

}  // namespace h5serve::compute
