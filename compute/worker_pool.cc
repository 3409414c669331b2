#include "compute/worker_pool.h"

#include <algorithm>
#include <atomic>
#include <deque>
#include <exception>
#include <thread>
#include <vector>

#include "absl/synchronization/mutex.h"

namespace h5serve::compute {
namespace {

// One For: pieces are handed out by a counter; the caller takes part and leaves
// when no helper is inside any more.
struct Job {
  const std::function<void(int64_t, int64_t)>* body = nullptr;
  int64_t n = 0;
  int64_t pieces = 0;
  std::atomic<int64_t> next{0};
  int wanted = 0;  // helpers that may still join; guarded by State::mutex
  int inside = 0;  // helpers at work; guarded by State::mutex
  std::atomic<bool> failed{false};
  std::exception_ptr exception;

  void Work() {
    try {
      for (int64_t piece; (piece = next.fetch_add(1, std::memory_order_relaxed)) < pieces;) {
        (*body)(n * piece / pieces, n * (piece + 1) / pieces);
      }
    } catch (...) {
      next.store(pieces, std::memory_order_relaxed);
      if (!failed.exchange(true)) exception = std::current_exception();
    }
  }
};

}  // namespace

struct WorkerPool::State {
  absl::Mutex mutex;
  std::deque<Job*> jobs ABSL_GUARDED_BY(mutex);  // that want helpers
  bool stopping ABSL_GUARDED_BY(mutex) = false;
  // Threads that compute: runners of batches and helpers.
  std::atomic<int> busy{0};
  std::vector<std::thread> helpers;

  bool HasWork() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) { return stopping || !jobs.empty(); }

  void Loop() {
    mutex.Lock();
    while (true) {
      mutex.Await(absl::Condition(this, &State::HasWork));
      if (stopping) break;
      Job* const job = jobs.front();
      ++job->inside;
      if (--job->wanted == 0) jobs.pop_front();
      mutex.Unlock();
      job->Work();
      busy.fetch_sub(1, std::memory_order_relaxed);
      mutex.Lock();
      --job->inside;
    }
    mutex.Unlock();
  }

  // Takes up to `most` free slots and returns how many.
  int Claim(int most, int threads) {
    int now = busy.load(std::memory_order_relaxed);
    while (true) {
      const int claimed = std::min(most, threads - now);
      if (claimed <= 0) return 0;
      if (busy.compare_exchange_weak(now, now + claimed, std::memory_order_relaxed)) {
        return claimed;
      }
    }
  }
};

WorkerPool::WorkerPool(int threads)
    : threads_(std::max(1, threads)), state_(std::make_unique<State>()) {
  for (int i = 1; i < threads_; ++i) {
    state_->helpers.emplace_back([state = state_.get()] { state->Loop(); });
  }
}

WorkerPool::~WorkerPool() {
  {
    absl::MutexLock lock(&state_->mutex);
    state_->stopping = true;
  }
  for (std::thread& helper : state_->helpers) helper.join();
}

void WorkerPool::Enter() const { state_->busy.fetch_add(1, std::memory_order_relaxed); }

void WorkerPool::Leave() const { state_->busy.fetch_sub(1, std::memory_order_relaxed); }

void WorkerPool::For(int64_t n, int64_t grain,
                     const std::function<void(int64_t, int64_t)>& body) const {
  if (n <= 0) return;
  // Pieces of n / pieces >= grain items each, several for each thread so that
  // one slow thread does not hold up the others.
  constexpr int64_t kPiecesPerThread = 4;
  const int64_t most = n / std::max<int64_t>(1, grain);
  const int64_t pieces = std::min<int64_t>(most, threads_ * kPiecesPerThread);
  const int helpers =
      pieces < 2
          ? 0
          : state_->Claim(static_cast<int>(std::min<int64_t>(pieces, threads_)) - 1, threads_);
  if (helpers == 0) {
    body(0, n);
    return;
  }
  Job job;
  job.body = &body;
  job.n = n;
  job.pieces = std::min<int64_t>(most, (helpers + 1) * kPiecesPerThread);
  {
    absl::MutexLock lock(&state_->mutex);
    job.wanted = helpers;
    state_->jobs.push_back(&job);
  }
  job.Work();
  {
    absl::MutexLock lock(&state_->mutex);
    if (job.wanted > 0) {
      // Helpers that did not wake in time are not needed any more.
      state_->jobs.erase(std::find(state_->jobs.begin(), state_->jobs.end(), &job));
      state_->busy.fetch_sub(job.wanted, std::memory_order_relaxed);
    }
    state_->mutex.Await(absl::Condition(
        +[](Job* done) { return done->inside == 0; }, &job));
  }
  if (job.exception) std::rethrow_exception(job.exception);
}

}  // namespace h5serve::compute
