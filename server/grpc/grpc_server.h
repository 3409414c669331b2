// The gRPC listeners with all their services.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/grpc/service_context.h"

namespace h5serve::server {

// Thread-safe. Destruction ends running calls.
class GrpcServer {
 public:
  // Listens where the options say. Errors name the option that is to blame.
  static absl::StatusOr<std::unique_ptr<GrpcServer>> Start(const ServiceContext& context);
  ~GrpcServer();
  GrpcServer(const GrpcServer&) = delete;
  GrpcServer& operator=(const GrpcServer&) = delete;

  // "127.0.0.1:8500" with the port in use; "" without a TCP listener.
  const std::string& address() const;

  // What grpc.health.v1 says of a service; unknown ones are NOT_FOUND. The
  // server as a whole is "".
  void SetHealth(const std::string& service, bool serving);
  // The same for the server and all of its services at once.
  void SetServerHealth(bool serving);

  // Stops listening, lets running calls finish until `deadline`, ends the rest.
  void Shutdown(absl::Time deadline);

 private:
  struct State;
  explicit GrpcServer(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace h5serve::server
