// From what lies on disk to the manager's records.
#include <algorithm>
#include <string>
#include <utility>

#include "model/manager_state.h"

namespace h5serve::model {
namespace {

std::string ParentOf(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? std::string() : path.substr(0, slash);
}

bool IsOtherDirectory(const FileIdentity& a, const FileIdentity& b) {
  return a.device != b.device || a.inode != b.inode;
}

}  // namespace

void Manager::State::Scan() {
  std::string directory;
  {
    absl::MutexLock lock(&mutex);
    directory = options.directory;
    scan_wanted = false;
    ++scans_begun;
  }
  const absl::Duration start = deps.clock->Elapsed();
  DirectoryScan scan = ScanModelDirectory(*deps.files, directory);
  const absl::Time when = deps.clock->Now();
  const bool scanned = scan.status.ok();
  std::vector<std::pair<std::string, Candidate>> unchecked;
  {
    absl::MutexLock lock(&mutex);
    unchecked = Merge(std::move(scan), deps.clock->Elapsed());
  }
  std::vector<Completeness> completeness;
  for (const auto& [model, candidate] : unchecked) {
    completeness.push_back(CheckCompleteness(*deps.files, candidate.path, candidate.identity.size));
  }
  absl::MutexLock lock(&mutex);
  for (size_t i = 0; i < unchecked.size(); ++i) {
    VersionRecord* const version = FindVersion(unchecked[i].first, unchecked[i].second.version);
    if (version != nullptr) version->settling.SetCompleteness(completeness[i]);
  }
  const absl::Duration now = deps.clock->Elapsed();
  // A scan of a large or slow directory must not become all that is done.
  earliest_scan = now + std::max(options.scan_gap, 4 * (now - start));
  next_poll =
      now + (scanned ? options.poll_interval : std::min(options.poll_interval, absl::Seconds(1)));
  if (scanned || overflowed) {
    announcer.Add(
        [when, lost = overflowed](LifecycleListener* listener) { listener->OnScan(when, lost); });
  }
  overflowed = false;
}

std::vector<std::pair<std::string, Candidate>> Manager::State::Merge(DirectoryScan scan,
                                                                     absl::Duration now) {
  std::vector<std::pair<std::string, Candidate>> unchecked;
  scan_status = scan.status;
  if (!scan.status.ok()) return unchecked;  // what cannot be read is not gone
  if (scan.models.empty() && !models.empty() && IsOtherDirectory(scan.root, root)) {
    // An unmounted volume leaves an empty mount point.
    scan_status = absl::UnavailableError(options.directory + " was replaced by an empty directory");
    return unchecked;
  }
  root = scan.root;
  directories = std::move(scan.directories);
  std::set<std::string> present;
  for (FoundModel& found : scan.models) {
    present.insert(found.name);
    if (scan.folders.contains(found.name)) {
      models[found.name].folder = scan.folders[found.name];
    }
    MergeModel(std::move(found), now, &unchecked);
  }
  for (auto& [name, model] : models) {
    if (present.contains(name)) continue;
    const auto folder = scan.folders.find(name);
    FoundModel nothing;
    nothing.name = name;
    nothing.incomplete = folder != scan.folders.end() && model.folder != FileIdentity{} &&
                         IsOtherDirectory(folder->second, model.folder);
    MergeModel(std::move(nothing), now, &unchecked);
  }
  renamed.clear();
  if (found_first.empty()) {
    for (const auto& [name, model] : models) {
      if (model.on_disk) found_first.push_back(name);
    }
  }
  return unchecked;
}

void Manager::State::MergeModel(FoundModel found, absl::Duration now,
                                std::vector<std::pair<std::string, Candidate>>* unchecked) {
  ModelRecord& model = models[found.name];
  model.name = found.name;
  model.incomplete = found.incomplete;
  model.layout_problems = std::move(found.problems);
  if (!found.incomplete || !found.settings_path.empty()) {
    Settling::Sighting settings;
    settings.file = found.settings_identity;
    const bool first = !model.settings_settling.sighting().has_value();
    if (found.settings_path.empty()) {
      // An editor may take the file away for a moment.
      settings.age = first ? absl::InfiniteDuration() : absl::ZeroDuration();
    } else {
      settings.renamed = WasRenamed(found.settings_path);
      settings.age = deps.clock->Now() - absl::FromUnixNanos(found.settings_identity.ctime_ns);
    }
    if (model.settings_settling.Observe(settings, now)) {
      model.settings_settling.SetCompleteness(Completeness::kComplete);
      model.settings_read = false;
    }
    model.settings_path = found.settings_path;
  }
  std::set<int64_t> present;
  for (Candidate& candidate : found.versions) {
    present.insert(candidate.version);
    const bool added = !model.versions.contains(candidate.version);
    VersionRecord& version = model.versions[candidate.version];
    version.status.model = model.name;
    version.status.version = candidate.version;
    version.missing_since.reset();
    version.awaits_scan = false;
    if (version.serving == nullptr || candidate.problems.empty()) {
      version.status.path = candidate.path;
    }
    Settling::Sighting sighting;
    sighting.file = candidate.identity;
    sighting.digest_file = candidate.digest_file;
    sighting.golden_file = candidate.golden_file;
    sighting.renamed = WasRenamed(candidate.path);
    sighting.age = AgeOf(candidate);
    const bool returned = !added && !version.candidate && version.serving == nullptr;
    version.candidate = candidate;
    if (version.settling.Observe(sighting, now)) {
      version.failures = 0;
      version.needed_bytes = 0;
      if (candidate.problems.empty()) {
        unchecked->emplace_back(model.name, candidate);
      } else {
        version.settling.SetCompleteness(Completeness::kComplete);
      }
      SetProgress(&version, ModelState::kFound);
    } else if (returned) {
      version.refusal.reset();
      SetProgress(&version, ModelState::kFound);
    }
  }
  if (found.incomplete) return;
  model.on_disk = !present.empty() || !model.layout_problems.empty();
  for (auto& [number, version] : model.versions) {
    if (present.contains(number)) continue;
    version.candidate.reset();
    if (!version.missing_since) version.missing_since = now;
  }
}

bool Manager::State::WasRenamed(const std::string& path) const {
  if (renamed.empty()) return false;
  const size_t root_length = options.directory.size();
  for (std::string place = path; place.size() > root_length; place = ParentOf(place)) {
    if (renamed.contains(place)) return true;
    // Kubernetes publishes a volume's new content by moving ..data.
    if (renamed.contains(ParentOf(place) + "/..data")) return true;
  }
  return false;
}

absl::Duration Manager::State::AgeOf(const Candidate& candidate) const {
  const int64_t changed = std::max({candidate.identity.ctime_ns, candidate.digest_file.ctime_ns,
                                    candidate.golden_file.ctime_ns});
  return deps.clock->Now() - absl::FromUnixNanos(changed);
}

void Manager::State::ReadSettings(absl::Duration now) {
  struct Pending {
    std::string model;
    std::string path;
  };
  std::vector<Pending> pending;
  config::ModelOptions defaults;
  {
    absl::MutexLock lock(&mutex);
    defaults = options.defaults;
    for (const auto& [name, model] : models) {
      if (model.settings_read || !model.settings_settling.sighting()) continue;
      if (model.settings_settling.SettledAt(options.settling) > now) continue;
      pending.push_back({name, model.settings_path});
    }
  }
  for (const Pending& item : pending) {
    absl::StatusOr<config::ModelOptions> settings = defaults;
    if (!item.path.empty() && deps.read_settings) {
      settings = deps.read_settings(item.path, defaults);
    }
    absl::MutexLock lock(&mutex);
    ModelRecord* const model = FindModel(item.model);
    if (model != nullptr) ApplySettings(model, std::move(settings));
  }
}

void Manager::State::ApplySettings(ModelRecord* model,
                                   absl::StatusOr<config::ModelOptions> settings) {
  model->settings_read = true;
  model->settings_problems = {};
  if (!settings.ok()) {
    model->settings_problems.Add(
        Code::kSettingsInvalid,
        PrintableName(model->settings_path + ": " + std::string(settings.status().message())));
    return;
  }
  if (model->options != nullptr && *model->options == *settings) return;
  const auto fresh = std::make_shared<const config::ModelOptions>(*std::move(settings));
  if (model->options == nullptr || model->options->labels != fresh->labels) {
    deps.store->SetLabels(model->name, fresh->labels);
  }
  model->options = fresh;
}

}  // namespace h5serve::model
