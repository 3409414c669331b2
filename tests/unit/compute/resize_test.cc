#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <numbers>

#include "compute/ops/convolution.h"
#include "tests/unit/compute/op_runner.h"

namespace h5serve::compute {
namespace {

using ::testing::FloatNear;
using ::testing::HasSubstr;
using ::testing::Pointwise;

std::vector<float> Values(const Tensor& tensor) {
  return {tensor.data<float>(), tensor.data<float>() + tensor.num_elements()};
}

// Resizes one row of single-channel cells.
std::vector<float> ResizeRow(const std::vector<float>& row, ops::ResizeAttributes attributes,
                             int64_t size) {
  attributes.size = {size};
  const absl::StatusOr<std::vector<Tensor>> y = RunOp(
      [&](Graph& graph, const std::vector<Value>& v) {
        return std::vector<Value>{ops::Resize(graph, v[0], attributes)};
      },
      {Tensor::Floats(Shape{1, static_cast<int64_t>(row.size()), 1}, row)}, RunOptions());
  EXPECT_TRUE(y.ok()) << y.status();
  return y.ok() ? Values((*y)[0]) : std::vector<float>();
}

ops::ResizeAttributes Method(ops::ResizeMethod method) {
  ops::ResizeAttributes attributes;
  attributes.method = method;
  return attributes;
}

TEST(ResizeTest, NearestTakesTheCellUnderTheCentre) {
  const std::vector<float> row = {0, 1, 2, 3, 4, 5};
  EXPECT_THAT(ResizeRow(row, Method(ops::ResizeMethod::kNearest), 9),
              ::testing::ElementsAre(0, 1, 1, 2, 3, 3, 4, 5, 5));
  EXPECT_THAT(ResizeRow(row, Method(ops::ResizeMethod::kNearest), 3),
              ::testing::ElementsAre(1, 3, 5));
}

TEST(ResizeTest, NearestWithoutHalfPixelsTakesTheCellBelow) {
  ops::ResizeAttributes attributes = Method(ops::ResizeMethod::kNearest);
  attributes.half_pixel_centers = false;
  EXPECT_THAT(ResizeRow({0, 1, 2, 3, 4, 5}, attributes, 4), ::testing::ElementsAre(0, 1, 3, 4));
}

TEST(ResizeTest, BilinearRepeatsTheEdge) {
  EXPECT_THAT(ResizeRow({0, 4, 8}, Method(ops::ResizeMethod::kBilinear), 6),
              Pointwise(FloatNear(1e-6), {0.0f, 1.0f, 3.0f, 5.0f, 7.0f, 8.0f}));
}

TEST(ResizeTest, BilinearWithoutHalfPixelsBeginsAtTheFirstCell) {
  ops::ResizeAttributes attributes = Method(ops::ResizeMethod::kBilinear);
  attributes.half_pixel_centers = false;
  EXPECT_THAT(ResizeRow({0, 4, 8}, attributes, 6),
              Pointwise(FloatNear(1e-6), {0.0f, 2.0f, 4.0f, 6.0f, 8.0f, 8.0f}));
}

TEST(ResizeTest, AlignedCornersKeepBothEnds) {
  ops::ResizeAttributes attributes = Method(ops::ResizeMethod::kBilinear);
  attributes.half_pixel_centers = false;
  attributes.align_corners = true;
  EXPECT_THAT(ResizeRow({0, 4, 8}, attributes, 5),
              Pointwise(FloatNear(1e-6), {0.0f, 2.0f, 4.0f, 6.0f, 8.0f}));
}

TEST(ResizeTest, AntialiasedBilinearWeighsAllCells) {
  ops::ResizeAttributes attributes = Method(ops::ResizeMethod::kBilinear);
  attributes.antialias = true;
  // Weights 1/8, 3/8, 3/8, 1/8 inside; at the edge what is outside is left out.
  EXPECT_THAT(ResizeRow({1, 2, 4, 8, 16, 32}, attributes, 3),
              Pointwise(FloatNear(1e-5),
                        {(3 + 6 + 4) / 7.0f, (2 + 12 + 24 + 16) / 8.0f, (8 + 48 + 96) / 7.0f}));
}

TEST(ResizeTest, AreaIsTheMeanOfTheCellsCovered) {
  EXPECT_THAT(ResizeRow({1, 2, 4, 8, 16, 32}, Method(ops::ResizeMethod::kArea), 4),
              Pointwise(FloatNear(1e-5),
                        {(1 + 1) / 1.5f, (1 + 4) / 1.5f, (8 + 8) / 1.5f, (8 + 32) / 1.5f}));
  EXPECT_THAT(ResizeRow({1, 2}, Method(ops::ResizeMethod::kArea), 4),
              Pointwise(FloatNear(1e-6), {1.0f, 1.0f, 2.0f, 2.0f}));
}

// Keys' cubic with a = -1/2 doubles a row with the weights (-9, 111, 29, -3) / 128
// and their mirror image.
TEST(ResizeTest, BicubicRenormalisesOrRepeatsTheEdge) {
  const std::vector<float> row = {1, 5, 2, 7};
  const std::vector<float> renormalised = ResizeRow(row, Method(ops::ResizeMethod::kBicubic), 8);
  ops::ResizeAttributes clamp = Method(ops::ResizeMethod::kBicubic);
  clamp.renormalize = false;
  const std::vector<float> clamped = ResizeRow(row, clamp, 8);

  // Place 0 is at -1/4: cells -2 … 1.
  EXPECT_NEAR(renormalised[0], (111 * 1 - 9 * 5) / 102.0, 1e-5);
  EXPECT_NEAR(clamped[0], (-3 * 1 + 29 * 1 + 111 * 1 - 9 * 5) / 128.0, 1e-5);
  // Place 3 is at 5/4: cells 0 … 3.
  EXPECT_NEAR(renormalised[3], (-9 * 1 + 111 * 5 + 29 * 2 - 3 * 7) / 128.0, 1e-5);
  EXPECT_NEAR(clamped[3], renormalised[3], 1e-6);
}

TEST(ResizeTest, LanczosFollowsItsKernel) {
  for (const auto& [method, radius] : {std::pair(ops::ResizeMethod::kLanczos3, 3.0),
                                       std::pair(ops::ResizeMethod::kLanczos5, 5.0)}) {
    std::mt19937 random(1);
    const std::vector<float> row = Values(RandomTensor(random, Shape{13}));
    const std::vector<float> y = ResizeRow(row, Method(method), 20);
    for (int64_t o = 0; o < 20; ++o) {
      const double place = (static_cast<double>(o) + 0.5) * 13 / 20 - 0.5;
      double sum = 0, total = 0;
      for (int64_t cell = 0; cell < 13; ++cell) {
        const double x = std::abs(static_cast<double>(cell) - place);
        const double t = std::numbers::pi * x;
        double weight = 0;
        if (x < radius) {
          weight = t < 1e-9 ? 1 : std::sin(t) / t * std::sin(t / radius) / (t / radius);
        }
        sum += weight * row[static_cast<size_t>(cell)];
        total += weight;
      }
      EXPECT_NEAR(y[static_cast<size_t>(o)], sum / total, 1e-5);
    }
  }
}

TEST(ResizeTest, ConstantsStayConstant) {
  for (ops::ResizeMethod method :
       {ops::ResizeMethod::kNearest, ops::ResizeMethod::kBilinear, ops::ResizeMethod::kBicubic,
        ops::ResizeMethod::kLanczos3, ops::ResizeMethod::kLanczos5, ops::ResizeMethod::kArea,
        ops::ResizeMethod::kGaussian, ops::ResizeMethod::kMitchell}) {
    for (bool half_pixels : {true, false}) {
      for (bool antialias : {true, false}) {
        for (int64_t size : {1, 2, 3, 5, 7, 11, 64}) {
          ops::ResizeAttributes attributes = Method(method);
          attributes.half_pixel_centers = half_pixels;
          attributes.antialias = antialias;
          for (float value : ResizeRow(std::vector<float>(7, 3.0f), attributes, size)) {
            EXPECT_NEAR(value, 3, 1e-5);
          }
        }
      }
    }
  }
}

// Each axis is resized on its own, so that three axes are three rows in turn.
TEST(ResizeTest, AxesAreIndependent) {
  std::mt19937 random(2);
  const Tensor x = RandomTensor(random, Shape{2, 3, 4, 5, 6});
  for (ops::ResizeMethod method : {ops::ResizeMethod::kNearest, ops::ResizeMethod::kBicubic}) {
    ops::ResizeAttributes attributes = Method(method);
    attributes.size = {4, 4, 9};
    const absl::StatusOr<std::vector<Tensor>> y = RunOp(
        [&](Graph& graph, const std::vector<Value>& v) {
          return std::vector<Value>{ops::Resize(graph, v[0], attributes)};
        },
        {x}, {.specialize = false, .threads = 3, .rewrite = {}});
    ASSERT_TRUE(y.ok()) << y.status();
    ASSERT_EQ((*y)[0].shape(), (Shape{2, 4, 4, 9, 6}));
    for (int64_t image = 0; image < 2; ++image) {
      for (int64_t channel = 0; channel < 6; ++channel) {
        const auto at = [&](int64_t i, int64_t j, int64_t k) {
          return x.data<float>()[(((image * 3 + i) * 4 + j) * 5 + k) * 6 + channel];
        };
        for (int64_t j = 0; j < 4; ++j) {
          std::vector<std::vector<float>> rows;  // of the first axis, the last resized
          for (int64_t i = 0; i < 3; ++i) {
            std::vector<float> row;
            for (int64_t k = 0; k < 5; ++k) row.push_back(at(i, j, k));
            rows.push_back(ResizeRow(row, Method(method), 9));
          }
          for (size_t k = 0; k < 9; ++k) {
            const std::vector<float> column =
                ResizeRow({rows[0][k], rows[1][k], rows[2][k]}, Method(method), 4);
            for (int64_t i = 0; i < 4; ++i) {
              EXPECT_NEAR(
                  (*y)[0]
                      .data<float>()[(((image * 4 + i) * 4 + j) * 9 + static_cast<int64_t>(k)) * 6 +
                                     channel],
                  column[static_cast<size_t>(i)], 1e-5);
            }
          }
        }
      }
    }
  }
}

TEST(ResizeTest, ScalesUnknownSizesLater) {
  Graph graph;
  ops::ResizeAttributes attributes = Method(ops::ResizeMethod::kNearest);
  attributes.scale = {2, 3};
  const Value y =
      ops::Resize(graph, graph.Input(DType::kFloat32, Shape{kUnknown, kUnknown, 4, 3}), attributes);
  EXPECT_EQ(graph.shape(y), (Shape{kUnknown, kUnknown, 12, 3}));
}

TEST(ResizeTest, RefusesEmptySizes) {
  Graph graph;
  ops::ResizeAttributes attributes = Method(ops::ResizeMethod::kNearest);
  attributes.size = {0, 3};
  ops::Resize(graph, graph.Input(DType::kFloat32, Shape{1, 4, 4, 3}), attributes);
  EXPECT_THAT(std::string(graph.status().message()), HasSubstr("sizes must be in [1, "));
}

}  // namespace
}  // namespace h5serve::compute
