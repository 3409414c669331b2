// Fairness between models: whose turn it is.
#pragma once

#include <deque>
#include <memory>
#include <vector>

#include "absl/time/time.h"
#include "compute/batching/queue_state.h"

namespace h5serve::compute::batching {

// The queues in which requests wait, in the order of their turns. Not
// thread-safe: the batcher's lock guards it.
class Turns {
 public:
  using Queue = BatchQueue::State;

  bool empty() const { return queues_.empty(); }
  // Puts the queue at the end, unless it has its place already.
  void Add(const std::shared_ptr<Queue>& queue);

  // The queue whose turn it is, urgent requests before others; it goes to the
  // end. Null when none is ready, and then `next` says when one will be. Queues
  // that have run empty go to `emptied`: the last reference to one frees a
  // model, which is not for the lock.
  std::shared_ptr<Queue> Next(absl::Time now, absl::Time* next,
                              std::vector<std::shared_ptr<Queue>>* emptied);
  std::vector<std::shared_ptr<Queue>> TakeAll();

 private:
  std::deque<std::shared_ptr<Queue>> queues_;
};

}  // namespace h5serve::compute::batching
