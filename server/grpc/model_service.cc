#include "server/grpc/model_service.h"

#include <fmt/format.h>

#include <algorithm>
#include <climits>
#include <filesystem>
#include <set>

#include "server/rpc.h"

namespace h5serve::server {
namespace {

using tensorflow::serving::ModelConfig;
using tensorflow::serving::ModelVersionStatus;

ModelVersionStatus::State WireState(model::ModelState state) {
  switch (state) {
    case model::ModelState::kFound:
    case model::ModelState::kSettling:
      return ModelVersionStatus::START;
    case model::ModelState::kReading:
    case model::ModelState::kChecking:
    case model::ModelState::kCompiling:
    case model::ModelState::kProving:
      return ModelVersionStatus::LOADING;
    case model::ModelState::kServing:
      return ModelVersionStatus::AVAILABLE;
    case model::ModelState::kDraining:
      return ModelVersionStatus::UNLOADING;
    case model::ModelState::kRefused:
    case model::ModelState::kRemoved:
      return ModelVersionStatus::END;
  }
  return ModelVersionStatus::UNKNOWN;
}

void FillStatus(const model::VersionStatus& status, ModelVersionStatus* proto) {
  proto->set_version(status.version);
  proto->set_state(WireState(status.state));
  const bool refused = status.state == model::ModelState::kRefused ||
                       status.replacement == model::ModelState::kRefused;
  const absl::Status summary = refused ? status.diagnoses.Summary() : absl::OkStatus();
  // The codes of both protocols have the same numbers.
  proto->mutable_status()->set_error_code(
      static_cast<tensorflow::error::Code>(ToGrpc(summary).error_code()));
  proto->mutable_status()->set_error_message(std::string(summary.message()));
}

config::VersionPolicy PolicyOf(const tensorflow::serving::ServableVersionPolicy& proto) {
  config::VersionPolicy policy;
  if (proto.has_all()) policy.kind = config::VersionPolicy::Kind::kAll;
  if (proto.has_latest() && proto.latest().num_versions() > 0) {
    policy.latest = static_cast<int>(std::min<uint32_t>(proto.latest().num_versions(), INT_MAX));
  }
  if (proto.has_specific()) {
    policy.kind = config::VersionPolicy::Kind::kSpecific;
    policy.specific.assign(proto.specific().versions().begin(), proto.specific().versions().end());
  }
  return policy;
}

bool Same(const config::VersionPolicy& a, const config::VersionPolicy& b) {
  if (a.kind != b.kind) return false;
  if (a.kind == config::VersionPolicy::Kind::kLatest) return a.latest == b.latest;
  return std::is_permutation(a.specific.begin(), a.specific.end(), b.specific.begin(),
                             b.specific.end());
}

absl::Status CheckConfig(const std::string& directory, const model::Manager& manager,
                         const ModelConfig& config) {
  if (config.name().empty()) return absl::InvalidArgumentError("a model in the list has no name");
  // A policy may be repeated, but it is the operator's to change.
  const absl::StatusOr<config::ModelOptions> settings = manager.OptionsOf(config.name());
  if (config.has_model_version_policy() && settings.ok() &&
      !Same(PolicyOf(config.model_version_policy()), settings->versions)) {
    return absl::InvalidArgumentError(fmt::format(
        "model {}: the version policy is set in its model.json, not by this call", config.name()));
  }
  if (config.base_path().empty()) return absl::OkStatus();
  std::error_code error;
  const std::filesystem::path base = std::filesystem::weakly_canonical(config.base_path(), error);
  const std::filesystem::path folder =
      std::filesystem::weakly_canonical(std::filesystem::path(directory) / config.name(), error);
  if (base == folder || base == folder.string() + ".h5") return absl::OkStatus();
  return absl::InvalidArgumentError(
      fmt::format("model {}: base_path {} is not in the model directory {}", config.name(),
                  config.base_path().substr(0, 500), directory));
}

}  // namespace

absl::Status FillModelStatus(const model::Manager& manager, const std::string& name,
                             std::optional<int64_t> version,
                             tensorflow::serving::GetModelStatusResponse* response) {
  if (name.empty()) return absl::InvalidArgumentError("model_spec has no name");
  for (const model::VersionStatus& status : manager.StatusOf(name)) {
    if (version && status.version != *version) continue;
    FillStatus(status, response->add_model_version_status());
  }
  if (response->model_version_status_size() > 0) return absl::OkStatus();
  return absl::NotFoundError(
      version ? fmt::format("Could not find version {} of model {}", *version, name.substr(0, 200))
              : fmt::format("Could not find any versions of model {}", name.substr(0, 200)));
}

grpc::ServerUnaryReactor* ModelService::GetModelStatus(
    grpc::CallbackServerContext* context, const tensorflow::serving::GetModelStatusRequest* request,
    tensorflow::serving::GetModelStatusResponse* response) {
  return RunRpcNow(context_, context, "tensorflow.serving.ModelService/GetModelStatus", [&] {
    const auto& spec = request->model_spec();
    const std::optional<int64_t> version =
        spec.has_version() ? std::optional<int64_t>(spec.version().value()) : std::nullopt;
    return FillModelStatus(*context_.manager, spec.name(), version, response);
  });
}

absl::Status ModelService::Reload(const tensorflow::serving::ModelConfigList& list,
                                  absl::Time deadline) {
  std::set<std::string> listed;
  for (const ModelConfig& config : list.config()) {
    if (absl::Status status = CheckConfig(context_.options->models, *context_.manager, config);
        !status.ok()) {
      return status;
    }
    if (!listed.insert(config.name()).second) {
      return absl::InvalidArgumentError(fmt::format("model {} is listed twice", config.name()));
    }
    if (context_.manager->StatusOf(config.name()).empty()) {
      return absl::NotFoundError(fmt::format("model {} is not in the model directory {}",
                                             config.name(), context_.options->models));
    }
  }
  std::vector<std::string> failures;
  for (const ModelConfig& config : list.config()) {
    if (absl::Status status = context_.manager->Load(config.name(), deadline); !status.ok()) {
      failures.push_back(fmt::format("{}: {}", config.name(), std::string(status.message())));
      continue;
    }
    std::map<std::string, int64_t> labels(config.version_labels().begin(),
                                          config.version_labels().end());
    for (const auto& [label, version] : labels) {
      if (context_.store->Find({.name = config.name(), .version = version, .label = ""}).ok()) {
        continue;
      }
      return absl::FailedPreconditionError(fmt::format(
          "Request to assign label {} to version {} of model {}, which is not currently available "
          "for inference",
          label, version, config.name()));
    }
    if (!labels.empty()) context_.store->SetLabels(config.name(), std::move(labels));
  }
  for (const auto& served : context_.store->All()) {
    if (!listed.contains(served->name)) (void)context_.manager->Unload(served->name);
  }
  if (failures.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(fmt::format("{}", fmt::join(failures, "; ")));
}

grpc::ServerUnaryReactor* ModelService::HandleReloadConfigRequest(
    grpc::CallbackServerContext* context, const tensorflow::serving::ReloadConfigRequest* request,
    tensorflow::serving::ReloadConfigResponse* response) {
  return RunRpc(
      context_, context, "tensorflow.serving.ModelService/HandleReloadConfigRequest",
      [&](const std::shared_ptr<Rpc>& rpc) {
        if (!context_.options->enable_admin) {
          return rpc->Finish(absl::PermissionDeniedError(
              "administrative calls are disabled; start the server with --enable-admin"));
        }
        if (!request->config().has_model_config_list()) {
          return rpc->Finish(
              absl::InvalidArgumentError("ReloadConfigRequest must have a model_config_list"));
        }
        context_.admin->Run([this, rpc, request, response] {
          rpc->Guard([&] {
            const absl::Time deadline = std::min(rpc->deadline(), absl::Now() + absl::Minutes(10));
            const absl::Status status = Reload(request->config().model_config_list(), deadline);
            const grpc::Status wire = ToGrpc(status);
            response->mutable_status()->set_error_code(
                static_cast<tensorflow::error::Code>(wire.error_code()));
            response->mutable_status()->set_error_message(wire.error_message());
            rpc->Finish(status);
          });
        });
      });
}

}  // namespace h5serve::server
