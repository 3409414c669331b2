// What batches of a model cost, measured before it serves.
#pragma once

#include <cstdint>

#include "absl/time/time.h"
#include "model/servable.h"

namespace h5serve::model {

// Shortest durations of batches of 1, 2, 4, … up to `max_rows` rows, in that
// order; larger ones are left out once measuring has taken `budget`. Empty for
// models with open dimensions besides the batch: their costs vary by request.
Servable::BatchCosts MeasureBatches(const Servable& servable, int64_t max_rows,
                                    absl::Duration budget);

// The smallest size whose rows are nearly as cheap as any: larger batches only
// make requests wait. `max_rows` unless the costs say otherwise.
int64_t BestBatchSize(const Servable::BatchCosts& costs, int64_t max_rows);

}  // namespace h5serve::model
