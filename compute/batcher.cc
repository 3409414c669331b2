#include "compute/batcher.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <thread>
#include <utility>

#include "absl/synchronization/mutex.h"
#include "compute/batching/queue_state.h"
#include "compute/batching/request.h"
#include "compute/batching/run_batch.h"
#include "compute/batching/turns.h"
#include "compute/worker_pool.h"

namespace h5serve::compute {
namespace {

using batching::Dropped;
using batching::Pending;
using batching::Segment;

// A queue that stays full is searched for what has expired this often: looking
// at thousands of requests for every one that is refused would hold the lock.
constexpr absl::Duration kPurgeInterval = absl::Milliseconds(1);

// Why a request is not let in, and what its client is told.
struct Refusal {
  DropReason reason;
  absl::Status status;
};

int64_t RowsOf(const std::vector<Segment>& batch) {
  int64_t rows = 0;
  for (const Segment& segment : batch) rows += segment.rows();
  return rows;
}

}  // namespace

std::string_view Name(BatchTrigger trigger) {
  switch (trigger) {
    case BatchTrigger::kIdle:
      return "idle";
    case BatchTrigger::kFull:
      return "full";
    case BatchTrigger::kDelay:
      return "delay";
    case BatchTrigger::kInline:
      return "inline";
  }
  return "";
}

struct Batcher::State {
  using Queue = BatchQueue::State;

  // What a worker found to do. `queue` is null if it only has to let go of
  // `emptied`: the last reference to a queue frees a model.
  struct Turn {
    std::shared_ptr<Queue> queue;
    std::vector<Segment> batch;
    BatchTrigger trigger = BatchTrigger::kIdle;
    int64_t queued_rows = 0;  // that still wait
    std::vector<Dropped> dropped;
    std::vector<std::shared_ptr<Queue>> emptied;
  };

  State(int thread_count, BatchListener* batch_listener)
      : threads(std::max(1, thread_count)), listener(batch_listener), pool(threads) {}

  const int threads;
  BatchListener* const listener;
  WorkerPool pool;
  std::vector<std::thread> workers;

  absl::Mutex mutex;
  absl::CondVar work;  // something for an idle worker
  absl::CondVar calm;  // pending has become zero
  batching::Turns turns ABSL_GUARDED_BY(mutex);
  int idle ABSL_GUARDED_BY(mutex) = 0;
  int running ABSL_GUARDED_BY(mutex) = 0;
  int64_t pending ABSL_GUARDED_BY(mutex) = 0;
  bool draining ABSL_GUARDED_BY(mutex) = false;
  bool stopping ABSL_GUARDED_BY(mutex) = false;

  absl::Status Enqueue(const std::shared_ptr<Queue>& queue, BatchRequest request);
  std::optional<Refusal> Refuse(const Queue& queue, const BatchRequest& request,
                                absl::Time now) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);
  void Line(const std::shared_ptr<Queue>& queue, std::shared_ptr<Pending> item)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);
  bool TakeTurn(absl::Time now, absl::Time* next, Turn* turn) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);
  void Work();
  void Compute(Queue* queue, std::vector<Segment> batch, BatchTrigger trigger);
  void Deliver(const Segment& segment, absl::StatusOr<batching::Outputs> result,
               RequestTiming timing);
  void Complete(int64_t requests);
  void Drop(Queue* queue, std::vector<Dropped> dropped);
  void DropWaiting();
};

std::optional<Refusal> Batcher::State::Refuse(const Queue& queue, const BatchRequest& request,
                                              absl::Time now) const {
  const auto because = [](DropReason reason) {
    return Refusal{reason, batching::DropStatus(reason)};
  };
  if (draining) return because(DropReason::kShutdown);
  if (request.deadline <= now) return because(DropReason::kDeadline);
  const absl::Duration wait = queue.ExpectedWait(threads);
  if (request.deadline != absl::InfiniteFuture() && wait > request.deadline - now) {
    return Refusal{
        DropReason::kDeadline,
        absl::DeadlineExceededError(fmt::format(
            "the expected wait of {:.0f} ms is longer than the {:.0f} ms that remain",
            absl::ToDoubleMilliseconds(wait), absl::ToDoubleMilliseconds(request.deadline - now)))};
  }
  if (!queue.TooFullFor(request.rows)) return std::nullopt;
  return Refusal{DropReason::kQueueFull,
                 absl::ResourceExhaustedError(
                     fmt::format("the queue of model {} is full: {} rows wait and at most {} may",
                                 queue.model, queue.line.rows(), queue.options.max_queue_rows))};
}

