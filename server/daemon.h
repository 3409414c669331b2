// The daemon: owns everything that serves.
#pragma once

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "config/options.h"

namespace h5serve::server {

// Built in the order in which its parts depend on each other, taken down in the
// opposite one. Serves from Start to Stop.
//
// Thread-safe.
class Daemon {
 public:
  static absl::StatusOr<std::unique_ptr<Daemon>> Start(const config::Options& options);
  ~Daemon();
  Daemon(const Daemon&) = delete;
  Daemon& operator=(const Daemon&) = delete;

  // Takes over the options that may change while serving, and says in the log
  // which of the others would need a restart.
  absl::Status Reload(const config::Options& options);

  // Not ready from now on; after drain_delay no new requests, then waits for
  // running ones, at most drain_timeout.
  void Stop();

  // Writes a line to the log.
  void LogError(const std::string& message, const absl::Status& status);

 private:
  struct State;
  explicit Daemon(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace h5serve::server
