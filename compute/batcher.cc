#include "compute/batcher.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <deque>
#include <exception>
#include <new>
#include <thread>
#include <utility>

#include "absl/synchronization/mutex.h"
#include "compute/worker_pool.h"

namespace h5serve::compute {
namespace {

constexpr int kPriorities = 2;
// How far behind the head of a queue requests of the same shapes are looked
// for: bounds the time under the lock.
constexpr int kMaxScan = 256;
// Weight of the newest measurement in the running mean of costs.
constexpr double kNewest = 1.0 / 8;

// A request from Enqueue to done.
struct Pending {
  BatchRequest request;
  absl::Time enqueued;
  int64_t next_row = 0;  // rows before it have been given to workers

  // Of the parts of a request that was split; guarded by mutex.
  absl::Mutex mutex;
  int64_t open_rows = 0;
  absl::Status status ABSL_GUARDED_BY(mutex);
  std::vector<std::pair<int64_t, std::vector<Tensor>>> parts ABSL_GUARDED_BY(mutex);
  RequestTiming timing ABSL_GUARDED_BY(mutex);
};

// Rows [begin, end) of a request: what one batch computes of it.
struct Segment {
  std::shared_ptr<Pending> pending;
  int64_t begin = 0;
  int64_t end = 0;

  int64_t rows() const { return end - begin; }
  bool whole() const { return rows() == pending->request.rows; }
};

struct Dropped {
  std::shared_ptr<Pending> pending;
  DropReason reason;
};

absl::Status DropStatus(DropReason reason) {
  switch (reason) {
    case DropReason::kQueueFull:
      return absl::ResourceExhaustedError("the queue is full");
    case DropReason::kDeadline:
      return absl::DeadlineExceededError("the deadline passed while the request was waiting");
    case DropReason::kCancelled:
      return absl::CancelledError("the client cancelled the request");
    case DropReason::kShutdown:
      return absl::UnavailableError("the server is shutting down");
  }
  return absl::InternalError("dropped");
}

bool SameTrailing(const std::vector<Tensor>& a, const std::vector<Tensor>& b) {
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); ++i) {
    const std::span<const int64_t> dims_a = a[i].shape().dims();
    const std::span<const int64_t> dims_b = b[i].shape().dims();
    if (a[i].dtype() != b[i].dtype() || dims_a.size() != dims_b.size()) return false;
    if (!std::equal(dims_a.begin() + 1, dims_a.end(), dims_b.begin() + 1)) return false;
  }
  return true;
}

// Every input has the request's rows on axis 0, so that rows may be merged.
bool HasRows(const BatchRequest& request) {
  return std::all_of(request.inputs.begin(), request.inputs.end(), [&](const Tensor& input) {
    return input.shape().rank() > 0 && input.shape()[0] == request.rows;
  });
}

Tensor ConcatRows(std::span<const Tensor> pieces) {
  int64_t rows = 0;
  for (const Tensor& piece : pieces) rows += piece.shape()[0];
  Shape shape = pieces[0].shape();
  shape[0] = rows;
  Tensor result = Tensor::Allocate(pieces[0].dtype(), shape);
  if (result.dtype() == DType::kString) {
    std::string* to = result.mutable_data<std::string>();
    for (const Tensor& piece : pieces) {
      to = std::copy_n(piece.data<std::string>(), piece.num_elements(), to);
    }
    return result;
  }
  char* to = static_cast<char*>(result.raw_mutable_data());
  for (const Tensor& piece : pieces) {
    if (piece.size_bytes() > 0) std::memcpy(to, piece.raw_data(), piece.size_bytes());
    to += piece.size_bytes();
  }
  return result;
}

std::vector<Tensor> SegmentInputs(const Segment& segment) {
  const std::vector<Tensor>& inputs = segment.pending->request.inputs;
  if (segment.whole()) return inputs;
  std::vector<Tensor> rows;
  for (const Tensor& input : inputs) rows.push_back(input.Rows(segment.begin, segment.end));
  return rows;
}

std::vector<Tensor> BatchInputs(const std::vector<Segment>& batch) {
  if (batch.size() == 1) return SegmentInputs(batch[0]);
  std::vector<std::vector<Tensor>> columns(batch[0].pending->request.inputs.size());
  for (const Segment& segment : batch) {
    std::vector<Tensor> inputs = SegmentInputs(segment);
    for (size_t i = 0; i < inputs.size(); ++i) columns[i].push_back(std::move(inputs[i]));
  }
  std::vector<Tensor> merged;
  for (const std::vector<Tensor>& column : columns) merged.push_back(ConcatRows(column));
  return merged;
}

