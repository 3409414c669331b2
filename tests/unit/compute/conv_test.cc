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

constexpr double kTolerance = 1e-5;

// A convolution with random sizes, some of each kind there is.
struct ConvCase {
  int spatial = 2;
  ops::ConvAttributes attributes;
  Shape x, kernel;
  ReferenceWindow window;
};

void AddAxis(std::mt19937& random, bool same, ConvCase& c, std::vector<int64_t>& out) {
  auto& [strides, dilations, unused, pads, groups] = c.attributes;
  const int64_t size = RandomInt(random, 1, 5);
  const int64_t stride = RandomInt(random, 1, 3);
  const int64_t dilation = RandomInt(random, 0, 2) == 0 ? RandomInt(random, 2, 3) : 1;
  const int64_t reach = (size - 1) * dilation + 1;
  const int64_t before = RandomInt(random, 0, 1) == 0 ? 0 : RandomInt(random, 0, 6);
  const int64_t after = RandomInt(random, 0, 1) == 0 ? 0 : RandomInt(random, 0, 6);
  const int64_t least = same ? 1 : std::max<int64_t>(reach - before - after, 1);
  const int64_t in = RandomInt(random, least, least + 20 / c.spatial);
  strides.push_back(stride);
  dilations.push_back(dilation);
  pads.emplace_back(before, after);
  c.x.push_back(in);
  c.kernel.push_back(size);
  out.push_back(same ? (in + stride - 1) / stride : (in + before + after - reach) / stride + 1);
}

// `per_group`: input channels and outputs of each group.
ConvCase RandomConv(std::mt19937& random, int64_t most_channels, int64_t most_groups) {
  ConvCase c;
  c.spatial = static_cast<int>(RandomInt(random, 1, 3));
  c.attributes.same = RandomInt(random, 0, 1) == 0;
  c.x.push_back(RandomInt(random, 1, 5));
  std::vector<int64_t> out;
  for (int i = 0; i < c.spatial; ++i) AddAxis(random, c.attributes.same, c, out);
  c.attributes.groups = RandomInt(random, 1, most_groups);
  const int64_t in = RandomInt(random, 1, most_channels);
  c.x.push_back(in * c.attributes.groups);
  c.kernel.push_back(in);
  c.kernel.push_back(RandomInt(random, 1, most_channels) * c.attributes.groups);
  c.window.out = ToTriple(out, 1);
  c.window.stride = ToTriple(c.attributes.strides, 1);
  c.window.dilation = ToTriple(c.attributes.dilations, 1);
  std::vector<int64_t> before;
  for (int i = 0; i < c.spatial; ++i) {
    const int64_t reach = (c.kernel[i] - 1) * c.attributes.dilations[i] + 1;
    const int64_t total =
        std::max<int64_t>((out[i] - 1) * c.attributes.strides[i] + reach - c.x[1 + i], 0);
    before.push_back(c.attributes.same ? total / 2 : c.attributes.pads[i].first);
  }
  c.window.before = ToTriple(before, 0);
  return c;
}

std::vector<double> Expected(const ConvCase& c, const Tensor& x, const Tensor& kernel,
                             const Tensor* bias) {
  const int64_t out = c.kernel.back();
  std::vector<double> y =
      ReferenceConv(Doubles(x), c.x[0], SpatialOf(c.x, 1, 1), c.x.back(), Doubles(kernel),
                    SpatialOf(c.kernel, 0, 2), out, c.attributes.groups, c.window);
  for (size_t i = 0; i < y.size(); ++i) {
    if (bias != nullptr) y[i] += bias->data<float>()[i % static_cast<size_t>(out)];
  }
  return y;
}

std::string Describe(const ConvCase& c) {
  std::string text = "x " + c.x.ToString() + " kernel " + c.kernel.ToString() + " groups " +
                     std::to_string(c.attributes.groups) + (c.attributes.same ? " same" : "");
  for (int i = 0; i < c.spatial; ++i) {
    text += " s" + std::to_string(c.attributes.strides[i]) + "d" +
            std::to_string(c.attributes.dilations[i]) + "p" +
            std::to_string(c.attributes.pads[i].first) + "," +
            std::to_string(c.attributes.pads[i].second);
  }
  return text;
}