void Batcher::State::Line(const std::shared_ptr<Queue>& queue, std::shared_ptr<Pending> item) {
  queue->line.Add(std::move(item));
  turns.Add(queue);
  if (idle > 0) work.Signal();
}

absl::Status Batcher::State::Enqueue(const std::shared_ptr<Queue>& queue, BatchRequest request) {
  const absl::Time now = absl::Now();
  const int64_t rows = request.rows;
  std::vector<Dropped> dropped;
  std::optional<Refusal> refusal;
  std::shared_ptr<Pending> run_here;
  int64_t queued_rows = 0;
  {
    absl::MutexLock lock(&mutex);
    if (queue->TooFullFor(rows) && now - queue->purged >= kPurgeInterval) {
      queue->purged = now;
      queue->line.Purge(now, &dropped);
    }
    refusal = Refuse(*queue, request, now);
    if (!refusal) {
      ++pending;
      const bool run_inline = running < threads && turns.empty() && queue->MayRunInline(request);
      auto item = std::make_shared<Pending>(std::move(request), now);
      if (run_inline) {
        ++running;
        ++queue->running;
        run_here = std::move(item);
      } else {
        Line(queue, std::move(item));
        queued_rows = queue->line.rows();
      }
    }
  }
  Drop(queue.get(), std::move(dropped));
  if (refusal) {
    if (listener != nullptr) listener->OnDropped(queue->model, refusal->reason);
    return refusal->status;
  }
  if (run_here != nullptr) {
    Compute(queue.get(), {Segment{std::move(run_here), 0, rows}}, BatchTrigger::kInline);
  } else if (listener != nullptr) {
    listener->OnQueued(queue->model, queued_rows);
  }
  return absl::OkStatus();
}

// False when there is nothing to do before `next`.
bool Batcher::State::TakeTurn(absl::Time now, absl::Time* next, Turn* turn) {
  *next = absl::InfiniteFuture();
  // Inline runs use up workers' places.
  if (running < threads) turn->queue = turns.Next(now, next, &turn->emptied);
  Queue* const queue = turn->queue.get();
  if (queue == nullptr) return !turn->emptied.empty();
  if (queue->line.rows() >= queue->options.max_batch_size) {
    turn->trigger = BatchTrigger::kFull;
  } else if (queue->options.max_batch_delay > absl::ZeroDuration()) {
    turn->trigger = BatchTrigger::kDelay;
  }
  turn->batch = queue->line.TakeBatch(queue->options, now, &turn->dropped);
  turn->queued_rows = queue->line.rows();
  if (!turn->batch.empty()) {
    ++running;
    ++queue->running;
  }
  return true;
}

void Batcher::State::Work() {
  while (true) {
    Turn turn;
    {
      absl::MutexLock lock(&mutex);
      absl::Time next;
      while (!stopping && !TakeTurn(absl::Now(), &next, &turn)) {
        ++idle;
        work.WaitWithDeadline(&mutex, next);
        --idle;
      }
      if (stopping) return;
    }
    if (turn.queue == nullptr) continue;
    if (listener != nullptr) listener->OnQueued(turn.queue->model, turn.queued_rows);
    Drop(turn.queue.get(), std::move(turn.dropped));
    if (!turn.batch.empty()) Compute(turn.queue.get(), std::move(turn.batch), turn.trigger);
  }
}

void Batcher::State::Compute(Queue* queue, std::vector<Segment> batch, BatchTrigger trigger) {
  std::vector<Dropped> dropped;
  std::erase_if(batch, [&dropped](const Segment& segment) {
    const BatchRequest& request = segment.pending->request;
    if (!segment.whole() || !request.cancelled || !request.cancelled()) return false;
    dropped.push_back({segment.pending, DropReason::kCancelled});
    return true;
  });
  Drop(queue, std::move(dropped));

  const int64_t rows = RowsOf(batch);
  const absl::Time started = absl::Now();
  absl::Duration computed = absl::ZeroDuration();
  batching::BatchResult result;
  if (!batch.empty()) {
    pool.Enter();
    // Help with one op pays only for what takes a while.
    const Parallelism* parallelism = trigger == BatchTrigger::kInline ? nullptr : &pool;
    result = RunBatch(queue->runner, parallelism, batch);
    computed = absl::Now() - started;
    pool.Leave();
  }

  // The place is free before the answers are written: writing them may take
  // longer than computing them did.
  {
    absl::MutexLock lock(&mutex);
    --running;
    --queue->running;
    if (!batch.empty()) queue->costs.Learn(rows, computed);
    if (!result.rows_are_independent) queue->options.batchable = false;
    if (!turns.empty() && idle > 0) work.Signal();
  }
  if (batch.empty()) return;
  if (listener != nullptr) {
    listener->OnBatch(queue->model, rows, static_cast<int>(batch.size()), trigger, computed);
  }
  for (size_t i = 0; i < batch.size(); ++i) {
    Deliver(batch[i], std::move(result.of_segments[i]),
            RequestTiming{started - batch[i].pending->enqueued, computed, rows, i == 0});
  }
}

