#include "compute/ops/shape_ops.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>

#include "compute/ops/elementwise.h"
#include "compute/ops/partial_value.h"
#include "tests/unit/compute/evaluate.h"

namespace h5serve::compute::ops {
namespace {

using ::testing::DoubleEq;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pointwise;
using Values = std::vector<Value>;

SliceItem Index(int64_t index) { return {SliceItem::Kind::kIndex, index, std::nullopt, 1}; }
SliceItem Between(std::optional<int64_t> start, std::optional<int64_t> stop) {
  return {SliceItem::Kind::kRange, start, stop, 1};
}
SliceItem NewAxis() { return {SliceItem::Kind::kNewAxis, std::nullopt, std::nullopt, 1}; }
SliceItem Ellipsis() { return {SliceItem::Kind::kEllipsis, std::nullopt, std::nullopt, 1}; }

// The position in a row-major tensor.
int64_t At(const Shape& shape, std::vector<int64_t> index) {
  int64_t position = 0;
  for (int axis = 0; axis < shape.rank(); ++axis) position = position * shape[axis] + index[axis];
  return position;
}

TEST(ReshapeTest, InfersTheOpenDimension) {
  Shape shape;
  const auto y = Numbers(
      {Counting({2, 6})},
      [](Graph& g, const Values& x) {
        return Reshape(g, x[0], {3, kUnknown});
      },
      &shape);

  EXPECT_EQ(shape, (Shape{3, 4}));
  EXPECT_EQ(y[11], 11);
}

TEST(ReshapeTest, RefusesAnotherNumberOfElements) {
  const auto result = Evaluate({Counting({2, 6})}, [](Graph& g, const Values& x) {
    return Values{Reshape(g, x[0], {5, 3})};
  });

  EXPECT_EQ(result.status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(ReshapeTest, RowsKeepAnOpenBatch) {
  Graph graph;
  const Value x = graph.Input(DType::kFloat32, {kUnknown, 4, 6});

  EXPECT_EQ(graph.shape(ReshapeRows(graph, x, {kUnknown, 3})), (Shape{kUnknown, 8, 3}));
  EXPECT_EQ(graph.shape(MergeAxes(graph, x, 1, 3)), (Shape{kUnknown, 24}));
  EXPECT_EQ(graph.shape(SplitAxis(graph, x, 2, kUnknown, 2)), (Shape{kUnknown, 4, 3, 2}));
  EXPECT_EQ(graph.shape(MergeAxes(graph, x, 0, 2)), (Shape{kUnknown, 6}));
  EXPECT_TRUE(graph.status().ok()) << graph.status();
}

TEST(ReshapeTest, TargetMayComeFromAShape) {
  // As in tf.reshape(x, [tf.shape(x)[0], -1, tf.shape(x)[1]]).
  Shape shape;
  Numbers(
      {Counting({2, 3, 4})},
      [](Graph& g, const Values& x) {
        const Value dims = ShapeOf(g, x[0]);
        const Value first = Slice(g, dims, {Index(0)});
        const Value second = Slice(g, dims, {Index(1)});
        const Value rest = g.Constant(Tensor::Scalar(int64_t{-1}));
        return ReshapeTo(g, x[0], Stack(g, {first, rest, second}, 0));
      },
      &shape, /*open_dimensions=*/true);

  EXPECT_EQ(shape, (Shape{2, 4, 3}));
}

TEST(PartialValueTest, KnowsWhatTheShapeTells) {
  Graph graph;
  const Value x = graph.Input(DType::kFloat32, {kUnknown, 8, 3});
  const Value dims = ShapeOf(graph, x);
  const Value tail = Slice(graph, dims, {Between(1, std::nullopt)});
  const Value joined = Concat(graph, {Slice(graph, dims, {Between(0, 1)}), tail}, 0);

  EXPECT_NE(graph.constant(tail), nullptr);
  EXPECT_THAT(*PartialValue(graph, joined), ElementsAre(kUnknown, 8, 3));
}

TEST(UnmergeLeadingTest, UndoesAMergeOfOpenAxes) {
  Shape shape;
  Numbers(
      {Counting({2, 3, 4})},
      [](Graph& g, const Values& x) {
        return UnmergeLeading(g, MergeAxes(g, x[0], 0, 2), x[0], 2);
      },
      &shape, true);

  EXPECT_EQ(shape, (Shape{2, 3, 4}));
}

TEST(SqueezeTest, DropsNamedAxesOnly) {
  Shape shape;
  Numbers(
      {Counting({1, 3, 1})}, [](Graph& g, const Values& x) { return Squeeze(g, x[0], {-1}); },
      &shape);
  EXPECT_EQ(shape, (Shape{1, 3}));
  Numbers(
      {Counting({1, 3, 1})}, [](Graph& g, const Values& x) { return Squeeze(g, x[0], {}); },
      &shape);
  EXPECT_EQ(shape, (Shape{3}));

  const auto result = Evaluate(
      {Counting({2, 3})}, [](Graph& g, const Values& x) { return Values{Squeeze(g, x[0], {0})}; });
  EXPECT_THAT(std::string(result.status().message()), HasSubstr("not 1"));
}

TEST(TransposeTest, AgreesWithTheDefinition) {
  const Shape from{3, 17, 5, 20};
  std::vector<int> permutation = {0, 1, 2, 3};
  do {
    Shape shape;
    const auto y = Numbers(
        {Counting(from)},
        [&](Graph& g, const Values& x) { return Transpose(g, x[0], permutation); }, &shape);
    int64_t position = 0;
    std::vector<int64_t> out(4), in(4);
    bool same = true;
    for (out[0] = 0; out[0] < shape[0]; ++out[0])
      for (out[1] = 0; out[1] < shape[1]; ++out[1])
        for (out[2] = 0; out[2] < shape[2]; ++out[2])
          for (out[3] = 0; out[3] < shape[3]; ++out[3]) {
            for (int axis = 0; axis < 4; ++axis) in[permutation[axis]] = out[axis];
            same = same && y[position++] == static_cast<double>(At(from, in));
          }
    EXPECT_TRUE(same) << testing::PrintToString(permutation);
  } while (std::next_permutation(permutation.begin(), permutation.end()));
}

TEST(TransposeTest, RefusesWhatIsNoPermutation) {
  const auto result = Evaluate({Counting({2, 3})}, [](Graph& g, const Values& x) {
    return Values{Transpose(g, x[0], {0, 0})};
  });

  EXPECT_EQ(result.status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(ConcatTest, JoinsAlongTheMiddle) {
  Shape shape;
  const auto y = Numbers(
      {Counting({2, 1, 2}), Counting({2, 2, 2})},
      [](Graph& g, const Values& x) {
        return Concat(g, {x[0], x[1]}, -2);
      },
      &shape);

  EXPECT_EQ(shape, (Shape{2, 3, 2}));
  EXPECT_THAT(y, ElementsAre(0, 1, 0, 1, 2, 3, 2, 3, 4, 5, 6, 7));
}

TEST(ConcatTest, JoinsStringsAndRefusesOtherShapes) {
  const Tensor text = Tensor::Strings({2}, {"a", "b"});
  const auto joined =
      Evaluate({text, text}, [](Graph& g, const Values& x) { return Values{Concat(g, x, 0)}; });
  ASSERT_TRUE(joined.ok()) << joined.status();
  EXPECT_EQ(joined->at(0).data<std::string>()[3], "b");

  const auto refused = Evaluate({Counting({2, 3}), Counting({3, 3})},
                                [](Graph& g, const Values& x) { return Values{Concat(g, x, 1)}; });
  EXPECT_THAT(std::string(refused.status().message()), HasSubstr("must agree"));
}

TEST(StackTest, IsUndoneByUnstack) {
  const auto pieces = Evaluate({Counting({2, 3}), Noise({2, 3})}, [](Graph& g, const Values& x) {
    return Unstack(g, Stack(g, x, 1), 1);
  });

  ASSERT_TRUE(pieces.ok()) << pieces.status();
  ASSERT_EQ(pieces->size(), 2u);
  EXPECT_THAT(AsNumbers(pieces->at(0)), ElementsAre(0, 1, 2, 3, 4, 5));
}

TEST(SplitTest, InfersOneSize) {
  const auto pieces = Evaluate({Counting({2, 5})}, [](Graph& g, const Values& x) {
    return Split(g, x[0], {2, kUnknown}, 1);
  });

  ASSERT_TRUE(pieces.ok()) << pieces.status();
  EXPECT_THAT(AsNumbers(pieces->at(0)), ElementsAre(0, 1, 5, 6));
  EXPECT_THAT(AsNumbers(pieces->at(1)), ElementsAre(2, 3, 4, 7, 8, 9));
}

// Python's range(*slice(start, stop, step).indices(size)).
std::vector<double> PythonSlice(std::optional<int64_t> start, std::optional<int64_t> stop,
                                int64_t step, int64_t size) {
  std::vector<double> taken;
  auto fix = [&](std::optional<int64_t> value, int64_t otherwise, int64_t low, int64_t high) {
    if (!value) return otherwise;
    int64_t index = *value < 0 ? *value + size : *value;
    return std::max(low, std::min(high, index));
  };
  if (step > 0) {
    for (int64_t i = fix(start, 0, 0, size); i < fix(stop, size, 0, size); i += step)
      taken.push_back(i);
  } else {
    for (int64_t i = fix(start, size - 1, -1, size - 1); i > fix(stop, -1, -1, size - 1); i += step)
      taken.push_back(i);
  }
  return taken;
}

TEST(SliceTest, AgreesWithPythonForAllSmallSlices) {
  std::vector<std::optional<int64_t>> bounds = {std::nullopt};
  for (int64_t i = -7; i <= 7; ++i) bounds.push_back(i);
  for (const auto& start : bounds) {
    for (const auto& stop : bounds) {
      for (int64_t step : {-3, -1, 1, 2}) {
        const auto y = Numbers({Counting({5})}, [&](Graph& g, const Values& x) {
          return Slice(g, x[0], {{SliceItem::Kind::kRange, start, stop, step}});
        });
        EXPECT_EQ(y, PythonSlice(start, stop, step, 5))
            << start.value_or(99) << ":" << stop.value_or(99) << ":" << step;
      }
    }
  }
}

TEST(SliceTest, HandlesIndexNewAxisAndEllipsis) {
  Shape shape;
  const auto y = Numbers(
      {Counting({2, 3, 4})},
      [](Graph& g, const Values& x) {
        return Slice(g, x[0], {NewAxis(), Ellipsis(), Index(-1)});
      },
      &shape);

  EXPECT_EQ(shape, (Shape{1, 2, 3}));
  EXPECT_THAT(y, ElementsAre(3, 7, 11, 15, 19, 23));
}

TEST(SliceTest, RefusesAnIndexOutOfRange) {
  const auto result = Evaluate({Counting({2})}, [](Graph& g, const Values& x) {
    return Values{Slice(g, x[0], {Index(2)})};
  });

  EXPECT_THAT(std::string(result.status().message()), HasSubstr("index 2 is out of range"));
}

TEST(SliceTest, TakesAHugeStep) {
  const auto y = Numbers({Counting({3})}, [](Graph& g, const Values& x) {
    return SliceAxis(g, x[0], 0, INT64_MIN, INT64_MAX, INT64_MAX);
  });

  EXPECT_THAT(y, ElementsAre(0));
}

TEST(ReverseTest, TurnsOneAxis) {
  const auto y =
      Numbers({Counting({2, 3})}, [](Graph& g, const Values& x) { return Reverse(g, x[0], 1); });

  EXPECT_THAT(y, ElementsAre(2, 1, 0, 5, 4, 3));
}

TEST(DynamicSliceTest, ClampsTheStart) {
  const auto y = Numbers({Counting({5}), Tensor::Ints({1}, {4})}, [](Graph& g, const Values& x) {
    return DynamicSlice(g, x[0], x[1], {2});
  });

  EXPECT_THAT(y, ElementsAre(3, 4));
}

TEST(PadTest, KnowsAllModes) {
  const auto pad = [](PadMode mode, std::pair<int64_t, int64_t> pads, float value = 0) {
    return Numbers({Counting({2, 3})}, [&](Graph& g, const Values& x) {
      return Pad(g, x[0], {{0, 0}, pads}, mode, value);
    });
  };

  EXPECT_THAT(pad(PadMode::kConstant, {1, 2}, 9), ElementsAre(9, 0, 1, 2, 9, 9, 9, 3, 4, 5, 9, 9));
  EXPECT_THAT(pad(PadMode::kReflect, {2, 1}), ElementsAre(2, 1, 0, 1, 2, 1, 5, 4, 3, 4, 5, 4));
  EXPECT_THAT(pad(PadMode::kSymmetric, {2, 1}), ElementsAre(1, 0, 0, 1, 2, 2, 4, 3, 3, 4, 5, 5));
  EXPECT_THAT(pad(PadMode::kEdge, {1, 1}), ElementsAre(0, 0, 1, 2, 2, 3, 3, 4, 5, 5));
}

TEST(PadTest, PadsOuterAxesAsBlocks) {
  Shape shape;
  const auto y = Numbers(
      {Counting({1, 2, 2})},
      [](Graph& g, const Values& x) {
        return Pad(g, x[0], {{0, 0}, {1, 0}, {0, 0}});
      },
      &shape);

  EXPECT_EQ(shape, (Shape{1, 3, 2}));
  EXPECT_THAT(y, ElementsAre(0, 0, 0, 1, 2, 3));
}

TEST(TileTest, RepeatsWhole) {
  Shape shape;
  const auto y = Numbers(
      {Counting({2})},
      [](Graph& g, const Values& x) {
        return Tile(g, x[0], {2, 2});
      },
      &shape);

  EXPECT_EQ(shape, (Shape{2, 4}));
  EXPECT_THAT(y, ElementsAre(0, 1, 0, 1, 0, 1, 0, 1));
}

TEST(RepeatTest, RepeatsEachElement) {
  const auto y =
      Numbers({Counting({2, 2})}, [](Graph& g, const Values& x) { return Repeat(g, x[0], 2, 0); });

  EXPECT_THAT(y, ElementsAre(0, 1, 0, 1, 2, 3, 2, 3));
}

TEST(RollTest, ShiftsAround) {
  const auto y =
      Numbers({Counting({2, 3})}, [](Graph& g, const Values& x) { return Roll(g, x[0], -1, 1); });

  EXPECT_THAT(y, ElementsAre(1, 2, 0, 4, 5, 3));
}

TEST(BroadcastTest, RepeatsAlongNewAndSingleAxes) {
  Shape shape;
  const auto y = Numbers(
      {Counting({2, 1})},
      [](Graph& g, const Values& x) {
        return BroadcastTo(g, x[0], {2, 2, 3});
      },
      &shape);

  EXPECT_EQ(shape, (Shape{2, 2, 3}));
  EXPECT_THAT(y, ElementsAre(0, 0, 0, 1, 1, 1, 0, 0, 0, 1, 1, 1));
}

TEST(FillLikeTest, FollowsAnOpenShape) {
  Shape shape;
  const auto y = Numbers(
      {Counting({2, 2})},
      [](Graph& g, const Values& x) { return FillLike(g, x[0], g.Constant(Tensor::Scalar(7.0f))); },
      &shape, true);

  EXPECT_EQ(shape, (Shape{2, 2}));
  EXPECT_THAT(y, ElementsAre(7, 7, 7, 7));
}

TEST(GatherTest, CrossesOrMatchesAxes) {
  Shape shape;
  auto y = Numbers(
      {Counting({2, 3}), Tensor::Ints({2}, {2, -3})},
      [](Graph& g, const Values& x) { return Gather(g, x[0], x[1], 1); }, &shape);
  EXPECT_EQ(shape, (Shape{2, 2}));
  EXPECT_THAT(y, ElementsAre(2, 0, 5, 3));

  y = Numbers(
      {Counting({2, 3}), Tensor::Ints({2, 1}, {2, 0})},
      [](Graph& g, const Values& x) { return Gather(g, x[0], x[1], 1, 1); }, &shape);
  EXPECT_EQ(shape, (Shape{2, 1}));
  EXPECT_THAT(y, ElementsAre(2, 3));
}

TEST(GatherTest, NamesTheIndexOutOfRange) {
  const auto result =
      Evaluate({Counting({3}), Tensor::Ints({1}, {3})},
               [](Graph& g, const Values& x) { return Values{Gather(g, x[0], x[1], 0)}; });

  EXPECT_EQ(result.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(result.status().message()), HasSubstr("index 3 is out of range [-3, 3)"));
}

TEST(GatherNdTest, TakesTuples) {
  const auto y = Numbers({Counting({2, 3}), Tensor::Ints({2, 2}, {1, 2, 0, 1})},
                         [](Graph& g, const Values& x) { return GatherNd(g, x[0], x[1]); });

  EXPECT_THAT(y, ElementsAre(5, 1));
}

TEST(TakeAlongAxisTest, BroadcastsTheOtherAxes) {
  const auto y = Numbers({Counting({2, 3}), Tensor::Ints({1, 2}, {2, 0})},
                         [](Graph& g, const Values& x) { return TakeAlongAxis(g, x[0], x[1], 1); });

  EXPECT_THAT(y, ElementsAre(2, 0, 5, 3));
}

TEST(OneHotTest, LeavesIndicesOutsideOff) {
  Shape shape;
  const auto y = Numbers(
      {Tensor::Ints({3}, {0, 2, -1})},
      [](Graph& g, const Values& x) { return OneHot(g, x[0], 2, 5, 1, 0); }, &shape);

  EXPECT_EQ(shape, (Shape{2, 3}));
  EXPECT_THAT(y, ElementsAre(5, 1, 1, 1, 1, 1));
}

TEST(DepthToSpaceTest, IsUndoneBySpaceToDepth) {
  for (const bool channels_first : {false, true}) {
    Shape shape;
    const Tensor x = Counting(channels_first ? Shape{2, 8, 3, 5} : Shape{2, 3, 5, 8});
    const auto y = Numbers(
        {x},
        [&](Graph& g, const Values& v) {
          return SpaceToDepth(g, DepthToSpace(g, v[0], 2, channels_first), 2, channels_first);
        },
        &shape, true);
    EXPECT_EQ(shape, x.shape());
    EXPECT_EQ(y, AsNumbers(x));
  }
}

TEST(DepthToSpaceTest, PutsTheFirstChannelsOnTop) {
  const auto y = Numbers({Counting({1, 1, 1, 4})},
                         [](Graph& g, const Values& x) { return DepthToSpace(g, x[0], 2, false); });

  EXPECT_THAT(y, ElementsAre(0, 1, 2, 3));
}

TEST(TriangleTest, KeepsOneSide) {
  const auto triangle = [](int64_t diagonal, bool lower) {
    return Numbers({Tensor::Fill({2, 3}, 1)},
                   [=](Graph& g, const Values& x) { return Triangle(g, x[0], diagonal, lower); });
  };

  EXPECT_THAT(triangle(0, true), ElementsAre(1, 0, 0, 1, 1, 0));
  EXPECT_THAT(triangle(1, false), ElementsAre(0, 1, 1, 0, 0, 1));
  EXPECT_THAT(triangle(-1, true), ElementsAre(0, 0, 0, 1, 0, 0));
}

TEST(RangeTest, CountsBothWays) {
  EXPECT_THAT(Numbers({Counting({1})}, [](Graph& g, const Values&) { return ops::Range(g, 5, 0, -2); }),
              ElementsAre(5, 3, 1));
}

}  // namespace
}  // namespace h5serve::compute::ops
