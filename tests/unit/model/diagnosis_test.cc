#include "model/diagnosis.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <string>

namespace h5serve::model {
namespace {

using testing::HasSubstr;

TEST(DiagnosisTest, HasOneRowPerCode) {
  std::set<std::string_view> names;
  for (const CodeInfo& info : AllCodes()) {
    EXPECT_EQ(Info(info.code).name, info.name);
    EXPECT_TRUE(names.insert(info.name).second) << info.name;
    EXPECT_FALSE(info.meaning.empty()) << info.name;
    EXPECT_FALSE(info.meaning.ends_with('.')) << info.name;
    EXPECT_EQ(info.severity == Severity::kError && info.remedy.empty(), false) << info.name;
    EXPECT_THAT(CodesAsMarkdown(), HasSubstr("| `" + std::string(info.name) + "` |"));
  }
}

TEST(DiagnosisTest, KeepsPublishedNames) {
  EXPECT_EQ(Name(Code::kFileNotFound), "FILE_NOT_FOUND");
  EXPECT_EQ(Name(Code::kNewerVersion), "WARN_NEWER_VERSION");
  EXPECT_EQ(Name(Code::kBackendConverted), "WARN_BACKEND_CONVERTED");
  EXPECT_EQ(Name(Code::kInfoVersion), "INFO_VERSION");
  EXPECT_EQ(Name(Code::kKerasV3Zip), "KERAS_V3_ZIP");
  EXPECT_EQ(Name(Severity::kWarning), "warning");
}

TEST(DiagnosisListTest, SummarisesTheFirstError) {
  DiagnosisList list;
  EXPECT_TRUE(list.Summary().ok());
  EXPECT_EQ(list.Reason(), "");

  list.Add(Code::kInfoVersion, "saved by 2.3.1");
  list.Add(Code::kUnknownLayer, "layer \"a\" is of class Odd");
  list.Add(Code::kWeightMissing, "b is missing");

  EXPECT_TRUE(list.has_errors());
  EXPECT_EQ(list.Reason(), "UNKNOWN_LAYER");
  EXPECT_EQ(list.Summary().code(), absl::StatusCode::kUnimplemented);
  EXPECT_EQ(std::string(list.Summary().message()),
            "UNKNOWN_LAYER: layer \"a\" is of class Odd (and 1 more error)");
}

TEST(DiagnosisListTest, SortsBySeverityAndKeepsOrder) {
  DiagnosisList list;
  list.Add(Code::kInfoVersion, "1");
  list.Add(Code::kUnusedWeights, "2");
  list.Add(Code::kUnknownLayer, "3");
  list.Add(Code::kNoOutputs, "4");

  list.Sort();

  std::string order;
  for (const Diagnosis& item : list.items()) order += item.message;
  EXPECT_EQ(order, "3421");
}

TEST(DiagnosisListTest, GivesTheUsualRemedyWhenNoneIsNamed) {
  DiagnosisList list;

  list.Add(Code::kEmptyFile, "a has 0 bytes");
  list.Add(Code::kEmptyFile, "b has 0 bytes", {}, {"do this"});

  EXPECT_THAT(list.items()[0].remedies, testing::ElementsAre("save the model again"));
  EXPECT_THAT(list.items()[1].remedies, testing::ElementsAre("do this"));
}

}  // namespace
}  // namespace h5serve::model