void Batcher::State::Deliver(const Segment& segment, absl::StatusOr<batching::Outputs> result,
                             RequestTiming timing) {
  Pending* const item = segment.pending.get();
  if (!segment.whole()) {
    std::optional<absl::StatusOr<batching::Outputs>> all =
        item->parts.Add(segment.begin, segment.rows(), std::move(result), &timing);
    if (!all) return;
    result = *std::move(all);
  }
  Finish(item, std::move(result), timing);
  Complete(1);
}

void Batcher::State::Complete(int64_t requests) {
  absl::MutexLock lock(&mutex);
  pending -= requests;
  if (pending == 0) calm.SignalAll();
}

void Batcher::State::Drop(Queue* queue, std::vector<Dropped> dropped) {
  if (dropped.empty()) return;
  const absl::Time now = absl::Now();
  for (const Dropped& drop : dropped) {
    if (listener != nullptr) listener->OnDropped(queue->model, drop.reason);
    Finish(drop.pending.get(), batching::DropStatus(drop.reason),
           RequestTiming{now - drop.pending->enqueued, absl::ZeroDuration(), 0, false});
  }
  Complete(static_cast<int64_t>(dropped.size()));
}

// Gives up on everything that no worker has taken yet.
void Batcher::State::DropWaiting() {
  std::vector<std::pair<std::shared_ptr<Queue>, std::vector<Dropped>>> all;
  {
    absl::MutexLock lock(&mutex);
    for (std::shared_ptr<Queue>& queue : turns.TakeAll()) {
      std::vector<Dropped> dropped = queue->line.Clear(DropReason::kShutdown);
      all.emplace_back(std::move(queue), std::move(dropped));
    }
  }
  for (auto& [queue, dropped] : all) Drop(queue.get(), std::move(dropped));
}

Batcher::Batcher(int threads, BatchListener* listener)
    : state_(std::make_shared<State>(threads, listener)) {
  for (int i = 0; i < state_->threads; ++i) {
    state_->workers.emplace_back([state = state_.get()] { state->Work(); });
  }
}

Batcher::~Batcher() {
  {
    absl::MutexLock lock(&state_->mutex);
    state_->draining = true;
    state_->stopping = true;
    state_->work.SignalAll();
  }
  state_->DropWaiting();
  for (std::thread& worker : state_->workers) worker.join();
  absl::MutexLock lock(&state_->mutex);
  while (state_->pending > 0) state_->calm.Wait(&state_->mutex);
}

std::shared_ptr<BatchQueue> Batcher::CreateQueue(std::string model, const QueueOptions& options,
                                                 BatchRunner runner) {
  return std::make_shared<BatchQueue>(
      std::make_shared<BatchQueue::State>(std::move(model), options, std::move(runner), state_));
}

int Batcher::threads() const { return state_->threads; }

const Parallelism* Batcher::parallelism() const { return &state_->pool; }

int64_t Batcher::pending() const {
  absl::MutexLock lock(&state_->mutex);
  return state_->pending;
}

void Batcher::Drain(absl::Time deadline) {
  {
    absl::MutexLock lock(&state_->mutex);
    state_->draining = true;
    while (state_->pending > 0) {
      if (state_->calm.WaitWithDeadline(&state_->mutex, deadline)) break;
    }
  }
  state_->DropWaiting();
}

BatchQueue::BatchQueue(std::shared_ptr<State> state) : state_(std::move(state)) {}

BatchQueue::~BatchQueue() = default;

absl::Status BatchQueue::Enqueue(BatchRequest request) {
  return state_->batcher->Enqueue(state_, std::move(request));
}

int64_t BatchQueue::waiting_rows() const {
  absl::MutexLock lock(&state_->batcher->mutex);
  return state_->line.rows();
}

absl::Duration BatchQueue::expected_wait() const {
  absl::MutexLock lock(&state_->batcher->mutex);
  return state_->ExpectedWait(state_->batcher->threads);
}

}  // namespace h5serve::compute
