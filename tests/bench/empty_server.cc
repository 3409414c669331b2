// The yardstick for serving: a gRPC callback server whose Predict computes
// nothing and answers with as many floats as it was told to. It speaks enough of
// the TensorFlow Serving API for `h5serve bench --connect`.
//
// empty_server ADDRESS INPUTS OUTPUTS: floats per row of input and output; prints
// the port it listens on.
#include <fmt/format.h>
#include <grpcpp/grpcpp.h>

#include <cstdlib>
#include <string>
#include <vector>

#include "proto/tensorflow_serving.grpc.pb.h"

namespace h5serve {
namespace {

using tensorflow::serving::PredictionService;

class EmptyService final : public PredictionService::CallbackService {
 public:
  EmptyService(int64_t inputs, int64_t outputs) : inputs_(inputs), outputs_(outputs) {}

  grpc::ServerUnaryReactor* Predict(grpc::CallbackServerContext* context,
                                    const tensorflow::serving::PredictRequest*,
                                    tensorflow::serving::PredictResponse* response) override {
    tensorflow::TensorProto& tensor = (*response->mutable_outputs())["output"];
    tensor.set_dtype(tensorflow::DT_FLOAT);
    tensor.mutable_tensor_shape()->add_dim()->set_size(1);
    tensor.mutable_tensor_shape()->add_dim()->set_size(outputs_);
    tensor.mutable_float_val()->Resize(static_cast<int>(outputs_), 0.1f);
    grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }

  grpc::ServerUnaryReactor* GetModelMetadata(
      grpc::CallbackServerContext* context, const tensorflow::serving::GetModelMetadataRequest*,
      tensorflow::serving::GetModelMetadataResponse* response) override {
    tensorflow::serving::SignatureDefMap signatures;
    auto& signature = (*signatures.mutable_signature_def())["serving_default"];
    tensorflow::TensorInfo& input = (*signature.mutable_inputs())["input"];
    input.set_dtype(tensorflow::DT_FLOAT);
    input.mutable_tensor_shape()->add_dim()->set_size(-1);
    input.mutable_tensor_shape()->add_dim()->set_size(inputs_);
    (*response->mutable_metadata())["signature_def"].PackFrom(signatures);
    grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }

 private:
  const int64_t inputs_;
  const int64_t outputs_;
};

}  // namespace
}  // namespace h5serve

int main(int argc, char** argv) {
  if (argc != 4) {
    fmt::print(stderr, "usage: empty_server ADDRESS INPUTS OUTPUTS\n");
    return 64;
  }
  h5serve::EmptyService service(std::atoll(argv[2]), std::atoll(argv[3]));
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort(argv[1], grpc::InsecureServerCredentials(), &port);
  builder.SetMaxReceiveMessageSize(-1);
  builder.RegisterService(&service);
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  if (server == nullptr || port == 0) return 1;
  fmt::print("{}\n", port);
  std::fflush(stdout);
  server->Wait();
}