// Runs with and without packed weights, on one thread and on three.
void ExpectEverywhere(const OpBuilder& build, const std::vector<Tensor>& tensors,
                      const std::vector<double>& expected, const Shape& shape) {
  for (bool specialize : {false, true}) {
    for (int threads : {1, 3}) {
      const absl::StatusOr<std::vector<Tensor>> y =
          RunOp(build, tensors, {.specialize = specialize, .threads = threads, .rewrite = {}});
      ASSERT_TRUE(y.ok()) << y.status();
      EXPECT_EQ((*y)[0].shape(), shape);
      EXPECT_LT(RelativeError((*y)[0], expected), kTolerance)
          << "specialize " << specialize << " threads " << threads;
    }
  }
}

Shape OutputShape(const ConvCase& c, int64_t channels) {
  Shape y{c.x[0]};
  for (int i = 3 - c.spatial; i < 3; ++i) y.push_back(c.window.out[i]);
  y.push_back(channels);
  return y;
}

TEST(ConvTest, MatchesTheDefinition) {
  std::mt19937 random(1);
  for (int i = 0; i < 300; ++i) {
    const ConvCase c = RandomConv(random, i % 3 == 0 ? 40 : 5, i % 2 == 0 ? 1 : 6);
    SCOPED_TRACE(Describe(c));
    std::vector<Tensor> tensors = {RandomTensor(random, c.x), RandomTensor(random, c.kernel)};
    const bool has_bias = i % 4 != 0;
    if (has_bias) tensors.push_back(RandomTensor(random, Shape{c.kernel.back()}));
    ExpectEverywhere(
        [&](Graph& graph, const std::vector<Value>& v) {
          return std::vector<Value>{
              ops::Conv(graph, v[0], v[1], has_bias ? v[2] : Value(), c.attributes)};
        },
        tensors, Expected(c, tensors[0], tensors[1], has_bias ? &tensors[2] : nullptr),
        OutputShape(c, c.kernel.back()));
  }
}

// Images too large for one tile, so that tiles meet in rows and columns.
TEST(ConvTest, JoinsTiles) {
  std::mt19937 random(2);
  struct Sizes {
    Shape x, kernel;
    int64_t stride, dilation;
  };
  for (const Sizes& s : {Sizes{Shape{1, 70, 90, 32}, Shape{3, 3, 32, 8}, 1, 1},
                         Sizes{Shape{1, 9, 2000, 16}, Shape{5, 3, 16, 4}, 2, 1},
                         Sizes{Shape{2, 30000, 4}, Shape{9, 4, 8}, 1, 4},
                         Sizes{Shape{1, 40, 50, 24}, Shape{3, 3, 24, 8}, 1, 2},
                         Sizes{Shape{1, 9, 17, 20, 12}, Shape{3, 3, 3, 12, 8}, 1, 1}}) {
    ConvCase c;
    c.spatial = s.x.rank() - 2;
    c.x = s.x;
    c.kernel = s.kernel;
    c.attributes.same = true;
    c.attributes.strides.assign(c.spatial, s.stride);
    c.attributes.dilations.assign(c.spatial, s.dilation);
    c.attributes.pads.assign(c.spatial, {0, 0});
    std::vector<int64_t> out, before;
    for (int i = 0; i < c.spatial; ++i) {
      out.push_back((c.x[1 + i] + s.stride - 1) / s.stride);
      before.push_back(
          std::max<int64_t>(
              (out[i] - 1) * s.stride + (c.kernel[i] - 1) * s.dilation + 1 - c.x[1 + i], 0) /
          2);
    }
    c.window = {ToTriple(out, 1), ToTriple(c.attributes.strides, 1),
                ToTriple(c.attributes.dilations, 1), ToTriple(before, 0)};
    SCOPED_TRACE(Describe(c));
    const std::vector<Tensor> tensors = {RandomTensor(random, c.x), RandomTensor(random, c.kernel)};
    ExpectEverywhere(
        [&](Graph& graph, const std::vector<Value>& v) {
          return std::vector<Value>{ops::Conv(graph, v[0], v[1], Value(), c.attributes)};
        },
        tensors, Expected(c, tensors[0], tensors[1], nullptr), OutputShape(c, c.kernel.back()));
  }
}