bool HasRows(const std::vector<Tensor>& outputs, int64_t rows) {
  return std::all_of(outputs.begin(), outputs.end(), [rows](const Tensor& output) {
    return output.shape().rank() > 0 && output.shape()[0] == rows;
  });
}

// The exception barrier of a worker: nothing a model does ends the process.
absl::Status RunGuarded(const BatchRunner& runner, std::span<const Tensor> inputs,
                        const Parallelism* parallelism, std::vector<Tensor>* outputs) {
  try {
    return runner(inputs, parallelism, outputs);
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError("out of memory while computing");
  } catch (const std::exception& error) {
    return absl::InternalError(fmt::format("computing failed: {}", error.what()));
  }
}

void Finish(Pending* pending, absl::StatusOr<std::vector<Tensor>> result,
            const RequestTiming& timing) {
  // The memory behind the inputs is the caller's again once done is called.
  pending->request.inputs.clear();
  auto done = std::move(pending->request.done);
  pending->request.done = nullptr;
  if (done) done(std::move(result), timing);
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

std::string_view Name(DropReason reason) {
  switch (reason) {
    case DropReason::kQueueFull:
      return "queue_full";
    case DropReason::kDeadline:
      return "deadline";
    case DropReason::kCancelled:
      return "cancelled";
    case DropReason::kShutdown:
      return "shutdown";
  }
  return "";
}

// Everything but the constant members is guarded by Batcher::State::mutex.
struct BatchQueue::State {
  std::string model;
  QueueOptions options;
  BatchRunner runner;
  std::shared_ptr<Batcher::State> batcher;

  std::array<std::deque<std::shared_ptr<Pending>>, kPriorities> waiting;
  int64_t waiting_rows = 0;
  int running = 0;
  bool listed = false;  // in Batcher::State::ready
  // Mean duration of a batch of [2^i, 2^(i+1)) rows; zero: not yet measured.
  std::array<absl::Duration, 24> cost{};

  static size_t Bucket(int64_t rows) {
    const auto width = std::bit_width(static_cast<uint64_t>(std::max<int64_t>(rows, 1)));
    return std::min<size_t>(width - 1, 23);
  }

  bool empty() const { return waiting[0].empty() && waiting[1].empty(); }

  void Learn(int64_t rows, absl::Duration duration) {
    absl::Duration& mean = cost[Bucket(rows)];
    mean = mean == absl::ZeroDuration() ? duration : mean + kNewest * (duration - mean);
  }

  // Expected duration of a batch: as measured, else scaled from the nearest
  // smaller size, else from a larger one, else zero.
  absl::Duration Cost(int64_t rows) const {
    const size_t bucket = Bucket(rows);
    for (size_t i = bucket + 1; i-- > 0;) {
      if (cost[i] > absl::ZeroDuration()) return cost[i] * (int64_t{1} << (bucket - i));
    }
    for (size_t i = bucket + 1; i < cost.size(); ++i) {
      if (cost[i] > absl::ZeroDuration()) return cost[i];
    }
    return absl::ZeroDuration();
  }

  absl::Duration ExpectedWait(int threads) const {
    if (waiting_rows == 0) return absl::ZeroDuration();
    const int64_t size = options.batchable ? options.max_batch_size : 1;
    const int workers =
        options.max_concurrency > 0 ? std::min(options.max_concurrency, threads) : threads;
    if (waiting_rows < size) return Cost(waiting_rows);
    return Cost(size) * (static_cast<double>(waiting_rows) / static_cast<double>(size * workers));
  }

  // When a batch should start: now, unless the queue is asked to wait.
  absl::Time ReadyAt() const {
    if (options.max_batch_delay <= absl::ZeroDuration() || !options.batchable ||
        waiting_rows >= options.max_batch_size) {
      return absl::InfinitePast();
    }
    absl::Time oldest = absl::InfiniteFuture();
    for (const auto& queue : waiting) {
      if (!queue.empty()) oldest = std::min(oldest, queue.front()->enqueued);
    }
    return oldest + options.max_batch_delay;
  }
};

struct Batcher::State : std::enable_shared_from_this<Batcher::State> {
  using Queue = BatchQueue::State;

  State(int thread_count, BatchListener* batch_listener)
      : threads(std::max(1, thread_count)), listener(batch_listener), pool(threads) {}

  const int threads;
  BatchListener* const listener;
  WorkerPool pool;
  std::vector<std::thread> workers;

  absl::Mutex mutex;
  absl::CondVar work;  // something for an idle worker
  absl::CondVar calm;  // pending has become zero
  // Queues that have waiting requests, in the order of their turns.
  std::deque<std::shared_ptr<Queue>> ready ABSL_GUARDED_BY(mutex);
  int idle ABSL_GUARDED_BY(mutex) = 0;
  int running ABSL_GUARDED_BY(mutex) = 0;
  int64_t pending ABSL_GUARDED_BY(mutex) = 0;
  bool draining ABSL_GUARDED_BY(mutex) = false;
  bool stopping ABSL_GUARDED_BY(mutex) = false;

  absl::Status Enqueue(const std::shared_ptr<Queue>& queue, BatchRequest request);
  bool MayRunInline(const Queue& queue, const BatchRequest& request) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);
  void Purge(Queue* queue, absl::Time now, std::vector<Dropped>* dropped)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);
  std::shared_ptr<Queue> PickQueue(absl::Time now, absl::Time* next,
                                   std::vector<std::shared_ptr<Queue>>* emptied)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);
  std::vector<Segment> TakeBatch(Queue* queue, absl::Time now, std::vector<Dropped>* dropped)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);
  void TakeFrom(Queue* queue, std::deque<std::shared_ptr<Pending>>* waiting, absl::Time now,
                std::vector<Segment>* batch, int64_t* rows, std::vector<Dropped>* dropped)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);
  void Work();
  void Compute(Queue* queue, std::vector<Segment> batch, BatchTrigger trigger);
  void Deliver(const Segment& segment, absl::StatusOr<std::vector<Tensor>> result,
               RequestTiming timing);
  void Complete(int64_t requests);
  void Drop(Queue* queue, std::vector<Dropped> dropped);
  void DropWaiting();
};

