#include "compute/finite.h"

#include <gtest/gtest.h>

#include <limits>
#include <vector>

namespace h5serve::compute {
namespace {

TEST(AllFiniteTest, FindsEveryKindAtEveryPlace) {
  using Limits = std::numeric_limits<float>;
  for (int64_t count : {0, 1, 7, 8, 9, 31}) {
    std::vector<float> values(static_cast<size_t>(count));
    for (int64_t i = 0; i < count; ++i) {
      values[i] = i % 3 == 0   ? Limits::max()
                  : i % 3 == 1 ? Limits::lowest()
                               : -Limits::denorm_min();
    }
    EXPECT_TRUE(AllFinite(values.data(), count));
    for (int64_t i = 0; i < count; ++i) {
      const float kept = values[i];
      for (float bad : {Limits::infinity(), -Limits::infinity(), Limits::quiet_NaN(),
                        -Limits::quiet_NaN(), Limits::signaling_NaN()}) {
        values[i] = bad;
        EXPECT_FALSE(AllFinite(values.data(), count)) << count << " " << i << " " << bad;
      }
      values[i] = kept;
    }
  }
}

}  // namespace
}  // namespace h5serve::compute
