// Who hears of batches and of models' lives: log lines, metrics, health.
#pragma once

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "compute/batcher.h"
#include "model/lifecycle.h"
#include "server/log.h"
#include "server/metrics.h"

namespace h5serve::server {

// Thread-safe.
class MetricsBatchListener : public compute::BatchListener {
 public:
  explicit MetricsBatchListener(Metrics* metrics) : metrics_(metrics) {}

  void OnBatch(const std::string& model, int64_t rows, int requests, compute::BatchTrigger trigger,
               absl::Duration compute) override;
  void OnQueued(const std::string& model, int64_t queued_rows) override;
  void OnDropped(const std::string& model, compute::DropReason reason) override;

 private:
  Metrics* const metrics_;
};

// Thread-safe.
class ReportingLifecycleListener : public model::LifecycleListener {
 public:
  // `changed` is called after each step of a model, and told whether a version
  // came into service or left it or the disk.
  using Changed = std::function<void(const std::string& model, bool came_or_went)>;
  ReportingLifecycleListener(Log* log, Metrics* metrics, Changed changed)
      : log_(log), metrics_(metrics), changed_(std::move(changed)) {}

  void OnState(const model::VersionStatus& status) override;
  void OnLoad(
      const model::VersionStatus& status,
      const std::vector<std::pair<model::LoadPhase, std::chrono::microseconds>>& phases) override;
  void OnScan(absl::Time when, bool overflowed) override;
  void OnForgotten(const std::string& model, int64_t version) override;

 private:
  Log* const log_;
  Metrics* const metrics_;
  const Changed changed_;
};

}  // namespace h5serve::server
