#include "tests/unit/compute/op_runner.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "absl/status/status.h"

namespace h5serve::compute {
namespace {

// Runs ranges one after the other, the last first.
class BackwardParallelism : public Parallelism {
 public:
  explicit BackwardParallelism(int threads) : threads_(threads) {}
  void For(int64_t n, int64_t grain,
           const std::function<void(int64_t, int64_t)>& body) const override {
    const int64_t pieces =
        std::clamp<int64_t>(n / std::max<int64_t>(grain, 1), 1, threads_);
    for (int64_t i = pieces; i-- > 0;) {
      const int64_t begin = i * n / pieces;
      const int64_t end = (i + 1) * n / pieces;
      if (begin < end) body(begin, end);
    }
  }
  int threads() const override { return threads_; }

 private:
  const int threads_;
};

// Memory of an exact size between two guards, filled with NaN.
class GuardedMemory {
 public:
  explicit GuardedMemory(int64_t bytes)
      : bytes_(bytes), memory_(static_cast<size_t>(bytes) + 3 * kGuard, 0xFF) {
    const uintptr_t address = reinterpret_cast<uintptr_t>(memory_.data()) + kGuard;
    data_ = reinterpret_cast<char*>((address + 63) / 64 * 64);
  }
  char* data() { return data_; }
  bool intact() const {
    const auto untouched = [](const char* begin, const char* end) {
      return std::all_of(begin, end, [](char c) { return static_cast<unsigned char>(c) == 0xFF; });
    };
    const char* end = reinterpret_cast<const char*>(memory_.data()) + memory_.size();
    return untouched(reinterpret_cast<const char*>(memory_.data()), data_) &&
           untouched(data_ + bytes_, end);
  }

 private:
  static constexpr size_t kGuard = 64;
  int64_t bytes_;
  std::vector<unsigned char> memory_;
  char* data_;
};

TensorView ViewOf(const Tensor& tensor) {
  return {tensor.dtype(), tensor.shape(), const_cast<void*>(tensor.raw_data())};
}

}  // namespace

absl::StatusOr<std::vector<Tensor>> RunOp(const OpBuilder& build,
                                          const std::vector<Tensor>& tensors,
                                          const RunOptions& options) {
  Graph graph;
  std::vector<Value> values;
  for (const Tensor& tensor : tensors) values.push_back(graph.Input(tensor.dtype(), tensor.shape()));
  build(graph, values);
  if (!graph.status().ok()) return graph.status();
  const Graph::Node& node = graph.nodes().back();
  std::shared_ptr<const Op> op = node.op;
  if (options.rewrite) op = options.rewrite(*op);
  if (op == nullptr) return absl::FailedPreconditionError("the op cannot be rewritten");

  std::vector<ValueType> types;
  std::vector<TensorView> inputs;
  std::vector<const Tensor*> constants;
  for (size_t i = 0; i < tensors.size(); ++i) {
    types.push_back({tensors[i].dtype(), tensors[i].shape()});
    inputs.push_back(ViewOf(tensors[i]));
    constants.push_back(i == 0 ? nullptr : &tensors[i]);
  }
  if (options.specialize) {
    if (Specialized specialized = op->Specialize(types, constants); specialized.op != nullptr) {
      op = specialized.op;
      std::vector<ValueType> kept_types;
      std::vector<TensorView> kept_inputs;
      for (int i : specialized.inputs) {
        kept_types.push_back(types[i]);
        kept_inputs.push_back(inputs[i]);
      }
      types = kept_types;
      inputs = kept_inputs;
    }
  }
  constants.assign(types.size(), nullptr);
  absl::StatusOr<std::vector<ValueType>> output_types = op->Infer(InferContext(types, constants));
  if (!output_types.ok()) return output_types.status();
  std::vector<Tensor> results;
  std::vector<TensorView> outputs;
  for (const ValueType& type : *output_types) {
    Tensor tensor = Tensor::Allocate(type.dtype, type.shape);
    std::memset(tensor.raw_mutable_data(), 0xFF, static_cast<size_t>(tensor.size_bytes()));
    results.push_back(tensor);
    outputs.push_back(ViewOf(tensor));
  }
  GuardedMemory scratch(op->ScratchBytes(types));
  const BackwardParallelism parallelism(options.threads);
  const absl::Status status =
      op->Run(RunContext(inputs, outputs, scratch.data(),
                         options.threads > 1 ? &parallelism : nullptr));
  if (!status.ok()) return status;
  if (!scratch.intact()) return absl::InternalError("scratch memory was exceeded");
  return results;
}

Tensor RandomTensor(std::mt19937& random, const Shape& shape) {
  std::normal_distribution<float> normal;
  std::vector<float> values(static_cast<size_t>(shape.num_elements()));
  for (float& value : values) value = normal(random);
  return Tensor::Floats(shape, values);
}

int64_t RandomInt(std::mt19937& random, int64_t low, int64_t high) {
  return std::uniform_int_distribution<int64_t>(low, high)(random);
}

double RelativeError(const Tensor& actual, const std::vector<double>& expected) {
  if (actual.num_elements() != static_cast<int64_t>(expected.size())) {
    return std::numeric_limits<double>::infinity();
  }
  double largest = 1;
  double error = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    const double value = actual.data<float>()[i];
    largest = std::max(largest, std::abs(expected[i]));
    if (std::isnan(value)) return std::numeric_limits<double>::infinity();
    error = std::max(error, std::abs(value - expected[i]));
  }
  return error / largest;
}

}  // namespace h5serve::compute
