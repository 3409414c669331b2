#include "compute/batching/waiting_line.h"

#include <algorithm>
#include <utility>

#include "compute/batching/rows.h"

namespace h5serve::compute::batching {
namespace {

// How far behind the head of a line requests of the same shapes are looked for:
// bounds the time under the lock.
constexpr int kMaxScan = 256;

bool Left(const BatchRequest& request) { return request.cancelled && request.cancelled(); }

}  // namespace

absl::Time WaitingLine::oldest() const {
  absl::Time oldest = absl::InfiniteFuture();
  for (const Line& line : lines_) {
    if (!line.empty()) oldest = std::min(oldest, line.front()->enqueued);
  }
  return oldest;
}

void WaitingLine::Add(std::shared_ptr<Pending> item) {
  rows_ += item->request.rows;
  lines_[item->request.priority > 0 ? 1 : 0].push_back(std::move(item));
}

void WaitingLine::TakeFrom(Line* line, const QueueOptions& options, absl::Time now,
                           std::vector<Segment>* batch, int64_t* rows,
                           std::vector<Dropped>* dropped) {
  const int64_t limit = options.max_batch_size;
  int scanned = 0;
  for (auto it = line->begin(); it != line->end() && scanned < kMaxScan; ++scanned) {
    const std::shared_ptr<Pending>& item = *it;
    const BatchRequest& request = item->request;
    if (request.deadline <= now && item->next_row == 0) {
      rows_ -= request.rows;
      dropped->push_back({item, DropReason::kDeadline});
      it = line->erase(it);
      continue;
    }
    const bool divisible = options.batchable && HasRows(request);
    if (!batch->empty() &&
        (!divisible || !SameTrailing(request.inputs, batch->front().pending->request.inputs))) {
      ++it;
      continue;
    }
    const int64_t left = request.rows - item->next_row;
    const int64_t take = divisible ? std::min(left, limit - *rows) : left;
    if (!batch->empty() && take < left && left <= limit) break;
    batch->push_back({item, item->next_row, item->next_row + take});
    item->next_row += take;
    rows_ -= take;
    *rows += take;
    if (take == left) it = line->erase(it);
    if (!divisible) *rows = std::max(*rows, limit);  // nothing may join it
    if (*rows >= limit) break;
  }
}

std::vector<Segment> WaitingLine::TakeBatch(const QueueOptions& options, absl::Time now,
                                            std::vector<Dropped>* dropped) {
  std::vector<Segment> batch;
  int64_t rows = 0;
  for (Line& line : lines_) {
    if (rows < options.max_batch_size) TakeFrom(&line, options, now, &batch, &rows, dropped);
  }
  return batch;
}

void WaitingLine::Purge(absl::Time now, std::vector<Dropped>* dropped) {
  for (Line& line : lines_) {
    std::erase_if(line, [&](const std::shared_ptr<Pending>& item) {
      if (item->next_row > 0) return false;
      const bool expired = item->request.deadline <= now;
      if (!expired && !Left(item->request)) return false;
      rows_ -= item->request.rows;
      dropped->push_back({item, expired ? DropReason::kDeadline : DropReason::kCancelled});
      return true;
    });
  }
}

std::vector<Dropped> WaitingLine::Clear(DropReason reason) {
  std::vector<Dropped> dropped;
  for (Line& line : lines_) {
    for (std::shared_ptr<Pending>& item : line) {
      // Of a split request, the last part that is being computed tells.
      const int64_t left = item->request.rows - item->next_row;
      const bool untouched = item->next_row == 0;
      if (untouched || item->parts.GiveUp(left, DropStatus(reason))) {
        dropped.push_back({std::move(item), reason});
      }
    }
    line.clear();
  }
  rows_ = 0;
  return dropped;
}

}  // namespace h5serve::compute::batching
