#include "compute/shape.h"

#include <gtest/gtest.h>

namespace h5serve::compute {
namespace {

TEST(ShapeTest, PrintsAsKerasDoes) {
  EXPECT_EQ((Shape{kUnknown, 28, 1}).ToString(), "(None, 28, 1)");
  EXPECT_EQ((Shape{3}).ToString(), "(3,)");
  EXPECT_EQ(Shape().ToString(), "()");
}

TEST(ShapeTest, EditsAxes) {
  Shape shape{2, 3};
  shape.Insert(1, 7);
  EXPECT_EQ(shape, (Shape{2, 7, 3}));
  shape.Erase(0);
  EXPECT_EQ(shape, (Shape{7, 3}));
  EXPECT_EQ(shape.Concat(Shape{4}), (Shape{7, 3, 4}));
  EXPECT_EQ((Shape{1, 2, 3, 4}).Slice(1, 3), (Shape{2, 3}));
  EXPECT_EQ(shape.dim(-1), 3);
  EXPECT_EQ(shape.dim(5), kUnknown);
}

TEST(ShapeTest, CountsWithoutOverflow) {
  EXPECT_EQ(CheckedElementCount(Shape{2, 3}), 6);
  EXPECT_EQ(CheckedElementCount(Shape{}), 1);
  EXPECT_EQ(CheckedElementCount(Shape{0, int64_t{1} << 39}), 0);
  EXPECT_EQ(CheckedElementCount(Shape{kUnknown}), std::nullopt);
  EXPECT_EQ(CheckedElementCount(Shape{int64_t{1} << 39, 4}), std::nullopt);
  EXPECT_EQ(CheckedElementCount(Shape{0, int64_t{1} << 39, 4}), std::nullopt);
  EXPECT_EQ(CheckedElementCount(Shape{int64_t{1} << 62, int64_t{1} << 62}), std::nullopt);
}

TEST(ShapeTest, AxesCountFromTheEndToo) {
  EXPECT_EQ(NormalizeAxis(-1, 3), 2);
  EXPECT_EQ(NormalizeAxis(2, 3), 2);
  EXPECT_EQ(NormalizeAxis(3, 3), std::nullopt);
  EXPECT_EQ(NormalizeAxis(-4, 3), std::nullopt);
}

TEST(ShapeTest, BroadcastsAsNumPyDoes) {
  EXPECT_EQ(Broadcast(Shape{2, 1, 3}, Shape{4, 1}), (Shape{2, 4, 3}));
  EXPECT_EQ(Broadcast(Shape{}, Shape{2}), (Shape{2}));
  EXPECT_EQ(Broadcast(Shape{kUnknown, 1}, Shape{5}), (Shape{kUnknown, 5}));
  EXPECT_EQ(Broadcast(Shape{kUnknown}, Shape{5}), (Shape{5}));
  EXPECT_EQ(Broadcast(Shape{kUnknown}, Shape{1}), (Shape{kUnknown}));
  EXPECT_EQ(Broadcast(Shape{1}, Shape{kUnknown}), (Shape{kUnknown}));
  EXPECT_EQ(Broadcast(Shape{0}, Shape{1}), (Shape{0}));
  EXPECT_EQ(Broadcast(Shape{2}, Shape{3}), std::nullopt);
}

TEST(ShapeTest, CompatibleWhereBothAreKnown) {
  EXPECT_TRUE(Compatible(Shape{kUnknown, 3}, Shape{7, 3}));
  EXPECT_FALSE(Compatible(Shape{kUnknown, 3}, Shape{7, 4}));
  EXPECT_FALSE(Compatible(Shape{3}, Shape{3, 1}));
}

}  // namespace
}  // namespace h5serve::compute
