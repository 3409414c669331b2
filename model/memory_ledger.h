// Who uses how much of the memory that models may use.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "model/file_system.h"

namespace h5serve::model {

// Bytes the control group of this process allows, or of the machine if it sets
// no limit. Reads cgroup v2 and v1 below `root` ("/" on a real machine).
int64_t AllowedMemoryBytes(const FileSystem& files, const std::string& root);

// Counts bytes per model against a limit. A load reserves before it starts,
// holds what it really took once it ends, and a freed model releases.
//
// Thread-safe.
class MemoryLedger {
 public:
  explicit MemoryLedger(int64_t limit_bytes);

  void SetLimit(int64_t limit_bytes);
  int64_t limit_bytes() const;
  // Held and reserved.
  int64_t used_bytes() const;
  // What a load may take at most now; negative when there is less than nothing.
  int64_t free_bytes() const;

  void Reserve(const std::string& model, int64_t bytes);
  void Unreserve(const std::string& model, int64_t bytes);
  void Hold(const std::string& model, int64_t bytes);
  void Release(const std::string& model, int64_t bytes);

  // "a 600.0 MiB, b 20.0 MiB": who holds most, at most five.
  std::string Describe() const;

 private:
  struct Share {
    int64_t held = 0;
    int64_t reserved = 0;
  };
  void Add(const std::string& model, int64_t held, int64_t reserved) ABSL_LOCKS_EXCLUDED(mutex_);

  mutable absl::Mutex mutex_;
  int64_t limit_bytes_ ABSL_GUARDED_BY(mutex_);
  int64_t used_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  std::map<std::string, Share> shares_ ABSL_GUARDED_BY(mutex_);
};

// "512.0 MiB", "17 B".
std::string FormatBytes(int64_t bytes);

}  // namespace h5serve::model
