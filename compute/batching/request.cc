#include "compute/batching/request.h"

#include <algorithm>
#include <new>

#include "compute/batching/rows.h"

namespace h5serve::compute {

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

}  // namespace h5serve::compute

namespace h5serve::compute::batching {
namespace {

bool SameTrailing(const Tensor& a, const Tensor& b) {
  return a.dtype() == b.dtype() &&
         a.shape().Slice(1, a.shape().rank()) == b.shape().Slice(1, b.shape().rank());
}

absl::StatusOr<Outputs> Join(std::vector<std::pair<int64_t, Outputs>> parts) {
  std::sort(parts.begin(), parts.end(),
            [](const auto& a, const auto& b) { return a.first < b.first; });
  Outputs outputs;
  const Outputs& first = parts[0].second;
  for (size_t i = 0; i < first.size(); ++i) {
    std::vector<Tensor> column;
    for (const auto& [begin, part] : parts) {
      if (!SameTrailing(part[i], first[i])) {
        return absl::InternalError("the parts of a split request have outputs of different shapes");
      }
      column.push_back(part[i]);
    }
    outputs.push_back(ConcatRows(column));
  }
  return outputs;
}

}  // namespace

std::optional<absl::StatusOr<Outputs>> Parts::Add(int64_t begin, int64_t rows,
                                                  absl::StatusOr<Outputs> result,
                                                  RequestTiming* timing) {
  std::vector<std::pair<int64_t, Outputs>> done;
  {
    absl::MutexLock lock(&mutex_);
    if (result.ok()) {
      done_.emplace_back(begin, *std::move(result));
    } else if (status_.ok()) {
      status_ = result.status();
    }
    if (timing_.batch_rows > 0) timing->queued = timing_.queued;
    timing->computed += timing_.computed;
    timing_ = *timing;
    open_rows_ -= rows;
    if (open_rows_ > 0) return std::nullopt;
    if (!status_.ok()) return status_;
    done = std::move(done_);
  }
  try {
    return Join(std::move(done));
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError("out of memory while joining the parts of the answer");
  }
}

bool Parts::GiveUp(int64_t rows, const absl::Status& why) {
  absl::MutexLock lock(&mutex_);
  status_ = why;
  open_rows_ -= rows;
  return open_rows_ == 0;
}

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

void Finish(Pending* pending, absl::StatusOr<Outputs> result, const RequestTiming& timing) {
  // The memory behind the inputs is the caller's again once done is called.
  pending->request.inputs.clear();
  auto done = std::move(pending->request.done);
  pending->request.done = nullptr;
  if (done) done(std::move(result), timing);
}

}  // namespace h5serve::compute::batching
