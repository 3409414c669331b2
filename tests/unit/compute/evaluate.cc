#include "tests/unit/compute/evaluate.h"

#include <gtest/gtest.h>

#include "compute/program.h"

namespace h5serve::compute {

absl::StatusOr<std::vector<Tensor>> Evaluate(const std::vector<Tensor>& inputs,
                                             const BuildFunction& build, bool open_dimensions) {
  Graph graph;
  std::vector<Value> values;
  for (const Tensor& input : inputs) {
    Shape shape = input.shape();
    for (int axis = 0; open_dimensions && axis < shape.rank(); ++axis) shape[axis] = kUnknown;
    values.push_back(graph.Input(input.dtype(), shape));
  }
  std::vector<Value> outputs = build(graph, values);
  if (!graph.status().ok()) return graph.status();
  absl::StatusOr<std::shared_ptr<const Program>> program =
      Program::Compile(std::move(graph), std::move(outputs), Program::Options());
  if (!program.ok()) return program.status();
  std::vector<Tensor> results;
  if (absl::Status status = (*program)->Run(inputs, nullptr, &results); !status.ok()) return status;
  return results;
}

std::vector<double> AsNumbers(const Tensor& tensor) {
  std::vector<double> numbers;
  for (int64_t i = 0; i < tensor.num_elements(); ++i) {
    switch (tensor.dtype()) {
      case DType::kInt64:
        numbers.push_back(static_cast<double>(tensor.data<int64_t>()[i]));
        break;
      case DType::kBool:
        numbers.push_back(tensor.data<bool>()[i] ? 1 : 0);
        break;
      default:
        numbers.push_back(tensor.data<float>()[i]);
    }
  }
  return numbers;
}

std::vector<double> Numbers(const std::vector<Tensor>& inputs,
                            const std::function<Value(Graph&, const std::vector<Value>&)>& build,
                            Shape* shape, bool open_dimensions) {
  absl::StatusOr<std::vector<Tensor>> results = Evaluate(
      inputs,
      [&](Graph& graph, const std::vector<Value>& values) {
        return std::vector<Value>{build(graph, values)};
      },
      open_dimensions);
  EXPECT_TRUE(results.ok()) << results.status();
  if (!results.ok()) return {};
  if (shape != nullptr) *shape = results->at(0).shape();
  return AsNumbers(results->at(0));
}

Tensor Counting(const Shape& shape) {
  std::vector<float> values(static_cast<size_t>(shape.num_elements()));
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i);
  return Tensor::Floats(shape, values);
}

Tensor CountingInts(const Shape& shape) {
  std::vector<int64_t> values(static_cast<size_t>(shape.num_elements()));
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<int64_t>(i);
  return Tensor::Ints(shape, values);
}

Tensor Noise(const Shape& shape, uint32_t seed) {
  std::vector<float> values(static_cast<size_t>(shape.num_elements()));
  for (float& value : values) {
    seed = seed * 1664525u + 1013904223u;
    value = static_cast<float>(seed >> 8) / 8388608.0f - 1.0f;
  }
  return Tensor::Floats(shape, values);
}

}  // namespace h5serve::compute
