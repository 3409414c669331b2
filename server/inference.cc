#include "server/inference.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"

namespace h5serve::server {

absl::StatusOr<Served> Inference::Find(const model::ModelSelector& selector) const {
  if (selector.name.empty()) {
    return absl::InvalidArgumentError("model_spec has no name: say which model to use");
  }
  return store_->Find(selector);
}

absl::StatusOr<Served> Inference::Find(const std::string& name, const std::string& version) const {
  if (name.empty()) return absl::InvalidArgumentError("model_name is empty");
  model::ModelSelector selector{.name = name, .version = std::nullopt, .label = ""};
  if (!version.empty()) {
    int64_t number = 0;
    const auto [end, error] =
        std::from_chars(version.data(), version.data() + version.size(), number);
    if (error != std::errc() || end != version.data() + version.size()) {
      return absl::InvalidArgumentError(
          fmt::format("model version '{}' is not an integer", version.substr(0, 100)));
    }
    selector.version = number;
  }
  absl::StatusOr<Served> served = store_->Find(selector);
  if (served.ok()) return served;
  const std::vector<model::VersionStatus> known = manager_->StatusOf(name);
  const auto removed = [](const model::VersionStatus& status) {
    return status.state == model::ModelState::kRemoved;
  };
  if (known.empty() || std::all_of(known.begin(), known.end(), removed)) {
    return absl::NotFoundError(
        fmt::format("Request for unknown model: '{}' is not found", name.substr(0, 200)));
  }
  if (!selector.version) {
    return absl::UnavailableError(
        fmt::format("Request for unknown model: '{}' has no available versions", name));
  }
  for (const model::VersionStatus& status : known) {
    if (status.version != *selector.version || removed(status)) continue;
    return absl::UnavailableError(
        fmt::format("Request for unknown model: '{}' version {} is not ready ({})", name, version,
                    Name(status.state)));
  }
  return absl::NotFoundError(
      fmt::format("Request for unknown model: '{}' version {} is not found", name, version));
}

void Inference::Run(const Served& served, InferenceRequest request, InferenceDone done) const {
  const absl::Time arrived = absl::Now();
  absl::Status status = served->servable->CheckInputs(request.inputs);
  const int64_t rows = request.inputs.empty() || request.inputs[0].shape().rank() == 0
                           ? 1
                           : request.inputs[0].shape()[0];
  if (status.ok() && rows == 0) {
    status = absl::InvalidArgumentError(fmt::format(
        "input \"{}\": the batch is empty (shape {}); send at least one row",
        served->servable->signature().inputs[0].name, request.inputs[0].shape().ToString()));
  }
  // Shared: a refused request is answered here, an accepted one by the queue.
  auto finish = std::make_shared<InferenceDone>(
      [this, served, rows, arrived, done = std::move(done)](absl::StatusOr<Outputs> outputs,
                                                            const compute::RequestTiming& timing) {
        statistics_->OnRequest(served->name, served->version, outputs.status(), rows,
                               absl::Now() - arrived, timing);
        if (timing.batch_rows > 0) metrics_->OnQueueTime(served->name, timing.queued);
        done(std::move(outputs), timing);
      });
  if (status.ok()) {
    compute::BatchRequest batch;
    batch.inputs = std::move(request.inputs);
    batch.rows = rows;
    batch.deadline = request.deadline;
    batch.priority = request.priority;
    batch.cancelled = std::move(request.cancelled);
    batch.done = [finish](absl::StatusOr<Outputs> outputs, const compute::RequestTiming& timing) {
      (*finish)(std::move(outputs), timing);
    };
    status = served->queue->Enqueue(std::move(batch));
  }
  if (!status.ok()) (*finish)(status, compute::RequestTiming());
}

absl::StatusOr<Outputs> Inference::RunAndWait(const Served& served,
                                              InferenceRequest request) const {
  absl::Notification finished;
  absl::StatusOr<Outputs> result = absl::InternalError("not run");
  Run(served, std::move(request),
      [&](absl::StatusOr<Outputs> outputs, const compute::RequestTiming&) {
        result = std::move(outputs);
        finished.Notify();
      });
  finished.WaitForNotification();
  return result;
}

absl::Status CheckInputNames(const model::Signature& signature,
                             std::vector<std::string_view> names) {
  std::vector<std::string_view> wanted;
  for (const model::TensorSpec& spec : signature.inputs) wanted.push_back(spec.name);
  std::sort(wanted.begin(), wanted.end());
  std::sort(names.begin(), names.end());
  if (names == wanted) return absl::OkStatus();
  // Clients' names may be of any length and number: the message is bounded.
  constexpr size_t kMaxListed = 20;
  std::vector<std::string> extra, missing;
  for (std::string_view name : names) {
    if (!std::binary_search(wanted.begin(), wanted.end(), name) && extra.size() < kMaxListed) {
      extra.emplace_back(name.substr(0, 100));
    }
  }
  for (std::string_view name : wanted) {
    if (!std::binary_search(names.begin(), names.end(), name) && missing.size() < kMaxListed) {
      missing.emplace_back(name);
    }
  }
  const auto repeated = std::adjacent_find(names.begin(), names.end());
  if (repeated != names.end()) {
    return absl::InvalidArgumentError(
        fmt::format("input \"{}\" was sent more than once", repeated->substr(0, 100)));
  }
  return absl::InvalidArgumentError(
      fmt::format("inputs do not match the signature: got {}, expected {}. Sent extra: {{{}}}. "
                  "Missing but required: {{{}}}.",
                  names.size(), wanted.size(), fmt::join(extra, ","), fmt::join(missing, ",")));
}

absl::StatusOr<std::vector<int>> SelectOutputs(const model::Signature& signature,
                                               std::span<const std::string_view> names) {
  std::vector<int> selected;
  if (names.empty()) {
    for (size_t i = 0; i < signature.outputs.size(); ++i) selected.push_back(static_cast<int>(i));
    return selected;
  }
  for (std::string_view name : names) {
    const auto found =
        std::find_if(signature.outputs.begin(), signature.outputs.end(),
                     [name](const model::TensorSpec& spec) { return spec.name == name; });
    if (found == signature.outputs.end()) {
      std::vector<std::string> known;
      for (const model::TensorSpec& spec : signature.outputs) known.push_back(spec.name);
      return absl::InvalidArgumentError(
          fmt::format("output tensor alias not found in signature: {} Outputs expected to be in "
                      "the set {{{}}}.",
                      name.substr(0, 100), fmt::join(known, ",")));
    }
    const int index = static_cast<int>(found - signature.outputs.begin());
    if (std::find(selected.begin(), selected.end(), index) != selected.end()) {
      return absl::InvalidArgumentError(fmt::format("duplicate output tensor alias: {}", name));
    }
    selected.push_back(index);
  }
  return selected;
}

absl::Status AboutInput(std::string_view name, const absl::Status& status) {
  if (status.ok()) return status;
  return absl::Status(status.code(), fmt::format("input \"{}\": {}", name.substr(0, 100),
                                                 std::string(status.message())));
}

}  // namespace h5serve::server
