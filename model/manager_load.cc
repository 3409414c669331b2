// Loads, and how what they bring gets into service.
#include <fmt/format.h>
#include <malloc.h>

#include <algorithm>
#include <string>
#include <utility>

#include "model/batch_costs.h"
#include "model/manager_state.h"

namespace h5serve::model {
namespace {

constexpr size_t kKnownBadPerModel = 32;
// However many loads are slow, no more than this times the usual number run.
constexpr size_t kSlowFactor = 8;
// Handing freed memory back to the system costs, so small models share it.
constexpr int64_t kTrimBytes = int64_t{1} << 20;

bool AllTransient(const DiagnosisList& diagnoses) {
  bool any = false;
  for (const Diagnosis& diagnosis : diagnoses.items()) {
    if (diagnosis.severity != Severity::kError) continue;
    if (!Info(diagnosis.code).transient) return false;
    any = true;
  }
  return any;
}

ModelState StateOf(LoadPhase phase) {
  switch (phase) {
    case LoadPhase::kReading:
      return ModelState::kReading;
    case LoadPhase::kChecking:
      return ModelState::kChecking;
    case LoadPhase::kCompiling:
      return ModelState::kCompiling;
    case LoadPhase::kProving:
      return ModelState::kProving;
  }
  return ModelState::kReading;
}

}  // namespace

Manager::State::Tasks Manager::State::StartLoads(absl::Duration now) {
  Tasks tasks;
  const auto limit = static_cast<size_t>(std::max(1, options.max_parallel_loads));
  while (!stopping && (!fresh.empty() || !retries.empty())) {
    const auto first_counted = running_since.upper_bound(now - options.slow_load);
    const auto counted = static_cast<size_t>(std::distance(first_counted, running_since.end()));
    if (running_since.size() >= limit * kSlowFactor) break;
    if (counted >= limit) {
      due = std::min(due, *first_counted + options.slow_load);
      break;
    }
    auto& queue = fresh.empty() ? retries : fresh;
    const auto [name, number] = std::move(queue.front());
    queue.pop_front();
    ModelRecord* const model = FindModel(name);
    VersionRecord* const version = FindVersion(name, number);
    if (version == nullptr) continue;
    version->queued = false;
    const bool pointless = version->loading || model->unloaded || IsCurrent(*model, *version) ||
                           !IsLoadable(*model, *version, options.settling, memory_epoch, now);
    int64_t budget = 0;
    if (pointless || !Admit(model, version, now, &budget)) {
      Decide(model, now);
      continue;
    }
    const auto job = std::make_shared<LoadJob>(MakeJob(model, version, budget));
    job->started = now;
    version->loading = true;
    running_since.insert(now);
    SetProgress(version, ModelState::kReading);
    tasks.push_back([self = shared_from_this(), job] {
      {
        absl::MutexLock lock(&self->mutex);
        if (self->stopping) return;
        ++self->busy;
      }
      self->Complete(*job, self->Perform(*job));
      absl::MutexLock lock(&self->mutex);
      --self->busy;
    });
  }
  return tasks;
}

bool Manager::State::Admit(ModelRecord* model, VersionRecord* version, absl::Duration now,
                           int64_t* budget) {
  const int64_t own_limit = model->options->memory_limit_bytes;
  const int64_t free_bytes = ledger.free_bytes();
  const int64_t needed = std::max<int64_t>(version->needed_bytes, 1);
  const bool too_large_for_own = own_limit > 0 && needed > own_limit;  // the load says it best
  if (needed > free_bytes && !too_large_for_own) {
    WaitForMemory(model, version, version->needed_bytes, now);
    return false;
  }
  *budget = std::max<int64_t>(1, own_limit > 0 ? std::min(own_limit, free_bytes) : free_bytes);
  return true;
}

void Manager::State::WaitForMemory(ModelRecord* model, VersionRecord* version, int64_t needed,
                                   absl::Duration now) {
  memory_is_short = true;
  const int64_t coming = draining_bytes + reserved_bytes;
  if (coming > 0 && needed <= ledger.free_bytes() + coming) {
    version->waiting_since_epoch = admission_epoch;
    SetProgress(version, ModelState::kFound);
  } else {
    RefuseForMemory(model, version, needed, now);
  }
}

void Manager::State::RefuseForMemory(ModelRecord* model, VersionRecord* version, int64_t needed,
                                     absl::Duration now) {
  const std::string holders = ledger.Describe();
  version->status.diagnoses = {};
  version->status.diagnoses.Add(
      Code::kResourceLimit,
      fmt::format("{}, but of {} for all models only {} are free{}",
                  needed > 0 ? fmt::format("the model needs {}", FormatBytes(needed))
                             : std::string("the model needs memory"),
                  FormatBytes(ledger.limit_bytes()),
                  FormatBytes(std::max<int64_t>(0, ledger.free_bytes())),
                  holders.empty() ? "" : fmt::format(" ({})", holders)),
      {}, {"raise the memory limit, or remove models or versions"});
  Refusal refusal;
  refusal.files = *version->settling.sighting();
  refusal.options = model->options;
  refusal.depends_on_memory = true;
  refusal.memory_epoch = memory_epoch;
  refusal.retry_at = now + BackOff(++version->failures);
  version->refusal = refusal;
  AnnounceLoad(*version, ModelState::kRefused, {});
  SetProgress(version, ModelState::kRefused);
}

LoadJob Manager::State::MakeJob(ModelRecord* model, VersionRecord* version, int64_t budget) {
  LoadJob job;
  job.model = model->name;
  job.version = version->status.version;
  job.path = version->candidate->path;
  job.files = *version->settling.sighting();
  job.options = model->options;
  job.budget_bytes = budget;
  job.reserved_bytes =
      std::min(budget, version->needed_bytes > 0 ? version->needed_bytes
                                                 : version->candidate->identity.size);
  job.service_epoch = model->service_epoch;
  // A version older than what requests get by default replaces nothing.
  const VersionRecord* const newest = NewestServing(*model);
  if (newest != nullptr && newest->status.version <= job.version) {
    job.in_service = newest->serving->servable->signature();
  } else if (newest != nullptr && !newest->candidate) {
    job.in_service = newest->serving->servable->signature();
  }
  if (version->failures == 0) {
    for (const std::shared_ptr<const KnownBad>& bad : model->known_bad) {
      const bool same_company = bad->files.digest_file == job.files.digest_file &&
                                bad->files.golden_file == job.files.golden_file;
      if (bad->files.file.size == job.files.file.size && same_company &&
          LoadsAlike(*bad->options, *job.options) &&
          (!bad->depends_on_service || bad->service_epoch == model->service_epoch)) {
        job.known_bad.push_back(bad);
      }
    }
  }
  if (version->serving != nullptr && version->serving_file.size == job.files.file.size &&
      !NeedsReload(*version->serving_options, *model->options)) {
    job.serving_digest = version->serving_digest;
  }
  ledger.Reserve(job.model, job.reserved_bytes);
  reserved_bytes += job.reserved_bytes;
  return job;
}

bool Manager::State::IsStill(const LoadJob& job) const {
  const absl::StatusOr<FileStat> stat = deps.files->Stat(job.path);
  return stat.ok() && stat->identity == job.files.file;
}

LoadResult Manager::State::Perform(const LoadJob& job) {
  LoadResult result;
  if (!IsStill(job)) return result;
  if ((!job.known_bad.empty() || !job.serving_digest.empty()) && deps.digest) {
    const absl::StatusOr<std::string> digest = deps.digest(job.path);
    if (digest.ok() && IsStill(job)) {
      if (*digest == job.serving_digest) {
        result.kind = LoadResult::Kind::kSame;
        return result;
      }
      for (const std::shared_ptr<const KnownBad>& bad : job.known_bad) {
        if (bad->sha256 != *digest) continue;
        result.kind = LoadResult::Kind::kKnownBad;
        result.known_bad = bad;
        return result;
      }
    }
  }
  LoadRequest request;
  request.path = job.path;
  request.options = *job.options;
  request.in_service = job.in_service ? &*job.in_service : nullptr;
  request.memory_budget_bytes = job.budget_bytes;
  request.measure_batches = true;
  request.on_phase = [this, &job](LoadPhase phase) { OnPhase(job, phase); };
  result.outcome = deps.load(request);
  // Only what was the same before and after is what was loaded.
  if (!IsStill(job)) {
    result.outcome = {};
    return result;
  }
  result.kind = LoadResult::Kind::kEnded;
  result.outcome.diagnoses.Sort();
  // What is too large to be read is too large for a digest as well.
  const bool readable = job.files.file.size <= job.options->max_file_bytes;
  if (result.outcome.servable == nullptr && result.outcome.facts.sha256.empty() && deps.digest &&
      readable) {
    absl::StatusOr<std::string> digest = deps.digest(job.path);
    if (digest.ok() && IsStill(job)) result.outcome.facts.sha256 = *std::move(digest);
  }
  return result;
}

void Manager::State::OnPhase(const LoadJob& job, LoadPhase phase) {
  {
    absl::MutexLock lock(&mutex);
    VersionRecord* const version = FindVersion(job.model, job.version);
    if (version != nullptr && !stopping) SetProgress(version, StateOf(phase));
  }
  announcer.Tell();
}

void Manager::State::Complete(const LoadJob& job, LoadResult result) {
  Tasks tasks;
  {
    absl::MutexLock lock(&mutex);
    const absl::Duration now = deps.clock->Elapsed();
    ledger.Unreserve(job.model, job.reserved_bytes);
    reserved_bytes -= job.reserved_bytes;
    running_since.erase(running_since.find(job.started));
    ++admission_epoch;
    ModelRecord* const model = FindModel(job.model);
    VersionRecord* const version = FindVersion(job.model, job.version);
    if (version != nullptr && !stopping) {
      version->loading = false;
      Apply(job, &result, model, version, now);
      Decide(model, now);
    }
    DecideAboutMemory(now);
    tasks = StartLoads(now);
  }
  result = {};  // a servable that came too late goes here, not under the lock
  Finish(std::move(tasks));
}

void Manager::State::Apply(const LoadJob& job, LoadResult* result, ModelRecord* model,
                           VersionRecord* version, absl::Duration now) {
  const bool changed = !version->candidate || version->candidate->identity != job.files.file ||
                       model->options == nullptr || !LoadsAlike(*job.options, *model->options) ||
                       model->unloaded.has_value();
  if (result->kind == LoadResult::Kind::kStale || changed) {
    scan_wanted = true;
    version->awaits_scan = true;
    if (version->candidate) SetProgress(version, ModelState::kFound);
    return;
  }
  switch (result->kind) {
    case LoadResult::Kind::kSame:
      version->serving_file = job.files.file;
      version->status.replacement.reset();
      version->refusal.reset();
      return;
    case LoadResult::Kind::kKnownBad: {
      const KnownBad& bad = *result->known_bad;
      version->status.diagnoses = bad.diagnoses;
      version->status.facts = bad.facts;
      Refusal refusal;
      refusal.files = job.files;
      refusal.options = job.options;
      refusal.depends_on_service = bad.depends_on_service;
      refusal.service_epoch = job.service_epoch;
      version->refusal = refusal;
      SetProgress(version, ModelState::kRefused);
      return;
    }
    default:
      break;
  }
  if (result->outcome.servable == nullptr) {
    Refuse(job, std::move(result->outcome), model, version, now);
  } else if (FitsMemory(job, result->outcome, model, version, now)) {
    PutInService(job, std::move(result->outcome), model, version);
  }
}

bool Manager::State::FitsMemory(const LoadJob& job, const LoadOutcome& outcome, ModelRecord* model,
                                VersionRecord* version, absl::Duration now) {
  const int64_t needed = outcome.servable->facts().memory_bytes;
  if (needed <= ledger.free_bytes()) return true;
  // Loads at the same time may each have fitted, but not together. Now that the
  // need is known, the next attempt starts only when there is room.
  version->needed_bytes = needed;
  WaitForMemory(model, version, needed, now);
  return false;
}

void Manager::State::PutInService(const LoadJob& job, LoadOutcome outcome, ModelRecord* model,
                                  VersionRecord* version) {
  std::shared_ptr<const Servable> servable =
      ReapLater(job.model, job.version, std::move(outcome.servable));
  ledger.Hold(job.model, servable->facts().memory_bytes);
  ++version->unfreed;
  std::shared_ptr<const ServedModel> served =
      MakeServed(job.model, job.version, servable, *job.options);
  std::shared_ptr<const ServedModel> replaced = deps.store->Put(served);
  if (replaced != nullptr) draining_bytes += replaced->servable->facts().memory_bytes;
  garbage.push_back(std::move(replaced));
  garbage.push_back(std::move(version->serving));
  version->serving = std::move(served);
  version->serving_file = job.files.file;
  version->serving_options = job.options;
  version->serving_digest = servable->facts().sha256;
  version->refusal.reset();
  version->failures = 0;
  version->status.path = job.path;
  version->status.facts = servable->facts();
  version->status.diagnoses = std::move(outcome.diagnoses);
  version->status.replacement.reset();
  ++model->service_epoch;
  AnnounceLoad(*version, ModelState::kServing, std::move(outcome.phase_times));
  version->status.since = absl::Time();  // serving again is news, too
  SetState(version, ModelState::kServing);
}

void Manager::State::Refuse(const LoadJob& job, LoadOutcome outcome, ModelRecord* model,
                            VersionRecord* version, absl::Duration now) {
  const bool memory = outcome.diagnoses.Contains(Code::kResourceLimit);
  const int64_t own_limit = job.options->memory_limit_bytes;
  const bool own_limit_binds = own_limit > 0 && job.budget_bytes >= own_limit;
  const int64_t needed = outcome.facts.memory_bytes;
  if (memory && !own_limit_binds && needed > job.budget_bytes) {
    version->needed_bytes = needed;
    const int64_t coming = draining_bytes + reserved_bytes;
    if (needed <= ledger.free_bytes()) {  // room came meanwhile
      SetProgress(version, ModelState::kFound);
      return;
    }
    if (coming > 0 && needed <= ledger.free_bytes() + coming) {
      WaitForMemory(model, version, needed, now);
      return;
    }
  }
  if (outcome.diagnoses.empty() || !outcome.diagnoses.has_errors()) {
    outcome.diagnoses.Add(Code::kInternalError, "the load failed without giving a reason");
  }
  version->status.diagnoses = std::move(outcome.diagnoses);
  version->status.facts = std::move(outcome.facts);
  const DiagnosisList& diagnoses = version->status.diagnoses;
  ++version->failures;
  Refusal refusal;
  refusal.files = job.files;
  refusal.options = job.options;
  refusal.depends_on_service = diagnoses.Contains(Code::kSignatureChanged);
  refusal.service_epoch = job.service_epoch;
  refusal.depends_on_memory = memory && !own_limit_binds;
  refusal.memory_epoch = memory_epoch;
  if (refusal.depends_on_memory) memory_is_short = true;
  const bool transient = AllTransient(diagnoses) && !(memory && own_limit_binds);
  if (transient) {
    refusal.retry_at = now + BackOff(version->failures);
  } else if (!version->status.facts.sha256.empty()) {
    auto bad = std::make_shared<KnownBad>();
    bad->sha256 = version->status.facts.sha256;
    bad->files = job.files;
    bad->options = job.options;
    bad->depends_on_service = refusal.depends_on_service;
    bad->service_epoch = job.service_epoch;
    bad->diagnoses = diagnoses;
    bad->facts = version->status.facts;
    model->known_bad.push_back(std::move(bad));
    if (model->known_bad.size() > kKnownBadPerModel) model->known_bad.pop_front();
  }
  version->refusal = refusal;
  AnnounceLoad(*version, ModelState::kRefused, std::move(outcome.phase_times));
  SetProgress(version, ModelState::kRefused);
}

absl::Duration Manager::State::BackOff(int failures) {
  absl::Duration wait = options.retry_initial;
  for (int i = 1; i < failures && wait < options.retry_max; ++i) wait *= 2;
  std::uniform_real_distribution<double> jitter(0.8, 1.2);
  return std::min(wait, options.retry_max) * jitter(random);
}

std::shared_ptr<const Servable> Manager::State::ReapLater(
    const std::string& model, int64_t version, std::shared_ptr<const Servable> servable) {
  const Servable* const raw = servable.get();
  // The last user may be a request's thread: it only hands the pointer on.
  return {raw, [weak = weak_from_this(), model, version,
                servable = std::move(servable)](const Servable*) mutable {
            const std::shared_ptr<State> state = weak.lock();
            if (state != nullptr) state->OnUnused(model, version, std::move(servable));
          }};
}

std::shared_ptr<const ServedModel> Manager::State::MakeServed(
    const std::string& model, int64_t version, std::shared_ptr<const Servable> servable,
    const config::ModelOptions& options) {
  compute::QueueOptions queue_options;
  queue_options.costs = servable->batch_costs();
  queue_options.max_batch_size =
      BestBatchSize(queue_options.costs, options.batching.max_batch_size);
  queue_options.max_batch_delay = absl::FromChrono(options.batching.max_batch_delay);
  queue_options.max_queue_rows = options.batching.max_queue_rows;
  queue_options.max_concurrency = options.workers;
  queue_options.batchable = servable->batchable();
  auto served = std::make_shared<ServedModel>();
  served->name = model;
  served->version = version;
  served->servable = servable;
  if (deps.create_queue) {
    served->queue = deps.create_queue(
        model, queue_options,
        [servable](std::span<const compute::Tensor> inputs, const compute::Parallelism* parallelism,
                   std::vector<compute::Tensor>* outputs) {
          return servable->Predict(inputs, parallelism, outputs);
        });
  }
  return served;
}

void Manager::State::Requeue(VersionRecord* version, const SharedOptions& options) {
  if (version->serving == nullptr || version->serving_options == options) return;
  const config::ModelOptions& old = *version->serving_options;
  if (NeedsReload(old, *options)) return;
  if (old.batching != options->batching || old.workers != options->workers) {
    const ServedModel& served = *version->serving;
    std::shared_ptr<const ServedModel> fresh =
        MakeServed(served.name, served.version, served.servable, *options);
    garbage.push_back(deps.store->Put(fresh));
    garbage.push_back(std::move(version->serving));
    version->serving = std::move(fresh);
  }
  version->serving_options = options;
}

void Manager::State::OnUnused(const std::string& model, int64_t version,
                              std::shared_ptr<const Servable> servable) {
  absl::MutexLock lock(&mutex);
  if (stopping) return;  // nobody counts any more; `servable` dies right here
  deps.reaper->Run(
      [self = shared_from_this(), model, version, servable = std::move(servable)]() mutable {
        {
          absl::MutexLock task_lock(&self->mutex);
          if (self->stopping) return;
          ++self->busy;
        }
        const int64_t bytes = servable->facts().memory_bytes;
        servable.reset();
        if (bytes >= kTrimBytes) malloc_trim(0);
        self->OnFreed(model, version, bytes);
        absl::MutexLock task_lock(&self->mutex);
        --self->busy;
      });
}

void Manager::State::OnFreed(const std::string& model, int64_t number, int64_t bytes) {
  Tasks tasks;
  {
    absl::MutexLock lock(&mutex);
    ledger.Release(model, bytes);
    draining_bytes -= bytes;
    ++memory_epoch;
    ++admission_epoch;
    const absl::Duration now = deps.clock->Elapsed();
    VersionRecord* const version = FindVersion(model, number);
    if (version != nullptr) {
      --version->unfreed;
      if (version->unfreed == 0 && version->serving == nullptr && !version->loading &&
          version->status.state == ModelState::kDraining) {
        SetState(version, ModelState::kRemoved);
      }
      Decide(FindModel(model), now);
    }
    DecideAboutMemory(now);
    tasks = StartLoads(now);
  }
  Finish(std::move(tasks));
}

}  // namespace h5serve::model
