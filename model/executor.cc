#include "model/executor.h"

#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <utility>

namespace h5serve::model {
namespace {

// On Linux niceness belongs to the thread, whatever POSIX says of processes.
int OwnNiceness() { return getpriority(PRIO_PROCESS, static_cast<id_t>(syscall(SYS_gettid))); }

void SetNiceness(int niceness) {
  setpriority(PRIO_PROCESS, static_cast<id_t>(syscall(SYS_gettid)), niceness);
}

}  // namespace

// A task's thread may start the next one, which would inherit its niceness.
ThreadPerTask::ThreadPerTask(int nice) : niceness_(OwnNiceness() + nice) {}

ThreadPerTask::~ThreadPerTask() {
  // A task may submit another while it is waited for.
  for (;;) {
    std::list<Worker> worker;
    {
      absl::MutexLock lock(&mutex_);
      if (workers_.empty()) return;
      worker.splice(worker.end(), workers_, workers_.begin());
    }
    worker.front().thread.join();
  }
}

void ThreadPerTask::Run(std::function<void()> task) {
  Collect();
  absl::MutexLock lock(&mutex_);
  workers_.emplace_back();
  Worker* const worker = &workers_.back();
  worker->thread = std::thread([this, worker, task = std::move(task)]() mutable {
    SetNiceness(niceness_);
    task();
    // What the task holds goes before the thread counts as finished.
    task = nullptr;
    absl::MutexLock lock(&mutex_);
    worker->finished = true;
  });
}

void ThreadPerTask::Collect() {
  std::list<Worker> finished;
  {
    absl::MutexLock lock(&mutex_);
    for (auto worker = workers_.begin(); worker != workers_.end();) {
      const auto next = std::next(worker);
      if (worker->finished) finished.splice(finished.end(), workers_, worker);
      worker = next;
    }
  }
  for (Worker& worker : finished) worker.thread.join();
}

SerialExecutor::SerialExecutor(int nice)
    : thread_([this, niceness = OwnNiceness() + nice] { Loop(niceness); }) {}

SerialExecutor::~SerialExecutor() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
  }
  thread_.join();
}

void SerialExecutor::Run(std::function<void()> task) {
  absl::MutexLock lock(&mutex_);
  tasks_.push_back(std::move(task));
}

void SerialExecutor::Loop(int niceness) {
  SetNiceness(niceness);
  const auto has_work = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return stopping_ || !tasks_.empty();
  };
  for (;;) {
    std::function<void()> task;
    {
      absl::MutexLock lock(&mutex_);
      mutex_.Await(absl::Condition(&has_work));
      if (tasks_.empty()) return;
      task = std::move(tasks_.front());
      tasks_.pop_front();
    }
    task();
  }
}

}  // namespace h5serve::model
