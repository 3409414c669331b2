#include "compute/tensor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>

namespace h5serve::compute {
namespace {

constexpr DType kNumeric[] = {DType::kFloat32, DType::kFloat64, DType::kFloat16, DType::kBFloat16,
                              DType::kInt8,    DType::kInt16,   DType::kInt32,   DType::kInt64,
                              DType::kUInt8,   DType::kUInt16,  DType::kUInt32,  DType::kUInt64,
                              DType::kBool};

std::vector<float> AsFloats(const Tensor& tensor) {
  const Tensor floats = *Cast(tensor, DType::kFloat32);
  return {floats.data<float>(), floats.data<float>() + floats.num_elements()};
}

TEST(DTypeTest, NamesAreTheirInverses) {
  for (DType dtype : kNumeric) EXPECT_EQ(ParseDType(Name(dtype)), dtype);
  EXPECT_EQ(ParseDType("string"), DType::kString);
  EXPECT_EQ(ParseDType("complex64"), std::nullopt);
  EXPECT_EQ(SizeOf(DType::kBFloat16), 2);
}

TEST(TensorTest, MemoryIsAlignedAndNeverNull) {
  for (const Shape& shape : {Shape{}, Shape{0}, Shape{3, 5}, Shape{1 << 22}}) {
    const Tensor tensor = Tensor::Allocate(DType::kFloat32, shape);
    EXPECT_FALSE(tensor.empty());
    EXPECT_EQ(reinterpret_cast<uintptr_t>(tensor.raw_data()) % 64, 0u);
  }
  EXPECT_FALSE(Tensor::Strings(Shape{0}, {}).empty());
  EXPECT_FALSE(Tensor::Allocate(DType::kString, Shape{0}).empty());
}

TEST(TensorTest, RowsShareMemory) {
  const Tensor tensor = Tensor::Floats(Shape{3, 2}, {1, 2, 3, 4, 5, 6});

  const Tensor rows = tensor.Rows(1, 3);

  EXPECT_EQ(rows.shape(), (Shape{2, 2}));
  EXPECT_EQ(rows.data<float>(), tensor.data<float>() + 2);
  EXPECT_EQ(tensor.Rows(3, 3).num_elements(), 0);
}

TEST(CastTest, SmallIntegersSurviveEveryPair) {
  const Tensor start = Tensor::Floats(Shape{3}, {0, 1, 1});
  for (DType from : kNumeric) {
    for (DType to : kNumeric) {
      EXPECT_EQ(AsFloats(*Cast(*Cast(start, from), to)), AsFloats(start))
          << Name(from) << ' ' << Name(to);
    }
  }
}

TEST(CastTest, FloatsSaturateAndTruncate) {
  const float inf = std::numeric_limits<float>::infinity();
  const Tensor x = Tensor::Floats(Shape{6}, {1.9f, -1.9f, 1e10f, -1e10f, inf, NAN});

  EXPECT_THAT(AsFloats(*Cast(x, DType::kInt8)), testing::ElementsAre(1, -1, 127, -128, 127, 0));
  EXPECT_THAT(AsFloats(*Cast(x, DType::kUInt8)), testing::ElementsAre(1, 0, 255, 0, 255, 0));
  const Tensor longs = *Cast(x, DType::kInt64);
  EXPECT_EQ(longs.data<int64_t>()[4], std::numeric_limits<int64_t>::max());
  EXPECT_EQ(longs.data<int64_t>()[2], 10000000000);
}

TEST(CastTest, IntegersWrap) {
  const Tensor x = Tensor::Ints(Shape{3}, {300, -1, 65536});

  EXPECT_EQ(Cast(x, DType::kUInt8)->data<uint8_t>()[0], 44);
  EXPECT_EQ(Cast(x, DType::kUInt64)->data<uint64_t>()[1], ~uint64_t{0});
  EXPECT_EQ(Cast(x, DType::kInt16)->data<int16_t>()[2], 0);
}

TEST(CastTest, BytesOtherThanOneAreTrue) {
  Tensor x = Tensor::Allocate(DType::kBool, Shape{2});
  x.mutable_data<uint8_t>()[0] = 7;
  x.mutable_data<uint8_t>()[1] = 0;

  EXPECT_THAT(AsFloats(x), testing::ElementsAre(1, 0));
}

TEST(CastTest, StringsAreRefused) {
  EXPECT_EQ(Cast(Tensor::Strings(Shape{1}, {"1"}), DType::kFloat32).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Cast(Tensor::Scalar(1.0f), DType::kString).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(HalfTest, EveryHalfSurvives) {
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    const auto half = static_cast<uint16_t>(bits);
    const float value = HalfToFloat(half);
    if (std::isnan(value)) {
      EXPECT_TRUE(std::isnan(HalfToFloat(FloatToHalf(value))));
    } else {
      ASSERT_EQ(FloatToHalf(value), half);
    }
    const float wide = BFloat16ToFloat(half);
    if (!std::isnan(wide)) {
      ASSERT_EQ(FloatToBFloat16(wide), half);
    }
  }
}

TEST(HalfTest, RoundsToNearestEven) {
  // Half-way between two neighbours, and just beside.
  EXPECT_EQ(FloatToHalf(1 + 0x1p-11f), 0x3C00);
  EXPECT_EQ(FloatToHalf(1 + 0x1p-11f + 0x1p-23f), 0x3C01);
  EXPECT_EQ(FloatToHalf(1 + 3 * 0x1p-11f), 0x3C02);
  EXPECT_EQ(FloatToHalf(65519.996f), 0x7BFF);
  EXPECT_EQ(FloatToHalf(65520.0f), 0x7C00);
  EXPECT_EQ(FloatToHalf(0x1p-25f), 0);  // half the smallest: to even
  EXPECT_EQ(FloatToHalf(0x1.000002p-25f), 1);
  EXPECT_EQ(FloatToHalf(-0.0f), 0x8000);
  EXPECT_EQ(FloatToBFloat16(1 + 0x1p-8f), 0x3F80);
  EXPECT_EQ(FloatToBFloat16(1 + 3 * 0x1p-8f), 0x3F82);
}

TEST(HalfTest, DoublesAreRoundedOnce) {
  // Rounded to float32 first, this would become a tie and then go down.
  Tensor x = Tensor::Allocate(DType::kFloat64, Shape{1});
  *x.mutable_data<double>() = 1 + 0x1p-11 + 0x1p-40;

  EXPECT_EQ(*Cast(x, DType::kFloat16)->data<uint16_t>(), 0x3C01);
}

}  // namespace
}  // namespace h5serve::compute
