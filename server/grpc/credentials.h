// Transport security of the gRPC listeners.
#pragma once

#include <grpcpp/security/server_credentials.h>

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "config/options.h"

namespace h5serve::server {

// Plain text without a certificate; else TLS whose files are read again when
// they change, and mutual TLS when there is a client authority.
absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> MakeCredentials(
    const config::TlsOptions& options);

}  // namespace h5serve::server
