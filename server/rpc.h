// What every gRPC handler needs done and none should do itself.
#pragma once

#include <grpcpp/grpcpp.h>

#include <exception>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "server/grpc/service_context.h"
#include "server/inference.h"
#include "server/metrics.h"

namespace h5serve::server {

// gRPC's form of a status; messages of any length are cut, for they travel in
// a header.
grpc::Status ToGrpc(const absl::Status& status);
// "OK", "NOT_FOUND", …: the label of requests_total.
std::string_view CodeName(absl::StatusCode code);

// One unary call, from its arrival to Finish. Handlers hold it as long as they
// work on the answer.
//
// Thread-safe, except that only one thread may Finish.
class Rpc {
 public:
  // `method` is "package.Service/Method"; the metrics take its last part.
  Rpc(Metrics* metrics, grpc::CallbackServerContext* context, std::string_view method);

  // The model that answers, for the metrics.
  void set_served(Served served) { served_ = std::move(served); }
  absl::Time deadline() const;
  // 0, or 1 when the metadata key h5serve-priority says "low".
  int priority() const;
  bool cancelled() const { return context_->IsCancelled(); }
  // Counts, times and ends the call. Nothing of the call, its request included,
  // may be touched afterwards.
  void Finish(const absl::Status& status);
  // Runs `body`, which leads to Finish; what it throws becomes the status.
  template <typename Body>
  void Guard(Body body) {
    try {
      body();
    } catch (const std::bad_alloc&) {
      Finish(absl::ResourceExhaustedError("out of memory"));
    } catch (const std::exception& error) {
      Finish(absl::InternalError(error.what()));
    }
  }

  grpc::ServerUnaryReactor* reactor() const { return reactor_; }

 private:
  Metrics* const metrics_;
  grpc::CallbackServerContext* const context_;
  grpc::ServerUnaryReactor* const reactor_;
  const std::string_view method_;
  const absl::Time started_ = absl::Now();
  Served served_;
  bool finished_ = false;
};

// Whether the call may go on: UNAVAILABLE while the server stops, and
// PERMISSION_DENIED if the policy does not allow "package.Service/Method".
absl::Status Admit(const ServiceContext& services, const grpc::CallbackServerContext& context,
                   std::string_view method);

// Runs `body(rpc)`, which finishes the call now or later, if the caller may call.
template <typename Body>
grpc::ServerUnaryReactor* RunRpc(const ServiceContext& services,
                                 grpc::CallbackServerContext* context, std::string_view method,
                                 Body body) {
  auto rpc = std::make_shared<Rpc>(services.metrics, context, method);
  grpc::ServerUnaryReactor* const reactor = rpc->reactor();
  rpc->Guard([&] {
    const absl::Status allowed = Admit(services, *context, method);
    if (!allowed.ok()) return rpc->Finish(allowed);
    body(rpc);
  });
  return reactor;
}

// The same for a handler that knows the answer at once: `body()` gives the status.
template <typename Body>
grpc::ServerUnaryReactor* RunRpcNow(const ServiceContext& services,
                                    grpc::CallbackServerContext* context, std::string_view method,
                                    Body body) {
  return RunRpc(services, context, method,
                [&body](const std::shared_ptr<Rpc>& rpc) { rpc->Finish(body()); });
}

}  // namespace h5serve::server
