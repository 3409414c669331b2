// What all serving APIs share: from a model's name and tensors to its answer.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "compute/batcher.h"
#include "model/manager.h"
#include "model/store.h"
#include "server/metrics.h"
#include "server/statistics.h"

namespace h5serve::server {

struct InferenceRequest {
  std::vector<compute::Tensor> inputs;  // in signature order
  absl::Time deadline = absl::InfiniteFuture();
  int priority = 0;
  std::function<bool()> cancelled;  // may be empty
};

using Outputs = std::vector<compute::Tensor>;
using InferenceDone =
    std::function<void(absl::StatusOr<Outputs> outputs, const compute::RequestTiming& timing)>;
using Served = std::shared_ptr<const model::ServedModel>;

// Thread-safe.
class Inference {
 public:
  Inference(const model::ModelStore* store, const model::Manager* manager, Metrics* metrics,
            Statistics* statistics)
      : store_(store), manager_(manager), metrics_(metrics), statistics_(statistics) {}

  // NOT_FOUND with the texts of TensorFlow Serving.
  absl::StatusOr<Served> Find(const model::ModelSelector& selector) const;
  // The same for a version as text ("": the newest), with the texts and codes
  // of the Open Inference Protocol: a model that exists but has nothing in
  // service is UNAVAILABLE.
  absl::StatusOr<Served> Find(const std::string& name, const std::string& version) const;

  // Checks the inputs and queues the request. `done` is called exactly once,
  // perhaps before this returns.
  void Run(const Served& served, InferenceRequest request, InferenceDone done) const;
  // Run, and wait for the end.
  absl::StatusOr<Outputs> RunAndWait(const Served& served, InferenceRequest request) const;

 private:
  const model::ModelStore* const store_;
  const model::Manager* const manager_;
  Metrics* const metrics_;
  Statistics* const statistics_;
};

// INVALID_ARGUMENT naming surplus and missing names, unless `names` are those
// of the signature's inputs, each once.
absl::Status CheckInputNames(const model::Signature& signature,
                             std::vector<std::string_view> names);

// Indices of the outputs asked for; all when `names` is empty. INVALID_ARGUMENT
// for unknown and repeated names.
absl::StatusOr<std::vector<int>> SelectOutputs(const model::Signature& signature,
                                               std::span<const std::string_view> names);

// `status` with "input "NAME": " before its message.
absl::Status AboutInput(std::string_view name, const absl::Status& status);

}  // namespace h5serve::server
