#include "compute/optimize/channel_vector.h"

#include <algorithm>

namespace h5serve::compute::optimize {

std::optional<Tensor> ChannelVector(const Graph& graph, Value value, const Shape& output) {
  const Tensor* constant = graph.constant(value);
  if (constant == nullptr || constant->dtype() != DType::kFloat32) return std::nullopt;
  const Shape& shape = constant->shape();
  if (output.rank() == 0 || output.back() == kUnknown || shape.rank() > output.rank()) {
    return std::nullopt;
  }
  const int64_t channels = output.back();
  const int64_t count = constant->num_elements();
  const bool fits = count == 1 || (count == channels && shape.back() == channels);
  if (!fits) return std::nullopt;
  Tensor vector = Tensor::Allocate(DType::kFloat32, Shape{channels});
  const float* from = constant->data<float>();
  float* to = vector.mutable_data<float>();
  for (int64_t i = 0; i < channels; ++i) to[i] = from[count == 1 ? 0 : i];
  return vector;
}

}  // namespace h5serve::compute::optimize
