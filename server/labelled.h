// Metrics of one name, by the values of their labels.
#pragma once

#include <prometheus/family.h>

#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/synchronization/mutex.h"

namespace h5serve::server {

// A family with a look-up that is cheap enough for every request.
//
// Thread-safe. What Get returned is valid until RemoveIf takes it away, so
// families whose members are removed must use With.
template <typename T>
class Labelled {
 public:
  using Values = std::initializer_list<std::string_view>;

  Labelled(prometheus::Family<T>* family, std::vector<std::string> labels,
           prometheus::Histogram::BucketBoundaries buckets = {})
      : family_(family), labels_(std::move(labels)), buckets_(std::move(buckets)) {}

  // Calls `use` with the member, making it first if need be. `use` must not come
  // back here.
  template <typename Use>
  void With(Values values, Use use) {
    // Kept, for every request makes several keys.
    thread_local std::string key;
    key.clear();
    for (std::string_view value : values) key.append(value).push_back('\0');
    {
      absl::ReaderMutexLock lock(&mutex_);
      const auto found = members_.find(key);
      if (found != members_.end()) {
        use(*found->second.metric);
        return;
      }
    }
    absl::MutexLock lock(&mutex_);
    Member& member = members_[key];
    if (member.metric == nullptr) {
      prometheus::Labels labels;
      size_t i = 0;
      for (std::string_view value : values) {
        member.values.emplace_back(value);
        labels.emplace(labels_[i++], value);
      }
      member.metric = Make(labels);
    }
    use(*member.metric);
  }

  // Removes the members for whose label values `test` is true.
  template <typename Test>
  void RemoveIf(Test test) {
    absl::MutexLock lock(&mutex_);
    for (auto it = members_.begin(); it != members_.end();) {
      if (test(it->second.values)) {
        family_->Remove(it->second.metric);
        members_.erase(it++);
      } else {
        ++it;
      }
    }
  }

 private:
  struct Member {
    T* metric = nullptr;
    std::vector<std::string> values;
  };

  T* Make(const prometheus::Labels& labels) {
    if constexpr (std::is_same_v<T, prometheus::Histogram>) {
      return &family_->Add(labels, buckets_);
    } else {
      return &family_->Add(labels);
    }
  }

  prometheus::Family<T>* const family_;
  const std::vector<std::string> labels_;
  const prometheus::Histogram::BucketBoundaries buckets_;
  absl::Mutex mutex_;
  absl::flat_hash_map<std::string, Member> members_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace h5serve::server
