#include "server/statistics.h"

#include "absl/time/clock.h"

namespace h5serve::server {

void Statistics::OnRequest(const std::string& model, int64_t version, const absl::Status& status,
                           int64_t rows, absl::Duration total,
                           const compute::RequestTiming& timing) {
  const absl::Time now = absl::Now();
  absl::MutexLock lock(&mutex_);
  VersionStatistics& statistics = versions_[{model, version}];
  if (!status.ok()) {
    statistics.fail.Add(total);
    return;
  }
  statistics.last_inference = now;
  statistics.inferences += static_cast<uint64_t>(rows);
  statistics.success.Add(total);
  statistics.queue.Add(timing.queued);
  statistics.compute.Add(timing.computed);
  if (timing.leads_batch) {
    ++statistics.executions;
    statistics.batches[timing.batch_rows].Add(timing.computed);
  }
}

VersionStatistics Statistics::Get(const std::string& model, int64_t version) const {
  absl::MutexLock lock(&mutex_);
  const auto found = versions_.find({model, version});
  return found == versions_.end() ? VersionStatistics() : found->second;
}

void Statistics::Forget(const std::string& model, int64_t version) {
  absl::MutexLock lock(&mutex_);
  versions_.erase({model, version});
}

}  // namespace h5serve::server
