// How a graph runs for one set of concrete input shapes.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "compute/graph.h"
#include "compute/tensor.h"

namespace h5serve::compute {

// Immutable. Operands of all steps are views in one array; the template below
// has the shapes and, for constants, the memory. The rest is filled in by who
// runs the plan.
struct Plan {
  struct Step {
    const Op* op;
    int first_view;  // inputs, then outputs
    int inputs;
    int outputs;
    int64_t scratch_offset;
    int node;
  };
  // views[view].data is to be `place` of the memory that the list stands for.
  struct Patch {
    int view;
    int64_t place;
  };
  struct Output {
    ValueType type;
    int fresh = -1;  // index into fresh_outputs, or else:
    int input = -1;  // a copy of that input
    Tensor known;    // or a copy of that constant
  };

  std::vector<Shape> input_shapes;
  std::vector<Step> steps;
  std::vector<TensorView> views;
  std::vector<Patch> arena_patches;   // place: offset
  std::vector<Patch> input_patches;   // place: index of the input
  std::vector<Patch> output_patches;  // place: index into fresh_outputs
  std::vector<Patch> string_patches;  // place: index into string_shapes
  std::vector<ValueType> fresh_outputs;
  std::vector<Shape> string_shapes;
  std::vector<Output> outputs;
  std::vector<Tensor> known;  // values computed while planning, kept alive
  int64_t arena_bytes = 0;
};

// Infers all shapes, computes what follows from shapes alone, and lays out
// memory. INVALID_ARGUMENT when the graph refuses the shapes,
// RESOURCE_EXHAUSTED when a run would need more than `max_bytes`.
absl::StatusOr<Plan> MakePlan(const Graph& graph, std::span<const Value> outputs,
                              std::span<const Shape> input_shapes, int64_t max_bytes);

}  // namespace h5serve::compute
