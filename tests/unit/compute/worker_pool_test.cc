#include "compute/worker_pool.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <stdexcept>
#include <thread>
#include <vector>

namespace h5serve::compute {
namespace {

TEST(WorkerPoolTest, CoversTheRangeOnceInPiecesOfAtLeastTheGrain) {
  const WorkerPool pool(4);
  for (int64_t n : {1, 2, 7, 100, 1000, 4099}) {
    for (int64_t grain : {1, 3, 64, 5000}) {
      std::vector<std::atomic<int>> touched(static_cast<size_t>(n));
      std::atomic<bool> small{false};
      pool.For(n, grain, [&](int64_t begin, int64_t end) {
        if (end - begin < std::min(grain, n)) small = true;
        for (int64_t i = begin; i < end; ++i) ++touched[static_cast<size_t>(i)];
      });
      EXPECT_FALSE(small) << n << " " << grain;
      for (const auto& count : touched) ASSERT_EQ(count, 1);
    }
  }
}

TEST(WorkerPoolTest, LoopsOfManyThreadsDoNotDisturbEachOther) {
  const WorkerPool pool(3);
  std::vector<std::thread> callers;
  std::atomic<int64_t> total{0};
  for (int t = 0; t < 4; ++t) {
    callers.emplace_back([&] {
      for (int i = 0; i < 200; ++i) {
        pool.Enter();
        pool.For(64, 1, [&](int64_t begin, int64_t end) { total += end - begin; });
        pool.Leave();
      }
    });
  }
  for (std::thread& caller : callers) caller.join();

  EXPECT_EQ(total, 4 * 200 * 64);
}

TEST(WorkerPoolTest, ThrowsTheBodysExceptionInTheCaller) {
  const WorkerPool pool(2);

  EXPECT_THROW(pool.For(100, 1, [](int64_t, int64_t) { throw std::runtime_error("broken"); }),
               std::runtime_error);
}

}  // namespace
}  // namespace h5serve::compute
