#include "model/config_value.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

namespace h5serve::model {
namespace {

using testing::HasSubstr;

ConfigValue Parse(std::string_view text) {
  absl::StatusOr<ConfigValue> value = ParseJson(text);
  EXPECT_TRUE(value.ok()) << value.status();
  return value.ok() ? *value : ConfigValue();
}

std::string ErrorOf(std::string_view text, int max_depth = 256) {
  return std::string(ParseJson(text, max_depth).status().message());
}

TEST(ConfigValueTest, ParsesEveryKind) {
  const ConfigValue value =
      Parse(R"({"a": null, "b": true, "c": -3, "d": 2.5, "e": "x", "f": [1]})");

  EXPECT_TRUE(value["a"].is_null());
  EXPECT_TRUE(value["b"].as_bool());
  EXPECT_EQ(value["c"].as_int(), -3);
  EXPECT_EQ(value["d"].as_float(), 2.5);
  EXPECT_EQ(value.StringOr("e"), "x");
  EXPECT_EQ(value["f"].as_list().size(), 1u);
  EXPECT_TRUE(value["missing"].is_null());
  EXPECT_EQ(value.StringOr("c", "otherwise"), "otherwise");
}

TEST(ConfigValueTest, ReadsPythonsTokens) {
  const ConfigValue value = Parse(R"([NaN, Infinity, -Infinity, "NaN", "Infinity", "N"])");

  EXPECT_TRUE(std::isnan(value.as_list()[0].as_float()));
  EXPECT_EQ(value.as_list()[1].as_float(), INFINITY);
  EXPECT_EQ(value.as_list()[2].as_float(), -INFINITY);
  EXPECT_EQ(value.as_list()[3].as_string(), "NaN");
  EXPECT_EQ(value.as_list()[4].as_string(), "Infinity");
  EXPECT_EQ(value.as_list()[5].as_string(), "N");
  EXPECT_THAT(ErrorOf("{NaN: 1}"), HasSubstr("key"));
}

TEST(ConfigValueTest, ReadsIntegersBeyondInt64AsFloats) {
  EXPECT_EQ(Parse("9223372036854775807").as_int(), INT64_MAX);
  EXPECT_EQ(Parse("9223372036854775808").as_float(), 9223372036854775808.0);
  EXPECT_EQ(Parse("1000000000000000000000000").as_float(), 1e24);
}

TEST(ConfigValueTest, TakesIntegralFloatsAsIntegers) {
  EXPECT_EQ(Parse("64.0").ToInt(), 64);
  EXPECT_EQ(Parse("-3").ToInt(), -3);
  EXPECT_EQ(Parse("64.5").ToInt(), std::nullopt);
  EXPECT_EQ(Parse("1e300").ToInt(), std::nullopt);
  EXPECT_EQ(Parse("NaN").ToInt(), std::nullopt);
  EXPECT_EQ(Parse("\"1\"").ToInt(), std::nullopt);
}

TEST(ConfigValueTest, LetsTheLastOfEqualKeysCount) {
  EXPECT_EQ(Parse(R"({"a": 1, "a": 2})")["a"].as_int(), 2);
}

TEST(ConfigValueTest, ToleratesTextThatIsNotUtf8) {
  EXPECT_EQ(Parse("[\"\xE9\"]").as_list()[0].as_string(), "é");
  EXPECT_EQ(Parse(R"(["\ud800x", "\ud83d\ude00"])").as_list()[0].as_string(), "\uFFFDx");
  EXPECT_EQ(Parse(R"(["\ud800x", "\ud83d\ude00"])").as_list()[1].as_string(), "😀");
}

TEST(ConfigValueTest, BoundsNesting) {
  EXPECT_THAT(ErrorOf(std::string(1'000'000, '[')), HasSubstr("deeper"));
  EXPECT_THAT(ErrorOf("[[[1]]]", 2), HasSubstr("deeper"));
  EXPECT_EQ(ErrorOf("[[1]]", 2), "");
}

TEST(ConfigValueTest, NamesThePositionOfErrors) {
  EXPECT_THAT(ErrorOf("[NaN, x]"), HasSubstr("character 7"));
  for (const char* text : {"", "{", "[1,]", "{\"a\" 1}", "[1] 2", "nul", "\"", "\"\\u12", "'a'"}) {
    EXPECT_FALSE(ParseJson(text).ok()) << text;
  }
}

TEST(ConfigValueTest, WritesJson) {
  const ConfigValue value = Parse(R"({"b": [1, 2.0, NaN, null, true], "a": "x\n\"é"})");

  EXPECT_EQ(value.ToJson(), R"({"a":"x\n\"é","b":[1,2.0,NaN,null,true]})");
  EXPECT_EQ(Parse(value["a"].ToJson()), value["a"]);
  EXPECT_EQ(Parse("\"éé\"").ToJson(4), "\"é…");
}

}  // namespace
}  // namespace h5serve::model
