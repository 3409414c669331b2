// Computing one batch, so that no request suffers from another's data.
#pragma once

#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "compute/batching/request.h"

namespace h5serve::compute::batching {

struct BatchResult {
  std::vector<absl::StatusOr<Outputs>> of_segments;
  // False when the outputs lack a row for each row of the inputs, so that
  // requests of this model must not be merged or split.
  bool rows_are_independent = true;
};

// Runs the batch; when that fails, or the outputs cannot be told apart, each
// segment by itself. Never throws. REQUIRES: not empty.
BatchResult RunBatch(const BatchRunner& runner, const Parallelism* parallelism,
                     std::span<const Segment> batch);

}  // namespace h5serve::compute::batching
