#include "server/daemon.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <set>

#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "compute/batcher.h"
#include "config/cpu_quota.h"
#include "config/load_options.h"
#include "config/option_table.h"
#include "model/clock.h"
#include "model/digest.h"
#include "model/executor.h"
#include "model/file_system.h"
#include "model/manager.h"
#include "model/manager_thread.h"
#include "model/reader/reader_process.h"
#include "model/watcher.h"
#include "server/grpc/authorization.h"
#include "server/grpc/grpc_server.h"
#include "server/http/http_server.h"
#include "server/http/pages.h"
#include "server/listeners.h"
#include "server/log.h"
#include "server/metrics.h"
#include "server/statistics.h"
#include "server/version.h"

namespace h5serve::server {
namespace {

// How much nicer loading is than serving.
constexpr int kLoadNice = 10;
constexpr absl::Duration kRefuseBeforeShutdown = absl::Milliseconds(100);
constexpr int64_t kMaxSettingsBytes = int64_t{4} << 20;

model::ManagerOptions ManagerOptionsOf(const config::Options& options) {
  model::ManagerOptions manager;
  manager.directory = options.server.models;
  manager.defaults = options.model;
  manager.required_models = options.server.required_models;
  manager.settling.settle = absl::FromChrono(options.server.settle_time);
  manager.poll_interval = absl::FromChrono(options.server.poll_interval);
  manager.max_parallel_loads = options.server.load_threads;
  manager.memory_limit_bytes = options.server.memory_limit_bytes;
  return manager;
}

// Options that take effect when the configuration is read again.
bool MayChange(const config::OptionRow& row) {
  static const std::set<std::string_view> names = {"load_threads",    "log.level",
                                                   "memory_limit",    "poll_interval",
                                                   "required_models", "settle_seconds"};
  return row.per_model || row.name == "plugins" || names.contains(row.name);
}

}  // namespace

struct Daemon::State {
  explicit State(const config::Options& given)
      : options(given),
        log(options.server.log_level, options.server.log_format),
        batch_listener(&metrics),
        lifecycle_listener(&log, &metrics,
                           [this](const std::string& model, bool came_or_went) {
                             UpdateModelHealth(model);
                             if (came_or_went) UpdateServerHealth();
                           }),
        threads(options.server.threads > 0 ? options.server.threads : config::AvailableCpus()),
        batcher(threads, &batch_listener),
        loads(kLoadNice),
        reaper(kLoadNice),
        watcher(options.server.inotify),
        manager(ManagerOptionsOf(options), Dependencies()),
        inference(&store, &manager, &metrics, &statistics),
        admin(0) {}

  model::ManagerDependencies Dependencies();
  ServiceContext Context();
  absl::Status Listen();
  bool Ready() const { return !draining && manager.readiness().ready; }
  // Tell health watchers about a model and about the server.
  void UpdateModelHealth(const std::string& model);
  void UpdateServerHealth();

