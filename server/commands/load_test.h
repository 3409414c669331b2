// Load on a running server, for `h5serve bench --connect`.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace h5serve::server {

struct LoadTestOptions {
  std::string address;
  std::string model;
  int concurrency = 16;
  int64_t rows = 1;
  absl::Duration duration = absl::Seconds(2);
};

struct LoadTestResult {
  int64_t answered = 0;
  int64_t failed = 0;
  std::string first_error;
  absl::Duration elapsed;
  std::vector<absl::Duration> latencies;  // of the answered, sorted
};

// Asks the server for the model's signature, then keeps `concurrency` calls of
// Predict with zeros outstanding. Blocks.
absl::StatusOr<LoadTestResult> RunLoadTest(const LoadTestOptions& options);

}  // namespace h5serve::server
