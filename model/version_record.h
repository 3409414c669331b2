// What the manager remembers of models and their versions.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "config/options.h"
#include "model/lifecycle.h"
#include "model/model_directory.h"
#include "model/settling.h"
#include "model/store.h"

namespace h5serve::model {

using SharedOptions = std::shared_ptr<const config::ModelOptions>;

// Under what circumstances a file was refused: while they last, it is not tried
// again.
struct Refusal {
  Settling::Sighting files;
  SharedOptions options;
  // SIGNATURE_CHANGED speaks of what was in service then.
  bool depends_on_service = false;
  uint64_t service_epoch = 0;
  // RESOURCE_LIMIT speaks of what was in memory then.
  bool depends_on_memory = false;
  uint64_t memory_epoch = 0;
  // Infinite for permanent causes.
  absl::Duration retry_at = absl::InfiniteDuration();
};

// Bytes that were refused, wherever they turn up again.
struct KnownBad {
  std::string sha256;
  Settling::Sighting files;
  SharedOptions options;
  bool depends_on_service = false;
  uint64_t service_epoch = 0;
  DiagnosisList diagnoses;
  ModelFacts facts;
};

struct VersionRecord {
  VersionStatus status;

  // On disk, as the last scan saw it.
  std::optional<Candidate> candidate;
  Settling settling;
  std::optional<absl::Duration> missing_since;

  // Attempts.
  std::optional<Refusal> refusal;
  int failures = 0;  // in a row, with the same files
  bool queued = false;
  bool loading = false;
  // The file is known to be another than `candidate`: only a scan can help.
  bool awaits_scan = false;
  int64_t needed_bytes = 0;  // found by an earlier attempt, or 0
  // Waits until memory is freed; compare with the manager's memory epoch.
  std::optional<uint64_t> waiting_since_epoch;

  // In service.
  std::shared_ptr<const ServedModel> serving;
  FileIdentity serving_file;
  SharedOptions serving_options;
  std::string serving_digest;
  int unfreed = 0;  // servables of this version in memory
};

struct ModelRecord {
  std::string name;
  std::map<int64_t, VersionRecord> versions;

  // Settings. Null options: there have never been valid ones.
  std::string settings_path;
  Settling settings_settling;
  bool settings_read = false;  // as the sighting has them
  SharedOptions options;
  DiagnosisList settings_problems;

  // Layout and settings as the status with kNoVersion tells them.
  DiagnosisList layout_problems;
  std::optional<VersionStatus> status;

  bool on_disk = false;
  FileIdentity folder;
  bool incomplete = false;
  // Counts changes of what is in service.
  uint64_t service_epoch = 0;
  std::deque<std::shared_ptr<const KnownBad>> known_bad;
  // Taken out of service on request, until its files differ from these.
  std::optional<std::map<int64_t, FileIdentity>> unloaded;
  std::optional<absl::Duration> gone_since;
};

// Whether a loaded model must be loaded again under the other options.
bool NeedsReload(const config::ModelOptions& loaded, const config::ModelOptions& now);
// Whether a load could end differently under the other options.
bool LoadsAlike(const config::ModelOptions& a, const config::ModelOptions& b);

// Whether the refusal still tells what would come of the files at `now`.
bool StillRefused(const ModelRecord& model, const VersionRecord& version, uint64_t memory_epoch,
                  absl::Duration now);
// Whether the file on disk can be tried at `now`.
bool IsLoadable(const ModelRecord& model, const VersionRecord& version, const SettlingRules& rules,
                uint64_t memory_epoch, absl::Duration now);
// Whether what is on disk is what is in service.
bool IsCurrent(const ModelRecord& model, const VersionRecord& version);

// The newest version in service, or null.
const VersionRecord* NewestServing(const ModelRecord& model);

}  // namespace h5serve::model
