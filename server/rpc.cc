#include "server/rpc.h"

#include <fmt/format.h>

#include <chrono>

#include "server/grpc/authorization.h"

namespace h5serve::server {
namespace {

grpc::StatusCode ToGrpcCode(absl::StatusCode code) {
  switch (code) {
    case absl::StatusCode::kOk:
      return grpc::StatusCode::OK;
    case absl::StatusCode::kCancelled:
      return grpc::StatusCode::CANCELLED;
    case absl::StatusCode::kInvalidArgument:
      return grpc::StatusCode::INVALID_ARGUMENT;
    case absl::StatusCode::kDeadlineExceeded:
      return grpc::StatusCode::DEADLINE_EXCEEDED;
    case absl::StatusCode::kNotFound:
      return grpc::StatusCode::NOT_FOUND;
    case absl::StatusCode::kAlreadyExists:
      return grpc::StatusCode::ALREADY_EXISTS;
    case absl::StatusCode::kPermissionDenied:
      return grpc::StatusCode::PERMISSION_DENIED;
    case absl::StatusCode::kResourceExhausted:
      return grpc::StatusCode::RESOURCE_EXHAUSTED;
    case absl::StatusCode::kFailedPrecondition:
      return grpc::StatusCode::FAILED_PRECONDITION;
    case absl::StatusCode::kAborted:
      return grpc::StatusCode::ABORTED;
    case absl::StatusCode::kOutOfRange:
      return grpc::StatusCode::OUT_OF_RANGE;
    case absl::StatusCode::kUnimplemented:
      return grpc::StatusCode::UNIMPLEMENTED;
    case absl::StatusCode::kInternal:
      return grpc::StatusCode::INTERNAL;
    case absl::StatusCode::kUnavailable:
      return grpc::StatusCode::UNAVAILABLE;
    case absl::StatusCode::kDataLoss:
      return grpc::StatusCode::DATA_LOSS;
    case absl::StatusCode::kUnauthenticated:
      return grpc::StatusCode::UNAUTHENTICATED;
    default:
      return grpc::StatusCode::UNKNOWN;
  }
}

}  // namespace

std::string_view CodeName(absl::StatusCode code) {
  switch (code) {
    case absl::StatusCode::kOk:
      return "OK";
    case absl::StatusCode::kCancelled:
      return "CANCELLED";
    case absl::StatusCode::kInvalidArgument:
      return "INVALID_ARGUMENT";
    case absl::StatusCode::kDeadlineExceeded:
      return "DEADLINE_EXCEEDED";
    case absl::StatusCode::kNotFound:
      return "NOT_FOUND";
    case absl::StatusCode::kAlreadyExists:
      return "ALREADY_EXISTS";
    case absl::StatusCode::kPermissionDenied:
      return "PERMISSION_DENIED";
    case absl::StatusCode::kResourceExhausted:
      return "RESOURCE_EXHAUSTED";
    case absl::StatusCode::kFailedPrecondition:
      return "FAILED_PRECONDITION";
    case absl::StatusCode::kAborted:
      return "ABORTED";
    case absl::StatusCode::kOutOfRange:
      return "OUT_OF_RANGE";
    case absl::StatusCode::kUnimplemented:
      return "UNIMPLEMENTED";
    case absl::StatusCode::kInternal:
      return "INTERNAL";
    case absl::StatusCode::kUnavailable:
      return "UNAVAILABLE";
    case absl::StatusCode::kDataLoss:
      return "DATA_LOSS";
    case absl::StatusCode::kUnauthenticated:
      return "UNAUTHENTICATED";
    default:
      return "UNKNOWN";
  }
}

grpc::Status ToGrpc(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  constexpr size_t kMaxMessage = 2048;
  std::string message(status.message());
  if (message.size() > kMaxMessage) {
    message.resize(kMaxMessage);
    message += "...TRUNCATED";
  }
  return grpc::Status(ToGrpcCode(status.code()), message);
}

Rpc::Rpc(Metrics* metrics, grpc::CallbackServerContext* context, std::string_view method)
    : metrics_(metrics),
      context_(context),
      reactor_(context->DefaultReactor()),
      method_(method.substr(method.rfind('/') + 1)) {}

absl::Status Admit(const ServiceContext& services, const grpc::CallbackServerContext& context,
                   std::string_view method) {
  if (services.refusing != nullptr && *services.refusing) {
    return absl::UnavailableError("the server is shutting down");
  }
  if (services.authorization == nullptr) return absl::OkStatus();
  return services.authorization->Check(context, fmt::format("/{}", method));
}

absl::Time Rpc::deadline() const {
  const std::chrono::system_clock::time_point deadline = context_->deadline();
  if (deadline == std::chrono::system_clock::time_point::max()) return absl::InfiniteFuture();
  return absl::FromChrono(deadline);
}

int Rpc::priority() const {
  const auto found = context_->client_metadata().find("h5serve-priority");
  return found != context_->client_metadata().end() && found->second == "low" ? 1 : 0;
}

void Rpc::Finish(const absl::Status& status) {
  // A handler that throws after it has finished is not to finish twice.
  if (finished_) return;
  finished_ = true;
  metrics_->OnRequest(served_ ? std::string_view(served_->name) : std::string_view(),
                      served_ ? served_->version : -1, method_, CodeName(status.code()),
                      absl::Now() - started_);
  if (absl::IsResourceExhausted(status) && served_) {
    // Clients with a retry policy wait that long before the next attempt.
    const double wait = absl::ToDoubleMilliseconds(served_->queue->expected_wait());
    context_->AddTrailingMetadata("grpc-retry-pushback-ms",
                                  fmt::format("{:.0f}", std::max(1.0, wait)));
  }
  served_ = nullptr;
  reactor_->Finish(ToGrpc(status));
}

}  // namespace h5serve::server