bool Batcher::State::MayRunInline(const Queue& queue, const BatchRequest& request) const {
  if (running >= threads || !ready.empty() || !queue.empty()) return false;
  if (queue.options.max_concurrency > 0 && queue.running >= queue.options.max_concurrency) {
    return false;
  }
  if (queue.options.max_batch_delay > absl::ZeroDuration() ||
      request.rows > queue.options.max_batch_size) {
    return false;
  }
  const absl::Duration cost = queue.Cost(request.rows);
  return cost > absl::ZeroDuration() && cost < queue.options.inline_limit;
}

absl::Status Batcher::State::Enqueue(const std::shared_ptr<Queue>& queue, BatchRequest request) {
  const absl::Time now = absl::Now();
  std::vector<Dropped> dropped;
  std::optional<DropReason> refused;
  std::string why;
  bool run_inline = false;
  int64_t queued_rows = 0;
  auto item = std::make_shared<Pending>();
  item->enqueued = now;
  item->open_rows = request.rows;
  {
    absl::MutexLock lock(&mutex);
    if (queue->waiting_rows > 0 &&
        queue->waiting_rows + request.rows > queue->options.max_queue_rows) {
      Purge(queue.get(), now, &dropped);
    }
    const absl::Duration wait = queue->ExpectedWait(threads);
    if (draining) {
      refused = DropReason::kShutdown;
    } else if (request.deadline <= now) {
      refused = DropReason::kDeadline;
    } else if (request.deadline != absl::InfiniteFuture() && wait > request.deadline - now) {
      refused = DropReason::kDeadline;
      why = fmt::format("the expected wait of {:.0f} ms is longer than the {:.0f} ms that remain",
                        absl::ToDoubleMilliseconds(wait),
                        absl::ToDoubleMilliseconds(request.deadline - now));
    } else if (queue->waiting_rows > 0 &&
               queue->waiting_rows + request.rows > queue->options.max_queue_rows) {
      refused = DropReason::kQueueFull;
      why = fmt::format("the queue of model {} is full: {} rows wait and at most {} may",
                        queue->model, queue->waiting_rows, queue->options.max_queue_rows);
    } else {
      ++pending;
      run_inline = MayRunInline(*queue, request);
      item->request = std::move(request);
      if (run_inline) {
        ++running;
        ++queue->running;
      } else {
        const int priority = std::clamp(item->request.priority, 0, kPriorities - 1);
        queue->waiting_rows += item->request.rows;
        queued_rows = queue->waiting_rows;
        queue->waiting[priority].push_back(item);
        if (!queue->listed) {
          queue->listed = true;
          ready.push_back(queue);
        }
        if (idle > 0) work.Signal();
      }
    }
  }
  Drop(queue.get(), std::move(dropped));
  if (refused) {
    if (listener != nullptr) listener->OnDropped(queue->model, *refused);
    const absl::Status status = DropStatus(*refused);
    return why.empty() ? status : absl::Status(status.code(), why);
  }
  if (run_inline) {
    const int64_t rows = item->request.rows;
    Compute(queue.get(), {Segment{std::move(item), 0, rows}}, BatchTrigger::kInline);
  } else if (listener != nullptr) {
    listener->OnQueued(queue->model, queued_rows);
  }
  return absl::OkStatus();
}

