#include "server/metrics.h"

#include <fmt/format.h>
#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/text_serializer.h>

#include <algorithm>
#include <array>
#include <optional>

#include "server/labelled.h"
#include "server/process_metrics.h"

namespace h5serve::server {
namespace {

using prometheus::Counter;
using prometheus::Gauge;
using prometheus::Histogram;

// The order is that of the enumeration below.
constexpr auto kRows = std::to_array<MetricRow>({
    {"h5serve_model_loads_total", "counter", "model,result,reason",
     "Loads that ended, by result (serving, refused) and by the code of the first error"},
    {"h5serve_model_load_seconds", "histogram", "model,phase", "Duration of each phase of a load"},
    {"h5serve_model_info", "gauge", "model,version,keras_version,backend,sha256",
     "1 for every version in service"},
    {"h5serve_model_state", "gauge", "model,version,state", "1 for the state a version is in"},
    {"h5serve_model_serving_version", "gauge", "model", "Newest version in service, 0 for none"},
    {"h5serve_model_newest_version", "gauge", "model", "Newest version found"},
    {"h5serve_model_last_load_success_timestamp_seconds", "gauge", "model",
     "When a version was last brought into service"},
    {"h5serve_model_candidate_age_seconds", "gauge", "model",
     "How long the newest content has waited to be served, 0 when it is"},
    {"h5serve_model_memory_bytes", "gauge", "model,version", "Memory of a version's program"},
    {"h5serve_watcher_last_scan_timestamp_seconds", "gauge", "",
     "When the model directory was last scanned"},
    {"h5serve_watcher_overflows_total", "counter", "", "Times file events were lost"},
    {"h5serve_requests_total", "counter", "model,version,method,code",
     "Requests answered, by status code"},
    {"h5serve_request_seconds", "histogram", "model,method",
     "Time from a request's arrival to its answer"},
    {"h5serve_queue_seconds", "histogram", "model", "Time requests waited for a worker"},
    {"h5serve_compute_seconds", "histogram", "model", "Computing time of batches"},
    {"h5serve_batch_rows", "histogram", "model", "Rows of the batches computed"},
    {"h5serve_batches_total", "counter", "model,trigger",
     "Batches computed, by what started them (idle, full, delay, inline)"},
    {"h5serve_queue_rows", "gauge", "model", "Rows waiting"},
    {"h5serve_batch_limit_rows", "gauge", "model",
     "Most rows of a batch: what is configured, or less where larger batches gain nothing"},
    {"h5serve_requests_dropped_total", "counter", "model,reason",
     "Requests given up before computing (queue_full, deadline, cancelled, shutdown)"},
    {"h5serve_cpu_throttled_seconds_total", "counter", "",
     "Time the control group was denied the CPU"},
    {"process_cpu_seconds_total", "counter", "", "User and system CPU time spent"},
    {"process_start_time_seconds", "gauge", "", "Start of the process since the epoch"},
    {"process_virtual_memory_bytes", "gauge", "", "Virtual memory size"},
    {"process_resident_memory_bytes", "gauge", "", "Resident memory size"},
    {"process_open_fds", "gauge", "", "Open file descriptors"},
    {"process_max_fds", "gauge", "", "Most file descriptors allowed"},
});

const MetricRow& Row(std::string_view name) {
  return *std::find_if(kRows.begin(), kRows.end(),
                       [name](const MetricRow& row) { return row.name == name; });
}

std::vector<std::string> Labels(const MetricRow& row) {
  std::vector<std::string> labels;
  std::string_view rest = row.labels;
  while (!rest.empty()) {
    const size_t end = std::min(rest.find(','), rest.size());
    labels.emplace_back(rest.substr(0, end));
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return labels;
}

Histogram::BucketBoundaries RequestBuckets() {
  return {50e-6, 100e-6, 250e-6, 500e-6, 1e-3, 2.5e-3, 5e-3, 10e-3,
          25e-3, 50e-3,  0.1,    0.25,   0.5,  1,      2.5,  10};
}

Histogram::BucketBoundaries ComputeBuckets() {
  return {5e-6, 10e-6, 25e-6, 50e-6, 100e-6, 250e-6, 500e-6, 1e-3, 2.5e-3,
          5e-3, 10e-3, 25e-3, 50e-3, 0.1,    0.25,   1,      5};
}

Histogram::BucketBoundaries RowBuckets() { return {1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024}; }

Histogram::BucketBoundaries LoadBuckets() {
  return {1e-3, 5e-3, 10e-3, 25e-3, 50e-3, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60};
}

Labelled<Counter> MakeCounter(prometheus::Registry* registry, std::string_view name) {
  const MetricRow& row = Row(name);
  auto& family = prometheus::BuildCounter()
                     .Name(std::string(row.name))
                     .Help(std::string(row.help))
                     .Register(*registry);
  return Labelled<Counter>(&family, Labels(row));
}

Labelled<Gauge> MakeGauge(prometheus::Registry* registry, std::string_view name) {
  const MetricRow& row = Row(name);
  auto& family = prometheus::BuildGauge()
                     .Name(std::string(row.name))
                     .Help(std::string(row.help))
                     .Register(*registry);
  return Labelled<Gauge>(&family, Labels(row));
}

Labelled<Histogram> MakeHistogram(prometheus::Registry* registry, std::string_view name,
                                  Histogram::BucketBoundaries buckets) {
  const MetricRow& row = Row(name);
  auto& family = prometheus::BuildHistogram()
                     .Name(std::string(row.name))
                     .Help(std::string(row.help))
                     .Register(*registry);
  return Labelled<Histogram>(&family, Labels(row), std::move(buckets));
}

double Seconds(absl::Time time) { return absl::ToDoubleSeconds(time - absl::UnixEpoch()); }

bool OnItsWay(model::ModelState state) {
  switch (state) {
    case model::ModelState::kFound:
    case model::ModelState::kSettling:
    case model::ModelState::kReading:
    case model::ModelState::kChecking:
    case model::ModelState::kCompiling:
    case model::ModelState::kProving:
    case model::ModelState::kRefused:
      return true;
    case model::ModelState::kServing:
    case model::ModelState::kDraining:
    case model::ModelState::kRemoved:
      return false;
  }
  return false;
}

}  // namespace

std::span<const MetricRow> AllMetrics() { return kRows; }

struct Metrics::Families {
  explicit Families(prometheus::Registry* registry)
      : loads(MakeCounter(registry, "h5serve_model_loads_total")),
        load_seconds(MakeHistogram(registry, "h5serve_model_load_seconds", LoadBuckets())),
        info(MakeGauge(registry, "h5serve_model_info")),
        state(MakeGauge(registry, "h5serve_model_state")),
        serving_version(MakeGauge(registry, "h5serve_model_serving_version")),
        newest_version(MakeGauge(registry, "h5serve_model_newest_version")),
        last_success(MakeGauge(registry, "h5serve_model_last_load_success_timestamp_seconds")),
        candidate_age(MakeGauge(registry, "h5serve_model_candidate_age_seconds")),
        memory(MakeGauge(registry, "h5serve_model_memory_bytes")),
        last_scan(MakeGauge(registry, "h5serve_watcher_last_scan_timestamp_seconds")),
        overflows(MakeCounter(registry, "h5serve_watcher_overflows_total")),
        requests(MakeCounter(registry, "h5serve_requests_total")),
        request_seconds(MakeHistogram(registry, "h5serve_request_seconds", RequestBuckets())),
        queue_seconds(MakeHistogram(registry, "h5serve_queue_seconds", RequestBuckets())),
        compute_seconds(MakeHistogram(registry, "h5serve_compute_seconds", ComputeBuckets())),
        batch_rows(MakeHistogram(registry, "h5serve_batch_rows", RowBuckets())),
        batches(MakeCounter(registry, "h5serve_batches_total")),
        queue_rows(MakeGauge(registry, "h5serve_queue_rows")),
        batch_limit(MakeGauge(registry, "h5serve_batch_limit_rows")),
        dropped(MakeCounter(registry, "h5serve_requests_dropped_total")) {}