// 3 x 3 kernels over many channels have an algorithm of their own, whose sums of
// sums lose a bit or two; behind an activation that error is not relative any more.
TEST(ConvTest, MatchesTheDefinitionFor3x3) {
  std::mt19937 random(6);
  for (int i = 0; i < 12; ++i) {
    ConvCase c;
    c.spatial = 2;
    c.attributes.same = i % 2 == 0;
    c.attributes.strides = c.attributes.dilations = {1, 1};
    c.attributes.pads = {{RandomInt(random, 0, 2), 1}, {RandomInt(random, 0, 2), 0}};
    const int64_t height = RandomInt(random, 11, 17), width = RandomInt(random, 13, 18);
    const int64_t filters = RandomInt(random, 32, 50);
    c.x = Shape{RandomInt(random, 1, 5), height, width, RandomInt(random, 32, 70)};
    c.kernel = Shape{3, 3, c.x.back(), filters};
    const auto& pads = c.attributes.pads;
    c.window = {Triple{1, 1, 1}, Triple{1, 1, 1}, Triple{1, 1, 1}, Triple{0, 1, 1}};
    c.window.out = c.attributes.same ? Triple{1, height, width}
                                     : Triple{1, height + pads[0].first + pads[0].second - 2,
                                              width + pads[1].first + pads[1].second - 2};
    if (!c.attributes.same) c.window.before = Triple{0, pads[0].first, pads[1].first};
    SCOPED_TRACE(Describe(c));
    const std::vector<Tensor> tensors = {RandomTensor(random, c.x), RandomTensor(random, c.kernel),
                                         RandomTensor(random, Shape{filters}),
                                         RandomTensor(random, OutputShape(c, filters))};
    std::vector<double> expected = Expected(c, tensors[0], tensors[1], &tensors[2]);
    const OpBuilder build = [&](Graph& graph, const std::vector<Value>& v) {
      return std::vector<Value>{ops::Conv(graph, v[0], v[1], v[2], c.attributes)};
    };
    ExpectEverywhere(build, {tensors[0], tensors[1], tensors[2]}, expected,
                     OutputShape(c, filters));

    for (size_t j = 0; j < expected.size(); ++j) {
      expected[j] += tensors[3].data<float>()[j];
      expected[j] = i % 3 == 0 ? std::tanh(expected[j]) : std::max(expected[j], 0.0);
    }
    RunOptions options;
    options.specialize = true;
    options.rewrite = [&](const Op& op) {
      return op.WithAddend()->WithActivation(
          i % 3 == 0 ? ops::UnaryKind::kTanh : ops::UnaryKind::kRelu, 0, 0);
    };
    const absl::StatusOr<std::vector<Tensor>> y = RunOp(build, tensors, options);
    ASSERT_TRUE(y.ok()) << y.status();
    EXPECT_LT(RelativeError((*y)[0], expected), 5 * kTolerance);
  }
}

TEST(ConvTest, AppliesAddendAndActivation) {
  std::mt19937 random(3);
  for (int i = 0; i < 60; ++i) {
    ConvCase c = RandomConv(random, 9, 1);
    SCOPED_TRACE(Describe(c));
    const Shape shape = OutputShape(c, c.kernel.back());
    const std::vector<Tensor> tensors = {RandomTensor(random, c.x), RandomTensor(random, c.kernel),
                                         RandomTensor(random, Shape{c.kernel.back()}),
                                         RandomTensor(random, shape)};
    std::vector<double> expected = Expected(c, tensors[0], tensors[1], &tensors[2]);
    for (size_t j = 0; j < expected.size(); ++j) {
      expected[j] = std::tanh(expected[j] + tensors[3].data<float>()[j]);
    }
    RunOptions options;
    options.specialize = i % 2 == 0;
    options.threads = 2;
    options.rewrite = [](const Op& op) {
      return op.WithAddend()->WithActivation(ops::UnaryKind::kTanh, 0, 0);
    };
    const absl::StatusOr<std::vector<Tensor>> y = RunOp(
        [&](Graph& graph, const std::vector<Value>& v) {
          return std::vector<Value>{ops::Conv(graph, v[0], v[1], v[2], c.attributes)};
        },
        tensors, options);
    ASSERT_TRUE(y.ok()) << y.status();
    EXPECT_LT(RelativeError((*y)[0], expected), kTolerance);
  }
}

