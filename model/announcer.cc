#include "model/announcer.h"

#include <utility>

namespace h5serve::model {

void Announcer::Add(std::function<void(LifecycleListener*)> event) {
  absl::MutexLock lock(&mutex_);
  if (!closed_) events_.push_back(std::move(event));
}

void Announcer::Tell() {
  mutex_.Lock();
  if (telling_) {
    mutex_.Unlock();
    return;
  }
  telling_ = true;
  while (!events_.empty()) {
    const std::function<void(LifecycleListener*)> event = std::move(events_.front());
    events_.pop_front();
    mutex_.Unlock();
    event(listener_);
    mutex_.Lock();
  }
  telling_ = false;
  mutex_.Unlock();
}

void Announcer::Close() {
  absl::MutexLock lock(&mutex_);
  closed_ = true;
  events_.clear();
  const auto silent = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return !telling_; };
  mutex_.Await(absl::Condition(&silent));
}

}  // namespace h5serve::model