  ProcessMetrics process;
  Labelled<Counter> loads;
  Labelled<Histogram> load_seconds;
  Labelled<Gauge> info, state, serving_version, newest_version, last_success, candidate_age, memory,
      last_scan;
  Labelled<Counter> overflows, requests;
  Labelled<Histogram> request_seconds, queue_seconds, compute_seconds, batch_rows;
  Labelled<Counter> batches;
  Labelled<Gauge> queue_rows;
  Labelled<Gauge> batch_limit;
  Labelled<Counter> dropped;
};

// What is known of each model's versions, for the metrics that compare them.
struct Metrics::Versions {
  struct Version {
    model::ModelState state = model::ModelState::kFound;
    std::optional<model::ModelState> replacement;
    absl::Time since;
    std::string info_keras, info_backend, info_sha256;  // as exported
  };
  absl::Mutex mutex;
  std::map<std::string, std::map<int64_t, Version>> models ABSL_GUARDED_BY(mutex);
  // When the content that waits to be served was first seen.
  std::map<std::string, absl::Time> waiting_since ABSL_GUARDED_BY(mutex);
};

Metrics::Metrics()
    : registry_(std::make_shared<prometheus::Registry>()),
      families_(std::make_unique<Families>(registry_.get())),
      versions_(std::make_unique<Versions>()) {
  families_->overflows.With({}, [](Counter&) {});
}

Metrics::~Metrics() = default;

void Metrics::OnRequest(std::string_view model, int64_t version, std::string_view method,
                        std::string_view code, absl::Duration duration) {
  const std::string number = model.empty() || version < 0 ? "" : fmt::format("{}", version);
  families_->requests.With({model, number, method, code},
                           [](Counter& counter) { counter.Increment(); });
  families_->request_seconds.With({model, method}, [duration](Histogram& histogram) {
    histogram.Observe(absl::ToDoubleSeconds(duration));
  });
}

void Metrics::OnQueueTime(std::string_view model, absl::Duration queued) {
  families_->queue_seconds.With({model}, [queued](Histogram& histogram) {
    histogram.Observe(absl::ToDoubleSeconds(queued));
  });
}

void Metrics::OnBatch(const std::string& model, int64_t rows, compute::BatchTrigger trigger,
                      absl::Duration compute) {
  families_->batch_rows.With(
      {model}, [rows](Histogram& histogram) { histogram.Observe(static_cast<double>(rows)); });
  families_->batches.With({model, Name(trigger)}, [](Counter& counter) { counter.Increment(); });
  families_->compute_seconds.With({model}, [compute](Histogram& histogram) {
    histogram.Observe(absl::ToDoubleSeconds(compute));
  });
}

void Metrics::OnQueued(const std::string& model, int64_t rows) {
  families_->queue_rows.With({model},
                             [rows](Gauge& gauge) { gauge.Set(static_cast<double>(rows)); });
}

void Metrics::OnBatchLimit(const std::string& model, int64_t rows) {
  families_->batch_limit.With({model},
                              [rows](Gauge& gauge) { gauge.Set(static_cast<double>(rows)); });
}

void Metrics::OnDropped(const std::string& model, compute::DropReason reason) {
  families_->dropped.With({model, Name(reason)}, [](Counter& counter) { counter.Increment(); });
}

void Metrics::OnState(const model::VersionStatus& status) {
  if (status.version == model::kNoVersion) return;
  const std::string version = fmt::format("{}", status.version);
  families_->state.RemoveIf([&](const std::vector<std::string>& values) {
    return values[0] == status.model && values[1] == version;
  });
  families_->state.With({status.model, version, Name(status.state)},
                        [](Gauge& gauge) { gauge.Set(1); });

  absl::MutexLock lock(&versions_->mutex);
  Versions::Version& known = versions_->models[status.model][status.version];
  known.state = status.state;
  known.replacement = status.replacement;
  known.since = status.since;
  const auto same = [&](const std::vector<std::string>& values) {
    return values[0] == status.model && values[1] == version;
  };
  if (status.state == model::ModelState::kServing && !status.replacement) {
    families_->info.RemoveIf(same);
    families_->info.With({status.model, version, status.facts.keras_version, status.facts.backend,
                          status.facts.sha256},
                         [](Gauge& gauge) { gauge.Set(1); });
    families_->memory.With({status.model, version}, [&](Gauge& gauge) {
      gauge.Set(static_cast<double>(status.facts.memory_bytes));
    });
  } else if (status.state != model::ModelState::kServing &&
             status.state != model::ModelState::kDraining) {
    families_->info.RemoveIf(same);
    families_->memory.RemoveIf(same);
  }
  int64_t newest = 0, serving = 0;
  bool waits = false;
  for (const auto& [number, other] : versions_->models[status.model]) {
    if (other.state == model::ModelState::kRemoved) continue;
    newest = std::max(newest, number);
    if (other.state == model::ModelState::kServing) {
      serving = number;
      waits = other.replacement && OnItsWay(*other.replacement);
    } else if (OnItsWay(other.state)) {
      waits = true;
    }
  }
  if (waits) {
    versions_->waiting_since.try_emplace(status.model, status.since);
  } else {
    versions_->waiting_since.erase(status.model);
  }
  families_->newest_version.With({status.model},
                                 [&](Gauge& gauge) { gauge.Set(static_cast<double>(newest)); });
  families_->serving_version.With({status.model},
                                  [&](Gauge& gauge) { gauge.Set(static_cast<double>(serving)); });
}

void Metrics::OnLoad(
    const model::VersionStatus& status,
    const std::vector<std::pair<model::LoadPhase, std::chrono::microseconds>>& phases) {
  const bool serving = status.state == model::ModelState::kServing;
  families_->loads.With({status.model, serving ? "serving" : "refused",
                         serving ? std::string_view() : status.diagnoses.Reason()},
                        [](Counter& counter) { counter.Increment(); });
  for (const auto& [phase, duration] : phases) {
    const double seconds = std::chrono::duration<double>(duration).count();
    families_->load_seconds.With({status.model, Name(phase)},
                                 [seconds](Histogram& histogram) { histogram.Observe(seconds); });
  }
  if (serving) {
    families_->last_success.With({status.model},
                                 [&](Gauge& gauge) { gauge.Set(Seconds(absl::Now())); });
  }
}

void Metrics::OnScan(absl::Time when, bool overflowed) {
  families_->last_scan.With({}, [&](Gauge& gauge) { gauge.Set(Seconds(when)); });
  if (overflowed) {
    families_->overflows.With({}, [](Counter& counter) { counter.Increment(); });
  }
}

void Metrics::OnForgotten(const std::string& model, int64_t version) {
  const std::string number = fmt::format("{}", version);
  const auto same = [&](const std::vector<std::string>& values) {
    return values[0] == model && values[1] == number;
  };
  families_->state.RemoveIf(same);
  families_->info.RemoveIf(same);
  families_->memory.RemoveIf(same);
  families_->requests.RemoveIf(same);
  absl::MutexLock lock(&versions_->mutex);
  auto found = versions_->models.find(model);
  if (found == versions_->models.end()) return;
  found->second.erase(version);
  if (!found->second.empty()) return;
  versions_->models.erase(found);
  versions_->waiting_since.erase(model);
  const auto same_model = [&](const std::vector<std::string>& values) {
    return values[0] == model;
  };
  for (auto* gauge :
       {&families_->serving_version, &families_->newest_version, &families_->last_success,
        &families_->candidate_age, &families_->queue_rows, &families_->batch_limit}) {
    gauge->RemoveIf(same_model);
  }
}

std::string Metrics::Serialize() {
  {
    absl::MutexLock lock(&versions_->mutex);
    for (const auto& [model, known] : versions_->models) {
      const auto since = versions_->waiting_since.find(model);
      const double age = since == versions_->waiting_since.end()
                             ? 0
                             : absl::ToDoubleSeconds(absl::Now() - since->second);
      families_->candidate_age.With({model}, [age](Gauge& gauge) { gauge.Set(age); });
    }
  }
  std::vector<prometheus::MetricFamily> families = registry_->Collect();
  for (prometheus::MetricFamily& family : families_->process.Collect()) {
    families.push_back(std::move(family));
  }
  return prometheus::TextSerializer().Serialize(families);
}

}  // namespace h5serve::server
