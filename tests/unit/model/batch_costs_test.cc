#include "model/batch_costs.h"

#include <gtest/gtest.h>

namespace h5serve::model {
namespace {

Servable::BatchCosts Microseconds(std::vector<std::pair<int64_t, int>> costs) {
  Servable::BatchCosts result;
  for (const auto& [rows, us] : costs) result.emplace_back(rows, absl::Microseconds(us));
  return result;
}

TEST(BatchCostsTest, GrowsTheBatchWhileRowsGetCheaper) {
  EXPECT_EQ(BestBatchSize(Microseconds({{1, 100}, {2, 110}, {4, 130}, {8, 160}}), 8), 8);
}

TEST(BatchCostsTest, StopsWhereLargerBatchesGainNothing) {
  EXPECT_EQ(BestBatchSize(Microseconds({{1, 100}, {2, 120}, {4, 160}, {8, 320}, {16, 640}}), 32),
            4);
  EXPECT_EQ(BestBatchSize(Microseconds({{1, 100}, {2, 203}, {4, 400}}), 32), 1);
}

TEST(BatchCostsTest, TakesWhatIsConfiguredWhereMeasuringEndedEarly) {
  EXPECT_EQ(BestBatchSize(Microseconds({{1, 100}, {2, 120}}), 32), 32);
  EXPECT_EQ(BestBatchSize({}, 32), 32);
}

TEST(BatchCostsTest, NeverExceedsWhatIsConfigured) {
  EXPECT_EQ(BestBatchSize(Microseconds({{1, 100}, {2, 120}, {4, 130}, {8, 500}}), 2), 2);
}

}  // namespace
}  // namespace h5serve::model
