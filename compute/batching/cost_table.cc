#include "compute/batching/cost_table.h"

#include <algorithm>
#include <bit>

namespace h5serve::compute::batching {
namespace {

// Weight of the newest measurement in a running mean.
constexpr double kNewest = 1.0 / 8;

size_t Bucket(int64_t rows, size_t buckets) {
  const auto width = std::bit_width(static_cast<uint64_t>(std::max<int64_t>(rows, 1)));
  return std::min<size_t>(width - 1, buckets - 1);
}

}  // namespace

void CostTable::Learn(int64_t rows, absl::Duration duration) {
  absl::Duration& mean = means_[Bucket(rows, means_.size())];
  mean = mean == absl::ZeroDuration() ? duration : mean + kNewest * (duration - mean);
}

absl::Duration CostTable::Expected(int64_t rows) const {
  const size_t bucket = Bucket(rows, means_.size());
  for (size_t i = bucket + 1; i-- > 0;) {
    if (means_[i] > absl::ZeroDuration()) return means_[i] * (int64_t{1} << (bucket - i));
  }
  for (size_t i = bucket + 1; i < means_.size(); ++i) {
    if (means_[i] > absl::ZeroDuration()) return means_[i];
  }
  return absl::ZeroDuration();
}

}  // namespace h5serve::compute::batching
