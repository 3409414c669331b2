#include "server/grpc/credentials.h"

#include <fmt/format.h>
#include <grpcpp/security/tls_certificate_provider.h>
#include <grpcpp/security/tls_credentials_options.h>

#include <fstream>

namespace h5serve::server {
namespace {

constexpr unsigned kRefreshSeconds = 5;

absl::Status CheckReadable(const std::string& path, const char* option) {
  if (path.empty()) return absl::InvalidArgumentError(fmt::format("{} is missing", option));
  if (std::ifstream(path).good()) return absl::OkStatus();
  return absl::NotFoundError(fmt::format("{}: cannot read {}", option, path));
}

}  // namespace

absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> MakeCredentials(
    const config::TlsOptions& options) {
  if (options.certificate.empty() && options.key.empty() && options.client_authority.empty()) {
    return grpc::InsecureServerCredentials();
  }
  absl::Status status = CheckReadable(options.certificate, "tls.certificate");
  if (status.ok()) status = CheckReadable(options.key, "tls.key");
  const bool mutual = !options.client_authority.empty();
  if (status.ok() && mutual)
    status = CheckReadable(options.client_authority, "tls.client_authority");
  if (!status.ok()) return status;
  const auto provider = std::make_shared<grpc::experimental::FileWatcherCertificateProvider>(
      options.key, options.certificate, options.client_authority, kRefreshSeconds);
  grpc::experimental::TlsServerCredentialsOptions credentials(provider);
  credentials.watch_identity_key_cert_pairs();
  if (mutual) {
    credentials.watch_root_certs();
    credentials.set_cert_request_type(GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
  }
  return grpc::experimental::TlsServerCredentials(credentials);
}

}  // namespace h5serve::server