TEST(DepthwiseConvTest, MatchesTheDefinition) {
  std::mt19937 random(4);
  for (int i = 0; i < 300; ++i) {
    ConvCase c = RandomConv(random, 1, 1);
    const int64_t channels = RandomInt(random, 1, i % 2 == 0 ? 70 : 8);
    const int64_t multiplier = i % 3 == 0 ? RandomInt(random, 2, 3) : 1;
    c.x.back() = channels;
    c.kernel[c.spatial] = channels;
    c.kernel[c.spatial + 1] = multiplier;
    SCOPED_TRACE(Describe(c));
    const std::vector<Tensor> tensors = {RandomTensor(random, c.x), RandomTensor(random, c.kernel),
                                         RandomTensor(random, Shape{channels * multiplier})};
    // The same numbers are the kernel of a convolution with a group per channel.
    ConvCase grouped = c;
    grouped.attributes.groups = channels;
    grouped.kernel[c.spatial] = 1;
    grouped.kernel[c.spatial + 1] = channels * multiplier;
    const std::vector<double> expected = Expected(grouped, tensors[0], tensors[1], &tensors[2]);
    ExpectEverywhere(
        [&](Graph& graph, const std::vector<Value>& v) {
          return std::vector<Value>{ops::DepthwiseConv(graph, v[0], v[1], v[2], c.attributes)};
        },
        tensors, expected, OutputShape(c, channels * multiplier));
    ExpectEverywhere(
        [&](Graph& graph, const std::vector<Value>& v) {
          return std::vector<Value>{ops::Conv(graph, v[0], v[1], v[2], grouped.attributes)};
        },
        {tensors[0], tensors[1].Reshaped(grouped.kernel), tensors[2]}, expected,
        OutputShape(c, channels * multiplier));
  }
}

TEST(DepthwiseConvTest, AppliesActivations) {
  std::mt19937 random(5);
  struct Function {
    ops::UnaryKind kind;
    float p, q;
    double (*f)(double);
  };
  for (const Function& function :
       {Function{ops::UnaryKind::kRelu, 0, 0, [](double x) { return std::max(x, 0.0); }},
        Function{ops::UnaryKind::kClip, 0, 6, [](double x) { return std::clamp(x, 0.0, 6.0); }},
        Function{ops::UnaryKind::kSigmoid, 0, 0,
                 [](double x) { return 1 / (1 + std::exp(-x)); }}}) {
    ConvCase c;
    c.x = Shape{2, 7, 9, 19};
    c.kernel = Shape{3, 3, 1, 19};
    c.attributes.groups = 19;
    c.attributes.same = true;
    c.window = {Triple{1, 7, 9}, Triple{1, 1, 1}, Triple{1, 1, 1}, Triple{0, 1, 1}};
    const std::vector<Tensor> tensors = {RandomTensor(random, c.x), RandomTensor(random, c.kernel)};
    std::vector<double> expected = Expected(c, tensors[0], tensors[1], nullptr);
    for (double& value : expected) value = function.f(value);
    RunOptions options;
    options.rewrite = [&](const Op& op) {
      return op.WithActivation(function.kind, function.p, function.q);
    };
    const absl::StatusOr<std::vector<Tensor>> y = RunOp(
        [&](Graph& graph, const std::vector<Value>& v) {
          return std::vector<Value>{ops::Conv(graph, v[0], v[1], Value(), c.attributes)};
        },
        tensors, options);
    ASSERT_TRUE(y.ok()) << y.status();
    EXPECT_LT(RelativeError((*y)[0], expected), kTolerance);
  }
}

