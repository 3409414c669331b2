// tensorflow.serving.PredictionService.
#pragma once

#include "proto/tensorflow_serving.grpc.pb.h"
#include "server/grpc/service_context.h"

namespace h5serve::server {

// Thread-safe.
class PredictionService : public tensorflow::serving::PredictionService::CallbackService {
 public:
  explicit PredictionService(const ServiceContext& context) : context_(context) {}

  grpc::ServerUnaryReactor* Predict(grpc::CallbackServerContext* context,
                                    const tensorflow::serving::PredictRequest* request,
                                    tensorflow::serving::PredictResponse* response) override;
  grpc::ServerUnaryReactor* GetModelMetadata(
      grpc::CallbackServerContext* context,
      const tensorflow::serving::GetModelMetadataRequest* request,
      tensorflow::serving::GetModelMetadataResponse* response) override;
  grpc::ServerUnaryReactor* Classify(
      grpc::CallbackServerContext* context,
      const tensorflow::serving::ClassificationRequest* request,
      tensorflow::serving::ClassificationResponse* response) override;
  grpc::ServerUnaryReactor* Regress(grpc::CallbackServerContext* context,
                                    const tensorflow::serving::RegressionRequest* request,
                                    tensorflow::serving::RegressionResponse* response) override;
  grpc::ServerUnaryReactor* MultiInference(
      grpc::CallbackServerContext* context,
      const tensorflow::serving::MultiInferenceRequest* request,
      tensorflow::serving::MultiInferenceResponse* response) override;

 private:
  absl::StatusOr<Served> FindServed(const tensorflow::serving::ModelSpec& spec) const;
  // Runs examples through the model of `spec`; `answer(served, output)` makes
  // the response of the model's only output.
  template <typename Answer>
  grpc::ServerUnaryReactor* RunExamples(grpc::CallbackServerContext* context,
                                        std::string_view method,
                                        const tensorflow::serving::ModelSpec& spec,
                                        const tensorflow::serving::Input& input, Answer answer);

  const ServiceContext context_;
};

}  // namespace h5serve::server
