// What the manager does about what it knows.
#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <utility>

#include "model/manager_state.h"

namespace h5serve::model {
namespace {

// Removed versions remembered per model, and how long a model that is gone is.
constexpr size_t kRemovedVersions = 8;
constexpr absl::Duration kRememberGoneModel = absl::Minutes(10);

bool SameText(const DiagnosisList& a, const DiagnosisList& b) {
  return std::equal(a.items().begin(), a.items().end(), b.items().begin(), b.items().end(),
                    [](const Diagnosis& x, const Diagnosis& y) {
                      return x.code == y.code && x.message == y.message;
                    });
}

}  // namespace

void Manager::State::DecideAll(absl::Duration now) {
  due = absl::InfiniteDuration();
  memory_is_short = false;
  for (auto model = models.begin(); model != models.end();) {
    const auto next = std::next(model);
    Decide(&model->second, now);
    ModelRecord& record = model->second;
    const bool gone = record.versions.empty() && !record.on_disk && !record.incomplete &&
                      record.settings_path.empty();
    if (gone) {
      deps.store->SetLabels(record.name, {});
      models.erase(model);
    }
    model = next;
  }
}

void Manager::State::DecideAboutMemory(absl::Duration now) {
  if (memory_is_short) DecideAll(now);
}

void Manager::State::Decide(ModelRecord* model, absl::Duration now) {
  if (stopping) return;
  UpdateModelStatus(model);
  if (model->unloaded) {
    for (const auto& [number, version] : model->versions) {
      if (!version.candidate) continue;
      const auto known = model->unloaded->find(number);
      if (known != model->unloaded->end() && known->second == version.candidate->identity) continue;
      model->unloaded.reset();
      break;
    }
  }
  for (auto& [number, version] : model->versions) {
    if (model->options != nullptr) Requeue(&version, model->options);
    UpdateResting(model, &version, now);
  }
  VersionPlan plan;
  if (model->unloaded) {
    for (const auto& [number, version] : model->versions) {
      if (version.serving != nullptr) plan.retired.insert(number);
    }
  } else {
    plan =
        PlanVersions(model->options != nullptr ? model->options->versions : config::VersionPolicy{},
                     Choices(*model, now));
  }
  for (const int64_t number : plan.retired) Retire(model, &model->versions[number]);
  Enqueue(model, plan.wanted, now);
  ForgetOld(model, now);
  NoteDue(*model, now);
}

std::vector<VersionChoice> Manager::State::Choices(const ModelRecord& model,
                                                   absl::Duration now) const {
  const auto loadable = [&](const VersionRecord& version) ABSL_NO_THREAD_SAFETY_ANALYSIS {
    return IsLoadable(model, version, options.settling, memory_epoch, now);
  };
  std::vector<VersionChoice> choices;
  for (const auto& [number, version] : model.versions) {
    VersionChoice choice;
    choice.version = number;
    choice.serving = version.serving != nullptr;
    if (version.candidate) {
      choice.available = choice.serving || version.loading || loadable(version);
    } else if (choice.serving) {
      // A flat file that was replaced: the new content has another version. The
      // old one stays the choice as long as the new one is none.
      const auto successor =
          std::find_if(model.versions.begin(), model.versions.end(),
                       [&path = version.status.path](const auto& other) {
                         return other.second.candidate && other.second.candidate->path == path;
                       });
      if (successor != model.versions.end()) {
        const VersionRecord& next = successor->second;
        choice.available = next.serving == nullptr && !next.loading && !loadable(next);
      } else {
        choice.deleted =
            version.missing_since && now - *version.missing_since >= options.unload_grace;
        choice.available = !choice.deleted;
      }
    }
    choices.push_back(choice);
  }
  return choices;
}

void Manager::State::Enqueue(ModelRecord* model, const std::set<int64_t>& wanted,
                             absl::Duration now) {
  // One load per model at a time, the newest first: an older version never has
  // to stand comparison with itself, and a model does not take all threads.
  for (const auto& [number, version] : model->versions) {
    if (version.loading || version.queued) return;
  }
  for (auto number = wanted.rbegin(); number != wanted.rend(); ++number) {
    VersionRecord& version = model->versions[*number];
    if (IsCurrent(*model, version)) continue;
    if (!IsLoadable(*model, version, options.settling, memory_epoch, now)) continue;
    if (version.waiting_since_epoch == admission_epoch) continue;
    version.waiting_since_epoch.reset();
    version.queued = true;
    // What has failed before does not hold up what has not.
    (version.failures == 0 ? fresh : retries).emplace_back(model->name, *number);
    return;
  }
}

void Manager::State::UpdateResting(ModelRecord* model, VersionRecord* version, absl::Duration now) {
  if (version->loading) return;
  if (!version->candidate) {
    if (version->serving != nullptr) {
      version->status.replacement.reset();
    } else if (version->unfreed == 0) {
      SetState(version, ModelState::kRemoved);
    }
    return;
  }
  if (IsCurrent(*model, *version)) {
    version->status.replacement.reset();
    return;
  }
  if (StillRefused(*model, *version, memory_epoch, now)) return;
  if (version->settling.SettledAt(options.settling) > now) {
    SetProgress(version, ModelState::kSettling);
    return;
  }
  if (!version->candidate->problems.empty()) {
    RefuseUntried(model, version, version->candidate->problems, now);
    return;
  }
  if (model->options == nullptr) {
    if (!model->settings_problems.empty()) {
      RefuseUntried(model, version, model->settings_problems, now);
    }
    return;
  }
  // What was taken out of service stays so while its file does not change.
  const bool retired = version->status.state == ModelState::kDraining ||
                       version->status.state == ModelState::kRemoved;
  if (version->serving == nullptr && retired) return;
  SetProgress(version, ModelState::kFound);
}

void Manager::State::RefuseUntried(ModelRecord* model, VersionRecord* version,
                                   const DiagnosisList& why, absl::Duration now) {
  const ModelState shown = version->serving != nullptr
                               ? version->status.replacement.value_or(ModelState::kServing)
                               : version->status.state;
  if (shown == ModelState::kRefused && SameText(version->status.diagnoses, why)) return;
  version->status.diagnoses = why;
  AnnounceLoad(*version, ModelState::kRefused, {});
  SetProgress(version, ModelState::kRefused);
}

void Manager::State::UpdateModelStatus(ModelRecord* model) {
  DiagnosisList problems = model->layout_problems;
  for (const Diagnosis& problem : model->settings_problems.items()) problems.Add(problem);
  if (problems.empty()) {
    if (!model->status) return;
    announcer.Add([status = *model->status](LifecycleListener* listener) mutable {
      status.state = ModelState::kRemoved;
      status.diagnoses = {};
      listener->OnState(status);
      listener->OnForgotten(status.model, status.version);
    });
    model->status.reset();
    return;
  }
  if (model->status && SameText(model->status->diagnoses, problems)) return;
  VersionStatus status;
  status.model = model->name;
  status.version = kNoVersion;
  status.path = model->settings_problems.empty()
                    ? fmt::format("{}/{}", options.directory, model->name)
                    : model->settings_path;
  status.state = ModelState::kRefused;
  status.since = deps.clock->Now();
  status.diagnoses = std::move(problems);
  model->status = status;
  announcer.Add([status](LifecycleListener* listener) {
    listener->OnState(status);
    listener->OnLoad(status, {});
  });
}

void Manager::State::Retire(ModelRecord* model, VersionRecord* version) {
  garbage.push_back(deps.store->Remove(model->name, version->status.version));
  draining_bytes += version->serving->servable->facts().memory_bytes;
  garbage.push_back(std::move(version->serving));
  version->serving = nullptr;
  version->serving_options = nullptr;
  version->serving_digest.clear();
  version->status.replacement.reset();
  ++model->service_epoch;
  SetState(version, ModelState::kDraining);
}

void Manager::State::ForgetOld(ModelRecord* model, absl::Duration now) {
  std::vector<std::pair<absl::Time, int64_t>> removed;
  bool alive = model->on_disk;
  for (const auto& [number, version] : model->versions) {
    const bool is_removed = !version.candidate && version.serving == nullptr && !version.loading &&
                            !version.queued && version.unfreed == 0;
    if (is_removed) {
      removed.emplace_back(version.status.since, number);
    } else {
      alive = true;
    }
  }
  if (alive) {
    model->gone_since.reset();
  } else if (!model->gone_since) {
    model->gone_since = now;
  }
  const bool forget_all = model->gone_since && now - *model->gone_since >= kRememberGoneModel;
  std::sort(removed.begin(), removed.end());
  const size_t keep = forget_all ? 0 : kRemovedVersions;
  for (size_t i = 0; i + keep < removed.size(); ++i) {
    const int64_t number = removed[i].second;
    model->versions.erase(number);
    announcer.Add([name = model->name, number](LifecycleListener* listener) {
      listener->OnForgotten(name, number);
    });
  }
}

void Manager::State::NoteDue(const ModelRecord& model, absl::Duration now) {
  for (const auto& [number, version] : model.versions) {
    memory_is_short |= version.waiting_since_epoch.has_value() ||
                       (version.refusal && version.refusal->depends_on_memory);
  }
  const auto note = [&](absl::Duration when) ABSL_NO_THREAD_SAFETY_ANALYSIS {
    if (when > now) due = std::min(due, when);
  };
  if (!model.settings_read && model.settings_settling.sighting()) {
    note(model.settings_settling.SettledAt(options.settling));
  }
  if (model.gone_since) note(*model.gone_since + kRememberGoneModel);
  for (const auto& [number, version] : model.versions) {
    if (version.candidate) {
      note(version.settling.SettledAt(options.settling));
      if (version.refusal) note(version.refusal->retry_at);
    } else if (version.serving != nullptr && version.missing_since) {
      note(*version.missing_since + options.unload_grace);
    }
  }
}

void Manager::State::SetState(VersionRecord* version, ModelState state) {
  VersionStatus& status = version->status;
  if (status.state == state && status.since != absl::Time()) return;
  status.state = state;
  status.since = deps.clock->Now();
  announcer.Add([status](LifecycleListener* listener) { listener->OnState(status); });
}

void Manager::State::SetProgress(VersionRecord* version, ModelState state) {
  if (version->serving == nullptr) {
    SetState(version, state);
    return;
  }
  if (version->status.replacement == state) return;
  version->status.replacement = state;
  announcer.Add(
      [status = version->status](LifecycleListener* listener) { listener->OnState(status); });
}

void Manager::State::AnnounceLoad(
    const VersionRecord& version, ModelState result,
    std::vector<std::pair<LoadPhase, std::chrono::microseconds>> phases) {
  announcer.Add([status = version.status, result,
                 phases = std::move(phases)](LifecycleListener* listener) mutable {
    status.state = result;
    status.replacement.reset();
    listener->OnLoad(status, phases);
  });
}

}  // namespace h5serve::model
