// The inside of the model manager; for its own files only.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "model/announcer.h"
#include "model/manager.h"
#include "model/memory_ledger.h"
#include "model/version_policy.h"
#include "model/version_record.h"

namespace h5serve::model {

// Everything a load needs to know, so that it runs without the manager's lock.
struct LoadJob {
  std::string model;
  int64_t version = 0;
  std::string path;
  Settling::Sighting files;
  SharedOptions options;
  std::optional<Signature> in_service;
  uint64_t service_epoch = 0;
  int64_t budget_bytes = 0;
  int64_t reserved_bytes = 0;
  absl::Duration started;
  // Refused bytes this file might hold, and the digest of what this version has
  // in service, if this file might be the same.
  std::vector<std::shared_ptr<const KnownBad>> known_bad;
  std::string serving_digest;
};

struct LoadResult {
  enum class Kind {
    kEnded,     // see outcome
    kKnownBad,  // the same bytes were refused before
    kSame,      // the same bytes are in service
    kStale,     // the file changed meanwhile; nothing is known
  };
  Kind kind = Kind::kStale;
  LoadOutcome outcome;
  std::shared_ptr<const KnownBad> known_bad;
};

struct Manager::State : std::enable_shared_from_this<Manager::State> {
  using Tasks = std::vector<std::function<void()>>;
  // What to drop once the lock is released.
  using Garbage = std::vector<std::shared_ptr<const void>>;

  State(ManagerOptions options, ManagerDependencies dependencies);

