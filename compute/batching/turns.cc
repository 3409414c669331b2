#include "compute/batching/turns.h"

#include <algorithm>
#include <utility>

namespace h5serve::compute::batching {

void Turns::Add(const std::shared_ptr<Queue>& queue) {
  if (queue->listed) return;
  queue->listed = true;
  queues_.push_back(queue);
}

std::shared_ptr<Turns::Queue> Turns::Next(absl::Time now, absl::Time* next,
                                          std::vector<std::shared_ptr<Queue>>* emptied) {
  *next = absl::InfiniteFuture();
  std::erase_if(queues_, [emptied](std::shared_ptr<Queue>& queue) {
    if (!queue->line.empty()) return false;
    queue->listed = false;
    emptied->push_back(std::move(queue));
    return true;
  });
  auto best = queues_.end();
  for (auto it = queues_.begin(); it != queues_.end(); ++it) {
    const Queue& queue = **it;
    // It is looked at again when one of its batches ends.
    if (queue.saturated()) continue;
    const absl::Time ready_at = queue.ReadyAt();
    if (ready_at > now) {
      *next = std::min(*next, ready_at);
    } else if (queue.line.urgent()) {
      best = it;
      break;
    } else if (best == queues_.end()) {
      best = it;
    }
  }
  if (best == queues_.end()) return nullptr;
  std::shared_ptr<Queue> queue = *best;
  queues_.erase(best);
  queues_.push_back(queue);
  return queue;
}

std::vector<std::shared_ptr<Turns::Queue>> Turns::TakeAll() {
  std::vector<std::shared_ptr<Queue>> all(queues_.begin(), queues_.end());
  queues_.clear();
  for (const std::shared_ptr<Queue>& queue : all) queue->listed = false;
  return all;
}

}  // namespace h5serve::compute::batching
