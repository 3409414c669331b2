#include "compute/ops/reduce.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "compute/ops/shape_ops.h"
#include "tests/unit/compute/evaluate.h"

namespace h5serve::compute::ops {
namespace {

using ::testing::DoubleNear;
using ::testing::ElementsAre;
using ::testing::Pointwise;
using Values = std::vector<Value>;

// Groups of elements that are reduced together, in order, by the definition.
std::vector<std::vector<double>> Groups(const Tensor& x, const std::vector<int>& axes) {
  const Shape& shape = x.shape();
  Shape kept = shape;
  for (int axis : axes) kept[axis] = 1;
  std::vector<std::vector<double>> groups(static_cast<size_t>(kept.num_elements()));
  const std::vector<double> values = AsNumbers(x);
  for (int64_t i = 0; i < x.num_elements(); ++i) {
    int64_t rest = i, group = 0, stride = 1;
    for (int axis = shape.rank() - 1; axis >= 0; --axis) {
      const int64_t index = rest % shape[axis];
      rest /= shape[axis];
      group += (kept[axis] == 1 ? 0 : index) * stride;
      stride *= kept[axis];
    }
    groups[group].push_back(values[i]);
  }
  return groups;
}

double Naive(ReduceKind kind, const std::vector<double>& v) {
  double sum = 0, absolute = 0, squares = 0, exponentials = 0, product = 1, nonzero = 0;
  for (double x : v) {
    sum += x, absolute += std::fabs(x), squares += x * x, exponentials += std::exp(x), product *= x;
    nonzero += x != 0;
  }
  const double n = static_cast<double>(v.size()), mean = sum / n;
  double variance = 0;
  for (double x : v) variance += (x - mean) * (x - mean) / n;
  switch (kind) {
    case ReduceKind::kSum:
      return sum;
    case ReduceKind::kMean:
      return mean;
    case ReduceKind::kMax:
      return *std::max_element(v.begin(), v.end());
    case ReduceKind::kMin:
      return *std::min_element(v.begin(), v.end());
    case ReduceKind::kProduct:
      return product;
    case ReduceKind::kVariance:
      return variance;
    case ReduceKind::kStd:
      return std::sqrt(variance);
    case ReduceKind::kLogSumExp:
      return std::log(exponentials);
    case ReduceKind::kL2Norm:
      return std::sqrt(squares);
    case ReduceKind::kL1Norm:
      return absolute;
    case ReduceKind::kAny:
      return nonzero > 0;
    case ReduceKind::kAll:
      return nonzero == n;
    case ReduceKind::kCountNonzero:
      return nonzero;
  }
  return 0;
}

TEST(ReduceTest, AgreesWithTheDefinitionForAllKindsAndAxes) {
  const Tensor x = Noise({3, 5, 19, 2});
  for (int kind = 0; kind <= static_cast<int>(ReduceKind::kCountNonzero); ++kind) {
    for (int mask = 1; mask < 16; ++mask) {
      std::vector<int64_t> axes;
      std::vector<int> plain;
      for (int axis = 0; axis < 4; ++axis) {
        if (mask >> axis & 1) axes.push_back(axis - 4), plain.push_back(axis);
      }
      const ReduceKind reduce = static_cast<ReduceKind>(kind);
      const auto y = Numbers({x}, [&](Graph& g, const Values& v) {
        return Reduce(g, reduce, v[0], axes, /*keepdims=*/mask % 2 == 0);
      });
      std::vector<double> expected;
      for (const auto& group : Groups(x, plain)) expected.push_back(Naive(reduce, group));
      EXPECT_THAT(y, Pointwise(DoubleNear(2e-5), expected)) << "kind " << kind << " axes " << mask;
    }
  }
}

TEST(ReduceTest, KeepsIntegersAndDimensions) {
  Shape shape;
  const auto result = Evaluate({CountingInts({2, 3})}, [](Graph& g, const Values& x) {
    return Values{Reduce(g, ReduceKind::kSum, x[0], {1}, true),
                  Reduce(g, ReduceKind::kMean, x[0], {}, false),
                  Reduce(g, ReduceKind::kMax, x[0], {0}, false)};
  });

  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->at(0).dtype(), DType::kInt64);
  EXPECT_EQ(result->at(0).shape(), (Shape{2, 1}));
  EXPECT_THAT(AsNumbers(result->at(0)), ElementsAre(3, 12));
  EXPECT_EQ(result->at(1).dtype(), DType::kFloat32);
  EXPECT_THAT(AsNumbers(result->at(1)), ElementsAre(2.5));
  EXPECT_THAT(AsNumbers(result->at(2)), ElementsAre(3, 4, 5));
}

TEST(ReduceTest, LongSumsLoseNothing) {
  const auto y = Numbers({Tensor::Fill({10000000}, 0.1f)}, [](Graph& g, const Values& x) {
    return Reduce(g, ReduceKind::kSum, x[0], {}, false);
  });

  EXPECT_NEAR(y[0], 1e6, 1.0);
}

TEST(ReduceTest, RefusesAnAxisThatDoesNotExist) {
  const auto result = Evaluate({Counting({2})}, [](Graph& g, const Values& x) {
    return Values{Reduce(g, ReduceKind::kSum, x[0], {1}, false)};
  });

  EXPECT_EQ(result.status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(ArgReduceTest, FindsTheFirstExtreme) {
  const Tensor x = Tensor::Floats({2, 3}, {1, 3, 3, 0, -1, -1});

  EXPECT_THAT(Numbers({x}, [](Graph& g,
                              const Values& v) { return ArgReduce(g, ArgKind::kArgMax, v[0], 1); }),
              ElementsAre(1, 0));
  EXPECT_THAT(Numbers({x}, [](Graph& g,
                              const Values& v) { return ArgReduce(g, ArgKind::kArgMin, v[0], 1); }),
              ElementsAre(0, 1));
  EXPECT_THAT(Numbers({x}, [](Graph& g,
                              const Values& v) { return ArgReduce(g, ArgKind::kArgMax, v[0], 0); }),
              ElementsAre(0, 0, 0));
}

TEST(CumulativeTest, RunsBothWays) {
  const Tensor x = Tensor::Floats({2, 3}, {1, 2, 3, 4, 5, 6});
  const auto scan = [&](ScanKind kind, int64_t axis, bool exclusive, bool reverse) {
    return Numbers({x}, [=](Graph& g, const Values& v) {
      return Cumulative(g, kind, v[0], axis, exclusive, reverse);
    });
  };

  EXPECT_THAT(scan(ScanKind::kSum, 1, false, false), ElementsAre(1, 3, 6, 4, 9, 15));
  EXPECT_THAT(scan(ScanKind::kSum, 1, true, true), ElementsAre(5, 3, 0, 11, 6, 0));
  EXPECT_THAT(scan(ScanKind::kProduct, 0, false, false), ElementsAre(1, 2, 3, 4, 10, 18));
  EXPECT_THAT(scan(ScanKind::kMax, -1, false, true), ElementsAre(3, 3, 3, 6, 6, 6));
}

TEST(SoftmaxTest, AgreesWithTheDefinitionOverAnyAxes) {
  const Tensor x = Noise({3, 4, 37});
  for (const std::vector<int>& axes :
       std::vector<std::vector<int>>{{2}, {1}, {0}, {1, 2}, {0, 2}}) {
    const auto y = Numbers({x}, [&](Graph& g, const Values& v) {
      return Softmax(g, v[0], std::vector<int64_t>(axes.begin(), axes.end()));
    });
    // Logarithms of a softmax differ from x by a constant in each group.
    const auto logs =
        Groups(Tensor::Floats(x.shape(), std::vector<float>(y.begin(), y.end())), axes);
    for (const auto& group : logs) {
      double sum = 0;
      for (double p : group) sum += p;
      EXPECT_NEAR(sum, 1, 1e-5);
    }
    const auto before = Groups(x, axes);
    for (size_t i = 0; i < before.size(); ++i) {
      for (size_t j = 1; j < before[i].size(); ++j) {
        EXPECT_NEAR(std::log(logs[i][j] / logs[i][0]), before[i][j] - before[i][0], 1e-5);
      }
    }
  }
}

TEST(SoftmaxTest, StandsLargeValues) {
  const float low = -std::numeric_limits<float>::infinity();
  const auto y = Numbers({Tensor::Floats({4}, {1000, 1000, -1000, low})},
                         [](Graph& g, const Values& x) { return Softmax(g, x[0], {0}); });

  EXPECT_THAT(y, ElementsAre(0.5, 0.5, 0, 0));
}

TEST(LogSoftmaxTest, IsTheLogarithmOfSoftmax) {
  const auto y = Numbers({Tensor::Floats({1, 3}, {1, 2, 4})},
                         [](Graph& g, const Values& x) { return LogSoftmax(g, x[0], -1); });

  const double shift = std::log(std::exp(1) + std::exp(2) + std::exp(4));
  EXPECT_THAT(y, Pointwise(DoubleNear(1e-6), std::vector<double>{1 - shift, 2 - shift, 4 - shift}));
}

// Keras subtracts (sum of the partial sums in the support - 1) / k, which is the
// projection on the simplex only where the support has one element.
TEST(SparsemaxTest, SumsPartialSumsAsKerasDoes) {
  const auto y = Numbers({Tensor::Floats({2, 3}, {0.1f, 0.2f, 2.0f, 1.5f, 0.6f, -3.0f})},
                         [](Graph& g, const Values& x) { return Sparsemax(g, x[0], -1); });

  // The support of the second row is {1.5, 0.6}: (1.5 + 2.1 - 1) / 2 = 1.3.
  EXPECT_THAT(y, Pointwise(DoubleNear(1e-6), std::vector<double>{0, 0, 1, 0.2, 0, 0}));
}

TEST(TopKTest, PrefersTheLowerIndex) {
  const auto result = Evaluate({Tensor::Floats({1, 5}, {1, 5, 3, 5, 2})},
                               [](Graph& g, const Values& x) { return TopK(g, x[0], 3); });

  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_THAT(AsNumbers(result->at(0)), ElementsAre(5, 5, 3));
  EXPECT_THAT(AsNumbers(result->at(1)), ElementsAre(1, 3, 2));
}

TEST(SortTest, SortsAnyAxisWithNanLast) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const Tensor x = Tensor::Floats({3, 2}, {3, nan, 1, 2, 2, 1});

  EXPECT_THAT(Numbers({x}, [](Graph& g, const Values& v) { return ArgSort(g, v[0], 0); }),
              ElementsAre(1, 2, 2, 1, 0, 0));
  EXPECT_THAT(
      Numbers({Counting({3})}, [](Graph& g, const Values& v) { return Sort(g, v[0], 0, true); }),
      ElementsAre(2, 1, 0));
}

TEST(L2NormalizeTest, DividesByTheLength) {
  const auto y = Numbers({Tensor::Floats({2, 2}, {3, 4, 0, 0})}, [](Graph& g, const Values& x) {
    return L2Normalize(g, x[0], {-1}, 1e-12f);
  });

  EXPECT_THAT(y, Pointwise(DoubleNear(1e-6), std::vector<double>{0.6, 0.8, 0, 0}));
}

TEST(MomentsNormalizeTest, AgreesWithTheDefinition) {
  const Tensor x = Noise({2, 3, 4, 6});
  struct Case {
    std::vector<int> axes;
    Shape gamma;
  };
  for (const Case& c : std::vector<Case>{{{3}, {6}},
                                         {{2, 3}, {4, 6}},
                                         {{1, 2}, {1, 1, 6}},
                                         {{1, 3}, {4, 1}},
                                         {{0, 1, 2, 3}, {1}}}) {
    const Tensor gamma = Noise(c.gamma, 7), beta = Noise(c.gamma, 8);
    const auto y = Numbers({x, gamma, beta}, [&](Graph& g, const Values& v) {
      return MomentsNormalize(g, v[0], std::vector<int64_t>(c.axes.begin(), c.axes.end()), 1e-3f,
                              v[1], v[2]);
    });
    const auto normal = Numbers({x, gamma, beta}, [&](Graph& g, const Values& v) {
      return MomentsNormalize(g, v[0], std::vector<int64_t>(c.axes.begin(), c.axes.end()), 1e-3f,
                              Value{}, Value{});
    });
    const auto wide = [&](const Tensor& t) {
      return Numbers({t},
                     [&](Graph& g, const Values& v) { return BroadcastTo(g, v[0], x.shape()); });
    };
    const auto gammas = wide(gamma), betas = wide(beta);
    const auto before = Groups(x, c.axes);
    const auto after =
        Groups(Tensor::Floats(x.shape(), std::vector<float>(normal.begin(), normal.end())), c.axes);
    for (size_t i = 0; i < before.size(); ++i) {
      const double mean = Naive(ReduceKind::kMean, before[i]);
      const double scale = 1 / std::sqrt(Naive(ReduceKind::kVariance, before[i]) + 1e-3);
      for (size_t j = 0; j < before[i].size(); ++j) {
        EXPECT_NEAR(after[i][j], (before[i][j] - mean) * scale, 1e-5);
      }
    }
    for (size_t i = 0; i < y.size(); ++i) EXPECT_NEAR(y[i], normal[i] * gammas[i] + betas[i], 1e-5);
  }
}

}  // namespace
}  // namespace h5serve::compute::ops
