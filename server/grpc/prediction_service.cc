#include "server/grpc/prediction_service.h"

#include <fmt/format.h>

#include <set>
#include <utility>

#include "server/results.h"
#include "server/rpc.h"
#include "server/tensor_codec.h"

namespace h5serve::server {
namespace {

using tensorflow::serving::ModelSpec;

constexpr std::string_view kSignature = "serving_default";
constexpr std::string_view kClassify = "tensorflow/serving/classify";
constexpr std::string_view kRegress = "tensorflow/serving/regress";

absl::Status CheckSignatureName(const ModelSpec& spec) {
  if (spec.signature_name().empty() || spec.signature_name() == kSignature) {
    return absl::OkStatus();
  }
  return absl::FailedPreconditionError(
      fmt::format("Serving signature key \"{}\" not found.", spec.signature_name().substr(0, 200)));
}

void FillSpec(const Served& served, ModelSpec* spec) {
  spec->set_name(served->name);
  spec->mutable_version()->set_value(served->version);
  spec->set_signature_name(kSignature.data(), kSignature.size());
}

// What a MultiInference request may ask.
absl::Status CheckTasks(const tensorflow::serving::MultiInferenceRequest& request) {
  if (request.tasks().empty()) {
    return absl::InvalidArgumentError("Inference request with no tasks");
  }
  std::set<std::string> methods;
  for (const auto& task : request.tasks()) {
    if (task.model_spec().name() != request.tasks(0).model_spec().name()) {
      return absl::InvalidArgumentError(
          "All ModelSpecs in a MultiInferenceRequest must access the same model name.");
    }
    if (task.method_name() != kClassify && task.method_name() != kRegress) {
      return absl::UnimplementedError(
          fmt::format("Unsupported signature method_name: {}", task.method_name().substr(0, 200)));
    }
    const std::string& given = task.model_spec().signature_name();
    const std::string signature(given.empty() ? kSignature : std::string_view(given));
    if (!methods.insert(task.method_name() + " " + signature).second) {
      return absl::InvalidArgumentError(
          fmt::format("Duplicate evaluation of signature: {}", signature.substr(0, 200)));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Served> PredictionService::FindServed(const ModelSpec& spec) const {
  model::ModelSelector selector{.name = spec.name(), .version = std::nullopt, .label = ""};
  if (spec.has_version()) selector.version = spec.version().value();
  if (spec.version_choice_case() == ModelSpec::kVersionLabel) {
    selector.label = spec.version_label();
  }
  return context_.inference->Find(selector);
}

grpc::ServerUnaryReactor* PredictionService::Predict(
    grpc::CallbackServerContext* context, const tensorflow::serving::PredictRequest* request,
    tensorflow::serving::PredictResponse* response) {
  return RunRpc(
      context_, context, "tensorflow.serving.PredictionService/Predict",
      [&](const std::shared_ptr<Rpc>& rpc) {
        absl::StatusOr<Served> found = FindServed(request->model_spec());
        if (!found.ok()) return rpc->Finish(found.status());
        const Served& served = *found;
        rpc->set_served(served);
        if (absl::Status status = CheckSignatureName(request->model_spec()); !status.ok()) {
          return rpc->Finish(status);
        }
        const model::Signature& signature = served->servable->signature();
        const std::vector<std::string_view> filter(request->output_filter().begin(),
                                                   request->output_filter().end());
        absl::StatusOr<std::vector<int>> selected = SelectOutputs(signature, filter);
        if (!selected.ok()) return rpc->Finish(selected.status());
        absl::StatusOr<std::vector<compute::Tensor>> inputs =
            DecodeInputs(signature, *request, context_.options->grpc.max_message_bytes);
        if (!inputs.ok()) return rpc->Finish(inputs.status());
        InferenceRequest inference{.inputs = *std::move(inputs),
                                   .deadline = rpc->deadline(),
                                   .priority = rpc->priority(),
                                   .cancelled = [rpc] { return rpc->cancelled(); }};
        const bool as_content = context_.options->tensor_content_outputs;
        context_.inference->Run(
            served, std::move(inference),
            [rpc, served, response, as_content, selected = *std::move(selected)](
                absl::StatusOr<Outputs> outputs, const compute::RequestTiming&) {
              rpc->Guard([&] {
                if (!outputs.ok()) return rpc->Finish(outputs.status());
                FillSpec(served, response->mutable_model_spec());
                const model::Signature& described = served->servable->signature();
                for (int i : selected) {
                  EncodeTensor((*outputs)[i], as_content,
                               &(*response->mutable_outputs())[described.outputs[i].name]);
                }
                rpc->Finish(absl::OkStatus());
              });
            });
      });
}

grpc::ServerUnaryReactor* PredictionService::GetModelMetadata(
    grpc::CallbackServerContext* context,
    const tensorflow::serving::GetModelMetadataRequest* request,
    tensorflow::serving::GetModelMetadataResponse* response) {
  return RunRpcNow(
      context_, context, "tensorflow.serving.PredictionService/GetModelMetadata",
      [&]() -> absl::Status {
        if (request->metadata_field().empty()) {
          return absl::InvalidArgumentError(
              "GetModelMetadataRequest must specify at least one metadata_field");
        }
        for (const std::string& field : request->metadata_field()) {
          if (field != "signature_def") {
            return absl::InvalidArgumentError(
                fmt::format("Metadata field {} is not supported", field.substr(0, 200)));
          }
        }
        absl::StatusOr<Served> served = FindServed(request->model_spec());
        if (!served.ok()) return served.status();
        tensorflow::serving::SignatureDefMap signatures;
        EncodeSignature((*served)->servable->signature(),
                        &(*signatures.mutable_signature_def())[std::string(kSignature)]);
        response->mutable_model_spec()->set_name((*served)->name);
        response->mutable_model_spec()->mutable_version()->set_value((*served)->version);
        (*response->mutable_metadata())["signature_def"].PackFrom(signatures);
        return absl::OkStatus();
      });
}

template <typename Answer>
grpc::ServerUnaryReactor* PredictionService::RunExamples(grpc::CallbackServerContext* context,
                                                         std::string_view method,
                                                         const ModelSpec& spec,
                                                         const tensorflow::serving::Input& input,
                                                         Answer answer) {
  return RunRpc(context_, context, method, [&](const std::shared_ptr<Rpc>& rpc) {
    absl::StatusOr<Served> found = FindServed(spec);
    if (!found.ok()) return rpc->Finish(found.status());
    const Served& served = *found;
    rpc->set_served(served);
    if (absl::Status status = CheckSignatureName(spec); !status.ok()) return rpc->Finish(status);
    absl::StatusOr<std::vector<compute::Tensor>> inputs = DecodeExamples(
        served->servable->signature(), input, context_.options->grpc.max_message_bytes);
    if (!inputs.ok()) return rpc->Finish(inputs.status());
    InferenceRequest inference{.inputs = *std::move(inputs),
                               .deadline = rpc->deadline(),
                               .priority = rpc->priority(),
                               .cancelled = [rpc] { return rpc->cancelled(); }};
    context_.inference->Run(
        served, std::move(inference),
        [rpc, served, answer](absl::StatusOr<Outputs> outputs, const compute::RequestTiming&) {
          rpc->Guard(
              [&] { rpc->Finish(outputs.ok() ? answer(served, *outputs) : outputs.status()); });
        });
  });
}

grpc::ServerUnaryReactor* PredictionService::Classify(
    grpc::CallbackServerContext* context, const tensorflow::serving::ClassificationRequest* request,
    tensorflow::serving::ClassificationResponse* response) {
  return RunExamples(context, "tensorflow.serving.PredictionService/Classify",
                     request->model_spec(), request->input(),
                     [response](const Served& served, const Outputs& outputs) {
                       FillSpec(served, response->mutable_model_spec());
                       return FillClassification(served->servable->signature(), outputs,
                                                 response->mutable_result());
                     });
}

grpc::ServerUnaryReactor* PredictionService::Regress(
    grpc::CallbackServerContext* context, const tensorflow::serving::RegressionRequest* request,
    tensorflow::serving::RegressionResponse* response) {
  return RunExamples(context, "tensorflow.serving.PredictionService/Regress", request->model_spec(),
                     request->input(), [response](const Served& served, const Outputs& outputs) {
                       FillSpec(served, response->mutable_model_spec());
                       return FillRegression(served->servable->signature(), outputs,
                                             response->mutable_result());
                     });
}

grpc::ServerUnaryReactor* PredictionService::MultiInference(
    grpc::CallbackServerContext* context, const tensorflow::serving::MultiInferenceRequest* request,
    tensorflow::serving::MultiInferenceResponse* response) {
  if (absl::Status status = CheckTasks(*request); !status.ok()) {
    return RunRpcNow(context_, context, "tensorflow.serving.PredictionService/MultiInference",
                     [&] { return status; });
  }
  // All tasks use one model and its one signature: it runs once for all.
  return RunExamples(
      context, "tensorflow.serving.PredictionService/MultiInference",
      request->tasks(0).model_spec(), request->input(),
      [request, response](const Served& served, const Outputs& outputs) {
        const model::Signature& signature = served->servable->signature();
        for (const auto& task : request->tasks()) {
          if (absl::Status status = CheckSignatureName(task.model_spec()); !status.ok()) {
            return status;
          }
          auto* result = response->add_results();
          FillSpec(served, result->mutable_model_spec());
          absl::Status status =
              task.method_name() == kClassify
                  ? FillClassification(signature, outputs, result->mutable_classification_result())
                  : FillRegression(signature, outputs, result->mutable_regression_result());
          if (!status.ok()) return status;
        }
        return absl::OkStatus();
      });
}

}  // namespace h5serve::server
