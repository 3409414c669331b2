// Request batching: one queue per served model, workers shared by all.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "compute/op.h"
#include "compute/tensor.h"

namespace h5serve::compute {

// How a finished request spent its time.
struct RequestTiming {
  absl::Duration queued;
  absl::Duration computed;
  int64_t batch_rows = 0;
  bool leads_batch = false;  // true for exactly one request of each batch
};

// One request for a queue.
struct BatchRequest {
  std::vector<Tensor> inputs;  // in signature order, checked by the caller
  int64_t rows = 0;            // size of axis 0
  absl::Time deadline = absl::InfiniteFuture();
  int priority = 0;  // 0 before 1
  // True once the client has left; called before compute. May be empty.
  std::function<bool()> cancelled;
  // Called exactly once, on a worker or from within Enqueue; not at all when
  // Enqueue refuses. Must not throw.
  std::function<void(absl::StatusOr<std::vector<Tensor>>, const RequestTiming&)> done;
};

// Why a batch was started, and why a request was dropped.
// kInline: a cheap request ran on the thread that brought it.
enum class BatchTrigger { kIdle, kFull, kDelay, kInline };
enum class DropReason { kQueueFull, kDeadline, kCancelled, kShutdown };
std::string_view Name(BatchTrigger trigger);
std::string_view Name(DropReason reason);

// Hears of every batch. Thread-safe; must not block.
class BatchListener {
 public:
  virtual ~BatchListener() = default;
  virtual void OnBatch(const std::string& model, int64_t rows, int requests, BatchTrigger trigger,
                       absl::Duration compute) = 0;
  virtual void OnQueued(const std::string& model, int64_t queued_rows) = 0;
  virtual void OnDropped(const std::string& model, DropReason reason) = 0;
};

struct QueueOptions {
  int64_t max_batch_size = 32;  // rows; a larger request is split when it may be
  absl::Duration max_batch_delay = absl::ZeroDuration();
  int64_t max_queue_rows = 4096;
  bool batchable = true;    // false: every request runs alone and whole
  int max_concurrency = 0;  // batches run at once; 0: as many as there are threads
  // While nothing waits, a request expected to compute for less than this is
  // run by Enqueue itself: waking a worker would take longer.
  absl::Duration inline_limit = absl::Microseconds(100);
  // Durations of batches of so many rows, where they are known beforehand.
  std::vector<std::pair<int64_t, absl::Duration>> costs;
};

// Runs one batch: inputs are concatenated rows, and axis 0 of every output has
// as many (a queue that learns otherwise stops merging requests). Thread-safe.
using BatchRunner = std::function<absl::Status(
    std::span<const Tensor> inputs, const Parallelism* parallelism, std::vector<Tensor>* outputs)>;

class BatchQueue;

// The worker threads and the queues they serve in turn. Work-conserving: an
// idle worker takes what waits at once, unless max_batch_delay asks it to wait.
//
// Thread-safe. Destruction waits for running batches; what still waits is
// dropped with UNAVAILABLE.
class Batcher {
 public:
  struct State;

  Batcher(int threads, BatchListener* listener);
  ~Batcher();

  // A new queue. It lives as long as the caller or a waiting request holds it.
  std::shared_ptr<BatchQueue> CreateQueue(std::string model, const QueueOptions& options,
                                          BatchRunner runner);
  int threads() const;
  // Threads that would help with a batch started now.
  const Parallelism* parallelism() const;
  // Requests that wait or run.
  int64_t pending() const;

  // Refuses new requests, waits for the waiting ones until `deadline`, drops the rest.
  void Drain(absl::Time deadline);

 private:
  std::shared_ptr<State> state_;
};

// Thread-safe.
class BatchQueue {
 public:
  ~BatchQueue();
  // RESOURCE_EXHAUSTED when the queue is full, DEADLINE_EXCEEDED when the
  // deadline has passed or the expected wait is longer than what remains,
  // UNAVAILABLE while draining; then `done` is not called.
  absl::Status Enqueue(BatchRequest request);
  int64_t waiting_rows() const;
  // How long a request that comes now would wait, as far as past costs tell.
  absl::Duration expected_wait() const;

  struct State;
  explicit BatchQueue(std::shared_ptr<State> state);

 private:
  std::shared_ptr<State> state_;
};

}  // namespace h5serve::compute
