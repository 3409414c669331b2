// From a file to a servable: the whole pipeline of one load.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "config/options.h"
#include "model/compatibility/obstacle.h"
#include "model/diagnosis.h"
#include "model/keras_model.h"
#include "model/servable.h"

namespace h5serve::model {

class SpareReader;

// The steps of a load, in order; each is reported as it begins.
enum class LoadPhase { kReading, kChecking, kCompiling, kProving };
std::string_view Name(LoadPhase phase);  // "reading", …

struct LoadRequest {
  std::string path;
  config::ModelOptions options;             // policy, names, custom objects, …
  const Signature* in_service = nullptr;    // signature to compare with, or null
  int64_t memory_budget_bytes = 0;          // 0: unlimited
  bool assess_releases = false;             // fill LoadOutcome::releases
  bool measure_batches = false;             // fill Servable::batch_costs
  std::function<void(LoadPhase)> on_phase;  // may be empty
  SpareReader* spare = nullptr;             // gives and, at the end, gets a reading process
};

struct LoadOutcome {
  // Null when refused.
  std::shared_ptr<const Servable> servable;
  DiagnosisList diagnoses;
  ModelFacts facts;                   // as far as the load came
  Signature signature;                // as far as the load came
  std::unique_ptr<KerasModel> model;  // canonical model for `summary`; null if not understood
  // Output shapes of each layer by path, and parameters by layer name, for `summary`.
  std::map<std::string, std::vector<compute::Shape>> output_shapes;
  std::map<std::string, int64_t> layer_parameters;
  std::vector<std::pair<LoadPhase, std::chrono::microseconds>> phase_times;
  // What each release of Keras does with the file; empty unless asked for, and
  // where nothing can be said.
  std::vector<ReleaseVerdict> releases;
};

// Reads, translates, checks, compiles and proves. Never throws; blocks for as
// long as the reading child may take. Thread-safe (loads run in parallel).
LoadOutcome LoadModel(const LoadRequest& request);

}  // namespace h5serve::model