// What Infer says about shapes that are not all known, or do not fit.
absl::Status InferStatus(const Shape& x, const Shape& kernel, const ops::ConvAttributes& attributes,
                         Shape* y = nullptr) {
  Graph graph;
  const Value value = ops::Conv(graph, graph.Input(DType::kFloat32, x),
                                graph.Input(DType::kFloat32, kernel), Value(), attributes);
  if (y != nullptr) *y = graph.shape(value);
  return graph.status();
}

TEST(ConvTest, KeepsUnknownDimensions) {
  Shape y;
  ASSERT_TRUE(InferStatus(Shape{kUnknown, kUnknown, 10, 3}, Shape{3, 3, 3, 8}, {}, &y).ok());
  EXPECT_EQ(y, (Shape{kUnknown, kUnknown, 8, 8}));
}

TEST(ConvTest, RefusesWindowLargerThanInput) {
  const absl::Status status = InferStatus(Shape{1, 2, 5, 3}, Shape{3, 3, 3, 8}, {});
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("the window covers 3 cells"));
}

TEST(ConvTest, RefusesWhatDoesNotFit) {
  const Shape x{1, 9, 9, 4};
  ops::ConvAttributes attributes;
  EXPECT_FALSE(InferStatus(x, Shape{3, 3, 3, 8}, attributes).ok());  // channels
  EXPECT_FALSE(InferStatus(x, Shape{3, 3, 4, 0}, attributes).ok());  // empty kernel
  EXPECT_FALSE(InferStatus(x, Shape{3, 4, 8}, attributes).ok());     // rank
  EXPECT_FALSE(InferStatus(Shape{1, 4}, Shape{4, 8}, attributes).ok());
  attributes.groups = 2;
  EXPECT_FALSE(InferStatus(x, Shape{3, 3, 2, 7}, attributes).ok());  // outputs per group
  attributes.groups = 0;
  EXPECT_FALSE(InferStatus(x, Shape{3, 3, 4, 8}, attributes).ok());
  attributes.groups = 1;
  attributes.strides = {0, 1};
  EXPECT_FALSE(InferStatus(x, Shape{3, 3, 4, 8}, attributes).ok());
  attributes.strides = {1};
  EXPECT_FALSE(InferStatus(x, Shape{3, 3, 4, 8}, attributes).ok());
  attributes.strides = {};
  attributes.dilations = {int64_t{1} << 62, 1};
  EXPECT_FALSE(InferStatus(x, Shape{3, 3, 4, 8}, attributes).ok());
  attributes.dilations = {};
  attributes.pads = {{-1, 0}, {0, 0}};
  EXPECT_FALSE(InferStatus(x, Shape{3, 3, 4, 8}, attributes).ok());
}

TEST(ConvTest, AcceptsEmptyBatch) {
  ops::ConvAttributes attributes;
  attributes.same = true;
  for (const auto& [x, kernel, y] : {
           std::tuple(Shape{0, 4, 4, 2}, Shape{3, 3, 2, 5}, Shape{0, 4, 4, 5}),
           std::tuple(Shape{0, 9, 2}, Shape{3, 2, 5}, Shape{0, 9, 5}),
           std::tuple(Shape{0, 3, 3, 3, 2}, Shape{2, 2, 2, 2, 5}, Shape{0, 3, 3, 3, 5}),
       }) {
    const absl::StatusOr<std::vector<Tensor>> result = RunOp(
        [&](Graph& graph, const std::vector<Value>& v) {
          return std::vector<Value>{ops::Conv(graph, v[0], v[1], Value(), attributes)};
        },
        {Tensor::Floats(x, {}), Tensor::Fill(kernel, 1)}, RunOptions());
    ASSERT_TRUE(result.ok()) << result.status();
    EXPECT_EQ((*result)[0].shape(), y);
  }
}

}  // namespace
}  // namespace h5serve::compute
