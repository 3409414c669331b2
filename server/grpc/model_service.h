// tensorflow.serving.ModelService.
#pragma once

#include "proto/tensorflow_serving.grpc.pb.h"
#include "server/grpc/service_context.h"

namespace h5serve::server {

// Thread-safe.
class ModelService : public tensorflow::serving::ModelService::CallbackService {
 public:
  explicit ModelService(const ServiceContext& context) : context_(context) {}

  grpc::ServerUnaryReactor* GetModelStatus(
      grpc::CallbackServerContext* context,
      const tensorflow::serving::GetModelStatusRequest* request,
      tensorflow::serving::GetModelStatusResponse* response) override;
  // Brings the listed models into service and takes the others out of it. The
  // models lie in the server's directory: a base path elsewhere is refused.
  grpc::ServerUnaryReactor* HandleReloadConfigRequest(
      grpc::CallbackServerContext* context, const tensorflow::serving::ReloadConfigRequest* request,
      tensorflow::serving::ReloadConfigResponse* response) override;

 private:
  absl::Status Reload(const tensorflow::serving::ModelConfigList& list, absl::Time deadline);

  const ServiceContext context_;
};

// The answer of GetModelStatus, for the RPC and for REST. No version: all.
absl::Status FillModelStatus(const model::Manager& manager, const std::string& name,
                             std::optional<int64_t> version,
                             tensorflow::serving::GetModelStatusResponse* response);

}  // namespace h5serve::server
