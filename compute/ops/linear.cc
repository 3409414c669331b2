#include "compute/ops/linear.h"

#include "compute/ops/dense.h"
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

}  // namespace h5serve::compute::ops
