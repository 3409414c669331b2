// The model manager: brings models from a directory into service and out of it.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "compute/batcher.h"
#include "config/options.h"
#include "model/clock.h"
#include "model/executor.h"
#include "model/file_system.h"
#include "model/lifecycle.h"
#include "model/load.h"
#include "model/settling.h"
#include "model/store.h"
#include "model/watcher.h"

namespace h5serve::model {

struct ManagerOptions {
  std::string directory;
  // Settings of a model without a model.json of its own.
  config::ModelOptions defaults;
  // Names that must have a version in service; empty: what the first scan that
  // found models found.
  std::vector<std::string> required_models;

  SettlingRules settling;
  absl::Duration poll_interval = absl::Seconds(10);
  // Events this soon after a scan wait for the next one.
  absl::Duration scan_gap = absl::Milliseconds(50);
  // A deleted file's version serves this much longer.
  absl::Duration unload_grace = absl::Seconds(10);
  // Loads at a time; one that takes longer than `slow_load` no longer counts.
  int max_parallel_loads = 2;
  absl::Duration slow_load = absl::Seconds(5);
  // Of all models in memory; 0: 80 % of what the control group allows.
  int64_t memory_limit_bytes = 0;
  // Waits between attempts on transient failures: doubling, with ±20 % jitter.
  absl::Duration retry_initial = absl::Seconds(1);
  absl::Duration retry_max = absl::Minutes(5);
};

// What the manager works with. Everything outlives the manager.
struct ManagerDependencies {
  const FileSystem* files = nullptr;
  const Clock* clock = nullptr;
  Executor* loads = nullptr;   // runs one task per load
  Executor* reaper = nullptr;  // frees what is no longer served
  ModelStore* store = nullptr;
  LifecycleListener* listener = nullptr;
  std::function<LoadOutcome(const LoadRequest&)> load = LoadModel;
  // A model's settings: the file at `path` over `defaults`. An error names what
  // is wrong with it.
  std::function<absl::StatusOr<config::ModelOptions>(const std::string& path,
                                                     const config::ModelOptions& defaults)>
      read_settings;
  // Lower-case hex SHA-256 of a file.
  std::function<absl::StatusOr<std::string>(const std::string& path)> digest;
  std::function<std::shared_ptr<compute::BatchQueue>(
      const std::string& model, const compute::QueueOptions& options, compute::BatchRunner runner)>
      create_queue;
  // Called when there is something to do before NextStep() said; any thread,
  // must not block. May be empty.
  std::function<void()> wake;
  uint64_t random_seed = 0;  // of the jitter
};

struct Readiness {
  bool ready = false;
  // Required, but without a version in service.
  std::vector<std::string> missing;
  // One sentence for people: why not ready, or "".
  std::string reason;
};

// Owns every version's way from found to removed. It has no thread of its own:
// one thread calls Step, whenever NextStep() has come or something happened
// (ManagerThread does); loads and frees run on the executors.
//
// Nothing bad replaces something good: a version leaves service only when what
// shall replace it serves, when its file was deleted, or on request. One
// model's trouble never delays another's.
//
// Thread-safe, except that Step is for one thread at a time.
class Manager {
 public:
  Manager(ManagerOptions options, ManagerDependencies dependencies);
  // Waits for running loads.
  ~Manager();
  Manager(const Manager&) = delete;
  Manager& operator=(const Manager&) = delete;

  // Scans if it is time or `report` says so, and does what follows from it.
  // Returns whether it scanned.
  bool Step(const WatchReport& report);
  // When Step is due next, by Clock::Elapsed.
  absl::Duration NextStep() const;
  // What the last scan found worth watching.
  std::vector<std::string> directories() const;

  // New options, from the next step on; what did not change has no effect. The
  // directory cannot change: INVALID_ARGUMENT.
  absl::Status SetOptions(ManagerOptions options);

  // Tries the model's newest content now, even if it was refused or unloaded
  // before, and waits for the end: OK when what lies on disk is in service,
  // else the diagnosis; NOT_FOUND for unknown names; DEADLINE_EXCEEDED. Not for
  // the thread that calls Step.
  absl::Status Load(const std::string& name, absl::Time deadline);
  // Takes all versions out of service, until a file of the model changes or
  // Load is called. NOT_FOUND for unknown names.
  absl::Status Unload(const std::string& name);

  // Every version known of a model, removed ones too, newest last; empty for
  // unknown names.
  std::vector<VersionStatus> StatusOf(std::string_view name) const;
  // The same for all models, by name.
  std::vector<VersionStatus> StatusOfAll() const;
  // The settings in force for a model, or NOT_FOUND.
  absl::StatusOr<config::ModelOptions> OptionsOf(std::string_view name) const;
  Readiness readiness() const;
  // Bytes of all models in memory, also of those still draining, and the limit.
  int64_t memory_used_bytes() const;
  int64_t memory_limit_bytes() const;
  // Why the last scan failed; OK before the first.
  absl::Status scan_status() const;
  // True once nothing is being found, settled or loaded any more.
  bool idle() const;

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace h5serve::model