// Takes what has expired out of a queue that is about to refuse something.
void Batcher::State::Purge(Queue* queue, absl::Time now, std::vector<Dropped>* dropped) {
  for (auto& waiting : queue->waiting) {
    std::erase_if(waiting, [&](const std::shared_ptr<Pending>& item) {
      if (item->request.deadline > now || item->next_row > 0) return false;
      queue->waiting_rows -= item->request.rows;
      dropped->push_back({item, DropReason::kDeadline});
      return true;
    });
  }
}

// The queue whose turn it is, urgent requests before others; null when none is
// ready, and then `next` says when one will be. Queues that have run empty go to
// `emptied`: the last reference to one frees a model, which is not for the lock.
std::shared_ptr<BatchQueue::State> Batcher::State::PickQueue(
    absl::Time now, absl::Time* next, std::vector<std::shared_ptr<Queue>>* emptied) {
  *next = absl::InfiniteFuture();
  std::erase_if(ready, [emptied](std::shared_ptr<Queue>& queue) {
    if (!queue->empty()) return false;
    queue->listed = false;
    emptied->push_back(std::move(queue));
    return true;
  });
  auto best = ready.end();
  for (auto it = ready.begin(); it != ready.end(); ++it) {
    const Queue& queue = **it;
    const int limit = queue.options.max_concurrency;
    // A queue at its limit is looked at again when one of its batches ends.
    if (limit > 0 && queue.running >= limit) continue;
    const absl::Time ready_at = queue.ReadyAt();
    if (ready_at > now) {
      *next = std::min(*next, ready_at);
    } else if (!queue.waiting[0].empty()) {
      best = it;
      break;
    } else if (best == ready.end()) {
      best = it;
    }
  }
  if (best == ready.end()) return nullptr;
  std::shared_ptr<Queue> queue = *best;
  ready.erase(best);
  ready.push_back(queue);
  return queue;
}

void Batcher::State::TakeFrom(Queue* queue, std::deque<std::shared_ptr<Pending>>* waiting,
                              absl::Time now, std::vector<Segment>* batch, int64_t* rows,
                              std::vector<Dropped>* dropped) {
  const int64_t limit = queue->options.max_batch_size;
  int scanned = 0;
  for (auto it = waiting->begin(); it != waiting->end() && scanned < kMaxScan; ++scanned) {
    const std::shared_ptr<Pending>& item = *it;
    const BatchRequest& request = item->request;
    if (request.deadline <= now && item->next_row == 0) {
      queue->waiting_rows -= request.rows;
      dropped->push_back({item, DropReason::kDeadline});
      it = waiting->erase(it);
      continue;
    }
    const bool divisible = queue->options.batchable && HasRows(request);
    if (!batch->empty() &&
        (!divisible || !SameTrailing(request.inputs, batch->front().pending->request.inputs))) {
      ++it;
      continue;
    }
    const int64_t left = request.rows - item->next_row;
    const int64_t take = divisible ? std::min(left, limit - *rows) : left;
    // A request is split only when it is larger than a batch by itself.
    if (!batch->empty() && take < left && left <= limit) break;
    batch->push_back({item, item->next_row, item->next_row + take});
    item->next_row += take;
    queue->waiting_rows -= take;
    *rows += take;
    if (take == left) it = waiting->erase(it);
    if (!divisible) *rows = std::max(*rows, limit);  // nothing may join it
    if (*rows >= limit) break;
  }
}

