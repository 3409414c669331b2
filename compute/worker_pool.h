// Threads that share the work of one large op.
#pragma once

#include <memory>

#include "compute/op.h"

namespace h5serve::compute {

// Splits loops over helper threads that are otherwise asleep. Who runs batches
// tells the pool so (Enter and Leave): only threads that no batch needs help,
// and when none is free the caller does everything itself.
//
// Thread-safe. An exception of the body is thrown again in the caller of For.
class WorkerPool : public Parallelism {
 public:
  // `threads` counts the caller of For: 1 means no helpers.
  explicit WorkerPool(int threads);
  ~WorkerPool() override;
  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;

  void For(int64_t n, int64_t grain,
           const std::function<void(int64_t, int64_t)>& body) const override;
  int threads() const override { return threads_; }

  // A thread outside the pool begins, or ends, to compute.
  void Enter() const;
  void Leave() const;

 private:
  struct State;
  const int threads_;
  std::unique_ptr<State> state_;
};

}  // namespace h5serve::compute
