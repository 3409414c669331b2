#include "compute/ops/elementwise.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "compute/program.h"
#include "compute/worker_pool.h"
#include "tests/unit/compute/evaluate.h"

namespace h5serve::compute {
namespace {

using ops::BinaryKind;
using ops::UnaryKind;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr int64_t kMin = std::numeric_limits<int64_t>::min();

std::vector<double> RunUnary(UnaryKind kind, const Tensor& x, float p = 0, float q = 0) {
  return Numbers({x}, [&](Graph& graph, const std::vector<Value>& v) {
    return ops::Unary(graph, kind, v[0], p, q);
  });
}

std::vector<double> RunBinary(BinaryKind kind, const Tensor& a, const Tensor& b,
                              Shape* shape = nullptr) {
  return Numbers(
      {a, b},
      [&](Graph& graph, const std::vector<Value>& v) {
        return ops::Binary(graph, kind, v[0], v[1]);
      },
      shape);
}

Tensor Floats(const std::vector<float>& values) {
  return Tensor::Floats(Shape{static_cast<int64_t>(values.size())}, values);
}

Tensor Ints(const std::vector<int64_t>& values) {
  return Tensor::Ints(Shape{static_cast<int64_t>(values.size())}, values);
}

Tensor Bools(const std::vector<bool>& values) {
  Tensor tensor = Tensor::Allocate(DType::kBool, Shape{static_cast<int64_t>(values.size())});
  for (size_t i = 0; i < values.size(); ++i) tensor.mutable_data<bool>()[i] = values[i];
  return tensor;
}

double Reference(BinaryKind kind, double a, double b) {
  switch (kind) {
    case BinaryKind::kAdd:
      return a + b;
    case BinaryKind::kSubtract:
      return a - b;
    case BinaryKind::kMultiply:
      return a * b;
    case BinaryKind::kDivide:
    case BinaryKind::kDivideNoNan:
      return a / b;
    case BinaryKind::kFloorDivide:
      return std::floor(a / b);
    case BinaryKind::kMod:
      return a - b * std::floor(a / b);
    case BinaryKind::kTruncatedMod:
      return std::fmod(a, b);
    case BinaryKind::kMaximum:
      return std::max(a, b);
    case BinaryKind::kMinimum:
      return std::min(a, b);
    case BinaryKind::kSquaredDifference:
      return (a - b) * (a - b);
    case BinaryKind::kAtan2:
      return std::atan2(a, b);
    case BinaryKind::kLogAddExp:
      return std::log(std::exp(a) + std::exp(b));
    default:
      return std::pow(a, b);
  }
}

TEST(BinaryTest, EveryBroadcastAgreesWithPlainLoops) {
  const std::vector<std::pair<Shape, Shape>> cases = {
      {{3, 4, 5}, {3, 4, 5}},     {{3, 4, 5}, {}},     {{}, {3, 4, 5}},
      {{3, 4, 5}, {5}},           {{3, 4, 5}, {4, 1}}, {{3, 4, 5}, {3, 1, 1}},
      {{3, 1, 5}, {1, 4, 1}},     {{1}, {2, 3}},       {{5, 1}, {1, 33}},
      {{2, 1, 3, 1}, {4, 1, 35}}, {{0, 3}, {3}},       {{2, 0}, {1}},
  };
  for (BinaryKind kind :
       {BinaryKind::kAdd, BinaryKind::kSubtract, BinaryKind::kMultiply, BinaryKind::kDivide,
        BinaryKind::kDivideNoNan, BinaryKind::kFloorDivide, BinaryKind::kMod,
        BinaryKind::kTruncatedMod, BinaryKind::kMaximum, BinaryKind::kMinimum,
        BinaryKind::kSquaredDifference, BinaryKind::kAtan2, BinaryKind::kLogAddExp}) {
    for (const auto& [shape_a, shape_b] : cases) {
      const Tensor a = Noise(shape_a, 1), b = Noise(shape_b, 2);
      const Shape shape = *Broadcast(shape_a, shape_b);
      Shape result_shape;

      const std::vector<double> result = RunBinary(kind, a, b, &result_shape);

      ASSERT_EQ(result_shape, shape);
      for (int64_t i = 0; i < shape.num_elements(); ++i) {
        int64_t rest = i, at[2] = {0, 0}, stride[2] = {1, 1};
        for (int axis = shape.rank(); axis-- > 0;) {
          const int64_t index = rest % shape[axis];
          rest /= shape[axis];
          for (int j = 0; j < 2; ++j) {
            const Shape& operand = j == 0 ? shape_a : shape_b;
            const int own = axis - shape.rank() + operand.rank();
            if (own < 0) continue;
            if (operand[own] != 1) at[j] += index * stride[j];
            stride[j] *= operand[own];
          }
        }
        const double expected = Reference(kind, a.data<float>()[at[0]], b.data<float>()[at[1]]);
        ASSERT_NEAR(result[i], expected, 1e-5 * (1 + std::fabs(expected)))
            << ops::Name(kind) << ' ' << shape_a.ToString() << ' ' << shape_b.ToString();
      }
    }
  }
}

TEST(BinaryTest, LargeOperandsAreSplitOverThreads) {
  WorkerPool pool(2);
  Graph graph;
  const Value x = graph.Input(DType::kFloat32, Shape{kUnknown, 300});
  const Value y = graph.Input(DType::kFloat32, Shape{300});
  const Value sum = ops::Add(graph, ops::Tanh(graph, ops::Multiply(graph, x, x)), y);
  auto program = Program::Compile(std::move(graph), {sum}, Program::Options());
  ASSERT_TRUE(program.ok());
  const std::vector<Tensor> inputs = {Noise(Shape{500, 300}, 1), Noise(Shape{300}, 2)};
  std::vector<Tensor> one, two;

  ASSERT_TRUE((*program)->Run(inputs, nullptr, &one).ok());
  ASSERT_TRUE((*program)->Run(inputs, &pool, &two).ok());

  EXPECT_EQ(AsNumbers(one[0]), AsNumbers(two[0]));
}

TEST(BinaryTest, NumPyFloatDivisionRules) {
  const float inf = std::numeric_limits<float>::infinity();
  const Tensor a = Floats({7, -7, 7, -7, 1}), b = Floats({2, 2, -2, -2, 0.1f});

  EXPECT_THAT(RunBinary(BinaryKind::kFloorDivide, a, b), ElementsAre(3, -4, -4, 3, 9));
  EXPECT_THAT(RunBinary(BinaryKind::kMod, Floats({7, -7, 7, -7}), Floats({2, 2, -2, -2})),
              ElementsAre(1, 1, -1, -1));
  EXPECT_THAT(RunBinary(BinaryKind::kTruncatedMod, Floats({7, -7}), Floats({2, 2})),
              ElementsAre(1, -1));
  EXPECT_THAT(RunBinary(BinaryKind::kFloorDivide, Floats({1, -1}), Floats({0, 0})),
              ElementsAre(inf, -inf));
  EXPECT_THAT(RunBinary(BinaryKind::kDivideNoNan, Floats({1, 0}), Floats({0, 0})),
              ElementsAre(0, 0));
}

TEST(BinaryTest, MaximumKeepsNan) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (BinaryKind kind : {BinaryKind::kMaximum, BinaryKind::kMinimum}) {
    for (double value : RunBinary(kind, Floats({nan, 1, nan}), Floats({1, nan, nan}))) {
      EXPECT_TRUE(std::isnan(value));
    }
  }
}

TEST(BinaryTest, LogAddExpOfInfinities) {
  const float inf = std::numeric_limits<float>::infinity();
  EXPECT_THAT(RunBinary(BinaryKind::kLogAddExp, Floats({-inf, -inf, inf, inf}),
                        Floats({-inf, 2, inf, -inf})),
              ElementsAre(-inf, 2, inf, inf));
}

TEST(BinaryTest, IntegersStayIntegers) {
  const Tensor a = Ints({7, -7, 7, -7}), b = Ints({2, 2, -2, -2});

  EXPECT_THAT(RunBinary(BinaryKind::kAdd, a, b), ElementsAre(9, -5, 5, -9));
  EXPECT_THAT(RunBinary(BinaryKind::kFloorDivide, a, b), ElementsAre(3, -4, -4, 3));
  EXPECT_THAT(RunBinary(BinaryKind::kMod, a, b), ElementsAre(1, 1, -1, -1));
  EXPECT_THAT(RunBinary(BinaryKind::kTruncatedMod, a, b), ElementsAre(1, -1, 1, -1));
  EXPECT_THAT(RunBinary(BinaryKind::kPower, a, Ints({3, 2, 0, 1})), ElementsAre(343, 49, 1, -7));
  EXPECT_THAT(RunBinary(BinaryKind::kDivide, a, b), ElementsAre(3.5, -3.5, -3.5, 3.5));
  EXPECT_THAT(RunBinary(BinaryKind::kBitwiseAnd, Ints({6}), Ints({3})), ElementsAre(2));
  EXPECT_THAT(RunBinary(BinaryKind::kBitwiseXor, Ints({6}), Ints({3})), ElementsAre(5));
  EXPECT_THAT(RunBinary(BinaryKind::kLeftShift, Ints({3, 1}), Ints({2, 64})), ElementsAre(12, 0));
  EXPECT_THAT(RunBinary(BinaryKind::kRightShift, Ints({-8, -8}), Ints({1, 99})),
              ElementsAre(-4, -1));
}

TEST(BinaryTest, IntegerEdgesAreDefined) {
  EXPECT_THAT(RunBinary(BinaryKind::kFloorDivide, Ints({kMin}), Ints({-1})),
              ElementsAre(static_cast<double>(kMin)));
  EXPECT_THAT(RunBinary(BinaryKind::kMod, Ints({kMin}), Ints({-1})), ElementsAre(0));
  EXPECT_THAT(RunUnary(UnaryKind::kAbs, Ints({kMin})), ElementsAre(static_cast<double>(kMin)));
  const auto result = Evaluate({Ints({1}), Ints({0})}, [](Graph& graph, const auto& v) {
    return std::vector<Value>{ops::Binary(graph, BinaryKind::kMod, v[0], v[1])};
  });
  EXPECT_THAT(std::string(result.status().message()), HasSubstr("division by zero"));
}

TEST(BinaryTest, TypesAreBroughtTogether) {
  EXPECT_THAT(RunBinary(BinaryKind::kAdd, Ints({1, 2}), Floats({0.5f, 0.25f})),
              ElementsAre(1.5, 2.25));
  EXPECT_THAT(RunBinary(BinaryKind::kAdd, Bools({true, true}), Bools({true, false})),
              ElementsAre(2, 1));
  EXPECT_THAT(RunBinary(BinaryKind::kMultiply, Bools({true, false}), Floats({3, 4})),
              ElementsAre(3, 0));
}

TEST(BinaryTest, ComparisonsAndLogic) {
  EXPECT_THAT(RunBinary(BinaryKind::kLess, Floats({1, 2, 3}), Floats({2})), ElementsAre(1, 0, 0));
  EXPECT_THAT(RunBinary(BinaryKind::kLessEqual, Floats({2}), Floats({1, 2, 3})),
              ElementsAre(0, 1, 1));
  EXPECT_THAT(RunBinary(BinaryKind::kGreater, Ints({1, 2, 3}), Ints({2, 2, 2})),
              ElementsAre(0, 0, 1));
  EXPECT_THAT(RunBinary(BinaryKind::kGreaterEqual, Ints({1, 2, 3}), Ints({2})),
              ElementsAre(0, 1, 1));
  EXPECT_THAT(RunBinary(BinaryKind::kEqual, Bools({true, false}), Bools({true, true})),
              ElementsAre(1, 0));
  EXPECT_THAT(RunBinary(BinaryKind::kNotEqual, Ints({1, 2}), Floats({1, 1})), ElementsAre(0, 1));
  EXPECT_THAT(RunBinary(BinaryKind::kLogicalAnd, Floats({1, 0, 2}), Ints({1, 1, 0})),
              ElementsAre(1, 0, 0));
  EXPECT_THAT(RunBinary(BinaryKind::kLogicalXor, Bools({true, true}), Bools({true, false})),
              ElementsAre(0, 1));
}

TEST(BinaryTest, WhatHasNoMeaningIsRefused) {
  Graph graph;
  const Value text = graph.Input(DType::kString, Shape{1});
  const Value number = graph.Input(DType::kFloat32, Shape{1});

  EXPECT_FALSE(ops::Add(graph, text, text).valid());
  EXPECT_FALSE(ops::Binary(graph, BinaryKind::kBitwiseAnd, number, number).valid());
  EXPECT_FALSE(ops::Relu(graph, text).valid());
  EXPECT_FALSE(ops::Cast(graph, text, DType::kFloat32).valid());
}

TEST(UnaryTest, IntegersWhereTheyAreKept) {
  EXPECT_THAT(RunUnary(UnaryKind::kNegative, Ints({3, -4})), ElementsAre(-3, 4));
  EXPECT_THAT(RunUnary(UnaryKind::kSquare, Ints({3, -4})), ElementsAre(9, 16));
  EXPECT_THAT(RunUnary(UnaryKind::kSign, Ints({3, 0, -4})), ElementsAre(1, 0, -1));
  EXPECT_THAT(RunUnary(UnaryKind::kSqrt, Ints({9, 16})), ElementsAre(3, 4));
  EXPECT_THAT(RunUnary(UnaryKind::kLogicalNot, Ints({9, 0})), ElementsAre(0, 1));
  EXPECT_THAT(RunUnary(UnaryKind::kIsNan, Floats({NAN, 0})), ElementsAre(1, 0));
  EXPECT_THAT(RunUnary(UnaryKind::kIsInf, Floats({-INFINITY, NAN})), ElementsAre(1, 0));
  EXPECT_THAT(RunUnary(UnaryKind::kIsFinite, Floats({NAN, INFINITY, 1})), ElementsAre(0, 0, 1));
}

TEST(UnaryTest, ReluForms) {
  const auto run = [](float max_value, float slope, float threshold) {
    return Numbers({Floats({-4, 0.5f, 3, 9})}, [&](Graph& graph, const std::vector<Value>& v) {
      return ops::ReluGeneral(graph, v[0], max_value, slope, threshold);
    });
  };

  EXPECT_THAT(run(INFINITY, 0, 0), ElementsAre(0, 0.5, 3, 9));
  EXPECT_THAT(run(6, 0, 0), ElementsAre(0, 0.5, 3, 6));
  EXPECT_THAT(run(INFINITY, 0.5f, 0), ElementsAre(-2, 0.5, 3, 9));
  EXPECT_THAT(run(6, 0.5f, 1), ElementsAre(-2.5, -0.25, 3, 6));
}

TEST(CastTest, BetweenAllGraphTypes) {
  const auto cast = [](const Tensor& x, DType dtype) {
    return Numbers({x}, [&](Graph& graph, const std::vector<Value>& v) {
      return ops::Cast(graph, v[0], dtype);
    });
  };

  EXPECT_THAT(cast(Floats({1.9f, -1.9f, 0, NAN}), DType::kInt64), ElementsAre(1, -1, 0, 0));
  EXPECT_THAT(cast(Floats({1e30f, -1e30f}), DType::kInt64),
              ElementsAre(9223372036854775807.0, -9223372036854775808.0));
  EXPECT_THAT(cast(Floats({0.1f, 0}), DType::kBool), ElementsAre(1, 0));
  EXPECT_THAT(cast(Ints({2, 0}), DType::kBool), ElementsAre(1, 0));
  EXPECT_THAT(cast(Bools({true, false}), DType::kFloat32), ElementsAre(1, 0));
  EXPECT_THAT(cast(Bools({true, false}), DType::kInt64), ElementsAre(1, 0));
}

TEST(RoundThroughTest, NarrowsAndComesBack) {
  const auto round = [](const Tensor& x, DType dtype) {
    return Numbers({x}, [&](Graph& graph, const std::vector<Value>& v) {
      return ops::RoundThrough(graph, v[0], dtype);
    });
  };

  EXPECT_THAT(round(Floats({0.1f, 70000, 1}), DType::kFloat16),
              ElementsAre(0.0999755859375, INFINITY, 1));
  EXPECT_THAT(round(Floats({0.1f}), DType::kBFloat16), ElementsAre(0.10009765625));
  EXPECT_THAT(round(Ints({300, -1, 127}), DType::kUInt8), ElementsAre(44, 255, 127));
  EXPECT_THAT(round(Ints({300, -129}), DType::kInt8), ElementsAre(44, 127));
  EXPECT_THAT(round(Floats({2.7f}), DType::kInt32), ElementsAre(2));
  EXPECT_THAT(round(Ints({16777217}), DType::kFloat32), ElementsAre(16777216));
}

TEST(WhereTest, AllThreeBroadcast) {
  Shape shape;
  const std::vector<double> result = Numbers(
      {Bools({true, false}), Tensor::Ints(Shape{3, 1}, {1, 2, 3}), Floats({0.5f})},
      [](Graph& graph, const std::vector<Value>& v) { return ops::Where(graph, v[0], v[1], v[2]); },
      &shape);

  EXPECT_EQ(shape, (Shape{3, 2}));
  EXPECT_THAT(result, ElementsAre(1, 0.5, 2, 0.5, 3, 0.5));
}

}  // namespace
}  // namespace h5serve::compute