std::vector<Segment> Batcher::State::TakeBatch(Queue* queue, absl::Time now,
                                               std::vector<Dropped>* dropped) {
  std::vector<Segment> batch;
  int64_t rows = 0;
  for (auto& waiting : queue->waiting) {
    if (rows < queue->options.max_batch_size) {
      TakeFrom(queue, &waiting, now, &batch, &rows, dropped);
    }
  }
  return batch;
}

void Batcher::State::Work() {
  while (true) {
    std::shared_ptr<Queue> queue;
    std::vector<Segment> batch;
    std::vector<Dropped> dropped;
    std::vector<std::shared_ptr<Queue>> emptied;
    BatchTrigger trigger = BatchTrigger::kIdle;
    int64_t queued_rows = 0;
    {
      absl::MutexLock lock(&mutex);
      while (true) {
        if (stopping) return;
        const absl::Time now = absl::Now();
        absl::Time next = absl::InfiniteFuture();
        // Inline runs use up workers' places.
        if (running < threads) queue = PickQueue(now, &next, &emptied);
        if (queue != nullptr) {
          if (queue->waiting_rows >= queue->options.max_batch_size) {
            trigger = BatchTrigger::kFull;
          } else if (queue->options.max_batch_delay > absl::ZeroDuration()) {
            trigger = BatchTrigger::kDelay;
          }
          batch = TakeBatch(queue.get(), now, &dropped);
          queued_rows = queue->waiting_rows;
          break;
        }
        if (!emptied.empty()) break;
        ++idle;
        work.WaitWithDeadline(&mutex, next);
        --idle;
      }
      if (!batch.empty()) {
        ++running;
        ++queue->running;
      }
    }
    if (queue == nullptr) continue;
    if (listener != nullptr) listener->OnQueued(queue->model, queued_rows);
    Drop(queue.get(), std::move(dropped));
    if (!batch.empty()) Compute(queue.get(), std::move(batch), trigger);
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

  int64_t rows = 0;
  for (const Segment& segment : batch) rows += segment.rows();
  const absl::Time started = absl::Now();
  absl::Duration computed = absl::ZeroDuration();
  std::vector<absl::StatusOr<std::vector<Tensor>>> results;
  bool independent = true;
  if (!batch.empty()) {
    pool.Enter();
    // Help with one op pays only for what takes a while.
    const Parallelism* parallelism = trigger == BatchTrigger::kInline ? nullptr : &pool;
    std::vector<Tensor> outputs;
    absl::Status status = RunGuarded(queue->runner, BatchInputs(batch), parallelism, &outputs);
    const bool divided = batch.size() > 1 || !batch[0].whole();
    if (status.ok() && divided) independent = HasRows(outputs, rows);
    if (batch.size() > 1 && (!status.ok() || !independent)) {
      // One request's data must not fail the others': run each by itself.
      for (const Segment& segment : batch) {
        std::vector<Tensor> own;
        status = RunGuarded(queue->runner, SegmentInputs(segment), parallelism, &own);
        results.emplace_back(status.ok() ? absl::StatusOr<std::vector<Tensor>>(std::move(own))
                                         : absl::StatusOr<std::vector<Tensor>>(status));
      }
    } else if (!status.ok()) {
      results.emplace_back(status);
    } else if (!independent) {
      results.emplace_back(absl::InternalError(
          "the outputs have no row for each row of the inputs, so that a large request cannot be "
          "split; send it again"));
    } else if (batch.size() == 1) {
      results.emplace_back(std::move(outputs));
    } else {
      int64_t begin = 0;
      for (const Segment& segment : batch) {
        std::vector<Tensor> own;
        for (const Tensor& output : outputs) {
          own.push_back(output.Rows(begin, begin + segment.rows()));
        }
        begin += segment.rows();
        results.emplace_back(std::move(own));
      }
    }
    computed = absl::Now() - started;
    pool.Leave();
  }

  // The place is free before the answers are written: writing them may take
  // longer than computing them did.
  {
    absl::MutexLock lock(&mutex);
    --running;
    --queue->running;
    if (!batch.empty()) queue->Learn(rows, computed);
    if (!independent) queue->options.batchable = false;
    if (!ready.empty() && idle > 0) work.Signal();
  }
  if (batch.empty()) return;
  if (listener != nullptr) {
    listener->OnBatch(queue->model, rows, static_cast<int>(batch.size()), trigger, computed);
  }
  for (size_t i = 0; i < batch.size(); ++i) {
    Deliver(batch[i], std::move(results[i]),
            RequestTiming{started - batch[i].pending->enqueued, computed, rows, i == 0});
  }
}

void Batcher::State::Deliver(const Segment& segment, absl::StatusOr<std::vector<Tensor>> result,
                             RequestTiming timing) {
  Pending* const pending = segment.pending.get();
  if (segment.whole()) {
    Finish(pending, std::move(result), timing);
    Complete(1);
    return;
  }
  std::vector<std::pair<int64_t, std::vector<Tensor>>> parts;
  {
    absl::MutexLock lock(&pending->mutex);
    if (result.ok()) {
      pending->parts.emplace_back(segment.begin, *std::move(result));
    } else if (pending->status.ok()) {
      pending->status = result.status();
    }
    if (pending->timing.batch_rows > 0) timing.queued = pending->timing.queued;
    timing.computed += pending->timing.computed;
    pending->timing = timing;
    pending->open_rows -= segment.rows();
    if (pending->open_rows > 0) return;
    if (pending->status.ok()) {
      parts = std::move(pending->parts);
    } else {
      result = pending->status;
    }
  }
  if (!parts.empty()) {
    std::sort(parts.begin(), parts.end(),
              [](const auto& a, const auto& b) { return a.first < b.first; });
    std::vector<Tensor> outputs;
    bool same = true;
    for (size_t i = 0; i < parts[0].second.size() && same; ++i) {
      std::vector<Tensor> column;
      for (auto& part : parts) {
        const Tensor& piece = part.second[i];
        same = same && piece.dtype() == parts[0].second[i].dtype() &&
               piece.shape().Slice(1, piece.shape().rank()) ==
                   parts[0].second[i].shape().Slice(1, parts[0].second[i].shape().rank());
        column.push_back(piece);
      }
      if (same) outputs.push_back(ConcatRows(column));
    }
    result = same ? absl::StatusOr<std::vector<Tensor>>(std::move(outputs))
                  : absl::StatusOr<std::vector<Tensor>>(absl::InternalError(
                        "the parts of a split request have outputs of different shapes"));
  }
  Finish(pending, std::move(result), timing);
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
    Finish(drop.pending.get(), DropStatus(drop.reason),
           RequestTiming{now - drop.pending->enqueued, absl::ZeroDuration(), 0, false});
  }
  Complete(static_cast<int64_t>(dropped.size()));
}

