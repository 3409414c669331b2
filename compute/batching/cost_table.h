// What batches of each size have cost.
#pragma once

#include <array>
#include <cstdint>

#include "absl/time/time.h"

namespace h5serve::compute::batching {

// Running means of the durations of batches, by powers of two of their rows.
class CostTable {
 public:
  void Learn(int64_t rows, absl::Duration duration);

  // Expected duration of a batch: as measured, else scaled from the nearest
  // smaller size, else from a larger one, else zero.
  absl::Duration Expected(int64_t rows) const;

 private:
  // Of batches of [2^i, 2^(i+1)) rows; zero: not yet measured.
  std::array<absl::Duration, 24> means_{};
};

}  // namespace h5serve::compute::batching
