// The requests that wait for one model.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "absl/time/time.h"
#include "compute/batching/request.h"

namespace h5serve::compute::batching {

// Two lines, of urgent and of other requests, and what of them makes up the next
// batch. Not thread-safe: the batcher's lock guards it.
class WaitingLine {
 public:
  bool empty() const { return lines_[0].empty() && lines_[1].empty(); }
  bool urgent() const { return !lines_[0].empty(); }
  int64_t rows() const { return rows_; }
  // When the request that waits longest came; InfiniteFuture when none waits.
  absl::Time oldest() const;

  void Add(std::shared_ptr<Pending> item);

  // Takes out the rows of the next batch: urgent requests first, then whatever
  // has the same shapes as the first. A request is split only when it is larger
  // than a batch by itself. What has expired by `now` goes to `dropped`.
  std::vector<Segment> TakeBatch(const QueueOptions& options, absl::Time now,
                                 std::vector<Dropped>* dropped);
  // Takes out what nobody needs any more: it has expired, or its client left.
  void Purge(absl::Time now, std::vector<Dropped>* dropped);
  // Takes out everything; a request of which parts are being computed only when
  // there are none left to tell.
  std::vector<Dropped> Clear(DropReason reason);

 private:
  using Line = std::deque<std::shared_ptr<Pending>>;

  void TakeFrom(Line* line, const QueueOptions& options, absl::Time now,
                std::vector<Segment>* batch, int64_t* rows, std::vector<Dropped>* dropped);

  std::array<Line, 2> lines_;
  int64_t rows_ = 0;  // that no worker has taken
};

}  // namespace h5serve::compute::batching
