#include "model/manager.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <utility>

#include "model/manager_state.h"

namespace h5serve::model {
namespace {

int64_t LimitOrDefault(const ManagerOptions& options, const FileSystem& files) {
  if (options.memory_limit_bytes > 0) return options.memory_limit_bytes;
  return AllowedMemoryBytes(files, "/") / 5 * 4;
}

void Normalize(ManagerOptions* options) {
  while (options->directory.size() > 1 && options->directory.ends_with('/')) {
    options->directory.pop_back();
  }
}

}  // namespace

Manager::State::State(ManagerOptions manager_options, ManagerDependencies dependencies)
    : deps(std::move(dependencies)),
      ledger(LimitOrDefault(manager_options, *deps.files)),
      announcer(deps.listener),
      options(std::move(manager_options)),
      random(static_cast<uint32_t>(deps.random_seed % 2147483646 + 1)) {
  Normalize(&options);
}

ModelRecord* Manager::State::FindModel(std::string_view name) {
  const auto model = models.find(name);
  return model == models.end() ? nullptr : &model->second;
}

VersionRecord* Manager::State::FindVersion(std::string_view name, int64_t version) {
  ModelRecord* const model = FindModel(name);
  if (model == nullptr) return nullptr;
  const auto found = model->versions.find(version);
  return found == model->versions.end() ? nullptr : &found->second;
}

void Manager::State::Finish(Tasks tasks) {
  Garbage dropped;
  {
    absl::MutexLock lock(&mutex);
    dropped.swap(garbage);
  }
  dropped.clear();
  announcer.Tell();
  for (std::function<void()>& task : tasks) deps.loads->Run(std::move(task));
  if (deps.wake) deps.wake();
}

bool Manager::State::IsResting(const ModelRecord& model, absl::Duration now) const {
  if (!model.settings_read && model.on_disk) return false;
  for (const auto& [number, version] : model.versions) {
    if (version.queued || version.loading) return false;
    if (!version.candidate) continue;
    if (version.awaits_scan || version.waiting_since_epoch == admission_epoch) return false;
    if (version.settling.SettledAt(options.settling) > now) return false;
  }
  return true;
}

Manager::Manager(ManagerOptions options, ManagerDependencies dependencies)
    : state_(std::make_shared<State>(std::move(options), std::move(dependencies))) {}

Manager::~Manager() {
  State& state = *state_;
  State::Garbage dropped;
  {
    absl::MutexLock lock(&state.mutex);
    state.stopping = true;
    const auto quiet = [&state]()
                           ABSL_EXCLUSIVE_LOCKS_REQUIRED(state.mutex) { return state.busy == 0; };
    state.mutex.Await(absl::Condition(&quiet));
    dropped.swap(state.garbage);
    for (auto& [name, model] : state.models) {
      for (auto& [number, version] : model.versions) {
        if (version.serving == nullptr) continue;
        dropped.push_back(state.deps.store->Remove(name, number));
        dropped.push_back(std::move(version.serving));
      }
    }
  }
  dropped.clear();
  state.announcer.Close();
}

bool Manager::Step(const WatchReport& report) {
  State& state = *state_;
  const absl::Duration now = state.deps.clock->Elapsed();
  {
    absl::MutexLock lock(&state.mutex);
    state.renamed.insert(report.renamed.begin(), report.renamed.end());
    state.overflowed |= report.overflowed;
    state.scan_wanted |= report.changed || report.overflowed;
    const bool wanted = state.scan_wanted || state.due <= now || state.next_poll <= now;
    if (!wanted || state.earliest_scan > now) return false;
  }
  state.Scan();
  state.ReadSettings(state.deps.clock->Elapsed());
  State::Tasks tasks;
  {
    absl::MutexLock lock(&state.mutex);
    const absl::Duration decided = state.deps.clock->Elapsed();
    state.DecideAll(decided);
    tasks = state.StartLoads(decided);
    ++state.scans_done;
  }
  state.Finish(std::move(tasks));
  return true;
}

absl::Duration Manager::NextStep() const {
  const State& state = *state_;
  absl::MutexLock lock(&state.mutex);
  if (state.scan_wanted) return state.earliest_scan;
  return std::max(state.earliest_scan, std::min(state.due, state.next_poll));
}

std::vector<std::string> Manager::directories() const {
  absl::MutexLock lock(&state_->mutex);
  // Before the first good scan, the directory itself is what to wait for.
  if (state_->directories.empty()) return {state_->options.directory};
  return state_->directories;
}

absl::Status Manager::SetOptions(ManagerOptions options) {
  Normalize(&options);
  State& state = *state_;
  {
    absl::MutexLock lock(&state.mutex);
    if (options.directory != state.options.directory) {
      return absl::InvalidArgumentError(fmt::format(
          "the model directory cannot change while the server runs: {}", options.directory));
    }
    if (options.defaults != state.options.defaults) {
      for (auto& [name, model] : state.models) model.settings_read = false;
    }
    state.ledger.SetLimit(LimitOrDefault(options, *state.deps.files));
    ++state.memory_epoch;
    ++state.admission_epoch;
    state.options = std::move(options);
    state.scan_wanted = true;
  }
  if (state.deps.wake) state.deps.wake();
  return absl::OkStatus();
}

absl::Status Manager::Load(const std::string& name, absl::Time deadline) {
  const std::shared_ptr<State> state = state_;
  uint64_t awaited = 0;
  {
    absl::MutexLock lock(&state->mutex);
    awaited = state->scans_begun + 1;
    state->scan_wanted = true;
  }
  if (state->deps.wake) state->deps.wake();
  State::Tasks tasks;
  {
    absl::MutexLock lock(&state->mutex);
    const auto scanned = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(state->mutex) {
      return state->stopping || state->scans_done >= awaited;
    };
    if (!state->mutex.AwaitWithDeadline(absl::Condition(&scanned), deadline)) {
      return absl::DeadlineExceededError(fmt::format("model {} is not loaded yet", name));
    }
    if (state->stopping) return absl::UnavailableError("the server is shutting down");
    ModelRecord* const model = state->FindModel(name);
    if (model == nullptr || !model->on_disk) {
      return absl::NotFoundError(
          fmt::format("model {} is not in {}", name, state->options.directory));
    }
    model->unloaded.reset();
    model->known_bad.clear();
    for (auto& [number, version] : model->versions) {
      version.refusal.reset();
      version.failures = 0;
    }
    const absl::Duration now = state->deps.clock->Elapsed();
    state->Decide(model, now);
    tasks = state->StartLoads(now);
  }
  state->Finish(std::move(tasks));

  absl::MutexLock lock(&state->mutex);
  const auto resting = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(state->mutex) {
    const ModelRecord* const model = state->FindModel(name);
    return state->stopping || model == nullptr ||
           state->IsResting(*model, state->deps.clock->Elapsed());
  };
  if (!state->mutex.AwaitWithDeadline(absl::Condition(&resting), deadline)) {
    return absl::DeadlineExceededError(fmt::format("model {} is not loaded yet", name));
  }
  if (state->stopping) return absl::UnavailableError("the server is shutting down");
  const ModelRecord* const model = state->FindModel(name);
  if (model == nullptr) return absl::NotFoundError(fmt::format("model {} is gone", name));
  for (auto entry = model->versions.rbegin(); entry != model->versions.rend(); ++entry) {
    const VersionRecord& version = entry->second;
    if (!version.candidate) continue;
    if (IsCurrent(*model, version)) return absl::OkStatus();
    const ModelState shown = version.serving != nullptr
                                 ? version.status.replacement.value_or(ModelState::kServing)
                                 : version.status.state;
    if (shown == ModelState::kRefused) return version.status.diagnoses.Summary();
  }
  if (model->status) return model->status->diagnoses.Summary();
  if (NewestServing(*model) != nullptr) return absl::OkStatus();
  if (model->unloaded) {
    return absl::AbortedError(fmt::format("model {} was unloaded by another call", name));
  }
  return absl::NotFoundError(
      fmt::format("model {} has no version that its version policy selects", name));
}

absl::Status Manager::Unload(const std::string& name) {
  State& state = *state_;
  {
    absl::MutexLock lock(&state.mutex);
    ModelRecord* const model = state.FindModel(name);
    if (model == nullptr) return absl::NotFoundError(fmt::format("model {} is not known", name));
    model->unloaded.emplace();
    for (const auto& [number, version] : model->versions) {
      if (version.candidate) model->unloaded->emplace(number, version.candidate->identity);
    }
    state.Decide(model, state.deps.clock->Elapsed());
  }
  state.Finish({});
  return absl::OkStatus();
}

namespace {

void AppendStatuses(const ModelRecord& model, std::vector<VersionStatus>* statuses) {
  if (model.status) statuses->push_back(*model.status);
  for (const auto& [number, version] : model.versions) statuses->push_back(version.status);
}

}  // namespace

std::vector<VersionStatus> Manager::StatusOf(std::string_view name) const {
  std::vector<VersionStatus> statuses;
  absl::MutexLock lock(&state_->mutex);
  const ModelRecord* const model = state_->FindModel(name);
  if (model != nullptr) AppendStatuses(*model, &statuses);
  return statuses;
}

std::vector<VersionStatus> Manager::StatusOfAll() const {
  std::vector<VersionStatus> statuses;
  absl::MutexLock lock(&state_->mutex);
  for (const auto& [name, model] : state_->models) AppendStatuses(model, &statuses);
  return statuses;
}

absl::StatusOr<config::ModelOptions> Manager::OptionsOf(std::string_view name) const {
  absl::MutexLock lock(&state_->mutex);
  const ModelRecord* const model = state_->FindModel(name);
  if (model == nullptr || model->options == nullptr) {
    return absl::NotFoundError(fmt::format("model {} is not known", name));
  }
  return *model->options;
}

Readiness Manager::readiness() const {
  Readiness readiness;
  absl::MutexLock lock(&state_->mutex);
  std::vector<std::string> required = state_->options.required_models;
  if (required.empty()) {
    for (const std::string& name : state_->found_first) {
      const ModelRecord* const model = state_->FindModel(name);
      // What was deleted on purpose is missed no more.
      if (model != nullptr && (model->on_disk || NewestServing(*model) != nullptr)) {
        required.push_back(name);
      }
    }
  }
  for (const std::string& name : required) {
    const ModelRecord* const model = state_->FindModel(name);
    if (model == nullptr || NewestServing(*model) == nullptr) readiness.missing.push_back(name);
  }
  readiness.ready = !required.empty() && readiness.missing.empty();
  if (readiness.ready) return readiness;
  if (!state_->scan_status.ok() && required.empty()) {
    readiness.reason = PrintableName(std::string(state_->scan_status.message()));
  } else if (required.empty()) {
    readiness.reason = fmt::format("no model found in {}", state_->options.directory);
  } else {
    const size_t shown = std::min<size_t>(readiness.missing.size(), 10);
    readiness.reason =
        fmt::format("no version in service of {}{}",
                    fmt::join(readiness.missing.begin(),
                              readiness.missing.begin() + static_cast<int>(shown), ", "),
                    shown < readiness.missing.size()
                        ? fmt::format(" and {} more", readiness.missing.size() - shown)
                        : "");
  }
  return readiness;
}

int64_t Manager::memory_used_bytes() const { return state_->ledger.used_bytes(); }
int64_t Manager::memory_limit_bytes() const { return state_->ledger.limit_bytes(); }

absl::Status Manager::scan_status() const {
  absl::MutexLock lock(&state_->mutex);
  return state_->scan_status;
}

bool Manager::idle() const {
  absl::MutexLock lock(&state_->mutex);
  if (state_->scan_wanted || state_->scans_done == 0 || !state_->running_since.empty() ||
      !state_->fresh.empty() || !state_->retries.empty()) {
    return false;
  }
  const absl::Duration now = state_->deps.clock->Elapsed();
  for (const auto& [name, model] : state_->models) {
    if (!state_->IsResting(model, now)) return false;
  }
  return true;
}

}  // namespace h5serve::model
