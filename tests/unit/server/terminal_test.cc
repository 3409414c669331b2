#include "server/commands/terminal.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace h5serve::server {
namespace {

using testing::ElementsAre;

TEST(BreakLinesTest, BreaksBetweenWords) {
  EXPECT_THAT(BreakLines("one two three", 7), ElementsAre("one two", "three"));
  EXPECT_THAT(BreakLines("a  b  cd", 4), ElementsAre("a  b", "cd"));
  EXPECT_THAT(BreakLines("", 7), ElementsAre(""));
}

TEST(BreakLinesTest, BreaksWordsThatDoNotFit) {
  EXPECT_THAT(BreakLines("a /usr/share/models", 8), ElementsAre("a", "/usr/sha", "re/model", "s"));
}

TEST(BreakLinesTest, CountsColumnsNotBytes) {
  EXPECT_THAT(BreakLines("äöü äöü", 7), ElementsAre("äöü äöü"));
  EXPECT_THAT(BreakLines("模型 模型", 8), ElementsAre("模型", "模型"));
}

TEST(BreakLinesTest, BreaksJsonOnlyWhereBlanksMayStand) {
  EXPECT_THAT(BreakLines(R"(paste {"a":{"b":"x + y","c":[1,2]}} there)", 16),
              ElementsAre(R"(paste {"a":{"b":)", R"("x + y","c":[1,)", "2]}} there"));
}

TEST(BreakLinesTest, KeepsJsonTogetherThatFitsOnALine) {
  EXPECT_THAT(BreakLines(R"(paste {"a":1,"b":2} there)", 15),
              ElementsAre("paste", R"({"a":1,"b":2})", "there"));
}

TEST(BreakLinesTest, NeverBreaksAStringOfJson) {
  EXPECT_THAT(BreakLines(R"(say {"expression":"x * sigmoid(x), \"so\""})", 12),
              ElementsAre("say", R"({"expression":)", R"("x * sigmoid(x), \"so\""})"));
}

TEST(BreakLinesTest, TakesCutJsonForWords) {
  EXPECT_THAT(BreakLines(R"({"a":1,"bbbbbbbbb…)", 10), ElementsAre(R"({"a":1,"bb)", "bbbbbbb…"));
}

}  // namespace
}  // namespace h5serve::server
