// What is known of a vector of integers before the shapes of a request are.
#pragma once

#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "compute/graph.h"

namespace h5serve::compute::ops {

// The elements of an int64 scalar or vector, kUnknown (-1) where they follow
// from open dimensions: of shapes, their items, and vectors put together from
// items. nullopt when not even the length is known. The result says what a
// shape will be; -1 may also stand in the vector itself.
std::optional<std::vector<int64_t>> PartialValue(const Graph& graph, Value value);

// The shape in an int64 vector; -1 becomes kUnknown. INVALID_ARGUMENT for a
// rank above kMaxRank, other negative numbers and too many elements.
absl::StatusOr<Shape> ShapeFromTensor(const Tensor& tensor);

// Implemented by ops whose int64 output can be partly known.
class PartialOp {
 public:
  virtual ~PartialOp() = default;
  // `inputs` holds what is known of each input (nullopt: nothing).
  virtual std::optional<std::vector<int64_t>> Partial(
      const Graph& graph, std::span<const Value> values,
      std::span<const std::optional<std::vector<int64_t>>> inputs) const = 0;
};

}  // namespace h5serve::compute::ops
