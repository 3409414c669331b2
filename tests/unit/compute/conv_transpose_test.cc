#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "compute/ops/convolution.h"
#include "compute/ops/element_kinds.h"
#include "tests/unit/compute/conv_reference.h"
#include "tests/unit/compute/op_runner.h"

namespace h5serve::compute {
namespace {

using ::testing::HasSubstr;

struct TransposeCase {
  ops::ConvTransposeAttributes attributes;
  Shape x, kernel, y;
  Triple before = {0, 0, 0};
};

void AddAxis(std::mt19937& random, int axis, int spatial, TransposeCase& c) {
  ops::ConvTransposeAttributes& a = c.attributes;
  const int64_t in = RandomInt(random, 1, 12 / spatial);
  const int64_t size = RandomInt(random, 1, 5);
  const int64_t stride = RandomInt(random, 1, 4);
  const int64_t dilation = RandomInt(random, 0, 2) == 0 ? RandomInt(random, 2, 3) : 1;
  const int64_t reach = (size - 1) * dilation + 1;
  c.x.push_back(in);
  c.kernel.push_back(size);
  a.strides.push_back(stride);
  a.dilations.push_back(dilation);
  int64_t out = in * stride + (a.same ? 0 : std::max<int64_t>(reach - stride, 0));
  if (!a.output_padding.empty()) {
    out = (in - 1) * stride + reach - (a.same ? reach / 2 * 2 : 0) + a.output_padding[axis];
  }
  if (!a.output_spatial.empty()) out = a.output_spatial[axis] = RandomInt(random, 1, 15);
  c.y.push_back(out);
  const int64_t full = (in - 1) * stride + reach;
  int64_t& before = c.before[3 - spatial + axis];
  before = a.same ? std::max<int64_t>(full - out, 0) / 2 : 0;
  if (!a.before.empty()) before = a.before[axis] = RandomInt(random, 0, 4);
}

TransposeCase RandomTranspose(std::mt19937& random) {
  TransposeCase c;
  const int spatial = static_cast<int>(RandomInt(random, 1, 3));
  c.attributes.same = RandomInt(random, 0, 1) == 0;
  const int64_t kind = RandomInt(random, 0, 5);
  if (kind == 0) c.attributes.output_padding.assign(spatial, RandomInt(random, 1, 3));
  if (kind == 1) c.attributes.output_spatial.assign(spatial, 0);
  if (kind == 2) c.attributes.before.assign(spatial, 0);
  c.x.push_back(RandomInt(random, 1, 3));
  c.y.push_back(c.x[0]);
  for (int i = 0; i < spatial; ++i) AddAxis(random, i, spatial, c);
  const int64_t in = RandomInt(random, 1, 20);
  const int64_t out = RandomInt(random, 1, 20);
  c.x.push_back(in);
  c.kernel.push_back(out);
  c.kernel.push_back(in);
  c.y.push_back(out);
  return c;
}

std::vector<double> Expected(const TransposeCase& c, const Tensor& x, const Tensor& kernel,
                             const Tensor& bias) {
  const Triple in = SpatialOf(c.x, 1, 1);
  const Triple out = SpatialOf(c.y, 1, 1);
  const Triple size = SpatialOf(c.kernel, 0, 2);
  const Triple stride = ToTriple(c.attributes.strides, 1);
  const Triple dilation = ToTriple(c.attributes.dilations, 1);
  const int64_t channels = c.x.back();
  const int64_t filters = c.y.back();
  std::vector<double> y(static_cast<size_t>(c.y.num_elements()));
  for (size_t i = 0; i < y.size(); ++i) {
    y[i] = bias.data<float>()[i % static_cast<size_t>(filters)];
  }
  for (int64_t image = 0; image < c.x[0]; ++image) {
    ForTriple(in, [&](const Triple& i) {
      ForTriple(size, [&](const Triple& t) {
        Triple o;
        for (int a = 0; a < 3; ++a) o[a] = i[a] * stride[a] + t[a] * dilation[a] - c.before[a];
        const int64_t place = PlaceOf(o, out);
        if (place < 0) return;
        const float* cell =
            x.data<float>() + (image * in[0] * in[1] * in[2] + PlaceOf(i, in)) * channels;
        double* to = &y[(image * out[0] * out[1] * out[2] + place) * filters];
        for (int64_t f = 0; f < filters; ++f) {
          for (int64_t channel = 0; channel < channels; ++channel) {
            to[f] += static_cast<double>(cell[channel]) *
                     kernel.data<float>()[(PlaceOf(t, size) * filters + f) * channels + channel];
          }
        }
      });
    });
  }
  return y;
}

TEST(ConvTransposeTest, MatchesTheDefinition) {
  std::mt19937 random(1);
  int ran = 0;
  for (int i = 0; i < 400; ++i) {
    const TransposeCase c = RandomTranspose(random);
    SCOPED_TRACE("x " + c.x.ToString() + " kernel " + c.kernel.ToString() + " y " +
                 c.y.ToString() + " strides " + Shape(c.attributes.strides).ToString() +
                 " dilations " + Shape(c.attributes.dilations).ToString());
    std::vector<Tensor> tensors = {RandomTensor(random, c.x), RandomTensor(random, c.kernel),
                                   RandomTensor(random, Shape{c.kernel.dim(-2)})};
    const bool exists = std::all_of(c.y.begin(), c.y.end(), [](int64_t n) { return n > 0; });
    for (bool specialize : {false, true}) {
      for (int threads : {1, 3}) {
        const absl::StatusOr<std::vector<Tensor>> y = RunOp(
            [&](Graph& graph, const std::vector<Value>& v) {
              return std::vector<Value>{ops::ConvTranspose(graph, v[0], v[1], v[2], c.attributes)};
            },
            tensors, {.specialize = specialize, .threads = threads, .rewrite = {}});
        ASSERT_EQ(y.ok(), exists) << y.status();
        if (!exists) continue;
        ++ran;
        EXPECT_EQ((*y)[0].shape(), c.y);
        EXPECT_LT(RelativeError((*y)[0], Expected(c, tensors[0], tensors[1], tensors[2])), 1e-5);
      }
    }
  }
  EXPECT_GT(ran, 1000);
}

TEST(ConvTransposeTest, AppliesAddendAndActivation) {
  std::mt19937 random(2);
  TransposeCase c;
  c.x = Shape{2, 5, 4, 7};
  c.kernel = Shape{2, 3, 6, 7};  // the first axis leaves places that no tap reaches
  c.y = Shape{2, 15, 12, 6};
  c.attributes.strides = {3, 3};
  c.attributes.dilations = {1, 1};
  c.attributes.same = true;
  std::vector<Tensor> tensors = {RandomTensor(random, c.x), RandomTensor(random, c.kernel),
                                 RandomTensor(random, Shape{6}), RandomTensor(random, c.y)};
  std::vector<double> expected = Expected(c, tensors[0], tensors[1], tensors[2]);
  for (size_t i = 0; i < expected.size(); ++i) {
    expected[i] = std::max(expected[i] + tensors[3].data<float>()[i], 0.0);
  }
  RunOptions options;
  options.rewrite = [](const Op& op) {
    return op.WithAddend()->WithActivation(ops::UnaryKind::kRelu, 0, 0);
  };
  const absl::StatusOr<std::vector<Tensor>> y = RunOp(
      [&](Graph& graph, const std::vector<Value>& v) {
        return std::vector<Value>{ops::ConvTranspose(graph, v[0], v[1], v[2], c.attributes)};
      },
      tensors, options);
  ASSERT_TRUE(y.ok()) << y.status();
  EXPECT_LT(RelativeError((*y)[0], expected), 1e-5);
}

TEST(ConvTransposeTest, RefusesEmptyOutput) {
  Graph graph;
  ops::ConvTransposeAttributes attributes;
  attributes.same = true;
  attributes.output_padding = {0};
  ops::ConvTranspose(graph, graph.Input(DType::kFloat32, Shape{1, 1, 2}),
                     graph.Input(DType::kFloat32, Shape{2, 3, 2}), Value(), attributes);
  EXPECT_THAT(std::string(graph.status().message()), HasSubstr("no output of size 0"));
}

TEST(ConvTransposeTest, KeepsUnknownDimensions) {
  Graph graph;
  ops::ConvTransposeAttributes attributes;
  attributes.strides = {2, 2};
  attributes.same = true;
  const Value y = ops::ConvTranspose(
      graph, graph.Input(DType::kFloat32, Shape{kUnknown, kUnknown, 5, 2}),
      graph.Input(DType::kFloat32, Shape{3, 3, 4, 2}), Value(), attributes);
  EXPECT_EQ(graph.shape(y), (Shape{kUnknown, kUnknown, 10, 4}));
}

TEST(LocallyConnectedTest, MatchesTheDefinition) {
  std::mt19937 random(3);
  for (int i = 0; i < 60; ++i) {
    const int spatial = static_cast<int>(RandomInt(random, 1, 3));
    const int64_t channels = RandomInt(random, 1, 5);
    const int64_t filters = RandomInt(random, 1, 40);
    Shape x{RandomInt(random, 1, i % 10 == 0 ? 130 : 12)};
    Shape y{x[0]};
    std::vector<int64_t> sizes, strides;
    int64_t patch = channels;
    int64_t places = 1;
    for (int a = 0; a < spatial; ++a) {
      sizes.push_back(RandomInt(random, 1, 3));
      strides.push_back(RandomInt(random, 1, 2));
      x.push_back(sizes.back() + RandomInt(random, 0, 3));
      y.push_back((x.back() - sizes.back()) / strides.back() + 1);
      patch *= sizes.back();
      places *= y.back();
    }
    x.push_back(channels);
    y.push_back(filters);
    const std::vector<Tensor> tensors = {RandomTensor(random, x),
                                         RandomTensor(random, Shape{places, patch, filters}),
                                         RandomTensor(random, y.Slice(1, y.rank()))};
    const Triple in = SpatialOf(x, 1, 1);
    const Triple out = SpatialOf(y, 1, 1);
    std::vector<double> expected;
    for (int64_t image = 0; image < x[0]; ++image) {
      ForTriple(out, [&](const Triple& o) {
        for (int64_t f = 0; f < filters; ++f) {
          const int64_t place = PlaceOf(o, out);
          double sum = tensors[2].data<float>()[place * filters + f];
          int64_t row = place * patch;
          ForTriple(ToTriple(sizes, 1), [&](const Triple& t) {
            Triple p;
            for (int a = 0; a < 3; ++a) p[a] = o[a] * ToTriple(strides, 1)[a] + t[a];
            for (int64_t c = 0; c < channels; ++c, ++row) {
              sum += static_cast<double>(
                         tensors[0].data<float>()[(image * in[0] * in[1] * in[2] +
                                                   PlaceOf(p, in)) *
                                                      channels +
                                                  c]) *
                     tensors[1].data<float>()[row * filters + f];
            }
          });
          expected.push_back(sum);
        }
      });
    }
    for (int threads : {1, 3}) {
      const absl::StatusOr<std::vector<Tensor>> result = RunOp(
          [&](Graph& graph, const std::vector<Value>& v) {
            return std::vector<Value>{
                ops::LocallyConnected(graph, v[0], v[1], v[2], sizes, strides)};
          },
          tensors, {.specialize = false, .threads = threads, .rewrite = {}});
      ASSERT_TRUE(result.ok()) << result.status();
      EXPECT_EQ((*result)[0].shape(), y);
      EXPECT_LT(RelativeError((*result)[0], expected), 1e-5);
    }
  }
}

TEST(LocallyConnectedTest, RefusesKernelOfOtherPlaces) {
  Graph graph;
  ops::LocallyConnected(graph, graph.Input(DType::kFloat32, Shape{1, 6, 2}),
                        graph.Input(DType::kFloat32, Shape{5, 6, 4}), Value(), {3}, {1});
  EXPECT_THAT(std::string(graph.status().message()), HasSubstr("does not fit windows of 3"));
}

}  // namespace
}  // namespace h5serve::compute
