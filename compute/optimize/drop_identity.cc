#include "compute/optimize/drop_identity.h"

#include <algorithm>

#include "compute/ops/elementwise_ops.h"

namespace h5serve::compute::optimize {
namespace {

bool IsAll(const Tensor& tensor, float value) {
  const float* values = tensor.data<float>();
  return std::all_of(values, values + tensor.num_elements(),
                     [value](float element) { return element == value; });
}

// The neutral element of the second operand, and whether also of the first.
struct Neutral {
  float value;
  bool commutes;
};
std::optional<Neutral> NeutralOf(ops::BinaryKind kind) {
  switch (kind) {
    case ops::BinaryKind::kAdd:
      return Neutral{0, true};
    case ops::BinaryKind::kSubtract:
      return Neutral{0, false};
    case ops::BinaryKind::kMultiply:
      return Neutral{1, true};
    case ops::BinaryKind::kDivide:
    case ops::BinaryKind::kPower:
      return Neutral{1, false};
    default:
      return std::nullopt;
  }
}

// Whether broadcasting against `other` leaves `x` in its shape.
bool KeepsShape(const Shape& x, const Shape& other) {
  if (other.rank() > x.rank()) return false;
  const int offset = x.rank() - other.rank();
  for (int axis = 0; axis < other.rank(); ++axis) {
    if (other[axis] != 1 && other[axis] != x[offset + axis]) return false;
  }
  return true;
}

std::optional<int> NeutralInput(const Site& site, const ops::BinaryOp& op) {
  const std::optional<Neutral> neutral = NeutralOf(op.kind());
  if (!neutral) return std::nullopt;
  for (int i : {1, 0}) {
    const Tensor* constant = site.graph->constant(site.inputs[i]);
    if (constant == nullptr || (i == 0 && !neutral->commutes)) continue;
    if (IsAll(*constant, neutral->value) &&
        KeepsShape(site.graph->shape(site.inputs[1 - i]), constant->shape())) {
      return i;
    }
  }
  return std::nullopt;
}

// Equal in every run: at most one size is open, and the number of elements fixes it.
bool IsSameShape(const Shape& a, const Shape& b) {
  return a == b && std::count(a.begin(), a.end(), kUnknown) <= 1;
}

}  // namespace

std::optional<std::vector<Value>> DropIdentity(Site& site) {
  const Op& op = *site.node->op;
  if (const auto* binary = dynamic_cast<const ops::BinaryOp*>(&op)) {
    const std::optional<int> neutral = NeutralInput(site, *binary);
    if (!neutral) return std::nullopt;
    return std::vector<Value>{site.inputs[1 - *neutral]};
  }
  if (const std::vector<int>* permutation = op.Permutation()) {
    if (!std::is_sorted(permutation->begin(), permutation->end())) return std::nullopt;
    return std::vector<Value>{site.inputs[0]};
  }
  if (op.IsView() && site.node->outputs.size() == 1 && !site.node->inputs.empty()) {
    std::vector<ValueType> types;
    std::vector<const Tensor*> constants;
    for (Value input : site.inputs) {
      types.push_back({site.graph->dtype(input), site.graph->shape(input)});
      constants.push_back(site.graph->constant(input));
    }
    const absl::StatusOr<std::vector<ValueType>> result = op.Infer(InferContext(types, constants));
    // A size of zero elsewhere would leave an open one undetermined.
    const Shape& shape = types[0].shape;
    const bool empty = std::count(shape.begin(), shape.end(), 0) > 0;
    if (result.ok() && !empty && IsSameShape(result->at(0).shape, shape)) {
      return std::vector<Value>{site.inputs[0]};
    }
  }
  return std::nullopt;
}

}  // namespace h5serve::compute::optimize
