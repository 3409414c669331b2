// Which versions of a model shall be in service.
#pragma once

#include <cstdint>
#include <set>
#include <vector>

#include "config/options.h"

namespace h5serve::model {

// What the choice depends on, for one version.
struct VersionChoice {
  int64_t version = 0;
  // Its file is there (or has just vanished) and is not known to be unusable.
  bool available = false;
  // In service; perhaps with content that is no longer on disk.
  bool serving = false;
  // In service, and its file was deleted and stayed so.
  bool deleted = false;
};

struct VersionPlan {
  std::set<int64_t> wanted;   // shall be in service
  std::set<int64_t> retired;  // in service, and may leave it now
};

// Chooses by the policy among the available versions, newest first, so that a
// version that cannot be served gives way to the next older one. What is in
// service leaves it only once everything wanted is in service; or, when nothing
// else can be had, because its file was deleted.
VersionPlan PlanVersions(const config::VersionPolicy& policy,
                         const std::vector<VersionChoice>& versions);

}  // namespace h5serve::model
