#include "server/commands/load_test.h"

#include <fmt/format.h>
#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <atomic>
#include <memory>

#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "proto/tensorflow_serving.grpc.pb.h"
#include "server/tensor_codec.h"
#include "server/wire_types.h"

namespace h5serve::server {
namespace {

using Stub = tensorflow::serving::PredictionService::Stub;

absl::Status FromGrpc(const grpc::Status& status) {
  return absl::Status(static_cast<absl::StatusCode>(status.error_code()), status.error_message());
}

// A request of zeros that fits the signature; open dimensions are 1.
absl::StatusOr<tensorflow::serving::PredictRequest> MakeRequest(Stub* stub,
                                                                const LoadTestOptions& options) {
  tensorflow::serving::GetModelMetadataRequest ask;
  ask.mutable_model_spec()->set_name(options.model);
  ask.add_metadata_field("signature_def");
  tensorflow::serving::GetModelMetadataResponse answer;
  grpc::ClientContext context;
  context.set_deadline(absl::ToChronoTime(absl::Now() + absl::Seconds(10)));
  const grpc::Status status = stub->GetModelMetadata(&context, ask, &answer);
  if (!status.ok()) return FromGrpc(status);
  tensorflow::serving::SignatureDefMap signatures;
  const auto found = answer.metadata().find("signature_def");
  if (found == answer.metadata().end() || !found->second.UnpackTo(&signatures) ||
      !signatures.signature_def().contains("serving_default")) {
    return absl::InternalError("the server describes no signature serving_default");
  }
  tensorflow::serving::PredictRequest request;
  request.mutable_model_spec()->set_name(options.model);
  for (const auto& [name, info] : signatures.signature_def().at("serving_default").inputs()) {
    const auto dtype = FromTensorFlowType(info.dtype());
    if (!dtype) return absl::UnimplementedError("an input has an unknown type");
    compute::Shape shape;
    for (const auto& dim : info.tensor_shape().dim()) {
      const int64_t open = shape.rank() == 0 ? options.rows : 1;
      shape.push_back(dim.size() < 0 ? open : dim.size());
    }
    compute::Tensor zeros = compute::Tensor::Allocate(*dtype, shape);
    if (*dtype != compute::DType::kString) {
      std::fill_n(static_cast<char*>(zeros.raw_mutable_data()), zeros.size_bytes(), 0);
    }
    EncodeTensor(zeros, /*as_content=*/true, &(*request.mutable_inputs())[name]);
  }
  return request;
}

// At a rate, calls beyond these are not sent, and count as failed.
constexpr int kMaxOutstanding = 20000;

// Calls that start each other, or are started at their time, until time is up.
class Calls {
 public:
  Calls(Stub* stub, const tensorflow::serving::PredictRequest* request, absl::Time end)
      : stub_(stub), request_(request), end_(end) {}

  LoadTestResult Run(int concurrency) {
    const absl::Time start = absl::Now();
    for (int i = 0; i < concurrency; ++i) {
      if (Reserve()) Start(std::make_shared<Slot>(), absl::Now());
    }
    return Wait(start);
  }

  LoadTestResult RunAtRate(double rate) {
    again_ = false;
    const absl::Time start = absl::Now();
    for (int64_t i = 0;; ++i) {
      const absl::Time due = start + absl::Seconds(static_cast<double>(i) / rate);
      if (due >= end_) break;
      absl::SleepFor(due - absl::Now());
      if (Reserve()) Start(std::make_shared<Slot>(), due);
    }
    return Wait(start);
  }

 private:
  struct Slot {
    std::unique_ptr<grpc::ClientContext> context;
    tensorflow::serving::PredictResponse response;
    absl::Time started;
  };

  // Whether one more call may be outstanding.
  bool Reserve() {
    absl::MutexLock lock(&mutex_);
    if (outstanding_ < kMaxOutstanding) {
      ++outstanding_;
      return true;
    }
    if (result_.failed++ == 0) result_.first_error = "too many calls are outstanding";
    return false;
  }

  LoadTestResult Wait(absl::Time start) {
    absl::MutexLock lock(&mutex_);
    mutex_.Await(absl::Condition(
        +[](int* outstanding) { return *outstanding == 0; }, &outstanding_));
    result_.elapsed = absl::Now() - start;
    std::sort(result_.latencies.begin(), result_.latencies.end());
    return std::move(result_);
  }

  void Start(std::shared_ptr<Slot> slot, absl::Time due) {
    slot->context = std::make_unique<grpc::ClientContext>();
    slot->response.Clear();
    slot->started = due;
    stub_->async()->Predict(slot->context.get(), request_, &slot->response,
                            [this, slot](const grpc::Status& status) { Finish(slot, status); });
  }

  void Finish(std::shared_ptr<Slot> slot, const grpc::Status& status) {
    const absl::Time now = absl::Now();
    {
      absl::MutexLock lock(&mutex_);
      if (status.ok()) {
        ++result_.answered;
        result_.latencies.push_back(now - slot->started);
      } else if (result_.failed++ == 0) {
        result_.first_error = status.error_message();
      }
      if (!again_ || now >= end_) {
        --outstanding_;
        return;
      }
    }
    Start(std::move(slot), now);
  }

  Stub* const stub_;
  const tensorflow::serving::PredictRequest* const request_;
  const absl::Time end_;
  bool again_ = true;  // a call that ended starts the next one
  absl::Mutex mutex_;
  int outstanding_ ABSL_GUARDED_BY(mutex_) = 0;
  LoadTestResult result_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace

absl::StatusOr<LoadTestResult> RunLoadTest(const LoadTestOptions& options) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(-1);
  const auto stub = tensorflow::serving::PredictionService::NewStub(
      grpc::CreateCustomChannel(options.address, grpc::InsecureChannelCredentials(), arguments));
  const absl::StatusOr<tensorflow::serving::PredictRequest> request =
      MakeRequest(stub.get(), options);
  if (!request.ok()) return request.status();
  Calls calls(stub.get(), &*request, absl::Now() + options.duration);
  return options.rate > 0 ? calls.RunAtRate(options.rate) : calls.Run(options.concurrency);
}

}  // namespace h5serve::server