  const config::Options options;
  Log log;
  Metrics metrics;
  Statistics statistics;
  MetricsBatchListener batch_listener;
  ReportingLifecycleListener lifecycle_listener;
  const int threads;
  compute::Batcher batcher;
  model::PosixFileSystem files;
  model::SystemClock clock;
  model::ModelStore store;
  model::SpareReader spare_reader;
  model::ThreadPerTask loads;
  model::SerialExecutor reaper;
  model::InotifyWatcher watcher;
  std::atomic<bool> draining{false};
  std::atomic<bool> refusing{false};
  model::Manager manager;
  Inference inference;
  model::ThreadPerTask admin;
  std::unique_ptr<Authorization> authorization;
  std::unique_ptr<HttpServer> http;
  std::unique_ptr<Pages> pages;
  // Health is told from the manager's thread, also while the server starts.
  absl::Mutex health_mutex;
  std::unique_ptr<GrpcServer> grpc ABSL_GUARDED_BY(health_mutex);
  std::unique_ptr<model::ManagerThread> manager_thread;
};

model::ManagerDependencies Daemon::State::Dependencies() {
  model::ManagerDependencies dependencies;
  dependencies.files = &files;
  dependencies.clock = &clock;
  dependencies.loads = &loads;
  dependencies.reaper = &reaper;
  dependencies.store = &store;
  dependencies.listener = &lifecycle_listener;
  dependencies.read_settings =
      [this](const std::string& path,
             const config::ModelOptions& defaults) -> absl::StatusOr<config::ModelOptions> {
    const absl::StatusOr<std::string> text = files.Read(path, 0, kMaxSettingsBytes + 1);
    if (!text.ok()) return text.status();
    if (static_cast<int64_t>(text->size()) > kMaxSettingsBytes) {
      return absl::InvalidArgumentError("larger than 4 MiB");
    }
    return config::ParseModelOptions(*text, defaults);
  };
  dependencies.digest = model::Sha256File;
  dependencies.load = [this](const model::LoadRequest& request) {
    model::LoadRequest own = request;
    own.spare = &spare_reader;
    return model::LoadModel(own);
  };
  dependencies.create_queue = [this](const std::string& model, const compute::QueueOptions& queue,
                                     compute::BatchRunner runner) {
    metrics.OnBatchLimit(model, queue.max_batch_size);
    return batcher.CreateQueue(model, queue, std::move(runner));
  };
  dependencies.wake = [this] { watcher.Wake(); };
  dependencies.random_seed = static_cast<uint64_t>(absl::ToUnixNanos(absl::Now()));
  return dependencies;
}

ServiceContext Daemon::State::Context() {
  ServiceContext context;
  context.options = &options.server;
  context.inference = &inference;
  context.manager = &manager;
  context.store = &store;
  context.metrics = &metrics;
  context.statistics = &statistics;
  context.log = &log;
  context.admin = &admin;
  context.ready = [this] { return Ready(); };
  context.authorization = authorization.get();
  context.refusing = &refusing;
  return context;
}

absl::Status Daemon::State::Listen() {
  if (!options.server.authorization_policy.empty()) {
    absl::StatusOr<std::unique_ptr<Authorization>> policy =
        Authorization::FromFile(options.server.authorization_policy, &log);
    if (!policy.ok()) return policy.status();
    authorization = *std::move(policy);
  }
  absl::StatusOr<std::unique_ptr<GrpcServer>> server = GrpcServer::Start(Context());
  if (!server.ok()) return server.status();
  LogFields fields = {{"grpc", (*server)->address()}};
  {
    absl::MutexLock lock(&health_mutex);
    grpc = *std::move(server);
  }
  if (!options.server.unix_socket.empty()) fields.emplace_back("unix", options.server.unix_socket);
  const config::HttpOptions& settings = options.server.http;
  if (!settings.listen.empty()) {
    pages = std::make_unique<Pages>(Context());
    absl::StatusOr<std::unique_ptr<HttpServer>> started =
        HttpServer::Start({.listen = settings.listen,
                           .threads = settings.threads,
                           .max_body_bytes = settings.max_body_bytes,
                           .timeout = settings.timeout},
                          [this](const HttpRequest& request) { return pages->Answer(request); });
    if (!started.ok()) return started.status();
    http = *std::move(started);
    const size_t colon = settings.listen.rfind(':');
    fields.emplace_back("http",
                        fmt::format("{}:{}", settings.listen.substr(0, colon), http->port()));
  }
  fields.emplace_back("models", options.server.models);
  fields.emplace_back("threads", threads);
  fields.emplace_back("version", kVersion);
  log.Info("listening", fields);
  return absl::OkStatus();
}

// Both look at the state under the lock, so that what is told last is what is true last.
void Daemon::State::UpdateModelHealth(const std::string& model) {
  absl::MutexLock lock(&health_mutex);
  const bool serving = store.Find({model, std::nullopt, ""}).ok();
  if (grpc != nullptr) grpc->SetHealth("model/" + model, serving && !draining);
}

void Daemon::State::UpdateServerHealth() {
  absl::MutexLock lock(&health_mutex);
  const bool ready = Ready();
  if (grpc != nullptr) grpc->SetServerHealth(ready);
}

Daemon::Daemon(std::unique_ptr<State> state) : state_(std::move(state)) {}

absl::StatusOr<std::unique_ptr<Daemon>> Daemon::Start(const config::Options& options) {
  if (options.server.models.empty()) {
    return absl::InvalidArgumentError("say which directory holds the models: --models DIR");
  }
  if (options.server.listen.empty() && options.server.unix_socket.empty()) {
    return absl::InvalidArgumentError("neither listen nor unix_socket is set");
  }
  auto state = std::make_unique<State>(options);
  if (absl::Status status = state->Listen(); !status.ok()) return status;
  state->spare_reader.Prepare();
  state->manager_thread =
      std::make_unique<model::ManagerThread>(&state->manager, &state->clock, &state->watcher);
  return std::unique_ptr<Daemon>(new Daemon(std::move(state)));
}

Daemon::~Daemon() {
  state_->draining = true;
  std::unique_ptr<GrpcServer> grpc;
  {
    absl::MutexLock lock(&state_->health_mutex);
    grpc = std::move(state_->grpc);
  }
  grpc = nullptr;
  state_->http = nullptr;
  state_->manager_thread = nullptr;
}

absl::Status Daemon::Reload(const config::Options& options) {
  if (absl::Status status = state_->manager.SetOptions(ManagerOptionsOf(options)); !status.ok()) {
    return status;
  }
  state_->log.SetLevel(options.server.log_level);
  state_->watcher.Wake();
  for (const config::OptionRow& row : config::AllOptions()) {
    if (MayChange(row) || row.get(options) == row.get(state_->options)) continue;
    state_->log.Warning("the new value takes effect after a restart",
                        {{"option", row.name}, {"value", row.get(options)}});
  }
  state_->log.Info("configuration read again");
  return absl::OkStatus();
}

void Daemon::Stop() {
  const config::ServerOptions& options = state_->options.server;
  state_->draining = true;
  state_->log.Info("stopping", {{"drain_delay_ms", options.drain_delay.count()},
                                {"drain_timeout_ms", options.drain_timeout.count()}});
  for (const Served& served : state_->store.All()) state_->UpdateModelHealth(served->name);
  state_->UpdateServerHealth();
  absl::SleepFor(absl::FromChrono(options.drain_delay));
  // gRPC cancels what arrives while it shuts down, which clients take for their own
  // doing; who asks now is told UNAVAILABLE instead, and tries elsewhere.
  state_->refusing = true;
  absl::SleepFor(kRefuseBeforeShutdown);
  const absl::Time deadline = absl::Now() + absl::FromChrono(options.drain_timeout);
  std::unique_ptr<GrpcServer> grpc;
  {
    absl::MutexLock lock(&state_->health_mutex);
    grpc = std::move(state_->grpc);
  }
  if (grpc != nullptr) grpc->Shutdown(deadline);
  state_->http = nullptr;
  state_->batcher.Drain(deadline);
  grpc = nullptr;
  state_->log.Info("stopped");
}

void Daemon::LogError(const std::string& message, const absl::Status& status) {
  state_->log.Error(message, {{"error", std::string(status.message())}});
}

}  // namespace h5serve::server
