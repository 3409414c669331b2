// Where the model manager's slow work runs.
#pragma once

#include <deque>
#include <functional>
#include <list>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace h5serve::model {

// Thread-safe.
class Executor {
 public:
  virtual ~Executor() = default;
  // Runs `task` once, at some time, usually on another thread. Does not block.
  virtual void Run(std::function<void()> task) = 0;
};

// A thread for each task, at low priority, so that loading disturbs serving as
// little as the kernel can manage. Whoever submits bounds the number.
//
// Thread-safe. Destruction waits for all tasks.
class ThreadPerTask : public Executor {
 public:
  // `nice` is added to the niceness of the thread that constructs this.
  explicit ThreadPerTask(int nice);
  ~ThreadPerTask() override;
  void Run(std::function<void()> task) override;

 private:
  struct Worker {
    std::thread thread;
    bool finished = false;
  };
  // Joins what has finished.
  void Collect() ABSL_LOCKS_EXCLUDED(mutex_);

  const int niceness_;
  absl::Mutex mutex_;
  std::list<Worker> workers_ ABSL_GUARDED_BY(mutex_);
};

// One thread for all tasks, in order.
//
// Thread-safe. Destruction runs what is waiting first.
class SerialExecutor : public Executor {
 public:
  explicit SerialExecutor(int nice);
  ~SerialExecutor() override;
  void Run(std::function<void()> task) override;

 private:
  void Loop(int niceness);

  absl::Mutex mutex_;
  std::deque<std::function<void()>> tasks_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace h5serve::model