  // manager_scan.cc: from a scan to records.
  void Scan() ABSL_LOCKS_EXCLUDED(mutex);
  // Returns candidates whose completeness must be checked.
  std::vector<std::pair<std::string, Candidate>> Merge(DirectoryScan scan, absl::Duration now)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);
  void MergeModel(FoundModel found, absl::Duration now,
                  std::vector<std::pair<std::string, Candidate>>* unchecked)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);
  bool WasRenamed(const std::string& path) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);
  absl::Duration AgeOf(const Candidate& candidate) const;
  void ReadSettings(absl::Duration now) ABSL_LOCKS_EXCLUDED(mutex);
  void ApplySettings(ModelRecord* model, absl::StatusOr<config::ModelOptions> settings)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);

  // manager_decide.cc: what follows from the records.
  void DecideAll(absl::Duration now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);
  // For all models if some wait for memory or were refused for want of it.
  void DecideAboutMemory(absl::Duration now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);
  void Decide(ModelRecord* model, absl::Duration now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);
  std::vector<VersionChoice> Choices(const ModelRecord& model, absl::Duration now) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);
  void Enqueue(ModelRecord* model, const std::set<int64_t>& wanted, absl::Duration now)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);
  void UpdateResting(ModelRecord* model, VersionRecord* version, absl::Duration now)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);
  void RefuseUntried(ModelRecord* model, VersionRecord* version, const DiagnosisList& why,
                     absl::Duration now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);
  void UpdateModelStatus(ModelRecord* model) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);
  void Retire(ModelRecord* model, VersionRecord* version) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);
  void ForgetOld(ModelRecord* model, absl::Duration now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);
  void NoteDue(const ModelRecord& model, absl::Duration now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);
  void SetState(VersionRecord* version, ModelState state) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);
  // Of the newer content while the version serves, else of the version.
  void SetProgress(VersionRecord* version, ModelState state) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);
  void AnnounceLoad(const VersionRecord& version, ModelState result,
                    std::vector<std::pair<LoadPhase, std::chrono::microseconds>> phases)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);

  // manager_load.cc: loads and what comes of them.
  Tasks StartLoads(absl::Duration now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);
  // Whether the load may start; else it waits or was refused.
  bool Admit(ModelRecord* model, VersionRecord* version, absl::Duration now, int64_t* budget)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);
  // Lets the version wait if memory is about to be freed, else refuses it.
  void WaitForMemory(ModelRecord* model, VersionRecord* version, int64_t needed, absl::Duration now)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);
  void RefuseForMemory(ModelRecord* model, VersionRecord* version, int64_t needed,
                       absl::Duration now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);
  LoadJob MakeJob(ModelRecord* model, VersionRecord* version, int64_t budget)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);
  LoadResult Perform(const LoadJob& job) ABSL_LOCKS_EXCLUDED(mutex);
  bool IsStill(const LoadJob& job) const;
  void OnPhase(const LoadJob& job, LoadPhase phase) ABSL_LOCKS_EXCLUDED(mutex);
  void Complete(const LoadJob& job, LoadResult result) ABSL_LOCKS_EXCLUDED(mutex);
  void Apply(const LoadJob& job, LoadResult* result, ModelRecord* model, VersionRecord* version,
             absl::Duration now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);
  bool FitsMemory(const LoadJob& job, const LoadOutcome& outcome, ModelRecord* model,
                  VersionRecord* version, absl::Duration now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);
  void PutInService(const LoadJob& job, LoadOutcome outcome, ModelRecord* model,
                    VersionRecord* version) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);
  void Refuse(const LoadJob& job, LoadOutcome outcome, ModelRecord* model, VersionRecord* version,
              absl::Duration now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);
  absl::Duration BackOff(int failures) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);
  // The same servable, which the reaper frees when its last user lets go.
  std::shared_ptr<const Servable> ReapLater(const std::string& model, int64_t version,
                                            std::shared_ptr<const Servable> servable)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);
  std::shared_ptr<const ServedModel> MakeServed(const std::string& model, int64_t version,
                                                std::shared_ptr<const Servable> servable,
                                                const config::ModelOptions& options);
  void Requeue(VersionRecord* version, const SharedOptions& options)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);
  void OnUnused(const std::string& model, int64_t version, std::shared_ptr<const Servable> servable)
      ABSL_LOCKS_EXCLUDED(mutex);
  void OnFreed(const std::string& model, int64_t version, int64_t bytes) ABSL_LOCKS_EXCLUDED(mutex);

  // After a change: forgets garbage, tells events, submits loads, wakes.
  void Finish(Tasks tasks) ABSL_LOCKS_EXCLUDED(mutex);
  ModelRecord* FindModel(std::string_view name) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);
  VersionRecord* FindVersion(std::string_view name, int64_t version)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);
  // Nothing of the model is being found, settled, loaded or waited for.
  bool IsResting(const ModelRecord& model, absl::Duration now) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);

  const ManagerDependencies deps;
  MemoryLedger ledger;
  Announcer announcer;

  mutable absl::Mutex mutex;
  ManagerOptions options ABSL_GUARDED_BY(mutex);
  std::map<std::string, ModelRecord, std::less<>> models ABSL_GUARDED_BY(mutex);
  bool stopping ABSL_GUARDED_BY(mutex) = false;
  int busy ABSL_GUARDED_BY(mutex) = 0;  // tasks inside the manager on executors
  std::minstd_rand random ABSL_GUARDED_BY(mutex);
  Garbage garbage ABSL_GUARDED_BY(mutex);

  // Scanning.
  absl::Status scan_status ABSL_GUARDED_BY(mutex);
  uint64_t scans_begun ABSL_GUARDED_BY(mutex) = 0;
  uint64_t scans_done ABSL_GUARDED_BY(mutex) = 0;  // and decided about
  bool overflowed ABSL_GUARDED_BY(mutex) = false;
  bool scan_wanted ABSL_GUARDED_BY(mutex) = true;
  absl::Duration earliest_scan ABSL_GUARDED_BY(mutex) = -absl::InfiniteDuration();
  absl::Duration next_poll ABSL_GUARDED_BY(mutex) = -absl::InfiniteDuration();
  // The earliest moment at which some version is due for a change of its own.
  absl::Duration due ABSL_GUARDED_BY(mutex) = absl::InfiniteDuration();
  std::set<std::string> renamed ABSL_GUARDED_BY(mutex);
  FileIdentity root ABSL_GUARDED_BY(mutex);
  std::vector<std::string> directories ABSL_GUARDED_BY(mutex);
  std::vector<std::string> found_first ABSL_GUARDED_BY(mutex);

  // Loading.
  std::deque<std::pair<std::string, int64_t>> fresh ABSL_GUARDED_BY(mutex);
  std::deque<std::pair<std::string, int64_t>> retries ABSL_GUARDED_BY(mutex);
  std::multiset<absl::Duration> running_since ABSL_GUARDED_BY(mutex);
  // Counts what frees memory, and with the ends of loads what may free some.
  uint64_t memory_epoch ABSL_GUARDED_BY(mutex) = 0;
  uint64_t admission_epoch ABSL_GUARDED_BY(mutex) = 0;
  bool memory_is_short ABSL_GUARDED_BY(mutex) = false;
  int64_t reserved_bytes ABSL_GUARDED_BY(mutex) = 0;
  int64_t draining_bytes ABSL_GUARDED_BY(mutex) = 0;
};

}  // namespace h5serve::model
