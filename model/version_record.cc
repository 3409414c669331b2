#include "model/version_record.h"

namespace h5serve::model {

bool NeedsReload(const config::ModelOptions& loaded, const config::ModelOptions& now) {
  return loaded.compatibility != now.compatibility || loaded.names != now.names ||
         loaded.custom_objects != now.custom_objects || loaded.plugin_paths != now.plugin_paths;
}

bool LoadsAlike(const config::ModelOptions& a, const config::ModelOptions& b) {
  return !NeedsReload(a, b) && a.memory_limit_bytes == b.memory_limit_bytes &&
         a.read_timeout == b.read_timeout && a.max_file_bytes == b.max_file_bytes;
}

bool StillRefused(const ModelRecord& model, const VersionRecord& version, uint64_t memory_epoch,
                  absl::Duration now) {
  if (!version.refusal || !version.settling.sighting()) return false;
  const Refusal& refusal = *version.refusal;
  if (!refusal.files.SameFiles(*version.settling.sighting())) return false;
  if (refusal.options != nullptr && model.options != nullptr &&
      !LoadsAlike(*refusal.options, *model.options)) {
    return false;
  }
  if (refusal.depends_on_service && refusal.service_epoch != model.service_epoch) return false;
  if (refusal.depends_on_memory && refusal.memory_epoch != memory_epoch) return false;
  return now < refusal.retry_at;
}

bool IsLoadable(const ModelRecord& model, const VersionRecord& version, const SettlingRules& rules,
                uint64_t memory_epoch, absl::Duration now) {
  return version.candidate && !version.awaits_scan && version.candidate->problems.empty() &&
         model.options != nullptr && version.settling.SettledAt(rules) <= now &&
         !StillRefused(model, version, memory_epoch, now);
}

bool IsCurrent(const ModelRecord& model, const VersionRecord& version) {
  return version.serving != nullptr && version.candidate &&
         version.serving_file == version.candidate->identity && model.options != nullptr &&
         !NeedsReload(*version.serving_options, *model.options);
}

const VersionRecord* NewestServing(const ModelRecord& model) {
  for (auto version = model.versions.rbegin(); version != model.versions.rend(); ++version) {
    if (version->second.serving != nullptr) return &version->second;
  }
  return nullptr;
}

}  // namespace h5serve::model
