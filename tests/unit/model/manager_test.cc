#include "model/manager.h"

#include "tests/unit/model/manager_fixture.h"

namespace h5serve::model {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

// --- Found and settled.

TEST_F(ManagerTest, ServesWhatLiesThereAtStartWithoutWaiting) {
  WriteOld("/m/iris/1.h5", "good");
  WriteOld("/m/rose/7/model.keras", "good");

  StartAndRun();

  EXPECT_THAT(Serving(), ElementsAre("iris/1", "rose/7"));
}

TEST_F(ManagerTest, GoesThroughEveryStateInOrder) {
  Start();
  files_.Write("/m/iris/1.h5", "good");
  Run();
  Pass(absl::Seconds(1));
  files_.Remove("/m/iris/1.h5");
  Run();
  Pass(absl::Seconds(10));

  EXPECT_THAT(listener_.Take(), ElementsAre("iris/1 found", "iris/1 settling", "iris/1 found",
                                            "iris/1 reading", "iris/1 checking", "iris/1 compiling",
                                            "iris/1 proving", "load iris/1 serving",
                                            "iris/1 serving", "iris/1 draining", "iris/1 removed"));
}

TEST_F(ManagerTest, WaitsUntilAFileStandsStillAndLoadsItOnce) {
  Start();
  for (int i = 0; i < 5; ++i) {
    files_.Write("/m/iris/1.h5", "good," + std::string(i, 'x'));
    Run();
    Pass(absl::Milliseconds(900));
  }
  EXPECT_THAT(loaded_, IsEmpty());

  Pass(absl::Milliseconds(100));

  EXPECT_THAT(TakeLoaded(), ElementsAre("/m/iris/1.h5=good,xxxx"));
  Pass(absl::Minutes(10));
  EXPECT_THAT(loaded_, IsEmpty());
}

TEST_F(ManagerTest, LoadsARenamedFileAtOnce) {
  StartAndRun();
  files_.Write("/m/iris/1.h5", "good");
  WatchReport report = Changed();
  report.renamed.insert("/m/iris/1.h5");

  Run(report);

  EXPECT_THAT(Serving(), ElementsAre("iris/1"));
}

TEST_F(ManagerTest, LoadsARenamedVersionFolderAtOnce) {
  StartAndRun();
  files_.Write("/m/iris/1/model.h5", "good");
  WatchReport report = Changed();
  report.renamed.insert("/m/iris/1");

  Run(report);

  EXPECT_THAT(Serving(), ElementsAre("iris/1"));
}

TEST_F(ManagerTest, LoadsAtOnceWhatKubernetesPublishes) {
  StartAndRun();
  files_.Write("/m/iris.h5", "good");
  WatchReport report = Changed();
  report.renamed.insert("/m/..data");

  Run(report);

  EXPECT_EQ(Serving().size(), 1);
}

TEST_F(ManagerTest, GivesAnIncompleteFileMoreTimeAndThenTriesIt) {
  Start();
  files_.Write("/m/iris/1.h5", std::string(600, '\0'));
  Run();
  Pass(absl::Seconds(14));
  EXPECT_THAT(loaded_, IsEmpty());

  Pass(absl::Seconds(1));

  EXPECT_EQ(loaded_.size(), 1);
}

TEST_F(ManagerTest, FindsChangesByPollingAlone) {
  StartAndRun();
  files_.Write("/m/iris/1.h5", "good");

  Pass(absl::Seconds(11));

  EXPECT_THAT(Serving(), ElementsAre("iris/1"));
}

TEST_F(ManagerTest, DiscardsWhatChangedWhileItWasLoaded) {
  WriteOld("/m/iris/1.h5", "good,old");
  during_load_ = [this, first = true]() mutable {
    if (std::exchange(first, false)) files_.Write("/m/iris/1.h5", "good,new");
  };

  StartAndRun();
  EXPECT_THAT(Serving(), IsEmpty());
  Pass(absl::Seconds(2));

  EXPECT_THAT(TakeLoaded(), ElementsAre("/m/iris/1.h5=good,old", "/m/iris/1.h5=good,new"));
  EXPECT_EQ(store_.All().at(0)->servable->facts().sha256, "good,new");
}

TEST_F(ManagerTest, CountsOverflowsAndScansOnce) {
  StartAndRun();
  const int scans = listener_.scans();
  WatchReport report;
  report.overflowed = true;

  Run(report);
  Run(WatchReport());

  EXPECT_EQ(listener_.scans(), scans + 1);
  EXPECT_EQ(listener_.overflows(), 1);
}

// --- Nothing bad replaces something good.

TEST_F(ManagerTest, ReplacesAFlatFilesVersionByTheNewerOne) {
  WriteOld("/m/iris.h5", "good,1");
  StartAndRun();
  files_.Write("/m/iris.h5", "good,2");
  const int64_t version = FlatVersion();
  Run();
  Pass(absl::Seconds(1));

  EXPECT_THAT(Serving(), ElementsAre("iris/" + std::to_string(version)));
  EXPECT_EQ(manager_->memory_used_bytes(), 1);
}

TEST_F(ManagerTest, KeepsTheOldVersionOfAFlatFileForGoodWhenTheNewContentIsBad) {
  WriteOld("/m/iris.h5", "good");
  StartAndRun();
  const std::vector<std::string> before = Serving();
  files_.Write("/m/iris.h5", "bad NOT_HDF5");
  Run();

  Pass(absl::Hours(1));

  EXPECT_THAT(Serving(), before);
  EXPECT_TRUE(manager_->readiness().ready);
  EXPECT_EQ(StateOf("iris", FlatVersion() - 3600), "refused");
}

TEST_F(ManagerTest, GoesBackWhenAnOlderFileTakesAFlatFilesPlace) {
  WriteOld("/m/iris.h5", "good,old");
  const absl::Time old_time = clock_.Now() - absl::Hours(1);
  StartAndRun();
  files_.Write("/m/iris.h5", "good,older");
  files_.SetModified("/m/iris.h5", old_time);
  Run();
  Pass(absl::Seconds(2));

  EXPECT_THAT(Serving(), ElementsAre("iris/" + std::to_string(absl::ToUnixSeconds(old_time))));
}

TEST_F(ManagerTest, KeepsServingAVersionWhoseFileWasReplacedByABadOne) {
  WriteOld("/m/iris/3.h5", "good");
  StartAndRun();
  files_.Write("/m/iris/3.h5", "bad TRUNCATED");
  Run();
  Pass(absl::Seconds(1));

  EXPECT_THAT(Serving(), ElementsAre("iris/3"));
  EXPECT_EQ(StateOf("iris", 3), "serving>refused");
  EXPECT_THAT(MessageOf("iris", 3), HasSubstr("TRUNCATED"));
}

TEST_F(ManagerTest, ReplacesTheContentOfAVersionInPlace) {
  WriteOld("/m/iris/3.h5", "good,1");
  StartAndRun();
  files_.Write("/m/iris/3.h5", "good,2");
  Run();
  Pass(absl::Seconds(1));

  EXPECT_EQ(store_.All().at(0)->servable->facts().sha256, "good,2");
  EXPECT_EQ(StateOf("iris", 3), "serving");
  EXPECT_EQ(manager_->memory_used_bytes(), 1);
}

TEST_F(ManagerTest, ServesTheOldUntilTheNewServes) {
  WriteOld("/m/iris/1.h5", "good");
  StartAndRun();
  files_.Write("/m/iris/2.h5", "good");
  Run();
  clock_.Advance(absl::Seconds(1));
  manager_->Step(Changed());  // the load is submitted, and does not run yet
  EXPECT_THAT(Serving(), ElementsAre("iris/1"));

  while (loads_.RunOne()) {
  }

  EXPECT_THAT(Serving(), ElementsAre("iris/2"));
  EXPECT_EQ(StateOf("iris", 1), "draining");
  while (reaper_.RunOne()) {
  }
  EXPECT_EQ(StateOf("iris", 1), "removed");
}

TEST_F(ManagerTest, DrainsAsLongAsARequestHoldsTheOldVersion) {
  WriteOld("/m/iris/1.h5", "good 400");
  StartAndRun();
  std::shared_ptr<const ServedModel> held = *store_.Find({"iris", std::nullopt, ""});
  files_.Write("/m/iris/2.h5", "good 400");
  Run();
  Pass(absl::Seconds(1));
  EXPECT_EQ(StateOf("iris", 1), "draining");
  EXPECT_EQ(manager_->memory_used_bytes(), 800);

  held = nullptr;
  EXPECT_EQ(manager_->memory_used_bytes(), 800);  // the reaper frees, not the request
  while (reaper_.RunOne()) {
  }

  EXPECT_EQ(StateOf("iris", 1), "removed");
  EXPECT_EQ(manager_->memory_used_bytes(), 400);
}

TEST_F(ManagerTest, TakesAndGivesBackMemoryThroughAThousandSwaps) {
  WriteOld("/m/iris/1.h5", "good 100");
  StartAndRun();
  for (int i = 0; i < 1000; ++i) {
    WriteOld("/m/iris/1.h5", "good 100," + std::to_string(i));
    Run();
  }

  EXPECT_EQ(manager_->memory_used_bytes(), 100);
  EXPECT_EQ(manager_->StatusOf("iris").size(), 1);
}

TEST_F(ManagerTest, RemembersOnlyTheLastRemovedVersions) {
  StartAndRun();
  for (int i = 0; i < 30; ++i) {
    WriteOld("/m/iris.h5", "good," + std::to_string(i));
    Run();
  }

  EXPECT_EQ(manager_->StatusOf("iris").size(), 9);
  EXPECT_THAT(listener_.Take(), testing::Contains(testing::StartsWith("forgotten iris/")));
}

// --- Version policies and fallback.

TEST_F(ManagerTest, FallsBackToTheNewestServableVersionAtStart) {
  WriteOld("/m/iris/3.h5", "good");
  WriteOld("/m/iris/4.h5", "good");
  WriteOld("/m/iris/5.h5", "bad NOT_HDF5");

  StartAndRun();

  EXPECT_THAT(Serving(), ElementsAre("iris/4"));
  EXPECT_EQ(StateOf("iris", 5), "refused");
  EXPECT_EQ(StateOf("iris", 3), "found");
}

TEST_F(ManagerTest, ServesAnOlderVersionWhileTheNewestSettles) {
  WriteOld("/m/iris/1.h5", "good");
  files_.Write("/m/iris/2.h5", "good");

  StartAndRun();
  EXPECT_THAT(Serving(), ElementsAre("iris/1"));
  Pass(absl::Seconds(1));

  EXPECT_THAT(Serving(), ElementsAre("iris/2"));
}

TEST_F(ManagerTest, ServesTheLatestTwo) {
  files_.Write("/m/iris/model.json", "latest=2");
  for (const char* version : {"1", "2", "3"}) {
    WriteOld("/m/iris/" + std::string(version) + ".h5", "good");
  }
  StartAndRun();
  EXPECT_THAT(Serving(), ElementsAre("iris/2", "iris/3"));

  WriteOld("/m/iris/4.h5", "good");
  Run();

  EXPECT_THAT(Serving(), ElementsAre("iris/3", "iris/4"));
}

TEST_F(ManagerTest, ServesAllNewestFirst) {
  files_.Write("/m/iris/model.json", "all");
  for (const char* version : {"1", "2", "3"}) {
    WriteOld("/m/iris/" + std::string(version) + ".h5", "good");
  }

  StartAndRun();

  EXPECT_THAT(TakeLoaded(),
              ElementsAre("/m/iris/3.h5=good", "/m/iris/2.h5=good", "/m/iris/1.h5=good"));
  EXPECT_THAT(Serving(), ElementsAre("iris/1", "iris/2", "iris/3"));
}

TEST_F(ManagerTest, ServesASpecificVersionAndSwitchesOnlyWhenTheOtherServes) {
  files_.Write("/m/iris/model.json", "only=1");
  WriteOld("/m/iris/1.h5", "good");
  WriteOld("/m/iris/2.h5", "bad NOT_HDF5");
  WriteOld("/m/iris/3.h5", "good");
  StartAndRun();
  EXPECT_THAT(Serving(), ElementsAre("iris/1"));

  WriteOld("/m/iris/model.json", "only=2");
  Run();
  EXPECT_THAT(Serving(), ElementsAre("iris/1"));
  WriteOld("/m/iris/model.json", "only=3");
  Run();

  EXPECT_THAT(Serving(), ElementsAre("iris/3"));
}

TEST_F(ManagerTest, LabelsMayNameVersionsThatComeLater) {
  files_.Write("/m/iris/model.json", "label=stable:2");
  WriteOld("/m/iris/1.h5", "good");
  StartAndRun();
  EXPECT_EQ(store_.Find({"iris", std::nullopt, "stable"}).status().code(),
            absl::StatusCode::kNotFound);

  WriteOld("/m/iris/2.h5", "good");
  Run();

  EXPECT_TRUE(store_.Find({"iris", std::nullopt, "stable"}).ok());
}

}  // namespace
}  // namespace h5serve::model
