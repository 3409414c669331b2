#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "compute/ops/convolution.h"
#include "tests/unit/compute/conv_reference.h"
#include "tests/unit/compute/op_runner.h"

namespace h5serve::compute {
namespace {

using ::testing::HasSubstr;

// The mean or maximum over the cells of each window, whose first and last cell
// `range` gives for an output and an axis. A divisor of 0 is the number of cells.
template <typename F>
std::vector<double> ReferencePool(const Tensor& x, const Triple& out, bool average,
                                  int64_t divisor, F range) {
  const Triple in = SpatialOf(x.shape(), 1, 1);
  const int64_t channels = x.shape().back();
  std::vector<double> y;
  for (int64_t image = 0; image < x.shape()[0]; ++image) {
    ForTriple(out, [&](const Triple& o) {
      for (int64_t c = 0; c < channels; ++c) {
        double sum = 0;
        double largest = -std::numeric_limits<double>::infinity();
        int64_t cells = 0;
        ForTriple(in, [&](const Triple& i) {
          for (int a = 0; a < 3; ++a) {
            const auto [first, last] = range(a, o[a]);
            if (i[a] < first || i[a] >= last) return;
          }
          const double value =
              x.data<float>()[(image * in[0] * in[1] * in[2] + PlaceOf(i, in)) * channels + c];
          sum += value;
          largest = std::max(largest, value);
          ++cells;
        });
        y.push_back(average ? sum / static_cast<double>(divisor > 0 ? divisor : cells) : largest);
      }
    });
  }
  return y;
}

TEST(PoolTest, MatchesTheDefinition) {
  std::mt19937 random(1);
  for (int i = 0; i < 300; ++i) {
    const int spatial = static_cast<int>(RandomInt(random, 1, 3));
    ops::PoolAttributes attributes;
    attributes.kind = i % 2 == 0 ? ops::PoolKind::kMax : ops::PoolKind::kAverage;
    attributes.same = RandomInt(random, 0, 1) == 0;
    attributes.count_padding = RandomInt(random, 0, 1) == 0;
    Shape x{RandomInt(random, 1, 3)};
    std::vector<int64_t> out, before;
    int64_t window = 1;
    for (int a = 0; a < spatial; ++a) {
      const int64_t size = RandomInt(random, 1, 4);
      const int64_t stride = RandomInt(random, 1, 4);
      const int64_t in = RandomInt(random, attributes.same ? 1 : size, size + 12 / spatial);
      const int64_t pad_before = RandomInt(random, 0, size - 1);
      const int64_t pad_after = RandomInt(random, 0, size - 1);
      window *= size;
      x.push_back(in);
      attributes.sizes.push_back(size);
      attributes.strides.push_back(stride);
      attributes.pads.emplace_back(pad_before, pad_after);
      if (attributes.same) {
        out.push_back((in + stride - 1) / stride);
        before.push_back(std::max<int64_t>((out.back() - 1) * stride + size - in, 0) / 2);
      } else {
        out.push_back((in + pad_before + pad_after - size) / stride + 1);
        before.push_back(pad_before);
      }
    }
    x.push_back(RandomInt(random, 1, 40));
    const Tensor input = RandomTensor(random, x);
    const Triple sizes = ToTriple(attributes.sizes, 1);
    const Triple strides = ToTriple(attributes.strides, 1);
    const Triple first = ToTriple(before, 0);
    const std::vector<double> expected = ReferencePool(
        input, ToTriple(out, 1), attributes.kind == ops::PoolKind::kAverage,
        attributes.count_padding ? window : 0, [&](int axis, int64_t o) {
          const int64_t begin = o * strides[axis] - first[axis];
          return std::pair(begin, begin + sizes[axis]);
        });
    for (int threads : {1, 3}) {
      const absl::StatusOr<std::vector<Tensor>> y = RunOp(
          [&](Graph& graph, const std::vector<Value>& v) {
            return std::vector<Value>{ops::Pool(graph, v[0], attributes)};
          },
          {input}, {.specialize = false, .threads = threads, .rewrite = {}});
      ASSERT_TRUE(y.ok()) << y.status();
      EXPECT_LT(RelativeError((*y)[0], expected), 1e-6) << x.ToString();
    }
  }
}

TEST(AdaptivePoolTest, MatchesTheDefinition) {
  std::mt19937 random(2);
  for (int i = 0; i < 100; ++i) {
    const int spatial = static_cast<int>(RandomInt(random, 1, 3));
    Shape x{RandomInt(random, 1, 3)};
    std::vector<int64_t> out;
    for (int a = 0; a < spatial; ++a) {
      x.push_back(RandomInt(random, 1, 9));
      out.push_back(RandomInt(random, 1, 7));
    }
    x.push_back(RandomInt(random, 1, 20));
    const Tensor input = RandomTensor(random, x);
    const ops::PoolKind kind = i % 2 == 0 ? ops::PoolKind::kMax : ops::PoolKind::kAverage;
    const Triple in = SpatialOf(x, 1, 1);
    const Triple sizes = ToTriple(out, 1);
    const std::vector<double> expected =
        ReferencePool(input, sizes, kind == ops::PoolKind::kAverage, 0, [&](int axis, int64_t o) {
          return std::pair(o * in[axis] / sizes[axis],
                           ((o + 1) * in[axis] + sizes[axis] - 1) / sizes[axis]);
        });
    for (int threads : {1, 3}) {
      const absl::StatusOr<std::vector<Tensor>> y = RunOp(
          [&](Graph& graph, const std::vector<Value>& v) {
            return std::vector<Value>{ops::AdaptivePool(graph, v[0], kind, out)};
          },
          {input}, {.specialize = false, .threads = threads, .rewrite = {}});
      ASSERT_TRUE(y.ok()) << y.status();
      EXPECT_LT(RelativeError((*y)[0], expected), 1e-6) << x.ToString();
    }
  }
}

TEST(PoolTest, RefusesWindowLargerThanInput) {
  Graph graph;
  ops::PoolAttributes attributes;
  attributes.sizes = {3, 3};
  ops::Pool(graph, graph.Input(DType::kFloat32, Shape{kUnknown, 5, 2, 8}), attributes);
  EXPECT_THAT(std::string(graph.status().message()),
              HasSubstr("the window covers 3 cells of spatial axis 1, but the input has 2"));
}

TEST(PoolTest, RefusesWindowsOfPaddingAlone) {
  Graph graph;
  ops::PoolAttributes attributes;
  attributes.sizes = {2};
  attributes.pads = {{2, 0}};
  ops::Pool(graph, graph.Input(DType::kFloat32, Shape{kUnknown, 5, 8}), attributes);
  EXPECT_THAT(std::string(graph.status().message()), HasSubstr("may not touch the input"));
}

TEST(PoolTest, KeepsUnknownDimensions) {
  Graph graph;
  ops::PoolAttributes attributes;
  attributes.sizes = {2, 2};
  const Value y = ops::Pool(
      graph, graph.Input(DType::kFloat32, Shape{kUnknown, kUnknown, 7, kUnknown}), attributes);
  EXPECT_EQ(graph.shape(y), (Shape{kUnknown, kUnknown, 3, kUnknown}));
}

}  // namespace
}  // namespace h5serve::compute