// Gives up on everything that no worker has taken yet.
void Batcher::State::DropWaiting() {
  std::vector<std::pair<std::shared_ptr<Queue>, std::vector<Dropped>>> all;
  {
    absl::MutexLock lock(&mutex);
    while (!ready.empty()) {
      std::shared_ptr<Queue> queue = std::move(ready.front());
      ready.pop_front();
      queue->listed = false;
      queue->waiting_rows = 0;
      std::vector<Dropped> dropped;
      for (auto& waiting : queue->waiting) {
        for (std::shared_ptr<Pending>& item : waiting) {
          if (item->next_row == 0) {
            dropped.push_back({std::move(item), DropReason::kShutdown});
            continue;
          }
          // Parts of it run: let the last of them tell.
          absl::MutexLock part_lock(&item->mutex);
          item->status = DropStatus(DropReason::kShutdown);
          item->open_rows -= item->request.rows - item->next_row;
          if (item->open_rows == 0) dropped.push_back({item, DropReason::kShutdown});
        }
        waiting.clear();
      }
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
  auto queue = std::make_shared<BatchQueue::State>();
  queue->model = std::move(model);
  queue->options = options;
  queue->options.max_batch_size = std::max<int64_t>(1, options.max_batch_size);
  queue->runner = std::move(runner);
  queue->batcher = state_;
  return std::make_shared<BatchQueue>(std::move(queue));
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
  return state_->waiting_rows;
}

absl::Duration BatchQueue::expected_wait() const {
  absl::MutexLock lock(&state_->batcher->mutex);
  return state_->ExpectedWait(state_->batcher->threads);
}

}  // namespace h5serve::compute
