#include "server/listeners.h"

#include <fmt/format.h>

namespace h5serve::server {

void MetricsBatchListener::OnBatch(const std::string& model, int64_t rows, int requests,
                                   compute::BatchTrigger trigger, absl::Duration compute) {
  metrics_->OnBatch(model, rows, trigger, compute);
}

void MetricsBatchListener::OnQueued(const std::string& model, int64_t queued_rows) {
  metrics_->OnQueued(model, queued_rows);
}

void MetricsBatchListener::OnDropped(const std::string& model, compute::DropReason reason) {
  metrics_->OnDropped(model, reason);
}

void ReportingLifecycleListener::OnState(const model::VersionStatus& status) {
  metrics_->OnState(status);
  LogFields fields = {{"model", status.model}, {"version", status.version}};
  if (!status.path.empty()) fields.emplace_back("path", status.path);
  const std::string message = fmt::format("model {}", Name(status.state));
  // How a load ends is told by OnLoad, with all there is to know.
  const bool went =
      status.state == model::ModelState::kDraining || status.state == model::ModelState::kRemoved;
  if (went) {
    log_->Info(message, fields);
  } else {
    log_->Debug(message, fields);
  }
  if (changed_) changed_(status.model, went || status.state == model::ModelState::kServing);
}

void ReportingLifecycleListener::OnLoad(
    const model::VersionStatus& status,
    const std::vector<std::pair<model::LoadPhase, std::chrono::microseconds>>& phases) {
  metrics_->OnLoad(status, phases);
  const model::ModelFacts& facts = status.facts;
  LogFields fields = {{"model", status.model}};
  if (status.version != model::kNoVersion) fields.emplace_back("version", status.version);
  fields.emplace_back("path", status.path);
  if (!facts.sha256.empty()) fields.emplace_back("sha256", facts.sha256);
  if (!facts.keras_version.empty()) fields.emplace_back("keras_version", facts.keras_version);
  if (!facts.backend.empty()) fields.emplace_back("backend", facts.backend);
  for (const auto& [phase, duration] : phases) {
    fields.emplace_back(fmt::format("{}_ms", Name(phase)),
                        std::chrono::duration<double, std::milli>(duration).count());
  }
  fields.emplace_back("file_bytes", facts.file_bytes);
  fields.emplace_back("memory_bytes", facts.memory_bytes);
  if (status.state == model::ModelState::kServing) {
    log_->Info("model serving", fields);
  } else {
    fields.emplace_back("reason", status.diagnoses.Reason());
    log_->Error("model refused", fields);
  }
  for (const model::Diagnosis& diagnosis : status.diagnoses.items()) {
    LogFields details = {{"model", status.model}, {"code", Name(diagnosis.code)}};
    if (!diagnosis.where.layer.empty()) details.emplace_back("layer", diagnosis.where.layer);
    details.emplace_back("what", diagnosis.message);
    if (!diagnosis.remedies.empty()) details.emplace_back("remedy", diagnosis.remedies[0]);
    if (diagnosis.severity == model::Severity::kError) {
      log_->Error("diagnosis", details);
    } else if (diagnosis.severity == model::Severity::kWarning) {
      log_->Warning("diagnosis", details);
    } else {
      log_->Debug("diagnosis", details);
    }
  }
}

void ReportingLifecycleListener::OnScan(absl::Time when, bool overflowed) {
  metrics_->OnScan(when, overflowed);
  if (overflowed) log_->Warning("file events were lost; the directory was scanned instead");
}

void ReportingLifecycleListener::OnForgotten(const std::string& model, int64_t version) {
  metrics_->OnForgotten(model, version);
  if (changed_) changed_(model, true);
}

}  // namespace h5serve::server
