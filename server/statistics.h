// Counts of each served version, as the Open Inference Protocol reports them.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "compute/batcher.h"

namespace h5serve::server {

struct CountedDuration {
  uint64_t count = 0;
  absl::Duration total;

  void Add(absl::Duration duration) {
    ++count;
    total += duration;
  }
};

struct VersionStatistics {
  absl::Time last_inference = absl::UnixEpoch();
  uint64_t inferences = 0;  // rows
  uint64_t executions = 0;  // batches
  CountedDuration success, fail, queue, compute;
  std::map<int64_t, CountedDuration> batches;  // by rows
};

// Thread-safe.
class Statistics {
 public:
  // A request ended after `total`. `timing` says how, if it was computed.
  void OnRequest(const std::string& model, int64_t version, const absl::Status& status,
                 int64_t rows, absl::Duration total, const compute::RequestTiming& timing);
  VersionStatistics Get(const std::string& model, int64_t version) const;
  void Forget(const std::string& model, int64_t version);

 private:
  mutable absl::Mutex mutex_;
  std::map<std::pair<std::string, int64_t>, VersionStatistics> versions_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace h5serve::server
