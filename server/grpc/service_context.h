// What the gRPC services work with.
#pragma once

#include <atomic>
#include <functional>
#include <string>

#include "config/options.h"
#include "model/executor.h"
#include "model/manager.h"
#include "model/store.h"
#include "server/inference.h"
#include "server/log.h"
#include "server/metrics.h"
#include "server/statistics.h"

namespace h5serve::server {

class Authorization;

// Everything outlives the services.
struct ServiceContext {
  const config::ServerOptions* options = nullptr;
  const Inference* inference = nullptr;
  model::Manager* manager = nullptr;
  model::ModelStore* store = nullptr;
  Metrics* metrics = nullptr;
  const Statistics* statistics = nullptr;
  Log* log = nullptr;
  // Runs administrative calls, which may take long.
  model::Executor* admin = nullptr;
  std::function<bool()> ready;
  // Null: everybody may call everything.
  Authorization* authorization = nullptr;
  // True once new calls are to go elsewhere.
  const std::atomic<bool>* refusing = nullptr;
};

}  // namespace h5serve::server
