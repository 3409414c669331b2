// Tells a listener of events, in order, without holding anybody's lock.
#pragma once

#include <deque>
#include <functional>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "model/lifecycle.h"

namespace h5serve::model {

// Events are added while a state is being changed, under its lock, and told
// after that lock was released. Whichever thread comes first tells them all, so
// that the listener hears of them one at a time and in the order of Add.
//
// Thread-safe.
class Announcer {
 public:
  explicit Announcer(LifecycleListener* listener) : listener_(listener) {}

  void Add(std::function<void(LifecycleListener*)> event);
  // Tells what was added, unless another thread is at it.
  void Tell();
  // Drops what is left and waits for the listener to return.
  void Close();

 private:
  LifecycleListener* const listener_;
  absl::Mutex mutex_;
  std::deque<std::function<void(LifecycleListener*)>> events_ ABSL_GUARDED_BY(mutex_);
  bool telling_ ABSL_GUARDED_BY(mutex_) = false;
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace h5serve::model
