#include "compute/batching/run_batch.h"

#include <fmt/format.h>

#include <exception>
#include <new>
#include <utility>

#include "compute/batching/rows.h"

namespace h5serve::compute::batching {
namespace {

// The exception barrier of a worker: nothing a model does ends the process.
absl::StatusOr<Outputs> RunGuarded(const BatchRunner& runner, const Parallelism* parallelism,
                                   std::span<const Segment> segments) {
  try {
    Outputs outputs;
    absl::Status status = runner(BatchInputs(segments), parallelism, &outputs);
    if (!status.ok()) return status;
    return outputs;
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError("out of memory while computing");
  } catch (const std::exception& error) {
    return absl::InternalError(fmt::format("computing failed: {}", error.what()));
  }
}

absl::Status CannotSplit() {
  return absl::InternalError(
      "the outputs have no row for each row of the inputs, so that a large request cannot be "
      "split; send it again");
}

// Runs one segment of a batch that could not be run as a whole.
absl::StatusOr<Outputs> RunAlone(const BatchRunner& runner, const Parallelism* parallelism,
                                 const Segment& segment) {
  absl::StatusOr<Outputs> outputs = RunGuarded(runner, parallelism, {&segment, 1});
  const bool usable = !outputs.ok() || segment.whole() || HasRows(*outputs, segment.rows());
  return usable ? std::move(outputs) : absl::StatusOr<Outputs>(CannotSplit());
}

}  // namespace

BatchResult RunBatch(const BatchRunner& runner, const Parallelism* parallelism,
                     std::span<const Segment> batch) {
  int64_t rows = 0;
  for (const Segment& segment : batch) rows += segment.rows();
  BatchResult result;
  absl::StatusOr<Outputs> outputs = RunGuarded(runner, parallelism, batch);
  const bool divided = batch.size() > 1 || !batch[0].whole();
  if (outputs.ok() && divided) result.rows_are_independent = HasRows(*outputs, rows);

  if (batch.size() > 1 && (!outputs.ok() || !result.rows_are_independent)) {
    // One request's data must not fail the others': run each by itself.
    for (const Segment& segment : batch) {
      result.of_segments.push_back(RunAlone(runner, parallelism, segment));
    }
  } else if (!outputs.ok()) {
    result.of_segments.push_back(outputs.status());
  } else if (!result.rows_are_independent) {
    result.of_segments.push_back(CannotSplit());
  } else if (batch.size() == 1) {
    result.of_segments.push_back(std::move(outputs));
  } else {
    for (Outputs& own : SplitOutputs(*outputs, batch)) {
      result.of_segments.push_back(std::move(own));
    }
  }
  return result;
}

}  // namespace h5serve::compute::batching
