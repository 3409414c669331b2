// The states of a model version, and who hears of them.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/time/time.h"
#include "model/diagnosis.h"
#include "model/load.h"
#include "model/servable.h"

namespace h5serve::model {

enum class ModelState {
  kFound,
  kSettling,
  kReading,
  kChecking,
  kCompiling,
  kProving,
  kServing,
  kDraining,
  kRefused,
  kRemoved,
};
std::string_view Name(ModelState state);  // "found", …

// The version of a status that is about a model as a whole, for example its
// settings or the layout of its folder.
inline constexpr int64_t kNoVersion = -1;

// What is known of one version of one model.
struct VersionStatus {
  std::string model;
  int64_t version = 0;  // or kNoVersion
  std::string path;
  ModelState state = ModelState::kFound;
  absl::Time since;  // of the state
  // While this version serves: the state of newer content (or settings) of the
  // same version that is on its way to replace it, kRefused when it was refused.
  std::optional<ModelState> replacement;
  DiagnosisList diagnoses;  // of the last load
  ModelFacts facts;         // of the last load
};

// Hears of every step. Called from the manager's threads without its locks held.
// Thread-safe; must not block for long.
class LifecycleListener {
 public:
  virtual ~LifecycleListener() = default;
  virtual void OnState(const VersionStatus& status) = 0;
  // A load ended: status.state is kServing or kRefused, whatever an older
  // content of the same version still does.
  virtual void OnLoad(
      const VersionStatus& status,
      const std::vector<std::pair<LoadPhase, std::chrono::microseconds>>& phases) = 0;
  // A scan of the model directory ended.
  virtual void OnScan(absl::Time when, bool overflowed) {}
  // A removed version is no longer remembered: time to drop its metrics.
  virtual void OnForgotten(const std::string& model, int64_t version) {}
};

}  // namespace h5serve::model
