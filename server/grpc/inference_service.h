// inference.GRPCInferenceService.
#pragma once

#include "proto/inference.grpc.pb.h"
#include "server/grpc/service_context.h"

namespace h5serve::server {

// Thread-safe.
class InferenceService : public inference::GRPCInferenceService::CallbackService {
 public:
  explicit InferenceService(const ServiceContext& context) : context_(context) {}

#define H5SERVE_UNARY(method)                                                 \
  grpc::ServerUnaryReactor* method(grpc::CallbackServerContext* context,      \
                                   const inference::method##Request* request, \
                                   inference::method##Response* response) override

  // inference_service.cc
  H5SERVE_UNARY(ServerLive);
  H5SERVE_UNARY(ServerReady);
  H5SERVE_UNARY(ModelReady);
  H5SERVE_UNARY(ServerMetadata);
  H5SERVE_UNARY(ModelMetadata);
  H5SERVE_UNARY(ModelInfer);
  grpc::ServerBidiReactor<inference::ModelInferRequest, inference::ModelStreamInferResponse>*
  ModelStreamInfer(grpc::CallbackServerContext* context) override;

  // inference_management.cc
  H5SERVE_UNARY(ModelConfig);
  H5SERVE_UNARY(ModelStatistics);
  H5SERVE_UNARY(RepositoryIndex);
  H5SERVE_UNARY(RepositoryModelLoad);
  H5SERVE_UNARY(RepositoryModelUnload);
  H5SERVE_UNARY(SystemSharedMemoryStatus);
  H5SERVE_UNARY(SystemSharedMemoryRegister);
  H5SERVE_UNARY(SystemSharedMemoryUnregister);
  H5SERVE_UNARY(CudaSharedMemoryStatus);
  H5SERVE_UNARY(CudaSharedMemoryRegister);
  H5SERVE_UNARY(CudaSharedMemoryUnregister);
  H5SERVE_UNARY(TraceSetting);
  H5SERVE_UNARY(LogSettings);

#undef H5SERVE_UNARY

 private:
  const ServiceContext context_;
};

// Answers one request; `done` is called exactly once, when `response` is whole.
// `request` and `response` must live until then.
void Infer(const ServiceContext& context, const inference::ModelInferRequest& request,
           absl::Time deadline, std::function<bool()> cancelled,
           std::function<void(const Served&)> found, inference::ModelInferResponse* response,
           std::function<void(const absl::Status&)> done);

// What the service says of the server and of a model, for REST as well.
void FillServerMetadata(const config::ServerOptions& options,
                        inference::ServerMetadataResponse* response);
void FillModelMetadata(const model::ModelStore& store, const Served& served,
                       inference::ModelMetadataResponse* response);
void FillModelConfig(const model::Manager& manager, const Served& served,
                     inference::ModelConfig* config);
absl::Status FillStatistics(const ServiceContext& context, const std::string& name,
                            const std::string& version,
                            inference::ModelStatisticsResponse* response);
void FillRepositoryIndex(const model::Manager& manager, bool only_ready,
                         inference::RepositoryIndexResponse* response);

}  // namespace h5serve::server
