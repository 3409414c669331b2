#include "model/custom/catalogue.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

namespace h5serve::model {
namespace {

using ::testing::HasSubstr;

TEST(CatalogueTest, EveryRowParsesAndNamesItsSource) {
  std::set<std::string_view> names;
  for (const CatalogueRow* row : Catalogue()) {
    const absl::StatusOr<ConfigValue> json = ParseJson(row->json);
    ASSERT_TRUE(json.ok()) << row->name << ": " << json.status();
    EXPECT_TRUE(ParseDefinition(row->name, *json).ok())
        << row->name << ": " << ParseDefinition(row->name, *json).status();
    if (!row->guard.empty()) {
      EXPECT_TRUE(ParseExpression(row->guard).ok()) << row->name;
    }
    EXPECT_TRUE(names.insert(row->name).second) << row->name;
    EXPECT_FALSE(row->source.empty()) << row->name;
    EXPECT_TRUE(CatalogueDefinition(row->name).ok()) << row->name;
  }
  EXPECT_GE(names.size(), 50u);
}

TEST(CatalogueTest, NamesTheNearestEntry) {
  EXPECT_THAT(CatalogueDefinition("swich").status().message(), HasSubstr("did you mean swish?"));
}

ConfigValue Entry(const char* text) { return *ParseJson(text); }

TEST(CatalogueTest, TellsFormulasOfOneNameApartBySettings) {
  Writer writer;
  const auto contrib = CatalogueDefinitionFor(
      Entry(R"({"class_name": "InstanceNormalization", "config": {"axis": -1, "epsilon": 0.001}})"),
      writer, false);
  const auto addons = CatalogueDefinitionFor(
      Entry(R"({"class_name": "InstanceNormalization", "config": {"groups": 3, "axis": -1}})"),
      writer, false);

  ASSERT_NE(contrib, nullptr);
  ASSERT_NE(addons, nullptr);
  EXPECT_EQ(contrib->catalogue, "contrib.InstanceNormalization");
  EXPECT_EQ(addons->catalogue, "tfa.InstanceNormalization");
}

TEST(CatalogueTest, AsksWhereTheNameAloneDoesNotTell) {
  const ConfigValue entry = Entry(R"({"class_name": "BilinearUpsampling", "config": {}})");

  EXPECT_EQ(CatalogueDefinitionFor(entry, Writer(), false), nullptr);
  EXPECT_NE(CatalogueSuggestion(entry), nullptr);
}

TEST(CatalogueTest, LeavesClassesOfOtherPackagesAlone) {
  const ConfigValue entry = Entry(
      R"({"class_name": "Mish", "registered_name": "somebody>Mish", "config": {"name": "m"}})");

  EXPECT_EQ(CatalogueDefinitionFor(entry, Writer(), false), nullptr);
}

}  // namespace
}  // namespace h5serve::model
