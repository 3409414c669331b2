// Every metric of the daemon.
#pragma once

#include <prometheus/registry.h>

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/time/time.h"
#include "compute/batcher.h"
#include "model/lifecycle.h"
#include "model/load.h"

namespace h5serve::server {

// A row of the table that `h5serve metrics` and the documentation print.
struct MetricRow {
  std::string_view name;
  std::string_view kind;    // counter, gauge, histogram
  std::string_view labels;  // between commas
  std::string_view help;
};
std::span<const MetricRow> AllMetrics();

// What happens, counted. Each function is one kind of event; label values are
// names that the server itself knows, never what a client merely sent.
//
// Thread-safe; nothing here blocks for longer than a map look-up.
class Metrics {
 public:
  Metrics();
  ~Metrics();
  Metrics(const Metrics&) = delete;
  Metrics& operator=(const Metrics&) = delete;

  // --- requests ---
  // `model` is empty when the request named none that exists.
  void OnRequest(std::string_view model, int64_t version, std::string_view method,
                 std::string_view code, absl::Duration duration);
  void OnQueueTime(std::string_view model, absl::Duration queued);
  void OnBatch(const std::string& model, int64_t rows, compute::BatchTrigger trigger,
               absl::Duration compute);
  void OnQueued(const std::string& model, int64_t rows);
  void OnBatchLimit(const std::string& model, int64_t rows);
  void OnDropped(const std::string& model, compute::DropReason reason);

  // --- models ---
  void OnState(const model::VersionStatus& status);
  void OnLoad(const model::VersionStatus& status,
              const std::vector<std::pair<model::LoadPhase, std::chrono::microseconds>>& phases);
  void OnScan(absl::Time when, bool overflowed);
  // Drops what is labelled with a version that is no longer known.
  void OnForgotten(const std::string& model, int64_t version);

  // The text format of Prometheus.
  std::string Serialize();

 private:
  struct Families;
  struct Versions;
  std::shared_ptr<prometheus::Registry> registry_;
  std::unique_ptr<Families> families_;
  std::unique_ptr<Versions> versions_;
};

}  // namespace h5serve::server
