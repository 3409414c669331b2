#include "compute/ops/partial_value.h"

#include <fmt/format.h>

#include <algorithm>

namespace h5serve::compute::ops {
namespace {

using Partial = std::optional<std::vector<int64_t>>;

// Longer vectors cannot be shapes, and deeper expressions are not looked into.
constexpr int64_t kMaxLength = 64;
constexpr int kMaxDepth = 24;

// Element-wise arithmetic on what is known; an unknown operand gives unknown.
Partial Combine(std::string_view name, const Partial& a, const Partial& b) {
  if (!a || !b) return std::nullopt;
  const size_t size = std::max(a->size(), b->size());
  if ((a->size() != size && a->size() != 1) || (b->size() != size && b->size() != 1)) {
    return std::nullopt;
  }
  std::vector<int64_t> result(size, kUnknown);
  for (size_t i = 0; i < size; ++i) {
    const int64_t x = (*a)[a->size() == 1 ? 0 : i];
    const int64_t y = (*b)[b->size() == 1 ? 0 : i];
    if (x < 0 || y < 0) continue;
    int64_t value = kUnknown;
    if (name == "Multiply" && __builtin_mul_overflow(x, y, &value)) value = kUnknown;
    if (name == "Add" && __builtin_add_overflow(x, y, &value)) value = kUnknown;
    if (name == "Subtract" && x >= y) value = x - y;
    if (name == "FloorDivide" && y > 0) value = x / y;
    if (name == "Maximum") value = std::max(x, y);
    if (name == "Minimum") value = std::min(x, y);
    result[i] = value;
  }
  return result;
}

Partial Evaluate(const Graph& graph, Value value, int depth) {
  if (!value.valid()) return std::nullopt;
  const Shape& shape = graph.shape(value);
  if (graph.dtype(value) != DType::kInt64 || shape.rank() > 1 || !shape.known() ||
      shape.num_elements() > kMaxLength) {
    return std::nullopt;
  }
  const int64_t count = shape.num_elements();
  if (const Tensor* constant = graph.constant(value)) {
    const int64_t* data = constant->data<int64_t>();
    return std::vector<int64_t>(data, data + count);
  }
  std::vector<int64_t> unknown(static_cast<size_t>(count), kUnknown);
  const int producer = graph.values()[value.index].node;
  if (producer < 0 || depth >= kMaxDepth) return unknown;
  const Graph::Node& node = graph.nodes()[producer];
  const auto* partial = dynamic_cast<const PartialOp*>(node.op.get());
  const bool binary = node.inputs.size() == 2 && node.outputs.size() == 1;
  if (partial == nullptr && !binary && !node.op->IsView()) return unknown;
  std::vector<Partial> inputs;
  for (Value input : node.inputs) inputs.push_back(Evaluate(graph, input, depth + 1));
  Partial result;
  if (partial != nullptr) {
    result = partial->Partial(graph, node.inputs, inputs);
  } else if (node.op->IsView()) {
    result = inputs[0];
  } else {
    result = Combine(node.op->name(), inputs[0], inputs[1]);
  }
  if (!result || static_cast<int64_t>(result->size()) != count) return unknown;
  return result;
}

}  // namespace

std::optional<std::vector<int64_t>> PartialValue(const Graph& graph, Value value) {
  return Evaluate(graph, value, 0);
}

absl::StatusOr<Shape> ShapeFromTensor(const Tensor& tensor) {
  if (tensor.dtype() != DType::kInt64 || tensor.shape().rank() > 1) {
    return absl::InvalidArgumentError("a shape must be a vector of integers");
  }
  const int64_t rank = tensor.num_elements();
  if (rank > kMaxRank) {
    return absl::InvalidArgumentError(fmt::format("rank {} is above {}", rank, kMaxRank));
  }
  Shape shape;
  int64_t elements = 1;
  for (int64_t i = 0; i < rank; ++i) {
    const int64_t dim = tensor.data<int64_t>()[i];
    if (dim < kUnknown) {
      return absl::InvalidArgumentError(fmt::format("negative dimension: {}", dim));
    }
    if (dim > 0 && (__builtin_mul_overflow(elements, dim, &elements) || elements > kMaxElements)) {
      return absl::InvalidArgumentError("a shape has too many elements");
    }
    shape.push_back(dim);
  }
  return shape;
}

}  // namespace h5serve::compute::ops
