// Time as the model manager sees it.
#pragma once

#include "absl/time/time.h"

namespace h5serve::model {

// The seam at which tests put their own time. Thread-safe.
class Clock {
 public:
  virtual ~Clock() = default;
  // Wall time: for people, and to compare with times of files. May jump.
  virtual absl::Time Now() const = 0;
  // Since some fixed moment; never goes back. All waiting is measured with it.
  virtual absl::Duration Elapsed() const = 0;
};

// The machine's clocks.
class SystemClock : public Clock {
 public:
  absl::Time Now() const override;
  absl::Duration Elapsed() const override;
};

}  // namespace h5serve::model
