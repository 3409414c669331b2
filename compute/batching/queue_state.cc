#include "compute/batching/queue_state.h"

#include <algorithm>
#include <utility>

namespace h5serve::compute {

BatchQueue::State::State(std::string model_name, const QueueOptions& given,
                         BatchRunner batch_runner, std::shared_ptr<Batcher::State> owner)
    : model(std::move(model_name)),
      options(given),
      runner(std::move(batch_runner)),
      batcher(std::move(owner)) {
  options.max_batch_size = std::max<int64_t>(1, options.max_batch_size);
  for (const auto& [rows, duration] : options.costs) costs.Learn(rows, duration);
}

absl::Duration BatchQueue::State::ExpectedWait(int threads) const {
  if (line.rows() == 0) return absl::ZeroDuration();
  const int64_t size = options.batchable ? options.max_batch_size : 1;
  const int workers =
      options.max_concurrency > 0 ? std::min(options.max_concurrency, threads) : threads;
  if (line.rows() < size) return costs.Expected(line.rows());
  return costs.Expected(size) *
         (static_cast<double>(line.rows()) / static_cast<double>(size * workers));
}

absl::Time BatchQueue::State::ReadyAt() const {
  if (options.max_batch_delay <= absl::ZeroDuration() || !options.batchable ||
      line.rows() >= options.max_batch_size) {
    return absl::InfinitePast();
  }
  return line.oldest() + options.max_batch_delay;
}

bool BatchQueue::State::MayRunInline(const BatchRequest& request) const {
  if (!line.empty() || saturated() || options.max_batch_delay > absl::ZeroDuration() ||
      request.rows > options.max_batch_size) {
    return false;
  }
  const absl::Duration cost = costs.Expected(request.rows);
  return cost > absl::ZeroDuration() && cost < options.inline_limit;
}

}  // namespace h5serve::compute
