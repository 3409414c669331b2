// The calls of inference.GRPCInferenceService about models, not to them.
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <utility>

#include "server/grpc/inference_service.h"
#include "server/rpc.h"
#include "server/wire_types.h"

namespace h5serve::server {
namespace {

void FillDuration(const CountedDuration& from, inference::StatisticDuration* to) {
  to->set_count(from.count);
  to->set_ns(static_cast<uint64_t>(std::max<int64_t>(0, absl::ToInt64Nanoseconds(from.total))));
}

void FillStatisticsOf(const model::ServedModel& served, const VersionStatistics& statistics,
                      inference::ModelStatistics* proto) {
  proto->set_name(served.name);
  proto->set_version(fmt::format("{}", served.version));
  proto->set_last_inference(static_cast<uint64_t>(absl::ToUnixMillis(statistics.last_inference)));
  proto->set_inference_count(statistics.inferences);
  proto->set_execution_count(statistics.executions);
  auto* inference = proto->mutable_inference_stats();
  FillDuration(statistics.success, inference->mutable_success());
  FillDuration(statistics.fail, inference->mutable_fail());
  FillDuration(statistics.queue, inference->mutable_queue());
  FillDuration(statistics.compute, inference->mutable_compute_infer());
  // Decoding and encoding are part of the call, not of the computation.
  inference->mutable_compute_input()->set_count(statistics.compute.count);
  inference->mutable_compute_output()->set_count(statistics.compute.count);
  for (const auto& [rows, duration] : statistics.batches) {
    auto* batch = proto->add_batch_stats();
    batch->set_batch_size(static_cast<uint64_t>(rows));
    FillDuration(duration, batch->mutable_compute_infer());
  }
  auto* memory = proto->add_memory_usage();
  memory->set_type("CPU");
  memory->set_byte_size(static_cast<uint64_t>(served.servable->facts().memory_bytes));
}

// A model is batched when its first dimension is open in every input.
bool TakesBatches(const model::Servable& servable) {
  const auto& inputs = servable.signature().inputs;
  return servable.batchable() &&
         std::all_of(inputs.begin(), inputs.end(), [](const model::TensorSpec& spec) {
           return spec.shape.rank() > 0 && spec.shape[0] == compute::kUnknown;
         });
}

const char* IndexState(model::ModelState state) {
  switch (state) {
    case model::ModelState::kServing:
      return "READY";
    case model::ModelState::kDraining:
      return "UNLOADING";
    case model::ModelState::kRefused:
    case model::ModelState::kRemoved:
      return "UNAVAILABLE";
    default:
      return "LOADING";
  }
}

absl::Status AdminDisabled() {
  return absl::UnavailableError(
      "explicit model load / unload is not allowed if polling is enabled; start the server with "
      "--enable-admin to allow it");
}

// One family of clients puts the name into the first field.
template <typename Request>
std::string ModelName(const Request& request) {
  return request.model_name().empty() ? request.repository_name() : request.model_name();
}

}  // namespace

void FillModelConfig(const model::Manager& manager, const Served& served,
                     inference::ModelConfig* config) {
  const absl::StatusOr<config::ModelOptions> options = manager.OptionsOf(served->name);
  const config::ModelOptions settings = options.ok() ? *options : config::ModelOptions();
  const bool batched = TakesBatches(*served->servable);
  config->set_name(served->name);
  config->set_platform("keras_h5");
  config->set_backend("h5serve");
  config->set_max_batch_size(batched ? settings.batching.max_batch_size : 0);
  const auto fill = [batched](const model::TensorSpec& spec, auto* tensor) {
    tensor->set_name(spec.name);
    tensor->set_data_type(static_cast<inference::DataType>(InferenceTypeNumber(spec.dtype)));
    for (int axis = batched ? 1 : 0; axis < spec.shape.rank(); ++axis) {
      tensor->add_dims(spec.shape[axis]);
    }
  };
  for (const auto& spec : served->servable->signature().inputs) fill(spec, config->add_input());
  for (const auto& spec : served->servable->signature().outputs) fill(spec, config->add_output());
  auto* policy = config->mutable_version_policy();
  switch (settings.versions.kind) {
    case config::VersionPolicy::Kind::kLatest:
      policy->mutable_latest()->set_num_versions(settings.versions.latest);
      break;
    case config::VersionPolicy::Kind::kAll:
      policy->mutable_all();
      break;
    case config::VersionPolicy::Kind::kSpecific:
      for (int64_t version : settings.versions.specific) {
        policy->mutable_specific()->add_versions(version);
      }
      break;
  }
  auto* group = config->add_instance_group();
  group->set_name(served->name);
  group->set_kind(inference::ModelInstanceGroup::KIND_CPU);
  group->set_count(std::max(1, settings.workers));
  if (batched) {
    auto* batching = config->mutable_dynamic_batching();
    batching->set_max_queue_delay_microseconds(
        static_cast<uint64_t>(settings.batching.max_batch_delay.count()));
    batching->set_priority_levels(2);
    batching->set_default_priority_level(1);
    batching->mutable_default_queue_policy()->set_max_queue_size(
        static_cast<uint32_t>(settings.batching.max_queue_rows));
  }
  config->mutable_model_transaction_policy()->set_decoupled(false);
  (*config->mutable_parameters())["keras_version"].set_string_value(
      served->servable->facts().keras_version);
  (*config->mutable_parameters())["sha256"].set_string_value(served->servable->facts().sha256);
}

absl::Status FillStatistics(const ServiceContext& context, const std::string& name,
                            const std::string& version,
                            inference::ModelStatisticsResponse* response) {
  if (name.empty() && !version.empty()) {
    return absl::InvalidArgumentError("a version was given without a model's name");
  }
  std::vector<Served> all;
  if (!name.empty()) {
    const absl::StatusOr<Served> served = context.inference->Find(name, version);
    if (!served.ok()) return served.status();
    if (!version.empty()) all.push_back(*served);
  }
  if (all.empty()) {
    for (const Served& served : context.store->All()) {
      if (name.empty() || served->name == name) all.push_back(served);
    }
  }
  for (const Served& served : all) {
    FillStatisticsOf(*served, context.statistics->Get(served->name, served->version),
                     response->add_model_stats());
  }
  return absl::OkStatus();
}

void FillRepositoryIndex(const model::Manager& manager, bool only_ready,
                         inference::RepositoryIndexResponse* response) {
  for (const model::VersionStatus& status : manager.StatusOfAll()) {
    if (only_ready && status.state != model::ModelState::kServing) continue;
    auto* index = response->add_models();
    index->set_name(status.model);
    if (status.version != model::kNoVersion) index->set_version(fmt::format("{}", status.version));
    index->set_state(IndexState(status.state));
    if (status.state == model::ModelState::kRemoved) index->set_reason("unloaded");
    if (status.state == model::ModelState::kRefused ||
        status.replacement == model::ModelState::kRefused) {
      index->set_reason(std::string(status.diagnoses.Summary().message()));
    }
  }
}

grpc::ServerUnaryReactor* InferenceService::ModelConfig(
    grpc::CallbackServerContext* context, const inference::ModelConfigRequest* request,
    inference::ModelConfigResponse* response) {
  return RunRpcNow(context_, context, "inference.GRPCInferenceService/ModelConfig", [&] {
    const absl::StatusOr<Served> served =
        context_.inference->Find(request->name(), request->version());
    if (served.ok()) FillModelConfig(*context_.manager, *served, response->mutable_config());
    return served.status();
  });
}

grpc::ServerUnaryReactor* InferenceService::ModelStatistics(
    grpc::CallbackServerContext* context, const inference::ModelStatisticsRequest* request,
    inference::ModelStatisticsResponse* response) {
  return RunRpcNow(context_, context, "inference.GRPCInferenceService/ModelStatistics", [&] {
    return FillStatistics(context_, request->name(), request->version(), response);
  });
}

grpc::ServerUnaryReactor* InferenceService::RepositoryIndex(
    grpc::CallbackServerContext* context, const inference::RepositoryIndexRequest* request,
    inference::RepositoryIndexResponse* response) {
  return RunRpcNow(context_, context, "inference.GRPCInferenceService/RepositoryIndex", [&] {
    FillRepositoryIndex(*context_.manager, request->ready(), response);
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* InferenceService::RepositoryModelLoad(
    grpc::CallbackServerContext* context, const inference::RepositoryModelLoadRequest* request,
    inference::RepositoryModelLoadResponse* response) {
  return RunRpc(
      context_, context, "inference.GRPCInferenceService/RepositoryModelLoad",
      [&](const std::shared_ptr<Rpc>& rpc) {
        if (!context_.options->enable_admin) return rpc->Finish(AdminDisabled());
        const std::string name = ModelName(*request);
        if (!request->parameters().empty()) {
          return rpc->Finish(absl::InvalidArgumentError(fmt::format(
              "failed to load '{}', parameters are not supported: the model's settings are in its "
              "model.json",
              name)));
        }
        context_.admin->Run([this, rpc, name, response] {
          rpc->Guard([&] {
            const absl::Time deadline = std::min(rpc->deadline(), absl::Now() + absl::Minutes(10));
            const absl::Status status = context_.manager->Load(name, deadline);
            response->set_model_name(name);
            response->set_is_loaded(status.ok());
            if (status.ok()) return rpc->Finish(status);
            rpc->Finish(absl::Status(status.code(), fmt::format("failed to load '{}', {}", name,
                                                                std::string(status.message()))));
          });
        });
      });
}

grpc::ServerUnaryReactor* InferenceService::RepositoryModelUnload(
    grpc::CallbackServerContext* context, const inference::RepositoryModelUnloadRequest* request,
    inference::RepositoryModelUnloadResponse* response) {
  return RunRpcNow(context_, context, "inference.GRPCInferenceService/RepositoryModelUnload",
                   [&]() -> absl::Status {
                     if (!context_.options->enable_admin) return AdminDisabled();
                     const std::string name = ModelName(*request);
                     const absl::Status status = context_.manager->Unload(name);
                     response->set_model_name(name);
                     response->set_is_unloaded(status.ok());
                     if (status.ok()) return status;
                     return absl::Status(status.code(),
                                         fmt::format("failed to unload '{}', {}", name,
                                                     std::string(status.message())));
                   });
}

grpc::ServerUnaryReactor* InferenceService::SystemSharedMemoryStatus(
    grpc::CallbackServerContext* context, const inference::SystemSharedMemoryStatusRequest* request,
    inference::SystemSharedMemoryStatusResponse*) {
  return RunRpcNow(
      context_, context, "inference.GRPCInferenceService/SystemSharedMemoryStatus",
      [&]() -> absl::Status {
        if (request->name().empty()) return absl::OkStatus();
        return absl::NotFoundError(fmt::format("Unable to find system shared memory region: '{}'",
                                               request->name().substr(0, 200)));
      });
}

grpc::ServerUnaryReactor* InferenceService::SystemSharedMemoryRegister(
    grpc::CallbackServerContext* context,
    const inference::SystemSharedMemoryRegisterRequest* request,
    inference::SystemSharedMemoryRegisterResponse*) {
  return RunRpcNow(
      context_, context, "inference.GRPCInferenceService/SystemSharedMemoryRegister", [&] {
        return absl::UnimplementedError(fmt::format(
            "failed to register shared memory region '{}': shared memory is not supported",
            request->name().substr(0, 200)));
      });
}

// Clients unregister everything before they start: there is nothing to do.
grpc::ServerUnaryReactor* InferenceService::SystemSharedMemoryUnregister(
    grpc::CallbackServerContext* context, const inference::SystemSharedMemoryUnregisterRequest*,
    inference::SystemSharedMemoryUnregisterResponse*) {
  return RunRpcNow(context_, context, "inference.GRPCInferenceService/SystemSharedMemoryUnregister",
                   [] { return absl::OkStatus(); });
}

grpc::ServerUnaryReactor* InferenceService::CudaSharedMemoryStatus(
    grpc::CallbackServerContext* context, const inference::CudaSharedMemoryStatusRequest* request,
    inference::CudaSharedMemoryStatusResponse*) {
  return RunRpcNow(
      context_, context, "inference.GRPCInferenceService/CudaSharedMemoryStatus",
      [&]() -> absl::Status {
        if (request->name().empty()) return absl::OkStatus();
        return absl::NotFoundError(fmt::format("Unable to find cuda shared memory region: '{}'",
                                               request->name().substr(0, 200)));
      });
}

grpc::ServerUnaryReactor* InferenceService::CudaSharedMemoryRegister(
    grpc::CallbackServerContext* context, const inference::CudaSharedMemoryRegisterRequest* request,
    inference::CudaSharedMemoryRegisterResponse*) {
  return RunRpcNow(
      context_, context, "inference.GRPCInferenceService/CudaSharedMemoryRegister", [&] {
        return absl::UnimplementedError(
            fmt::format("failed to register CUDA shared memory region: '{}', GPUs not supported",
                        request->name().substr(0, 200)));
      });
}

grpc::ServerUnaryReactor* InferenceService::CudaSharedMemoryUnregister(
    grpc::CallbackServerContext* context, const inference::CudaSharedMemoryUnregisterRequest*,
    inference::CudaSharedMemoryUnregisterResponse*) {
  return RunRpcNow(context_, context, "inference.GRPCInferenceService/CudaSharedMemoryUnregister",
                   [] { return absl::OkStatus(); });
}

// Tracing is always off; asking for anything else is an error.
grpc::ServerUnaryReactor* InferenceService::TraceSetting(
    grpc::CallbackServerContext* context, const inference::TraceSettingRequest* request,
    inference::TraceSettingResponse* response) {
  return RunRpcNow(
      context_, context, "inference.GRPCInferenceService/TraceSetting", [&]() -> absl::Status {
        const std::map<std::string, std::string> values = {
            {"trace_level", "OFF"}, {"trace_rate", "1000"},   {"trace_count", "-1"},
            {"log_frequency", "0"}, {"trace_mode", "triton"}, {"trace_file", ""}};
        for (const auto& [name, value] : request->settings()) {
          const auto known = values.find(name);
          if (known == values.end()) {
            return absl::InvalidArgumentError(
                fmt::format("unknown trace setting '{}'", name.substr(0, 200)));
          }
          // An empty value clears a setting.
          const bool same =
              value.value().empty() || (value.value_size() == 1 && value.value(0) == known->second);
          if (!same) {
            return absl::UnimplementedError("this server does not trace requests");
          }
        }
        for (const auto& [name, value] : values) {
          (*response->mutable_settings())[name].add_value(value);
        }
        return absl::OkStatus();
      });
}

// Verbosity 1 and more is the level debug; errors cannot be silenced.
grpc::ServerUnaryReactor* InferenceService::LogSettings(
    grpc::CallbackServerContext* context, const inference::LogSettingsRequest* request,
    inference::LogSettingsResponse* response) {
  return RunRpcNow(
      context_, context, "inference.GRPCInferenceService/LogSettings", [&]() -> absl::Status {
        std::string level = context_.log->level();
        for (const auto& [name, value] : request->settings()) {
          if (!context_.options->enable_admin) {
            return absl::PermissionDeniedError(
                "administrative calls are disabled; start the server with --enable-admin");
          }
          if (name == "log_verbose_level") {
            level = value.uint32_param() > 0 ? "debug" : "info";
          } else if (name == "log_info") {
            level = value.bool_param() ? "info" : "warning";
          } else if (name == "log_warning") {
            level = value.bool_param() ? "warning" : "error";
          } else if (name != "log_error" && name != "log_format" && name != "log_file") {
            return absl::InvalidArgumentError(
                fmt::format("unknown log setting '{}'", name.substr(0, 200)));
          } else if (name != "log_error" || !value.bool_param()) {
            return absl::UnimplementedError(
                fmt::format("log setting '{}' cannot be changed", name));
          }
        }
        if (!request->settings().empty()) context_.log->SetLevel(level);
        auto& settings = *response->mutable_settings();
        settings["log_error"].set_bool_param(true);
        settings["log_warning"].set_bool_param(level != "error");
        settings["log_info"].set_bool_param(level == "info" || level == "debug");
        settings["log_verbose_level"].set_uint32_param(level == "debug" ? 1 : 0);
        settings["log_format"].set_string_param("default");
        settings["log_file"].set_string_param("");
        return absl::OkStatus();
      });
}

}  // namespace h5serve::server
