#include "model/store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

namespace h5serve::model {
namespace {

using testing::HasSubstr;

std::shared_ptr<const ServedModel> Served(const std::string& name, int64_t version) {
  auto served = std::make_shared<ServedModel>();
  served->name = name;
  served->version = version;
  return served;
}

ModelSelector Latest(const std::string& name) { return {name, std::nullopt, ""}; }
ModelSelector Specific(const std::string& name, int64_t version) { return {name, version, ""}; }
ModelSelector Labelled(const std::string& name, const std::string& label) {
  return {name, std::nullopt, label};
}

TEST(ModelStoreTest, FindsTheNewestAndTheSpecificVersion) {
  ModelStore store;
  store.Put(Served("iris", 1));
  store.Put(Served("iris", 3));

  EXPECT_EQ((*store.Find(Latest("iris")))->version, 3);
  EXPECT_EQ((*store.Find(Specific("iris", 1)))->version, 1);
  EXPECT_TRUE(store.HasModel("iris"));
  EXPECT_EQ(store.All().size(), 2);
}

TEST(ModelStoreTest, SaysWhatIsMissingInTheWordsClientsKnow) {
  ModelStore store;
  store.Put(Served("iris", 1));

  EXPECT_EQ(store.Find(Latest("rose")).status().message(),
            "Servable not found for request: Latest(rose)");
  EXPECT_EQ(store.Find(Specific("iris", 2)).status().message(),
            "Servable not found for request: Specific(iris, 2)");
  EXPECT_EQ(store.Find(Specific("rose", 2)).status().code(), absl::StatusCode::kNotFound);
}

TEST(ModelStoreTest, LabelsAreResolvedWhenAsked) {
  ModelStore store;
  store.Put(Served("iris", 1));
  store.SetLabels("iris", {{"stable", 1}, {"next", 2}});
  EXPECT_EQ((*store.Find(Labelled("iris", "stable")))->version, 1);
  EXPECT_EQ(store.Find(Labelled("iris", "next")).status().message(),
            "Servable not found for request: Specific(iris, 2)");

  store.Put(Served("iris", 2));

  EXPECT_EQ((*store.Find(Labelled("iris", "next")))->version, 2);
}

TEST(ModelStoreTest, AnUnknownLabelIsNamed) {
  ModelStore store;
  store.Put(Served("iris", 1));

  const absl::Status status = store.Find(Labelled("iris", "canary")).status();

  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("Unrecognized servable version label: canary"));
}

TEST(ModelStoreTest, TheVersionCountsBeforeTheLabel) {
  ModelStore store;
  store.Put(Served("iris", 1));
  store.Put(Served("iris", 2));
  store.SetLabels("iris", {{"stable", 1}});

  EXPECT_EQ((*store.Find({"iris", 2, "stable"}))->version, 2);
}

TEST(ModelStoreTest, PutAndRemoveReturnWhatTheyTookOut) {
  ModelStore store;
  const auto first = Served("iris", 1);
  EXPECT_EQ(store.Put(first), nullptr);
  EXPECT_EQ(store.Put(Served("iris", 1)), first);
  EXPECT_NE(store.Remove("iris", 1), nullptr);
  EXPECT_EQ(store.Remove("iris", 1), nullptr);

  EXPECT_FALSE(store.HasModel("iris"));
}

TEST(ModelStoreTest, SwapKeepsHeldVersionAlive) {
  ModelStore store;
  store.Put(Served("iris", 1));
  const std::shared_ptr<const ServedModel> held = *store.Find(Latest("iris"));

  store.Put(Served("iris", 2));
  store.Remove("iris", 1);

  EXPECT_EQ(held->version, 1);
}

TEST(ModelStoreTest, EveryRequestFindsAVersionWhileVersionsAreSwapped) {
  ModelStore store;
  store.Put(Served("iris", 0));
  std::atomic<bool> done{false};
  std::atomic<int> failures{0};
  std::vector<std::thread> readers;
  for (int i = 0; i < 3; ++i) {
    readers.emplace_back([&] {
      int64_t newest = 0;
      while (!done) {
        const auto found = store.Find(Latest("iris"));
        if (!found.ok() || (*found)->version < newest) {
          ++failures;
        } else {
          newest = (*found)->version;
        }
      }
    });
  }

  for (int64_t version = 1; version <= 2000; ++version) {
    store.Put(Served("iris", version));
    store.Remove("iris", version - 1);
  }
  done = true;
  for (std::thread& reader : readers) reader.join();

  EXPECT_EQ(failures, 0);
}

}  // namespace
}  // namespace h5serve::model
