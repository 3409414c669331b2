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
  // Calls started in a second, whatever becomes of them; 0: a call starts when
  // one ends.
  double rate = 0;
  int64_t rows = 1;
  absl::Duration duration = absl::Seconds(2);
};

struct LoadTestResult {
  int64_t answered = 0;
  int64_t failed = 0;
  std::string first_error;
  absl::Duration elapsed;
  // Of the answered, sorted; at a rate, from when the call was due.
  std::vector<absl::Duration> latencies;
};

// Asks the server for the model's signature, then keeps `concurrency` calls of
// Predict with zeros outstanding, or starts `rate` of them every second. Blocks.
absl::StatusOr<LoadTestResult> RunLoadTest(const LoadTestOptions& options);

}  // namespace h5serve::server
