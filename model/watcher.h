// Hears of changes in directories, as a hint to look again.
#pragma once

#include <atomic>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace h5serve::model {

// What has happened since the last report.
struct WatchReport {
  bool changed = false;
  // Events were lost.
  bool overflowed = false;
  // Full paths that a rename put in place.
  std::set<std::string> renamed;
};

// An event only ever means "look again": what is true, a scan tells. Changes
// behind symbolic links or on network file systems raise none, so look again
// from time to time anyway.
class Watcher {
 public:
  virtual ~Watcher() = default;
  // Replaces the set of watched directories. Cheap for those already watched;
  // one that was replaced by another of the same name is watched anew.
  virtual void Watch(const std::vector<std::string>& directories) = 0;
  // Waits for events, for Wake or for `timeout`, whichever comes first. For one
  // thread at a time, the one that calls Watch.
  virtual WatchReport Wait(absl::Duration timeout) = 0;
  // Ends a Wait, now or the next. Thread-safe.
  virtual void Wake() = 0;
};

// Watches with inotify; where that is not to be had, only timeouts and Wake.
class InotifyWatcher : public Watcher {
 public:
  // `use_inotify` false: only timeouts and Wake.
  explicit InotifyWatcher(bool use_inotify = true);
  ~InotifyWatcher() override;
  InotifyWatcher(const InotifyWatcher&) = delete;
  InotifyWatcher& operator=(const InotifyWatcher&) = delete;

  void Watch(const std::vector<std::string>& directories) override;
  WatchReport Wait(absl::Duration timeout) override;
  void Wake() override;

  // OK while every directory of the last Watch call is watched; else why not.
  const absl::Status& status() const { return status_; }

 private:
  void Read(WatchReport* report);

  int inotify_ = -1;
  int wake_ = -1;
  std::map<std::string, int> descriptors_;  // by directory
  std::map<int, std::string> directories_;  // by watch descriptor
  absl::Status status_;
};

}  // namespace h5serve::model
