// h5serve serve: the daemon until a signal ends it.
#include <fmt/format.h>
#include <unistd.h>

#include <csignal>
#include <thread>

#include "server/commands/commands.h"
#include "server/daemon.h"

namespace h5serve::server {
namespace {

// Signals are taken by sigwait only: they stay blocked in every thread.
sigset_t BlockSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  for (int signal : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&signals, signal);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  // A peer that has gone is an error of one write, not of the process.
  std::signal(SIGPIPE, SIG_IGN);
  return signals;
}

void Reload(const config::OptionSources& sources, Daemon* daemon) {
  const absl::StatusOr<config::Options> options = config::LoadOptions(sources);
  const absl::Status status = options.ok() ? daemon->Reload(*options) : options.status();
  if (!status.ok()) daemon->LogError("the new configuration is refused, the old one kept", status);
}

}  // namespace

int RunServe(const config::OptionSources& sources) {
  const absl::StatusOr<config::Options> options = config::LoadOptions(sources);
  if (!options.ok()) {
    fmt::print(stderr, "h5serve serve: {}\n", std::string(options.status().message()));
    return kUsage;
  }
  const sigset_t signals = BlockSignals();
  absl::StatusOr<std::unique_ptr<Daemon>> daemon = Daemon::Start(*options);
  if (!daemon.ok()) {
    fmt::print(stderr, "h5serve serve: {}\n", std::string(daemon.status().message()));
    return absl::IsInvalidArgument(daemon.status()) ? kUsage : kRefused;
  }
  int signal = 0;
  while (sigwait(&signals, &signal) == 0 && signal == SIGHUP) Reload(sources, daemon->get());
  // A person who presses Ctrl-C twice does not want to wait; an orchestrator that
  // sends SIGTERM twice still wants requests to be finished.
  std::thread([signals] {
    int again = 0;
    while (sigwait(&signals, &again) == 0 && again != SIGINT) {
    }
    _exit(kRefused);
  }).detach();
  (*daemon)->Stop();
  daemon->reset();
  return kOk;
}

}  // namespace h5serve::server
