// A request on its way through the batcher, whole or in parts.
#pragma once

#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "compute/batcher.h"

namespace h5serve::compute::batching {

using Outputs = std::vector<Tensor>;

// What batches have computed of a request that is larger than one of them.
//
// Thread-safe.
class Parts {
 public:
  explicit Parts(int64_t rows) : open_rows_(rows) {}

  // Takes the result of `rows` rows from `begin` on. The last part gets the
  // result of the whole request, and in `timing` that of all parts.
  std::optional<absl::StatusOr<Outputs>> Add(int64_t begin, int64_t rows,
                                             absl::StatusOr<Outputs> result, RequestTiming* timing);
  // `rows` rows will never be computed, because of `why`. True when no other
  // part is being computed, so that the request is to be ended.
  bool GiveUp(int64_t rows, const absl::Status& why);

 private:
  absl::Mutex mutex_;
  int64_t open_rows_ ABSL_GUARDED_BY(mutex_);
  absl::Status status_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::pair<int64_t, Outputs>> done_ ABSL_GUARDED_BY(mutex_);
  RequestTiming timing_ ABSL_GUARDED_BY(mutex_);
};

// A request from Enqueue to done. But for the parts it has one owner at a time:
// the queue, guarded by the batcher's lock, then the worker that took all of it.
struct Pending {
  Pending(BatchRequest given, absl::Time now)
      : request(std::move(given)), enqueued(now), parts(request.rows) {}

  BatchRequest request;
  absl::Time enqueued;
  int64_t next_row = 0;  // rows before it have been given to workers
  Parts parts;
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

// What the client is told.
absl::Status DropStatus(DropReason reason);

// Frees the inputs and calls `done`.
void Finish(Pending* pending, absl::StatusOr<Outputs> result, const RequestTiming& timing);

}  // namespace h5serve::compute::batching
