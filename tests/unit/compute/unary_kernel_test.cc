#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <vector>

#include "compute/ops/elementwise.h"
#include "tests/unit/compute/per_isa.h"

namespace h5serve::compute {
namespace {

using ops::UnaryKind;

constexpr float kInfinity = std::numeric_limits<float>::infinity();
const float kNan = std::numeric_limits<float>::quiet_NaN();

struct Case {
  UnaryKind kind;
  std::function<double(double)> reference;
  double low, high;  // range of arguments
  double relative = 4e-7;
  double absolute = 0;  // where the result passes through zero
  float p = 0, q = 0;
};

double Softplus(double x) { return std::max(x, 0.0) + std::log1p(std::exp(-std::fabs(x))); }
double Sigmoid(double x) { return 1 / (1 + std::exp(-x)); }
double Relu6Gate(double x) { return std::clamp(x / 6 + 0.5, 0.0, 1.0); }

const std::vector<Case>& Cases() {
  static const auto* cases = new std::vector<Case>{
      {UnaryKind::kNegative, [](double x) { return -x; }, -5, 5},
      {UnaryKind::kAbs, [](double x) { return std::fabs(x); }, -5, 5},
      {UnaryKind::kSquare, [](double x) { return x * x; }, -5, 5},
      {UnaryKind::kSqrt, [](double x) { return std::sqrt(x); }, 0, 50},
      {UnaryKind::kRsqrt, [](double x) { return 1 / std::sqrt(x); }, 0.01, 50},
      {UnaryKind::kReciprocal, [](double x) { return 1 / x; }, 0.1, 50},
      {UnaryKind::kExp, [](double x) { return std::exp(x); }, -80, 88},
      {UnaryKind::kExpm1, [](double x) { return std::expm1(x); }, -20, 88},
      {UnaryKind::kExpm1, [](double x) { return std::expm1(x); }, -0.01, 0.01},
      {UnaryKind::kLog, [](double x) { return std::log(x); }, 1e-3, 1e6, 4e-7, 1e-7},
      {UnaryKind::kLog1p, [](double x) { return std::log1p(x); }, -0.99, 100},
      {UnaryKind::kLog1p, [](double x) { return std::log1p(x); }, -1e-3, 1e-3},
      {UnaryKind::kLog2, [](double x) { return std::log2(x); }, 1e-3, 1e6, 4e-7, 1e-7},
      {UnaryKind::kLog10, [](double x) { return std::log10(x); }, 1e-3, 1e6, 4e-7, 1e-7},
      {UnaryKind::kSin, [](double x) { return std::sin(x); }, -50, 50, 4e-7, 1e-7},
      {UnaryKind::kCos, [](double x) { return std::cos(x); }, -50, 50, 4e-7, 1e-7},
      {UnaryKind::kTan, [](double x) { return std::tan(x); }, -1.5, 1.5},
      {UnaryKind::kAsin, [](double x) { return std::asin(x); }, -1, 1},
      {UnaryKind::kAcos, [](double x) { return std::acos(x); }, -1, 1, 4e-7, 1e-7},
      {UnaryKind::kAtan, [](double x) { return std::atan(x); }, -9, 9},
      {UnaryKind::kSinh, [](double x) { return std::sinh(x); }, -9, 9},
      {UnaryKind::kCosh, [](double x) { return std::cosh(x); }, -9, 9},
      {UnaryKind::kTanh, [](double x) { return std::tanh(x); }, -12, 12},
      {UnaryKind::kTanh, [](double x) { return std::tanh(x); }, -0.01, 0.01},
      {UnaryKind::kAsinh, [](double x) { return std::asinh(x); }, -9, 9},
      {UnaryKind::kAcosh, [](double x) { return std::acosh(x); }, 1, 9, 4e-7, 1e-7},
      {UnaryKind::kAtanh, [](double x) { return std::atanh(x); }, -0.99, 0.99},
      {UnaryKind::kErf, [](double x) { return std::erf(x); }, -5, 5},
      {UnaryKind::kErfinv,
       [](double y) {
         double x = 0;
         for (int i = 0; i < 200; ++i) {
           x -= (std::erf(x) - y) / (2 / std::sqrt(M_PI) * std::exp(-x * x)) * 0.7;
         }
         return x;
       },
       -0.9, 0.9, 1e-6},
      {UnaryKind::kFloor, [](double x) { return std::floor(x); }, -9, 9},
      {UnaryKind::kCeil, [](double x) { return std::ceil(x); }, -9, 9},
      {UnaryKind::kRound, [](double x) { return std::nearbyint(x); }, -9, 9},
      {UnaryKind::kTrunc, [](double x) { return std::trunc(x); }, -9, 9},
      {UnaryKind::kSigmoid, Sigmoid, -80, 80},
      {UnaryKind::kLogSigmoid, [](double x) { return -Softplus(-x); }, -80, 80},
      {UnaryKind::kHardSigmoid, [](double x) { return std::clamp(0.2 * x + 0.5, 0.0, 1.0); }, -5, 5,
       4e-7, 1e-7, 0.2f, 0.5f},
      {UnaryKind::kHardSilu, [](double x) { return x * Relu6Gate(x); }, -5, 5, 4e-7, 4e-7},
      {UnaryKind::kRelu, [](double x) { return std::max(x, 0.0); }, -5, 5},
      {UnaryKind::kLeakyRelu, [](double x) { return x >= 0 ? x : 0.25 * x; }, -5, 5, 4e-7, 0,
       0.25f},
      {UnaryKind::kElu, [](double x) { return x > 0 ? x : 1.5 * std::expm1(x); }, -9, 9, 4e-7, 0,
       1.5f},
      {UnaryKind::kSelu,
       [](double x) {
         return 1.0507009873554805 * (x > 0 ? x : 1.6732632423543772 * std::expm1(x));
       },
       -9, 9},
      {UnaryKind::kCelu, [](double x) { return x > 0 ? x : 2 * std::expm1(x / 2); }, -9, 9, 4e-7, 0,
       2.0f},
      {UnaryKind::kGelu, [](double x) { return 0.5 * x * std::erfc(-x * M_SQRT1_2); }, -5, 5, 2e-6},
      {UnaryKind::kGeluTanh,
       [](double x) {
         return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
       },
       -5, 5, 3e-6},
      {UnaryKind::kSoftplus, Softplus, -80, 80},
      {UnaryKind::kSoftsign, [](double x) { return x / (1 + std::fabs(x)); }, -9, 9},
      {UnaryKind::kSilu, [](double x) { return x * Sigmoid(x); }, -40, 40},
      {UnaryKind::kMish, [](double x) { return x * std::tanh(Softplus(x)); }, -40, 40},
      {UnaryKind::kHardTanh, [](double x) { return std::clamp(x, -1.0, 1.0); }, -5, 5},
      {UnaryKind::kTanhShrink, [](double x) { return x - std::tanh(x); }, -5, 5, 4e-7, 2e-7},
      {UnaryKind::kSoftShrink,
       [](double x) { return x > 0.5    ? x - 0.5
                             : x < -0.5 ? x + 0.5
                                        : 0.0; }, -5, 5, 4e-7, 0, 0.5f},
      {UnaryKind::kHardShrink, [](double x) { return std::fabs(x) > 0.5 ? x : 0.0; }, -5, 5, 4e-7,
       0, 0.5f},
      {UnaryKind::kThreshold, [](double x) { return x > 0.5 ? x : 7.0; }, -5, 5, 4e-7, 0, 0.5f,
       7.0f},
      {UnaryKind::kSquareplus, [](double x) { return (x + std::sqrt(x * x + 4)) / 2; }, -5, 5, 4e-7,
       4e-7, 4.0f},
      {UnaryKind::kSparsePlus,
       [](double x) { return x <= -1  ? 0
                             : x >= 1 ? x
                                      : 0.25 * (x + 1) * (x + 1); }, -3, 3, 1e-6},
      {UnaryKind::kSparseSigmoid,
       [](double x) { return x <= -1  ? 0.0
                             : x >= 1 ? 1.0
                                      : 0.5 * (x + 1); }, -3, 3, 1e-6},
      {UnaryKind::kClip, [](double x) { return std::clamp(x, -1.0, 2.0); }, -5, 5, 4e-7, 0, -1.0f,
       2.0f},
  };
  return *cases;
}

class UnaryKernelTest : public PerIsaTest {
 protected:
  std::vector<float> Apply(UnaryKind kind, std::vector<float> x, float p = 0, float q = 0) const {
    std::vector<float> y(x.size());
    kernels().unary(kind, p, q, x.data(), y.data(), static_cast<int64_t>(x.size()));
    return y;
  }
};

TEST_P(UnaryKernelTest, AgreesWithDoublePrecision) {
  for (const Case& c : Cases()) {
    std::vector<float> x;
    for (int i = 0; i <= 2006; ++i) {
      x.push_back(static_cast<float>(c.low + (c.high - c.low) * i / 2006));
    }

    const std::vector<float> y = Apply(c.kind, x, c.p, c.q);

    for (size_t i = 0; i < x.size(); ++i) {
      const double expected = c.reference(x[i]);
      ASSERT_NEAR(y[i], expected, std::fabs(expected) * c.relative + c.absolute + 1e-37)
          << ops::Name(c.kind) << " of " << x[i];
    }
  }
}

TEST_P(UnaryKernelTest, NanStaysNan) {
  for (const Case& c : Cases()) {
    for (float value : Apply(c.kind, {kNan, kNan, kNan}, c.p, c.q)) {
      EXPECT_TRUE(std::isnan(value)) << ops::Name(c.kind);
    }
  }
}

TEST_P(UnaryKernelTest, InfinitiesAreRight) {
  const auto at = [&](UnaryKind kind, float x) { return Apply(kind, {x})[0]; };

  EXPECT_EQ(at(UnaryKind::kExp, kInfinity), kInfinity);
  EXPECT_EQ(at(UnaryKind::kExp, -kInfinity), 0);
  EXPECT_EQ(at(UnaryKind::kExp, 89), kInfinity);
  EXPECT_GT(at(UnaryKind::kExp, 88.7f), 3e38f);
  EXPECT_EQ(at(UnaryKind::kExpm1, -kInfinity), -1);
  EXPECT_EQ(at(UnaryKind::kExpm1, kInfinity), kInfinity);
  EXPECT_EQ(at(UnaryKind::kLog, 0), -kInfinity);
  EXPECT_EQ(at(UnaryKind::kLog, kInfinity), kInfinity);
  EXPECT_TRUE(std::isnan(at(UnaryKind::kLog, -1)));
  EXPECT_NEAR(at(UnaryKind::kLog, 1e-40f), std::log(1e-40), 1e-4);
  EXPECT_EQ(at(UnaryKind::kLog1p, -1), -kInfinity);
  EXPECT_EQ(at(UnaryKind::kLog1p, kInfinity), kInfinity);
  EXPECT_EQ(at(UnaryKind::kTanh, kInfinity), 1);
  EXPECT_EQ(at(UnaryKind::kTanh, -kInfinity), -1);
  EXPECT_EQ(at(UnaryKind::kErf, kInfinity), 1);
  EXPECT_EQ(at(UnaryKind::kErf, -kInfinity), -1);
  EXPECT_EQ(at(UnaryKind::kErfinv, 1), kInfinity);
  EXPECT_EQ(at(UnaryKind::kSigmoid, kInfinity), 1);
  EXPECT_EQ(at(UnaryKind::kSigmoid, -kInfinity), 0);
  EXPECT_EQ(at(UnaryKind::kSoftplus, kInfinity), kInfinity);
  EXPECT_EQ(at(UnaryKind::kSoftplus, -kInfinity), 0);
  EXPECT_EQ(at(UnaryKind::kRelu, -kInfinity), 0);
}

TEST_P(UnaryKernelTest, EveryLengthGivesTheSame) {
  std::vector<float> x(70);
  for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i) * 0.11f - 3;
  const std::vector<float> whole = Apply(UnaryKind::kTanh, x);

  for (size_t n = 0; n < x.size(); ++n) {
    std::vector<float> part(x.begin(), x.begin() + static_cast<ptrdiff_t>(n));
    part = Apply(UnaryKind::kTanh, part);
    EXPECT_TRUE(std::equal(part.begin(), part.end(), whole.begin())) << n;
  }
}

TEST_P(UnaryKernelTest, ReluGeneralHasThreeParts) {
  const std::vector<float> x = {-3, 0, 1, 2, 5, 6, 9, kNan};
  std::vector<float> y(x.size());

  kernels().relu_general(6, 0.5f, 1, x.data(), y.data(), static_cast<int64_t>(x.size()));

  EXPECT_EQ(std::vector<float>(y.begin(), y.end() - 1),
            (std::vector<float>{-2, -0.5f, 1, 2, 5, 6, 6}));
  EXPECT_TRUE(std::isnan(y.back()));
}

INSTANTIATE_TEST_SUITE_P(EveryIsa, UnaryKernelTest, testing::ValuesIn(kernels::AvailableKernels()),
                         IsaTestName);

}  // namespace
}  // namespace h5serve::compute
