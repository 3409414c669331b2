// A compiled graph, ready to run.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "compute/graph.h"

namespace h5serve::compute {

// An immutable graph with its weights and, per set of concrete input shapes, a
// plan (shapes of all values, places in one arena). Plans are cached, the least
// recently used is dropped beyond Options::max_plans.
//
// Thread-safe: any number of threads may call Run at once; each run takes an
// arena from a pool and gives it back.
class Program {
 public:
  struct Options {
    int max_plans = 64;
    // A run whose intermediate values need more is refused: RESOURCE_EXHAUSTED.
    int64_t max_arena_bytes = int64_t{8} << 30;
    bool optimize = true;
  };

  // Optimises `graph` and keeps what `outputs` need. Fails when a value is
  // invalid or the graph carries an error.
  static absl::StatusOr<std::shared_ptr<const Program>> Compile(Graph graph,
                                                                std::vector<Value> outputs,
                                                                const Options& options);
  ~Program();

  // Runs the graph. `inputs` are in the order of Graph::Input calls, of their
  // GraphDType, with shapes that agree with the declared ones; otherwise
  // INVALID_ARGUMENT. Fresh memory is allocated for `outputs`, which must not
  // be null. `parallelism` may be null (one thread).
  absl::Status Run(std::span<const Tensor> inputs, const Parallelism* parallelism,
                   std::vector<Tensor>* outputs) const;

  // Types of the outputs for concrete input shapes, without running.
  absl::StatusOr<std::vector<ValueType>> OutputTypes(std::span<const Shape> input_shapes) const;

  // Multiplications and additions of one run, of products and convolutions alone.
  absl::StatusOr<double> Flops(std::span<const Shape> input_shapes) const;

  // Label of the first node whose output has a NaN or infinity for these
  // inputs, or "" when every value is finite. Slow: for diagnosis.
  absl::StatusOr<std::string> FirstNonFinite(std::span<const Tensor> inputs) const;

  const std::vector<ValueType>& input_types() const;
  const std::vector<ValueType>& output_types() const;
  // Bytes of constants (weights in all their packed forms).
  int64_t constant_bytes() const;
  int num_nodes() const;
  // One line per node, for people.
  std::string ToString() const;

 private:
  struct Plan;
  struct State;
  explicit Program(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace h5serve::compute
