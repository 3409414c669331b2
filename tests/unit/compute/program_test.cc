#include "compute/program.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <thread>

#include "compute/ops/elementwise.h"
#include "compute/ops/linear.h"
#include "compute/ops/shape_ops.h"

namespace h5serve::compute {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::shared_ptr<const Program> Compile(Graph graph, std::vector<Value> outputs,
                                       const Program::Options& options = {}) {
  absl::StatusOr<std::shared_ptr<const Program>> program =
      Program::Compile(std::move(graph), std::move(outputs), options);
  EXPECT_TRUE(program.ok()) << program.status();
  return program.ok() ? *program : nullptr;
}

std::vector<float> FloatsOf(const Tensor& tensor) {
  return {tensor.data<float>(), tensor.data<float>() + tensor.num_elements()};
}

TEST(ProgramTest, RunsForEverySize) {
  Graph graph;
  const Value x = graph.Input(DType::kFloat32, Shape{kUnknown, 2});
  const Value y = ops::Relu(graph, ops::AddScalar(graph, x, 1));
  const auto program = Compile(std::move(graph), {y});
  for (int64_t rows : {1, 0, 3, 2, 3}) {
    std::vector<Tensor> outputs;

    ASSERT_TRUE(program->Run({{Tensor::Fill(Shape{rows, 2}, -0.5f)}}, nullptr, &outputs).ok());

    EXPECT_EQ(outputs[0].shape(), (Shape{rows, 2}));
    EXPECT_EQ(FloatsOf(outputs[0]), std::vector<float>(static_cast<size_t>(rows * 2), 0.5f));
  }
}

TEST(ProgramTest, CountsFloatingPointOperations) {
  Graph graph;
  const Value x = graph.Input(DType::kFloat32, Shape{kUnknown, 2});
  const Value kernel = graph.Constant(Tensor::Fill(Shape{2, 5}, 1));
  const Value y = ops::MatMul(graph, x, kernel);
  const auto program = Compile(std::move(graph), {y});

  const absl::StatusOr<double> flops = program->Flops({{Shape{3, 2}}});

  ASSERT_TRUE(flops.ok()) << flops.status();
  EXPECT_EQ(*flops, 2 * 3 * 2 * 5);
  EXPECT_FALSE(program->Flops({{Shape{3, 4}}}).ok());
}

TEST(ProgramTest, RefusesWrongInputs) {
  Graph graph;
  const Value x = graph.Input(DType::kFloat32, Shape{kUnknown, 2});
  const auto program = Compile(std::move(graph), {ops::Relu(graph, x)});
  std::vector<Tensor> outputs;

  EXPECT_THAT(std::string(program->Run({}, nullptr, &outputs).message()), HasSubstr("1 inputs"));
  EXPECT_THAT(
      std::string(program->Run({{Tensor::Fill(Shape{1, 3}, 0)}}, nullptr, &outputs).message()),
      HasSubstr("(None, 2) expected, (1, 3) given"));
  EXPECT_THAT(
      std::string(program->Run({{Tensor::Ints(Shape{1, 2}, {1, 2})}}, nullptr, &outputs).message()),
      HasSubstr("float32 expected, int64 given"));
  EXPECT_EQ(program->Run({{Tensor()}}, nullptr, &outputs).code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(ProgramTest, InputsAreNeverOverwritten) {
  Graph graph;
  const Value x = graph.Input(DType::kFloat32, Shape{4});
  const Value view = ops::Reshape(graph, x, Shape{2, 2});
  const Value y = ops::Relu(graph, ops::Tanh(graph, view));
  const auto program = Compile(std::move(graph), {y, x, view});
  const Tensor input = Tensor::Floats(Shape{4}, {1, -1, 2, -2});
  std::vector<Tensor> outputs;

  ASSERT_TRUE(program->Run({{input}}, nullptr, &outputs).ok());

  EXPECT_THAT(FloatsOf(input), ElementsAre(1, -1, 2, -2));
  EXPECT_NE(outputs[1].raw_data(), input.raw_data());
  EXPECT_THAT(FloatsOf(outputs[1]), ElementsAre(1, -1, 2, -2));
  EXPECT_EQ(outputs[2].shape(), (Shape{2, 2}));
  EXPECT_FLOAT_EQ(outputs[0].data<float>()[0], std::tanh(1.0f));
}

TEST(ProgramTest, ValueUsedLaterSurvivesElementwiseOps) {
  Graph graph;
  const Value x = graph.Input(DType::kFloat32, Shape{2});
  const Value a = ops::AddScalar(graph, x, 1);
  const Value b = ops::MultiplyScalar(graph, a, 10);
  const Value c = ops::Add(graph, b, a);  // a must still be there
  const Value d = ops::Add(graph, c, c);
  const auto program = Compile(std::move(graph), {d, b});
  std::vector<Tensor> outputs;

  ASSERT_TRUE(program->Run({{Tensor::Floats(Shape{2}, {0, 1})}}, nullptr, &outputs).ok());

  EXPECT_THAT(FloatsOf(outputs[0]), ElementsAre(22, 44));
  EXPECT_THAT(FloatsOf(outputs[1]), ElementsAre(10, 20));
}

TEST(ProgramTest, OutputMayBeNamedTwiceAndBeConstant) {
  Graph graph;
  const Value x = graph.Input(DType::kFloat32, Shape{1});
  const Value y = ops::Relu(graph, x);
  const Value c = graph.Constant(Tensor::Floats(Shape{2}, {5, 6}));
  const auto program = Compile(std::move(graph), {y, y, c});
  std::vector<Tensor> outputs;

  ASSERT_TRUE(program->Run({{Tensor::Floats(Shape{1}, {3})}}, nullptr, &outputs).ok());

  EXPECT_THAT(FloatsOf(outputs[0]), ElementsAre(3));
  EXPECT_THAT(FloatsOf(outputs[1]), ElementsAre(3));
  EXPECT_THAT(FloatsOf(outputs[2]), ElementsAre(5, 6));
}

TEST(ProgramTest, EarlierOutputsKeepTheirValues) {
  Graph graph;
  const Value x = graph.Input(DType::kFloat32, Shape{kUnknown});
  const auto program = Compile(std::move(graph), {ops::Relu(graph, x)});
  std::vector<Tensor> first, second;
  ASSERT_TRUE(program->Run({{Tensor::Fill(Shape{2}, 1)}}, nullptr, &first).ok());

  ASSERT_TRUE(program->Run({{Tensor::Fill(Shape{2}, 2)}}, nullptr, &second).ok());

  EXPECT_THAT(FloatsOf(first[0]), ElementsAre(1, 1));
}

TEST(ProgramTest, ShapesComputedFromShapesAreKnownWhenPlanning) {
  Graph graph;
  const Value x = graph.Input(DType::kFloat32, Shape{kUnknown, kUnknown, 2});
  const Value shape = ops::ShapeOf(graph, x);
  const Value batch = ops::SliceAxis(graph, shape, 0, 0, 1);
  const Value target = ops::Concat(graph, {batch, graph.Constant(Tensor::Ints(Shape{1}, {-1}))}, 0);
  const auto program = Compile(std::move(graph), {ops::ReshapeTo(graph, x, target)});

  const auto types = program->OutputTypes({{Shape{3, 5, 2}}});

  ASSERT_TRUE(types.ok()) << types.status();
  EXPECT_EQ((*types)[0].shape, (Shape{3, 10}));
  std::vector<Tensor> outputs;
  ASSERT_TRUE(program->Run({{Tensor::Fill(Shape{4, 1, 2}, 1)}}, nullptr, &outputs).ok());
  EXPECT_EQ(outputs[0].shape(), (Shape{4, 2}));
}

TEST(ProgramTest, WhatOnlyGivesAShapeIsNotComputed) {
  Graph graph;
  const Value x = graph.Input(DType::kFloat32, Shape{kUnknown, 1024});
  const Value big = ops::MatMul(graph, ops::Transpose(graph, x, {1, 0}), x);
  const Value shape = ops::ShapeOf(graph, big);
  Program::Options options;
  options.max_arena_bytes = 1 << 20;  // the product alone would need four times that
  const auto program = Compile(std::move(graph), {shape}, options);
  std::vector<Tensor> outputs;

  ASSERT_TRUE(program->Run({{Tensor::Fill(Shape{1, 1024}, 1)}}, nullptr, &outputs).ok());

  EXPECT_EQ(outputs[0].data<int64_t>()[0], 1024);
}

TEST(ProgramTest, RunsThatNeedTooMuchMemoryAreRefused) {
  Graph graph;
  const Value x = graph.Input(DType::kFloat32, Shape{kUnknown, 8});
  Program::Options options;
  options.max_arena_bytes = 1 << 20;
  const auto program = Compile(std::move(graph), {ops::Relu(graph, x)}, options);
  std::vector<Tensor> outputs;

  const absl::Status status =
      program->Run({{Tensor::Fill(Shape{1 << 17, 8}, 1)}}, nullptr, &outputs);

  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
}

TEST(ProgramTest, ManyShapesDropOldPlans) {
  Graph graph;
  const Value x = graph.Input(DType::kFloat32, Shape{kUnknown});
  Program::Options options;
  options.max_plans = 2;
  const auto program = Compile(std::move(graph), {ops::AddScalar(graph, x, 1)}, options);
  for (int64_t n : {5, 6, 7, 5, 8, 5, 6}) {
    std::vector<Tensor> outputs;
    ASSERT_TRUE(program->Run({{Tensor::Fill(Shape{n}, 1)}}, nullptr, &outputs).ok());
    EXPECT_EQ(FloatsOf(outputs[0]), std::vector<float>(static_cast<size_t>(n), 2.0f));
  }
}

TEST(ProgramTest, ThreadsRunAtOnce) {
  Graph graph;
  const Value x = graph.Input(DType::kFloat32, Shape{kUnknown, 16});
  Value y = x;
  for (int i = 0; i < 5; ++i) y = ops::Add(graph, ops::Tanh(graph, y), x);
  const auto program = Compile(std::move(graph), {y});
  std::vector<Tensor> expected;
  ASSERT_TRUE(program->Run({{Tensor::Fill(Shape{3, 16}, 0.3f)}}, nullptr, &expected).ok());
  std::vector<std::thread> threads;
  std::atomic<int> wrong = 0;

  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 200; ++i) {
        std::vector<Tensor> outputs;
        const int64_t rows = 1 + (i + t) % 4;
        const absl::Status status =
            program->Run({{Tensor::Fill(Shape{rows, 16}, 0.3f)}}, nullptr, &outputs);
        if (!status.ok() || outputs[0].data<float>()[5] != expected[0].data<float>()[5]) ++wrong;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();

  EXPECT_EQ(wrong, 0);
}

TEST(ProgramTest, StringsGoThrough) {
  Graph graph;
  const Value x = graph.Input(DType::kString, Shape{kUnknown});
  const Value both = ops::Concat(graph, {x, x}, 0);
  const Value again = ops::Reshape(graph, both, Shape{2, kUnknown});
  const Value last = ops::Concat(graph, {again, again}, 1);
  const Value equal =
      ops::Binary(graph, ops::BinaryKind::kEqual, last,
                  graph.Constant(Tensor::Strings(Shape{1}, {"a long enough string to allocate"})));
  const auto program = Compile(std::move(graph), {last, equal});
  for (int run = 0; run < 2; ++run) {
    std::vector<Tensor> outputs;

    ASSERT_TRUE(program
                    ->Run({{Tensor::Strings(Shape{2}, {"a long enough string to allocate", "b"})}},
                          nullptr, &outputs)
                    .ok());

    EXPECT_EQ(outputs[0].shape(), (Shape{2, 4}));
    EXPECT_EQ(outputs[0].data<std::string>()[3], "b");
    EXPECT_TRUE(outputs[1].data<bool>()[0]);
    EXPECT_FALSE(outputs[1].data<bool>()[1]);
  }
}

TEST(ProgramTest, FailureOfAnOpNamesItsLayer) {
  Graph graph;
  graph.set_label("lookup");
  const Value x = graph.Input(DType::kInt64, Shape{kUnknown});
  const Value table = graph.Constant(Tensor::Floats(Shape{2, 1}, {1, 2}));
  const auto program = Compile(std::move(graph), {ops::Gather(graph, table, x, 0)});
  std::vector<Tensor> outputs;

  const absl::Status status = program->Run({{Tensor::Ints(Shape{1}, {7})}}, nullptr, &outputs);

  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("layer lookup: "));
}

TEST(ProgramTest, FirstNonFiniteNamesTheLayer) {
  Graph graph;
  const Value x = graph.Input(DType::kFloat32, Shape{kUnknown});
  graph.set_label("fine");
  const Value a = ops::AddScalar(graph, x, 1);
  graph.set_label("logarithm");
  const Value b = ops::Unary(graph, ops::UnaryKind::kLog, a);
  graph.set_label("after");
  const auto program = Compile(std::move(graph), {ops::Relu(graph, b)});

  EXPECT_EQ(*program->FirstNonFinite({{Tensor::Floats(Shape{1}, {1})}}), "");
  EXPECT_EQ(*program->FirstNonFinite({{Tensor::Floats(Shape{2}, {1, -1})}}), "logarithm");
}

TEST(GraphTest, ErrorsStick) {
  Graph graph;
  const Value x = graph.Input(DType::kFloat32, Shape{2, 3});
  const Value y = graph.Input(DType::kFloat32, Shape{2, 4});

  const Value sum = ops::Add(graph, x, y);
  const Value after = ops::Relu(graph, ops::MatMul(graph, sum, x));

  EXPECT_FALSE(sum.valid());
  EXPECT_FALSE(after.valid());
  EXPECT_THAT(std::string(graph.status().message()),
              HasSubstr("shapes (2, 3) and (2, 4) do not broadcast"));
  EXPECT_EQ(Program::Compile(std::move(graph), {after}, {}).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(GraphTest, ConstantsFoldWhileBuilding) {
  Graph graph;
  const Value a = graph.Constant(Tensor::Ints(Shape{2}, {6, 7}));
  const Value b = ops::Multiply(graph, a, graph.Constant(Tensor::Scalar(int64_t{3})));

  ASSERT_NE(graph.constant(b), nullptr);
  EXPECT_EQ(graph.constant(b)->data<int64_t>()[1], 21);
  EXPECT_TRUE(graph.nodes().empty());
}

TEST(GraphTest, ConstantPointersSurviveAdditions) {
  Graph graph;
  const Value a = graph.Constant(Tensor::Scalar(2.5f));
  const Tensor* tensor = graph.constant(a);

  for (int i = 0; i < 1000; ++i) graph.Constant(Tensor::Scalar(1.0f));

  EXPECT_EQ(tensor, graph.constant(a));
  EXPECT_EQ(*tensor->data<float>(), 2.5f);
}

}  // namespace
}  // namespace h5serve::compute
