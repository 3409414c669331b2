#include "compute/ops/linear.h"

#include <fmt/format.h>

#include <algorithm>

#include "compute/ops/dense.h"
#include "compute/ops/einsum.h"
#include "compute/ops/elementwise.h"
#include "compute/ops/matmul.h"

namespace h5serve::compute::ops {

Value Dense(Graph& graph, Value x, Value kernel, Value bias) {
  if (!x.valid()) return x;
  if (!kernel.valid()) return kernel;
  DenseOp::Attributes attributes;
  attributes.bias = bias.valid();
  std::vector<Value> inputs = {Cast(graph, x, DType::kFloat32),
                               Cast(graph, kernel, DType::kFloat32)};
  if (bias.valid()) inputs.push_back(Cast(graph, bias, DType::kFloat32));
  return graph.Add1(std::make_shared<DenseOp>(attributes), std::move(inputs));
}

Value MatMul(Graph& graph, Value a, Value b, bool transpose_a, bool transpose_b) {
  if (!a.valid()) return a;
  if (!b.valid()) return b;
  const bool integers = graph.dtype(a) != DType::kFloat32 && graph.dtype(b) != DType::kFloat32;
  const DType common = integers ? DType::kInt64 : DType::kFloat32;
  a = Cast(graph, a, common);
  b = Cast(graph, b, common);
  // The rows of all batches times one matrix are one product.
  if (!integers && graph.rank(b) == 2 && graph.rank(a) >= 1 &&
      (!transpose_a || graph.rank(a) == 1)) {
    DenseOp::Attributes attributes;
    attributes.transposed = transpose_b;
    return graph.Add1(std::make_shared<DenseOp>(attributes), {a, b});
  }
  return graph.Add1(std::make_shared<MatMulOp>(transpose_a, transpose_b), {a, b});
}

Value Einsum(Graph& graph, const std::string& equation, const std::vector<Value>& operands) {
  if (operands.empty() || operands.size() > 2) {
    return graph.Fail(absl::InvalidArgumentError(
        fmt::format("einsum '{}': one or two operands, not {}", equation, operands.size())));
  }
  std::vector<Value> inputs;
  std::vector<int> ranks;
  for (Value operand : operands) {
    if (!operand.valid()) return operand;
    inputs.push_back(Cast(graph, operand, DType::kFloat32));
    ranks.push_back(graph.rank(operand));
  }
  absl::StatusOr<EinsumEquation> parsed = ParseEinsum(equation, ranks);
  if (!parsed.ok()) return graph.Fail(parsed.status());
  // A constant is packed once where it is the second operand.
  if (inputs.size() == 2 && graph.constant(inputs[0]) != nullptr &&
      graph.constant(inputs[1]) == nullptr) {
    std::swap(inputs[0], inputs[1]);
    std::swap(parsed->operands[0], parsed->operands[1]);
  }
  return graph.Add1(std::make_shared<EinsumOp>(*std::move(parsed)), std::move(inputs));
}

Value TensorDot(Graph& graph, Value a, Value b, std::vector<int64_t> axes_a,
                std::vector<int64_t> axes_b) {
  if (!a.valid()) return a;
  if (!b.valid()) return b;
  const auto refuse = [&](std::string_view reason) {
    return graph.Fail(absl::InvalidArgumentError(fmt::format("tensordot of {} and {}: {}",
                                                             graph.shape(a).ToString(),
                                                             graph.shape(b).ToString(), reason)));
  };
  if (axes_a.size() != axes_b.size()) return refuse("as many axes of one as of the other");
  // Each axis gets a label of its own, contracted pairs the same one.
  std::vector<int> labels_a, labels_b;
  for (int i = 0; i < graph.rank(a); ++i) labels_a.push_back('a' + i);
  for (int i = 0; i < graph.rank(b); ++i) labels_b.push_back('A' + i);
  std::vector<bool> used_a(labels_a.size()), used_b(labels_b.size());
  for (size_t i = 0; i < axes_a.size(); ++i) {
    const std::optional<int> x = NormalizeAxis(axes_a[i], graph.rank(a));
    const std::optional<int> y = NormalizeAxis(axes_b[i], graph.rank(b));
    if (!x || !y) return refuse("an axis is out of range");
    if (used_a[*x] || used_b[*y]) return refuse("an axis is named twice");
    const int64_t size_a = graph.shape(a)[*x], size_b = graph.shape(b)[*y];
    if (size_a != kUnknown && size_b != kUnknown && size_a != size_b) {
      return refuse("the sizes of the axes differ");
    }
    used_a[*x] = used_b[*y] = true;
    labels_b[*y] = labels_a[*x];
  }
  std::vector<int> output;
  for (size_t i = 0; i < labels_a.size(); ++i) {
    if (!used_a[i]) output.push_back(labels_a[i]);
  }
  for (size_t i = 0; i < labels_b.size(); ++i) {
    if (!used_b[i]) output.push_back(labels_b[i]);
  }
  if (output.size() > static_cast<size_t>(kMaxRank)) return refuse("too many axes");
  std::string equation(labels_a.begin(), labels_a.end());
  equation += ',' + std::string(labels_b.begin(), labels_b.end());
  equation += "->" + std::string(output.begin(), output.end());
  return Einsum(graph, equation, {a, b});
}

}  // namespace h5serve::compute::ops
