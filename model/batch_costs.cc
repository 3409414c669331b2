#include "model/batch_costs.h"

#include <algorithm>
#include <optional>

#include "absl/time/clock.h"
#include "model/trial_inputs.h"

namespace h5serve::model {
namespace {

constexpr int kRuns = 2;
// What a larger batch must at least save of the cost of a row.
constexpr double kWorthwhile = 0.05;

bool OnlyRowsAreOpen(const Servable& servable) {
  for (const TensorSpec& spec : servable.signature().inputs) {
    if (spec.shape.rank() == 0 || spec.shape[0] != compute::kUnknown) return false;
    for (int axis = 1; axis < spec.shape.rank(); ++axis) {
      if (spec.shape[axis] == compute::kUnknown) return false;
    }
  }
  return !servable.signature().inputs.empty();
}

// The shortest of some runs; null when one fails. The first run of a size plans
// its memory, so it does not count.
std::optional<absl::Duration> Shortest(const Servable& servable, int64_t rows, absl::Time end) {
  const std::optional<std::vector<compute::Tensor>> inputs =
      MakeInputs(servable, rows, 1, Fill::kRandom);
  if (!inputs) return std::nullopt;
  absl::Duration shortest = absl::InfiniteDuration();
  for (int run = 0; run <= kRuns; ++run) {
    const absl::Time start = absl::Now();
    if (run > 1 && start >= end) break;
    std::vector<compute::Tensor> outputs;
    if (!servable.Predict(*inputs, nullptr, &outputs).ok()) return std::nullopt;
    if (run > 0) shortest = std::min(shortest, absl::Now() - start);
  }
  return shortest;
}

}  // namespace

Servable::BatchCosts MeasureBatches(const Servable& servable, int64_t max_rows,
                                    absl::Duration budget) {
  Servable::BatchCosts costs;
  if (!OnlyRowsAreOpen(servable)) return costs;
  const absl::Time end = absl::Now() + budget;
  for (int64_t rows = 1; rows <= max_rows; rows *= 2) {
    // Twice the rows, and one run more to warm up.
    if (!costs.empty() && absl::Now() + 4 * costs.back().second > end) break;
    const std::optional<absl::Duration> shortest = Shortest(servable, rows, end);
    if (!shortest) break;
    costs.emplace_back(rows, *shortest);
  }
  return costs;
}

int64_t BestBatchSize(const Servable::BatchCosts& costs, int64_t max_rows) {
  absl::Duration cheapest = absl::InfiniteDuration();
  for (const auto& [rows, duration] : costs) cheapest = std::min(cheapest, duration / rows);
  for (const auto& [rows, duration] : costs) {
    if (duration / rows > (1 + kWorthwhile) * cheapest) continue;
    // The largest one measured: larger ones may be cheaper still.
    return rows == costs.back().first ? max_rows : std::min(rows, max_rows);
  }
  return max_rows;
}

}  // namespace h5serve::model
