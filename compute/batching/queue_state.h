// One model's queue as the batcher sees it.
#pragma once

#include <memory>
#include <string>

#include "compute/batcher.h"
#include "compute/batching/cost_table.h"
#include "compute/batching/waiting_line.h"

namespace h5serve::compute {

// The lock of the batcher guards what is not constant.
struct BatchQueue::State {
  State(std::string model_name, const QueueOptions& given, BatchRunner batch_runner,
        std::shared_ptr<Batcher::State> owner);

  // How long rows that come now would wait, shared by so many threads.
  absl::Duration ExpectedWait(int threads) const;
  // When a batch should start: now, unless the queue is asked to wait.
  absl::Time ReadyAt() const;
  // As many batches run as may.
  bool saturated() const {
    return options.max_concurrency > 0 && running >= options.max_concurrency;
  }
  // The request does not fit any more. An empty queue takes one of any size.
  bool TooFullFor(int64_t rows) const {
    return line.rows() > 0 && line.rows() + rows > options.max_queue_rows;
  }
  // Whether the request is cheap enough for the thread that brought it, as far
  // as this queue is concerned.
  bool MayRunInline(const BatchRequest& request) const;

  const std::string model;
  QueueOptions options;
  const BatchRunner runner;
  const std::shared_ptr<Batcher::State> batcher;

  batching::WaitingLine line;
  batching::CostTable costs;
  absl::Time purged = absl::InfinitePast();
  int running = 0;      // batches
  bool listed = false;  // among the queues that take turns
};

}  // namespace h5serve::compute
