#include "model/store.h"

#include <fmt/format.h>

#include <utility>

namespace h5serve::model {

absl::StatusOr<std::shared_ptr<const ServedModel>> ModelStore::Find(
    const ModelSelector& selector) const {
  std::optional<int64_t> wanted = selector.version;
  {
    absl::MutexLock lock(&mutex_);
    const auto model = models_.find(selector.name);
    if (model != models_.end() && !wanted && !selector.label.empty()) {
      const auto label = model->second.labels.find(selector.label);
      if (label == model->second.labels.end()) {
        return absl::InvalidArgumentError(fmt::format(
            "Unrecognized servable version label: {} (model {})", selector.label, selector.name));
      }
      wanted = label->second;
    }
    if (model != models_.end() && !model->second.versions.empty()) {
      const auto& versions = model->second.versions;
      if (!wanted) return versions.rbegin()->second;
      const auto version = versions.find(*wanted);
      if (version != versions.end()) return version->second;
    }
  }
  if (wanted) {
    return absl::NotFoundError(
        fmt::format("Servable not found for request: Specific({}, {})", selector.name, *wanted));
  }
  return absl::NotFoundError(
      fmt::format("Servable not found for request: Latest({})", selector.name));
}

std::shared_ptr<const ServedModel> ModelStore::Put(std::shared_ptr<const ServedModel> served) {
  absl::MutexLock lock(&mutex_);
  std::shared_ptr<const ServedModel>& slot = models_[served->name].versions[served->version];
  std::swap(slot, served);
  return served;
}

std::shared_ptr<const ServedModel> ModelStore::Remove(const std::string& name, int64_t version) {
  absl::MutexLock lock(&mutex_);
  const auto model = models_.find(name);
  if (model == models_.end()) return nullptr;
  const auto found = model->second.versions.find(version);
  if (found == model->second.versions.end()) return nullptr;
  std::shared_ptr<const ServedModel> removed = std::move(found->second);
  model->second.versions.erase(found);
  if (model->second.versions.empty() && model->second.labels.empty()) models_.erase(model);
  return removed;
}

void ModelStore::SetLabels(const std::string& name, std::map<std::string, int64_t> labels) {
  absl::MutexLock lock(&mutex_);
  const auto model = models_.find(name);
  if (model == models_.end()) {
    if (!labels.empty()) models_[name].labels = std::move(labels);
    return;
  }
  model->second.labels = std::move(labels);
  if (model->second.versions.empty() && model->second.labels.empty()) models_.erase(model);
}

bool ModelStore::HasModel(std::string_view name) const {
  absl::MutexLock lock(&mutex_);
  const auto model = models_.find(name);
  return model != models_.end() && !model->second.versions.empty();
}

std::vector<std::shared_ptr<const ServedModel>> ModelStore::All() const {
  std::vector<std::shared_ptr<const ServedModel>> all;
  absl::MutexLock lock(&mutex_);
  for (const auto& [name, entry] : models_) {
    for (const auto& [version, served] : entry.versions) all.push_back(served);
  }
  return all;
}

}  // namespace h5serve::model
