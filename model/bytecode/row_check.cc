#include "model/bytecode/row_check.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <optional>
#include <random>

#include "compute/program.h"

namespace h5serve::model {
namespace {

using compute::DType;
using compute::Graph;
using compute::kUnknown;
using compute::Shape;
using compute::Tensor;
using compute::Value;

constexpr int64_t kRows = 3;
// Open dimensions are tried with these sizes until one fits.
constexpr int64_t kOpenSizes[] = {6, 8, 16, 32, 1};
constexpr int64_t kMaxElements = int64_t{1} << 26;
constexpr size_t kFewNodes = 64;
constexpr size_t kMaxNodes = 2000;
// Rows of different sizes: a maximum over all is then not the maximum of each.
constexpr float kScales[kRows] = {1.0f, 8.0f, 0.25f};

bool IsBatched(const TrialInput& input) {
  return input.constant == nullptr && input.shape.rank() > 0 && input.shape[0] == kUnknown;
}

std::optional<Tensor> RandomRows(const TrialInput& input, int64_t open, std::mt19937& random) {
  Shape shape = input.shape;
  for (int axis = 0; axis < shape.rank(); ++axis) {
    if (shape[axis] == kUnknown) shape[axis] = axis == 0 ? kRows : open;
  }
  const std::optional<int64_t> count = compute::CheckedElementCount(shape);
  if (!count || *count > kMaxElements) return std::nullopt;
  const int64_t row = std::max<int64_t>(1, *count / kRows);
  std::uniform_real_distribution<float> uniform(-1.0f, 1.0f);
  std::vector<float> numbers(static_cast<size_t>(*count));
  for (int64_t i = 0; i < *count; ++i) {
    numbers[static_cast<size_t>(i)] = uniform(random) * kScales[std::min(i / row, kRows - 1)];
  }
  if (input.dtype == DType::kFloat32) return Tensor::Floats(shape, numbers);
  if (input.dtype == DType::kInt64) {
    std::vector<int64_t> whole;
    for (const float number : numbers) whole.push_back(number > 0 ? 1 : 0);
    return Tensor::Ints(shape, whole);
  }
  if (input.dtype != DType::kBool) return std::nullopt;
  Tensor flags = Tensor::Allocate(DType::kBool, shape);
  for (size_t i = 0; i < numbers.size(); ++i) flags.mutable_data<bool>()[i] = numbers[i] > 0;
  return flags;
}

Tensor Row(const Tensor& tensor, int64_t row) {
  Shape shape = tensor.shape();
  const int64_t size = tensor.num_elements() / shape[0];
  shape[0] = 1;
  Tensor taken = Tensor::Allocate(tensor.dtype(), shape);
  const size_t bytes = static_cast<size_t>(size * compute::SizeOf(tensor.dtype()));
  std::memcpy(taken.raw_mutable_data(), static_cast<const char*>(tensor.raw_data()) + bytes * row,
              bytes);
  return taken;
}

// Row `row` of `all` is the only row of `one`.
bool SameRow(const Tensor& all, const Tensor& one, int64_t row) {
  if (all.shape().rank() == 0 || all.shape()[0] != kRows || all.dtype() == DType::kString) {
    return false;
  }
  Shape shape = all.shape();
  shape[0] = 1;
  if (!(one.shape() == shape)) return false;
  const absl::StatusOr<Tensor> expected = compute::Cast(Row(all, row), DType::kFloat32);
  const absl::StatusOr<Tensor> found = compute::Cast(one, DType::kFloat32);
  if (!expected.ok() || !found.ok()) return false;
  for (int64_t i = 0; i < found->num_elements(); ++i) {
    const float a = expected->data<float>()[i], b = found->data<float>()[i];
    const bool same = a == b || (std::isnan(a) && std::isnan(b)) ||
                      std::fabs(a - b) <= 1e-4f * std::fmax(1.0f, std::fabs(a));
    if (!same) return false;
  }
  return true;
}

// Nullopt when the trial cannot be made with this size.
std::optional<bool> Try(const compute::Program& program, const std::vector<TrialInput>& inputs,
                        int64_t open) {
  std::mt19937 random(20240229);
  std::vector<Tensor> batch;
  for (const TrialInput& input : inputs) {
    if (input.constant != nullptr) continue;
    std::optional<Tensor> rows = RandomRows(input, open, random);
    if (!rows) return std::nullopt;
    batch.push_back(*std::move(rows));
  }
  std::vector<Tensor> together;
  if (!program.Run(batch, nullptr, &together).ok()) return std::nullopt;
  for (int64_t row = 0; row < kRows; ++row) {
    std::vector<Tensor> single, alone;
    for (const TrialInput& input : inputs) {
      if (input.constant != nullptr) continue;
      const Tensor& tensor = batch[single.size()];
      single.push_back(IsBatched(input) ? Row(tensor, row) : tensor);
    }
    if (!program.Run(single, nullptr, &alone).ok()) return std::nullopt;
    for (size_t i = 0; i < together.size(); ++i) {
      if (!SameRow(together[i], alone[i], row)) return true;
    }
  }
  return false;
}

}  // namespace

bool MixesRows(const std::vector<TrialInput>& inputs, const BuildPart& build) {
  Graph graph;
  std::vector<Value> values;
  // Nothing can be merged when no batch is open.
  if (std::none_of(inputs.begin(), inputs.end(), IsBatched)) return false;
  for (const TrialInput& input : inputs) {
    values.push_back(input.constant != nullptr ? graph.Constant(*input.constant)
                                               : graph.Input(input.dtype, input.shape));
  }
  const std::vector<Value> outputs = build(graph, values);
  if (outputs.empty() || !graph.status().ok()) return true;
  compute::Program::Options options;
  // A trial must end soon, however many ops there are.
  options.max_arena_bytes = int64_t{1} << (graph.nodes().size() <= kFewNodes ? 29 : 26);
  if (graph.nodes().size() > kMaxNodes) return true;
  const auto program = compute::Program::Compile(std::move(graph), outputs, options);
  if (!program.ok()) return true;
  for (const int64_t open : kOpenSizes) {
    if (const std::optional<bool> mixes = Try(**program, inputs, open)) return *mixes;
  }
  return true;
}

}  // namespace h5serve::model
