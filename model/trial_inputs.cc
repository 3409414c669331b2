#include "model/trial_inputs.h"

#include <random>
#include <string>
#include <utility>

namespace h5serve::model {
namespace {

using compute::DType;
using compute::kUnknown;
using compute::Shape;
using compute::Tensor;

// Open dimensions are tried with these sizes until one fits.
constexpr int64_t kTrialSizes[] = {8, 16, 32, 64, 128, 256, 1};
// A trial must not take the memory of the models in service.
constexpr int64_t kMaxTrialElements = int64_t{1} << 26;

std::optional<Tensor> MakeInput(const TensorSpec& spec, int64_t rows, int64_t open, Fill fill,
                                std::mt19937& random) {
  Shape shape = spec.shape;
  for (int i = 0; i < shape.rank(); ++i) {
    if (shape[i] == kUnknown) shape[i] = i == 0 ? rows : open;
  }
  const std::optional<int64_t> count = compute::CheckedElementCount(shape);
  if (!count || *count > kMaxTrialElements) return std::nullopt;
  if (spec.dtype == DType::kString) {
    return Tensor::Strings(shape, std::vector<std::string>(static_cast<size_t>(*count), "a"));
  }
  Tensor values = Tensor::Allocate(DType::kFloat32, shape);
  float* data = values.mutable_data<float>();
  std::uniform_real_distribution<float> uniform(0.0f, 1.0f);
  for (int64_t i = 0; i < *count; ++i) {
    const bool ones = fill == Fill::kOnes || (fill == Fill::kOnesAndRandom && i < *count / 2);
    data[i] = fill == Fill::kZeros ? 0.0f : ones ? 1.0f : uniform(random);
  }
  absl::StatusOr<Tensor> cast = compute::Cast(values, spec.dtype);
  if (!cast.ok()) return std::nullopt;
  return *cast;
}

}  // namespace

std::string_view Name(Fill fill) {
  switch (fill) {
    case Fill::kZeros:
      return "zeros";
    case Fill::kOnes:
      return "ones";
    case Fill::kRandom:
    case Fill::kOnesAndRandom:
      return "random input";
  }
  return "";
}

std::optional<std::vector<Tensor>> MakeInputs(const Servable& servable, int64_t rows, int64_t open,
                                              Fill fill) {
  std::mt19937 random(12345);
  std::vector<Tensor> inputs;
  for (const TensorSpec& spec : servable.signature().inputs) {
    std::optional<Tensor> input = MakeInput(spec, rows, open, fill, random);
    if (!input) return std::nullopt;
    inputs.push_back(*std::move(input));
  }
  return inputs;
}

std::optional<int64_t> FindOpenSize(const Servable& servable, std::vector<Tensor>* outputs,
                                    absl::Status* failure) {
  for (int64_t open : kTrialSizes) {
    const std::optional<std::vector<Tensor>> inputs = MakeInputs(servable, 1, open, Fill::kZeros);
    if (!inputs) {
      *failure = absl::ResourceExhaustedError("inputs are too large for a trial");
      continue;
    }
    outputs->clear();
    *failure = servable.Predict(*inputs, nullptr, outputs);
    if (failure->ok()) return open;
  }
  return std::nullopt;
}

}  // namespace h5serve::model
