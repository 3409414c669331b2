// A model that can answer requests.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "compute/program.h"
#include "compute/tensor.h"

namespace h5serve::model {

// One input or output as clients see it.
struct TensorSpec {
  std::string name;        // public name
  std::string keras_name;  // name in the file
  compute::DType dtype = compute::DType::kFloat32;
  compute::Shape shape;  // first dimension is the batch; kUnknown where open
};

struct Signature {
  std::vector<TensorSpec> inputs;
  std::vector<TensorSpec> outputs;
};

// Facts about a loaded file, for logs, metrics and status pages.
struct ModelFacts {
  std::string keras_version;
  std::string backend;
  std::string dialect;
  std::string sha256;  // of the file, lower-case hex
  int layers = 0;
  int64_t parameters = 0;
  int64_t file_bytes = 0;
  int64_t memory_bytes = 0;
};

// An immutable, proven model.
//
// Thread-safe.
class Servable {
 public:
  // Measured durations of batches of so many rows, the smallest first.
  using BatchCosts = std::vector<std::pair<int64_t, absl::Duration>>;

  Servable(Signature signature, ModelFacts facts, std::shared_ptr<const compute::Program> program,
           bool batchable, BatchCosts batch_costs = {})
      : signature_(std::move(signature)),
        facts_(std::move(facts)),
        program_(std::move(program)),
        batchable_(batchable),
        batch_costs_(std::move(batch_costs)) {}

  const Signature& signature() const { return signature_; }
  const ModelFacts& facts() const { return facts_; }
  const compute::Program& program() const { return *program_; }
  // False when an output row depends on other rows of the batch, so that
  // requests must not be merged.
  bool batchable() const { return batchable_; }
  // Empty where they were not measured.
  const BatchCosts& batch_costs() const { return batch_costs_; }

  // INVALID_ARGUMENT unless the tensors (in signature order) have the declared
  // dtypes and fitting shapes and agree in their batch size. The message names
  // the input, what came and what was expected.
  absl::Status CheckInputs(std::span<const compute::Tensor> inputs) const;

  // Runs the model on inputs that CheckInputs accepts. Outputs are in signature
  // order and dtype. `parallelism` may be null.
  absl::Status Predict(std::span<const compute::Tensor> inputs,
                       const compute::Parallelism* parallelism,
                       std::vector<compute::Tensor>* outputs) const;

 private:
  Signature signature_;
  ModelFacts facts_;
  std::shared_ptr<const compute::Program> program_;
  bool batchable_;
  BatchCosts batch_costs_;
};

}  // namespace h5serve::model
