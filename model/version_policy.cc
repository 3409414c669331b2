#include "model/version_policy.h"

#include <algorithm>
#include <functional>

namespace h5serve::model {

VersionPlan PlanVersions(const config::VersionPolicy& policy,
                         const std::vector<VersionChoice>& versions) {
  VersionPlan plan;
  std::vector<int64_t> available;
  std::set<int64_t> serving;
  for (const VersionChoice& choice : versions) {
    if (choice.available) available.push_back(choice.version);
    if (choice.serving) serving.insert(choice.version);
  }
  std::sort(available.begin(), available.end(), std::greater<>());
  for (const int64_t version : available) {
    const auto listed = [&] {
      return std::find(policy.specific.begin(), policy.specific.end(), version) !=
             policy.specific.end();
    };
    switch (policy.kind) {
      case config::VersionPolicy::Kind::kAll:
        plan.wanted.insert(version);
        break;
      case config::VersionPolicy::Kind::kLatest:
        if (static_cast<int>(plan.wanted.size()) < std::max(1, policy.latest)) {
          plan.wanted.insert(version);
        }
        break;
      case config::VersionPolicy::Kind::kSpecific:
        if (listed()) plan.wanted.insert(version);
        break;
    }
  }
  const bool complete =
      !plan.wanted.empty() &&
      std::includes(serving.begin(), serving.end(), plan.wanted.begin(), plan.wanted.end());
  for (const VersionChoice& choice : versions) {
    if (!choice.serving || plan.wanted.contains(choice.version)) continue;
    if (complete || (choice.deleted && plan.wanted.empty())) plan.retired.insert(choice.version);
  }
  return plan;
}

}  // namespace h5serve::model
