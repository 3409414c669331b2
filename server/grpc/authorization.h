// Who may call which method: gRPC's RBAC policy files (gRFC A43), which Debian's
// gRPC has no library for.
#pragma once

#include <grpcpp/grpcpp.h>

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "server/log.h"

namespace h5serve::server {

// A caller and what it asks for.
struct Caller {
  std::string_view path;  // "/package.Service/Method"
  bool authenticated = false;
  std::vector<std::string> identities = {};  // subject alternative names, common name
  std::vector<std::pair<std::string, std::string>> headers = {};  // keys in lower case
};

// The rules of one policy file.
//
// Immutable, thread-safe.
class AuthorizationPolicy {
 public:
  // INVALID_ARGUMENT naming the place for anything but a policy.
  static absl::StatusOr<std::shared_ptr<const AuthorizationPolicy>> Parse(std::string_view json);

  // Deny rules come first; then some allow rule must match.
  bool Allows(const Caller& caller) const;

  struct Rule {
    std::string name;
    // Each matches exactly, or with a * at its start, its end or alone.
    std::vector<std::string> principals;
    std::vector<std::string> paths;
    std::vector<std::pair<std::string, std::vector<std::string>>> headers;
  };

 private:
  std::vector<Rule> deny_;
  std::vector<Rule> allow_;
};

// The policy of a file, read again when the file changes; a bad change is logged
// and the old policy stays in force.
//
// Thread-safe.
class Authorization {
 public:
  // INVALID_ARGUMENT or NOT_FOUND when there is no valid policy to begin with.
  static absl::StatusOr<std::unique_ptr<Authorization>> FromFile(std::string path, Log* log);

  // PERMISSION_DENIED unless the policy allows the call of `path`.
  absl::Status Check(const grpc::CallbackServerContext& context, std::string_view path);

 private:
  Authorization(std::string path, Log* log) : path_(std::move(path)), log_(log) {}
  std::shared_ptr<const AuthorizationPolicy> Current();

  const std::string path_;
  Log* const log_;
  absl::Mutex mutex_;
  std::shared_ptr<const AuthorizationPolicy> policy_ ABSL_GUARDED_BY(mutex_);
  absl::Time looked_ ABSL_GUARDED_BY(mutex_) = absl::InfinitePast();
  std::string text_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace h5serve::server
