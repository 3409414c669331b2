#include "server/grpc/inference_service.h"

#include <fmt/format.h>

#include <utility>

#include "absl/synchronization/mutex.h"
#include "server/inference_codec.h"
#include "server/rpc.h"
#include "server/version.h"
#include "server/wire_types.h"

namespace h5serve::server {
namespace {

// The integer of a request parameter, or 0.
int64_t IntParameter(const inference::ModelInferRequest& request, const std::string& name) {
  const auto found = request.parameters().find(name);
  if (found == request.parameters().end()) return 0;
  if (found->second.has_uint64_param()) {
    return static_cast<int64_t>(std::min<uint64_t>(found->second.uint64_param(), INT64_MAX));
  }
  return found->second.int64_param();
}

template <typename Specs, typename Add>
void FillTensors(const Specs& specs, Add add) {
  for (const model::TensorSpec& spec : specs) {
    auto* tensor = add();
    tensor->set_name(spec.name);
    const std::string_view type = InferenceType(spec.dtype);
    tensor->set_datatype(type.data(), type.size());
    for (int64_t dim : spec.shape) tensor->add_shape(dim);
  }
}

// One stream: a request is read, answered, and only then the next one read, so
// that answers come in the order of the requests.
//
// gRPC calls the On… functions one after the other; the answer of a request may
// come from another thread.
class InferStream : public grpc::ServerBidiReactor<inference::ModelInferRequest,
                                                   inference::ModelStreamInferResponse> {
 public:
  InferStream(const ServiceContext& context, grpc::CallbackServerContext* call)
      : context_(context), call_(call), real_errors_(WantsRealErrors(*call)) {
    const absl::Status allowed =
        Admit(context, *call, "inference.GRPCInferenceService/ModelStreamInfer");
    if (allowed.ok()) {
      StartRead(&request_);
    } else {
      Finish(ToGrpc(allowed));
    }
  }

  void OnReadDone(bool ok) override {
    if (!ok) return Finish(grpc::Status::OK);
    started_ = absl::Now();
    served_ = nullptr;
    response_.Clear();
    try {
      Infer(
          context_, request_, absl::InfiniteFuture(), [this] { return call_->IsCancelled(); },
          [this](const Served& served) { served_ = served; }, response_.mutable_infer_response(),
          [this](const absl::Status& status) { Answer(status); });
    } catch (const std::exception& error) {
      Answer(absl::InternalError(error.what()));
    }
  }

  void OnWriteDone(bool ok) override {
    if (!ok) return Finish(grpc::Status::OK);
    request_.Clear();
    StartRead(&request_);
  }

  void OnDone() override { delete this; }

 private:
  static bool WantsRealErrors(const grpc::CallbackServerContext& call) {
    const auto found = call.client_metadata().find("triton_grpc_error");
    return found != call.client_metadata().end() && found->second == "true";
  }

  void Answer(const absl::Status& status) {
    context_.metrics->OnRequest(served_ ? std::string_view(served_->name) : std::string_view(),
                                served_ ? served_->version : -1, "ModelStreamInfer",
                                CodeName(status.code()), absl::Now() - started_);
    served_ = nullptr;
    if (!status.ok()) {
      if (real_errors_) return Finish(ToGrpc(status));
      // The answer says which request it is for.
      const std::string id = request_.id();
      response_.Clear();
      response_.set_error_message(std::string(status.message()));
      response_.mutable_infer_response()->set_id(id);
    }
    StartWrite(&response_);
  }

  const ServiceContext& context_;
  grpc::CallbackServerContext* const call_;
  const bool real_errors_;
  absl::Time started_;
  Served served_;
  inference::ModelInferRequest request_;
  inference::ModelStreamInferResponse response_;
};

}  // namespace

void Infer(const ServiceContext& context, const inference::ModelInferRequest& request,
           absl::Time deadline, std::function<bool()> cancelled,
           std::function<void(const Served&)> found, inference::ModelInferResponse* response,
           std::function<void(const absl::Status&)> done) {
  absl::StatusOr<Served> served =
      context.inference->Find(request.model_name(), request.model_version());
  if (!served.ok()) return done(served.status());
  found(*served);
  const model::Signature& signature = (*served)->servable->signature();
  absl::StatusOr<std::vector<InferOutput>> outputs = SelectInferOutputs(signature, request);
  if (!outputs.ok()) return done(outputs.status());
  absl::StatusOr<std::vector<compute::Tensor>> inputs =
      DecodeInferInputs(signature, request, context.options->grpc.max_message_bytes);
  if (!inputs.ok()) return done(inputs.status());
  InferenceRequest inference;
  inference.inputs = *std::move(inputs);
  inference.deadline = deadline;
  if (const int64_t timeout = IntParameter(request, "timeout"); timeout > 0) {
    inference.deadline = std::min(deadline, absl::Now() + absl::Microseconds(timeout));
  }
  // 1 is the most urgent level there, 0 means the default.
  inference.priority = IntParameter(request, "priority") > 1 ? 1 : 0;
  inference.cancelled = std::move(cancelled);
  context.inference->Run(
      *served, std::move(inference),
      [served = *served, outputs = *std::move(outputs), &request, response, done = std::move(done)](
          absl::StatusOr<Outputs> tensors, const compute::RequestTiming&) {
        if (!tensors.ok()) return done(tensors.status());
        absl::Status status;
        try {
          response->set_model_name(served->name);
          response->set_model_version(fmt::format("{}", served->version));
          response->set_id(request.id());
          status = EncodeInferOutputs(served->servable->signature(), *tensors, outputs,
                                      !request.raw_input_contents().empty(), response);
        } catch (const std::exception& error) {
          status = absl::InternalError(error.what());
        }
        done(status);
      });
}

void FillServerMetadata(const config::ServerOptions& options,
                        inference::ServerMetadataResponse* response) {
  response->set_name(options.server_name);
  response->set_version(kVersion);
  for (const char* extension :
       {"binary_tensor_data", "classification", "logging", "model_configuration",
        "model_repository", "parameters", "schedule_policy", "statistics", "trace"}) {
    response->add_extensions(extension);
  }
}

void FillModelMetadata(const model::ModelStore& store, const Served& served,
                       inference::ModelMetadataResponse* response) {
  response->set_name(served->name);
  for (const auto& other : store.All()) {
    if (other->name == served->name) response->add_versions(fmt::format("{}", other->version));
  }
  response->set_platform("keras_h5");
  const model::Signature& signature = served->servable->signature();
  FillTensors(signature.inputs, [response] { return response->add_inputs(); });
  FillTensors(signature.outputs, [response] { return response->add_outputs(); });
}

grpc::ServerUnaryReactor* InferenceService::ServerLive(grpc::CallbackServerContext* context,
                                                       const inference::ServerLiveRequest*,
                                                       inference::ServerLiveResponse* response) {
  return RunRpcNow(context_, context, "inference.GRPCInferenceService/ServerLive", [&] {
    response->set_live(true);
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* InferenceService::ServerReady(grpc::CallbackServerContext* context,
                                                        const inference::ServerReadyRequest*,
                                                        inference::ServerReadyResponse* response) {
  return RunRpcNow(context_, context, "inference.GRPCInferenceService/ServerReady", [&] {
    response->set_ready(context_.ready());
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* InferenceService::ModelReady(grpc::CallbackServerContext* context,
                                                       const inference::ModelReadyRequest* request,
                                                       inference::ModelReadyResponse* response) {
  return RunRpcNow(context_, context, "inference.GRPCInferenceService/ModelReady", [&] {
    const absl::StatusOr<Served> served =
        context_.inference->Find(request->name(), request->version());
    response->set_ready(served.ok());
    return absl::IsInvalidArgument(served.status()) ? served.status() : absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* InferenceService::ServerMetadata(
    grpc::CallbackServerContext* context, const inference::ServerMetadataRequest*,
    inference::ServerMetadataResponse* response) {
  return RunRpcNow(context_, context, "inference.GRPCInferenceService/ServerMetadata", [&] {
    FillServerMetadata(*context_.options, response);
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* InferenceService::ModelMetadata(
    grpc::CallbackServerContext* context, const inference::ModelMetadataRequest* request,
    inference::ModelMetadataResponse* response) {
  return RunRpcNow(context_, context, "inference.GRPCInferenceService/ModelMetadata", [&] {
    const absl::StatusOr<Served> served =
        context_.inference->Find(request->name(), request->version());
    if (served.ok()) FillModelMetadata(*context_.store, *served, response);
    return served.status();
  });
}

grpc::ServerUnaryReactor* InferenceService::ModelInfer(grpc::CallbackServerContext* context,
                                                       const inference::ModelInferRequest* request,
                                                       inference::ModelInferResponse* response) {
  return RunRpc(context_, context, "inference.GRPCInferenceService/ModelInfer",
                [&](const std::shared_ptr<Rpc>& rpc) {
                  Infer(
                      context_, *request, rpc->deadline(), [rpc] { return rpc->cancelled(); },
                      [&rpc](const Served& served) { rpc->set_served(served); }, response,
                      [rpc](const absl::Status& status) { rpc->Finish(status); });
                });
}

grpc::ServerBidiReactor<inference::ModelInferRequest, inference::ModelStreamInferResponse>*
InferenceService::ModelStreamInfer(grpc::CallbackServerContext* context) {
  return new InferStream(context_, context);
}

}  // namespace h5serve::server
