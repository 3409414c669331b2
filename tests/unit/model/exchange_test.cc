#include "model/reader/exchange.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <span>
#include <string>

#include "model/reader/lzf_filter.h"

namespace h5serve::model {
namespace {

using compute::DType;
using compute::Shape;
using testing::ElementsAre;

constexpr uint64_t kArenaEnd = kArenaOffset + 1000;
constexpr uint64_t kFileBytes = 800;

std::optional<ReaderRecords> Parse(const std::string& bytes) {
  return ParseRecords(std::as_bytes(std::span(bytes)), kArenaEnd, kFileBytes);
}

ReaderRecords Sample() {
  ReaderRecords records;
  records.image.model_config = "{}";
  records.image.backend = "theano";
  records.image.layer_groups.push_back({"dense", {"kernel", "bias"}, true});
  records.image.layer_groups.push_back({"gone", {}, false});
  records.image.unsupported_datasets["c"] = "complex64";
  records.image.root_names = {"model_weights", "\xE9"};
  records.arrays.push_back({"a", DType::kFloat32, Shape({2, 3}), kArenaOffset + 64, {}});
  records.arrays.push_back({"f", DType::kInt64, Shape({10}), 77, {}, true});
  records.arrays.push_back({"s", DType::kString, Shape({2}), 0, {"x", "\xFF"}});
  records.findings.push_back({Code::kHdf5Corrupt, "broken\n", "a/b"});
  return records;
}

TEST(ExchangeTest, ReturnsWhatWasSent) {
  const std::optional<ReaderRecords> records = Parse(SerializeRecords(Sample()));

  ASSERT_TRUE(records);
  EXPECT_EQ(records->image.model_config, "{}");
  EXPECT_EQ(records->image.training_config, std::nullopt);
  EXPECT_THAT(records->image.layer_groups[0].weight_names, ElementsAre("kernel", "bias"));
  EXPECT_FALSE(records->image.layer_groups[1].group_exists);
  EXPECT_THAT(records->image.root_names, ElementsAre("model_weights", "é"));
  EXPECT_EQ(records->arrays[0].shape, Shape({2, 3}));
  EXPECT_TRUE(records->arrays[1].in_file);
  EXPECT_EQ(records->arrays[1].offset, 77u);
  EXPECT_THAT(records->arrays[2].strings, ElementsAre("x", "\xFF"));
  EXPECT_EQ(records->findings[0].message, "broken\\x0a");
}

TEST(ExchangeTest, RefusesArraysOutsideTheArena) {
  const auto with_array = [](Shape shape, uint64_t offset) {
    ReaderRecords records;
    records.arrays.push_back({"a", DType::kFloat64, shape, offset, {}});
    return Parse(SerializeRecords(records)).has_value();
  };

  EXPECT_TRUE(with_array({125}, kArenaOffset));
  EXPECT_FALSE(with_array({126}, kArenaOffset));
  EXPECT_FALSE(with_array({1}, kArenaOffset + 1));
  EXPECT_FALSE(with_array({1}, 0));
  EXPECT_FALSE(with_array({1}, ~uint64_t{63}));
  EXPECT_FALSE(with_array({int64_t{1} << 40, int64_t{1} << 40}, kArenaOffset));
}

TEST(ExchangeTest, RefusesArraysOutsideTheFile) {
  const auto with_arrays = [](std::vector<std::pair<int64_t, uint64_t>> sizes_and_offsets) {
    ReaderRecords records;
    for (const auto& [size, offset] : sizes_and_offsets) {
      records.arrays.push_back({"a", DType::kFloat64, Shape({size}), offset, {}, true});
    }
    return Parse(SerializeRecords(records)).has_value();
  };

  EXPECT_TRUE(with_arrays({{100, 0}}));
  EXPECT_TRUE(with_arrays({{1, 3}}));
  EXPECT_FALSE(with_arrays({{101, 0}}));
  EXPECT_FALSE(with_arrays({{100, 1}}));
  EXPECT_FALSE(with_arrays({{1, ~uint64_t{0}}}));
  // Links to one array are no claim for more; overlapping arrays are.
  EXPECT_TRUE(with_arrays({{100, 0}, {100, 0}}));
  EXPECT_FALSE(with_arrays({{60, 0}, {60, 8}}));
}

TEST(ExchangeTest, SurvivesEveryTruncationAndChange) {
  const std::string whole = SerializeRecords(Sample());
  for (size_t size = 0; size < whole.size(); ++size) {
    EXPECT_FALSE(Parse(whole.substr(0, size))) << size;
  }
  EXPECT_FALSE(Parse(whole + "x"));
  for (size_t at = 0; at < whole.size(); ++at) {
    for (int value = 0; value < 256; value += 5) {
      std::string changed = whole;
      changed[at] = static_cast<char>(value);
      Parse(changed);
    }
  }
}

std::optional<std::string> Unpack(const std::string& packed, size_t max_bytes) {
  const std::optional<std::vector<uint8_t>> bytes =
      UnpackLzf({reinterpret_cast<const uint8_t*>(packed.data()), packed.size()}, max_bytes);
  if (!bytes) return std::nullopt;
  return std::string(bytes->begin(), bytes->end());
}

TEST(LzfFilterTest, RepeatsEarlierBytes) {
  // Three literals; then 5 bytes from 3 back; then 10 bytes from 1 back.
  const std::string packed(
      "\x02"
      "abc"
      "\x60\x02"
      "\xE0\x01\x00",
      9);

  EXPECT_EQ(Unpack(packed, 100), "abcabcabbbbbbbbbbb");
  EXPECT_EQ(Unpack(packed, 18), "abcabcabbbbbbbbbbb");
  EXPECT_EQ(Unpack(packed, 17), std::nullopt);
}

TEST(LzfFilterTest, RefusesDamage) {
  EXPECT_EQ(Unpack("\x05"
                   "ab",
                   100),
            std::nullopt);
  EXPECT_EQ(Unpack("\x60", 100), std::nullopt);
  EXPECT_EQ(Unpack("\xE0", 100), std::nullopt);
  EXPECT_EQ(Unpack(std::string("\x01"
                               "ab"
                               "\x60\x09",
                               5),
                   100),
            std::nullopt);
}

}  // namespace
}  // namespace h5serve::model
