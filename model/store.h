// The set of models being served right now.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "compute/batcher.h"
#include "model/servable.h"

namespace h5serve::model {

// A version in service, with the queue its requests wait in.
struct ServedModel {
  std::string name;
  int64_t version = 0;
  std::shared_ptr<const Servable> servable;
  std::shared_ptr<compute::BatchQueue> queue;
};

// Which version a request asks for; neither: the newest in service.
struct ModelSelector {
  std::string name;
  std::optional<int64_t> version;
  std::string label;
};

// Maps names, versions and labels to what is in service. Replacing a version
// never waits for requests: each request keeps the one it took, and the last to
// finish frees it.
//
// Thread-safe.
class ModelStore {
 public:
  // NOT_FOUND with the texts TensorFlow Serving's clients know. Hold the result
  // for one request only: a held version stays in memory after it was replaced.
  absl::StatusOr<std::shared_ptr<const ServedModel>> Find(const ModelSelector& selector) const;

  // Puts a version in service. Returns the one it replaced under the same
  // version number, or null: drop it outside any lock.
  std::shared_ptr<const ServedModel> Put(std::shared_ptr<const ServedModel> served);
  // Takes a version out of service and returns it, or null.
  std::shared_ptr<const ServedModel> Remove(const std::string& name, int64_t version);
  void SetLabels(const std::string& name, std::map<std::string, int64_t> labels);

  bool HasModel(std::string_view name) const;
  std::vector<std::shared_ptr<const ServedModel>> All() const;

 private:
  struct Entry {
    std::map<int64_t, std::shared_ptr<const ServedModel>> versions;
    std::map<std::string, int64_t> labels;
  };
  mutable absl::Mutex mutex_;
  std::map<std::string, Entry, std::less<>> models_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace h5serve::model
