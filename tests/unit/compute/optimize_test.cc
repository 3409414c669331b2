// Each pass alone: what it leaves of a graph, and that results stay.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <sstream>

#include "compute/ops/elementwise.h"
#include "compute/ops/linear.h"
#include "compute/ops/shape_ops.h"
#include "compute/program.h"
#include "tests/unit/compute/evaluate.h"

namespace h5serve::compute {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

// Names of the ops that are left after optimising.
std::vector<std::string> OpsOf(const Graph& graph, const std::vector<Value>& outputs) {
  absl::StatusOr<std::shared_ptr<const Program>> program =
      Program::Compile(graph, outputs, Program::Options());
  EXPECT_TRUE(program.ok()) << program.status();
  std::vector<std::string> names;
  if (!program.ok()) return names;
  std::istringstream lines((*program)->ToString());
  for (std::string line; std::getline(lines, line);) {
    const size_t begin = line.find("= ") + 2;
    names.push_back(line.substr(begin, line.find('(', begin) - begin));
  }
  return names;
}

std::vector<double> Run(const Graph& graph, Value output, const std::vector<Tensor>& inputs,
                        bool optimize) {
  Program::Options options;
  options.optimize = optimize;
  auto program = Program::Compile(graph, {output}, options);
  EXPECT_TRUE(program.ok()) << program.status();
  std::vector<Tensor> outputs;
  const absl::Status status = (*program)->Run(inputs, nullptr, &outputs);
  EXPECT_TRUE(status.ok()) << status;
  return status.ok() ? AsNumbers(outputs[0]) : std::vector<double>();
}

void ExpectSameResult(const Graph& graph, Value output, const std::vector<Tensor>& inputs) {
  const std::vector<double> expected = Run(graph, output, inputs, false);
  const std::vector<double> result = Run(graph, output, inputs, true);
  ASSERT_EQ(result.size(), expected.size());
  for (size_t i = 0; i < result.size(); ++i) {
    ASSERT_NEAR(result[i], expected[i], 1e-5 * (1 + std::fabs(expected[i]))) << i;
  }
}

Value Constant(Graph& graph, const Shape& shape, uint32_t seed) {
  return graph.Constant(Noise(shape, seed));
}

TEST(FuseActivationTest, ActivationGoesIntoDense) {
  Graph graph;
  const Value x = graph.Input(DType::kFloat32, Shape{kUnknown, 5});
  const Value y = ops::Tanh(
      graph, ops::Dense(graph, x, Constant(graph, Shape{5, 7}, 1), Constant(graph, Shape{7}, 2)));

  EXPECT_THAT(OpsOf(graph, {y}), ElementsAre("Dense"));
  ExpectSameResult(graph, y, {Noise(Shape{3, 5}, 3)});
}

TEST(FuseActivationTest, ValueThatIsUsedTwiceStays) {
  Graph graph;
  const Value x = graph.Input(DType::kFloat32, Shape{kUnknown, 5});
  const Value before = ops::Dense(graph, x, Constant(graph, Shape{5, 7}, 1), Value());
  const Value y = ops::Multiply(graph, ops::Relu(graph, before), before);

  EXPECT_THAT(OpsOf(graph, {y}), ElementsAre("Dense", "Relu", "Multiply"));
  EXPECT_THAT(OpsOf(graph, {ops::Relu(graph, before), before}), ElementsAre("Dense", "Relu"));
  ExpectSameResult(graph, y, {Noise(Shape{3, 5}, 3)});
}

TEST(FoldScaleTest, NormalisationGoesIntoTheKernel) {
  Graph graph;
  const Value x = graph.Input(DType::kFloat32, Shape{kUnknown, 2, 5});
  Value y = ops::Dense(graph, x, Constant(graph, Shape{5, 7}, 1), Value());
  y = ops::Subtract(graph, y, Constant(graph, Shape{1, 1, 7}, 2));
  y = ops::Multiply(graph, Constant(graph, Shape{7}, 3), y);
  y = ops::Relu(graph, ops::Add(graph, y, Constant(graph, Shape{7}, 4)));

  EXPECT_THAT(OpsOf(graph, {y}), ElementsAre("Dense"));
  ExpectSameResult(graph, y, {Noise(Shape{3, 2, 5}, 5)});
}

TEST(FoldScaleTest, OtherConstantsStay) {
  Graph graph;
  const Value x = graph.Input(DType::kFloat32, Shape{4, 5});
  const Value dense = ops::Dense(graph, x, Constant(graph, Shape{5, 4}, 1), Value());
  const Value per_row = ops::Multiply(graph, dense, Constant(graph, Shape{4, 1}, 2));
  const Value reversed = ops::Subtract(graph, Constant(graph, Shape{4}, 3), dense);
  const Value larger = ops::Add(graph, dense, Constant(graph, Shape{2, 1, 4}, 3));

  EXPECT_THAT(OpsOf(graph, {per_row}), ElementsAre("Dense", "Multiply"));
  EXPECT_THAT(OpsOf(graph, {reversed}), ElementsAre("Dense", "Subtract"));
  EXPECT_THAT(OpsOf(graph, {larger}), ElementsAre("Dense", "Add"));
}

TEST(FoldScaleTest, NotBehindAnActivation) {
  Graph graph;
  const Value x = graph.Input(DType::kFloat32, Shape{kUnknown, 5});
  Value y = ops::Relu(graph, ops::Dense(graph, x, Constant(graph, Shape{5, 4}, 1), Value()));
  y = ops::Multiply(graph, y, Constant(graph, Shape{4}, 2));

  EXPECT_THAT(OpsOf(graph, {y}), ElementsAre("Dense", "Multiply"));
  ExpectSameResult(graph, y, {Noise(Shape{3, 5}, 5)});
}

TEST(FuseAffineTest, FactorAndSummandAreOneOp) {
  for (int64_t channels : {1, 3, 40, 100}) {
    Graph graph;
    const Value x = graph.Input(DType::kFloat32, Shape{kUnknown, 7, channels});
    Value y = ops::Multiply(graph, x, Constant(graph, Shape{1, 1, channels}, 1));
    y = ops::Add(graph, Constant(graph, Shape{channels}, 2), y);
    y = ops::Unary(graph, ops::UnaryKind::kElu, y, 1);

    EXPECT_THAT(OpsOf(graph, {y}), ElementsAre("Affine"));
    ExpectSameResult(graph, y, {Noise(Shape{11, 7, channels}, 3)});
  }
}

TEST(FuseAddendTest, ShortcutIsAddedInside) {
  Graph graph;
  const Value x = graph.Input(DType::kFloat32, Shape{kUnknown, 6});
  const Value dense = ops::Dense(graph, x, Constant(graph, Shape{6, 6}, 1), Value());
  const Value y = ops::Relu(graph, ops::Add(graph, x, dense));

  EXPECT_THAT(OpsOf(graph, {y}), ElementsAre("Dense"));
  ExpectSameResult(graph, y, {Noise(Shape{4, 6}, 5)});
}

TEST(FuseAddendTest, WhatMightBroadcastStays) {
  Graph graph;
  const Value x = graph.Input(DType::kFloat32, Shape{kUnknown, kUnknown, 6});
  const Value other = graph.Input(DType::kFloat32, Shape{kUnknown, kUnknown, 6});
  const Value dense = ops::Dense(graph, x, Constant(graph, Shape{6, 6}, 1), Value());
  const Value y = ops::Add(graph, other, dense);

  EXPECT_THAT(OpsOf(graph, {y}), ElementsAre("Dense", "Add"));
  ExpectSameResult(graph, y, {Noise(Shape{2, 4, 6}, 5), Noise(Shape{2, 1, 6}, 6)});
}

TEST(DropIdentityTest, NeutralElementsGo) {
  Graph graph;
  const Value x = graph.Input(DType::kFloat32, Shape{kUnknown, 3});
  Value y = ops::AddScalar(graph, ops::MultiplyScalar(graph, x, 1), 0);
  y = ops::Reshape(graph, ops::Transpose(graph, y, {0, 1}), Shape{kUnknown, 3});

  EXPECT_THAT(OpsOf(graph, {y}), IsEmpty());
}

TEST(DropIdentityTest, WhatBroadcastsStays) {
  Graph graph;
  const Value x = graph.Input(DType::kFloat32, Shape{1, 3});
  const Value y = ops::Multiply(graph, x, graph.Constant(Tensor::Fill(Shape{4, 3}, 1)));

  EXPECT_THAT(OpsOf(graph, {y}), ElementsAre("Multiply"));
}

TEST(MoveTransposeTest, InversePairsVanish) {
  Graph graph;
  const Value x = graph.Input(DType::kFloat32, Shape{kUnknown, 3, 4, 5});
  const Value first = ops::Transpose(graph, x, {0, 2, 3, 1});
  const Value y = ops::Transpose(graph, first, {0, 3, 1, 2});

  EXPECT_THAT(OpsOf(graph, {y}), IsEmpty());
}

TEST(MoveTransposeTest, PermutationsMoveThroughElementwiseOps) {
  Graph graph;
  const Value x = graph.Input(DType::kFloat32, Shape{kUnknown, 4, 5, 3});
  Value y = ops::Transpose(graph, x, {0, 3, 1, 2});
  y = ops::Multiply(graph, y, Constant(graph, Shape{1, 3, 1, 1}, 1));
  y = ops::Add(graph, y, Constant(graph, Shape{3, 1, 1}, 2));
  y = ops::Relu(graph, y);
  y = ops::Transpose(graph, y, {0, 2, 3, 1});

  EXPECT_THAT(OpsOf(graph, {y}), testing::Not(testing::Contains("Transpose")));
  ExpectSameResult(graph, y, {Noise(Shape{2, 4, 5, 3}, 3)});
}

TEST(MoveTransposeTest, ResidualBlockWithChannelsFirst) {
  Graph graph;
  const Value x = graph.Input(DType::kFloat32, Shape{kUnknown, 6, 4, 5});
  const auto layer = [&](Value value, uint32_t seed) {
    value = ops::Transpose(graph, value, {0, 2, 3, 1});
    value = ops::Dense(graph, value, Constant(graph, Shape{6, 6}, seed), Value());
    value = ops::Transpose(graph, value, {0, 3, 1, 2});
    return ops::Multiply(graph, value, Constant(graph, Shape{1, 6, 1, 1}, seed + 1));
  };
  const Value first = ops::Relu(graph, layer(x, 1));
  const Value second = layer(ops::Relu(graph, layer(first, 3)), 5);
  const Value sum = ops::Relu(graph, ops::Add(graph, second, first));

  EXPECT_THAT(OpsOf(graph, {sum}),
              ElementsAre("Transpose", "Dense", "Dense", "Dense", "Transpose"));
  ExpectSameResult(graph, sum, {Noise(Shape{2, 6, 4, 5}, 9)});
}

TEST(MoveTransposeTest, ConcatenationOfChannels) {
  Graph graph;
  const Value x = graph.Input(DType::kFloat32, Shape{kUnknown, 4, 5, 3});
  const Value a = ops::Transpose(graph, x, {0, 3, 1, 2});
  const Value b = ops::Transpose(graph, ops::Tanh(graph, x), {0, 3, 1, 2});
  Value y = ops::Concat(graph, {a, b}, 1);
  y = ops::Pad(graph, y, {{0, 0}, {0, 0}, {1, 2}, {0, 1}});
  y = ops::Transpose(graph, y, {0, 2, 3, 1});

  EXPECT_THAT(OpsOf(graph, {y}), ElementsAre("Tanh", "Concat", "Pad"));
  ExpectSameResult(graph, y, {Noise(Shape{2, 4, 5, 3}, 9)});
}

TEST(SpecializeTest, PackedWeightsReplaceConstants) {
  Graph graph;
  const Value x = graph.Input(DType::kFloat32, Shape{kUnknown, 64});
  const Value y = ops::Dense(graph, x, Constant(graph, Shape{64, 64}, 1), Value());
  auto program = Program::Compile(graph, {y}, Program::Options());

  ASSERT_TRUE(program.ok());
  EXPECT_EQ((*program)->constant_bytes(), 64 * 64 * 4);
}

}  // namespace
}  // namespace h5serve::compute
