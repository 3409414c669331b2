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

// --- Refusals and retries.

TEST_F(ManagerTest, NeverTriesAPermanentlyBadFileAgain) {
  WriteOld("/m/iris/1.h5", "bad NOT_HDF5");
  StartAndRun();
  EXPECT_EQ(TakeLoaded().size(), 1);

  Pass(absl::Hours(24));

  EXPECT_THAT(loaded_, IsEmpty());
}

TEST_F(ManagerTest, TriesAgainWhenTheContentChanges) {
  WriteOld("/m/iris/1.h5", "bad NOT_HDF5");
  StartAndRun();

  WriteOld("/m/iris/1.h5", "good");
  Run();

  EXPECT_THAT(Serving(), ElementsAre("iris/1"));
}

TEST_F(ManagerTest, DoesNotLoadRefusedBytesUnderAnotherIdentity) {
  WriteOld("/m/iris/1.h5", "bad NOT_HDF5");
  StartAndRun();
  EXPECT_EQ(TakeLoaded().size(), 1);

  WriteOld("/m/iris/1.h5", "bad NOT_HDF5");
  WriteOld("/m/iris/2.h5", "bad NOT_HDF5");
  Run();

  EXPECT_THAT(loaded_, IsEmpty());
  EXPECT_EQ(StateOf("iris", 1), "refused");
  EXPECT_EQ(StateOf("iris", 2), "refused");
  EXPECT_THAT(MessageOf("iris", 2), HasSubstr("NOT_HDF5"));
}

TEST_F(ManagerTest, DoesNotReloadWhatIsInServiceWhenOnlyItsTimesChange) {
  WriteOld("/m/iris/1.h5", "good");
  StartAndRun();
  TakeLoaded();

  files_.ChangeMode("/m/iris/1.h5");
  clock_.Advance(absl::Minutes(1));
  Run();
  Pass(absl::Hours(1));

  EXPECT_THAT(loaded_, IsEmpty());
  EXPECT_EQ(digests_, 1);
  EXPECT_EQ(StateOf("iris", 1), "serving");
}

TEST_F(ManagerTest, RetriesTransientFailuresEverMoreRarely) {
  WriteOld("/m/iris/1.h5", "bad IO_ERROR");
  StartAndRun();
  EXPECT_EQ(TakeLoaded().size(), 1);

  Pass(absl::Seconds(16));
  const size_t early = TakeLoaded().size();  // after about 1, 3, 7 and 15 seconds
  Pass(absl::Hours(1));
  const size_t hour = TakeLoaded().size();  // then up to five minutes apart

  EXPECT_GE(early, 3);
  EXPECT_LE(early, 5);
  EXPECT_GE(hour, 12);
  EXPECT_LE(hour, 22);
}

TEST_F(ManagerTest, ServesOnceATransientCauseIsGone) {
  WriteOld("/m/iris/1.h5", "bad IO_ERROR");
  StartAndRun();
  WriteOld("/m/iris/1.h5", "good");

  Pass(absl::Seconds(10));

  EXPECT_THAT(Serving(), ElementsAre("iris/1"));
}

TEST_F(ManagerTest, AChangedDigestFileIsAReasonToTryAgain) {
  WriteOld("/m/iris/1.h5", "bad NOT_HDF5");
  StartAndRun();
  TakeLoaded();

  WriteOld("/m/iris/1.h5.sha256", "abc");
  Run();

  EXPECT_EQ(loaded_.size(), 1);
}

TEST_F(ManagerTest, ComparesTheSignatureWithWhatIsInService) {
  WriteOld("/m/iris/1.h5", "good");
  StartAndRun();
  WriteOld("/m/iris/2.h5", "wide");
  Run();
  EXPECT_THAT(Serving(), ElementsAre("iris/1"));
  EXPECT_THAT(MessageOf("iris", 2), HasSubstr("SIGNATURE_CHANGED"));

  // Without the old version there is nothing to agree with.
  files_.Remove("/m/iris/1.h5");
  Run();
  Pass(absl::Seconds(11));

  EXPECT_THAT(Serving(), ElementsAre("iris/2"));
}

TEST_F(ManagerTest, ASlowModelDoesNotDelayOthers) {
  options_.max_parallel_loads = 1;
  WriteOld("/m/a/1.h5", "good");
  WriteOld("/m/b/1.h5", "good");
  Start();
  manager_->Step(Changed());
  EXPECT_EQ(loads_.size(), 1);

  clock_.Advance(options_.slow_load);
  manager_->Step(WatchReport());
  EXPECT_EQ(loads_.size(), 2);
  loads_.RunNewest();

  EXPECT_THAT(Serving(), ElementsAre("b/1"));
}

TEST_F(ManagerTest, ALoadThatFailedBeforeWaitsBehindFreshOnes) {
  options_.max_parallel_loads = 1;
  WriteOld("/m/a/1.h5", "bad IO_ERROR");
  StartAndRun();
  TakeLoaded();
  files_.Write("/m/b/1.h5", "good");
  files_.Write("/m/c/1.h5", "good");
  clock_.Advance(absl::Minutes(1));

  Run();

  EXPECT_THAT(TakeLoaded(),
              ElementsAre("/m/b/1.h5=good", "/m/c/1.h5=good", "/m/a/1.h5=bad IO_ERROR"));
}

// --- Deletion and outages.

TEST_F(ManagerTest, ADeletedFileServesOnForTheGracePeriod) {
  WriteOld("/m/iris/1.h5", "good");
  StartAndRun();
  files_.Remove("/m/iris/1.h5");
  files_.MakeDirectory("/m/iris");
  Run();
  Pass(absl::Seconds(9));
  EXPECT_THAT(Serving(), ElementsAre("iris/1"));

  Pass(absl::Seconds(1));

  EXPECT_THAT(Serving(), IsEmpty());
  EXPECT_EQ(StateOf("iris", 1), "removed");
  Pass(absl::Minutes(11));
  EXPECT_THAT(manager_->StatusOfAll(), IsEmpty());
}

TEST_F(ManagerTest, AFileThatComesBackWithinTheGracePeriodNeverStoppedServing) {
  WriteOld("/m/iris/1.h5", "good");
  StartAndRun();
  listener_.Take();
  files_.Move("/m/iris/1.h5", "/m/away");
  Run();
  Pass(absl::Seconds(5));
  files_.Move("/m/away", "/m/iris/1.h5");
  Run();
  Pass(absl::Minutes(1));

  EXPECT_THAT(Serving(), ElementsAre("iris/1"));
  EXPECT_THAT(listener_.Take(), testing::Not(testing::Contains("iris/1 draining")));
}

TEST_F(ManagerTest, DeletingTheNewestVersionBringsBackTheOneBefore) {
  WriteOld("/m/iris/1.h5", "good");
  WriteOld("/m/iris/2.h5", "good");
  StartAndRun();
  files_.Remove("/m/iris/2.h5");
  Run();

  Pass(absl::Seconds(10));

  EXPECT_THAT(Serving(), ElementsAre("iris/1"));
}

TEST_F(ManagerTest, AnUnreadableDirectoryUnloadsNothing) {
  WriteOld("/m/iris/1.h5", "good");
  StartAndRun();
  files_.Break("/m", absl::UnavailableError("/m: Stale file handle"));
  Run();

  Pass(absl::Hours(1));

  EXPECT_THAT(Serving(), ElementsAre("iris/1"));
  EXPECT_FALSE(manager_->scan_status().ok());
  EXPECT_TRUE(manager_->readiness().ready);
}

TEST_F(ManagerTest, AnUnreadableModelFolderUnloadsNothing) {
  WriteOld("/m/iris/1.h5", "good");
  StartAndRun();
  files_.Break("/m/iris", absl::PermissionDeniedError("/m/iris: Permission denied"));
  Run();

  Pass(absl::Hours(1));

  EXPECT_THAT(Serving(), ElementsAre("iris/1"));
  EXPECT_THAT(MessageOf("iris", kNoVersion), HasSubstr("Permission denied"));
}

TEST_F(ManagerTest, AnUnmountedVolumeUnloadsNothing) {
  WriteOld("/m/iris/1.h5", "good");
  StartAndRun();
  files_.Remove("/m");
  files_.MakeDirectory("/m");
  Run();

  Pass(absl::Hours(1));

  EXPECT_THAT(Serving(), ElementsAre("iris/1"));
}

// --- Settings.

TEST_F(ManagerTest, BadSettingsAtStartRefuseTheModelUntilTheyAreMended) {
  files_.Write("/m/iris/model.json", "nonsense");
  WriteOld("/m/iris/1.h5", "good");
  StartAndRun();
  EXPECT_THAT(loaded_, IsEmpty());
  EXPECT_EQ(StateOf("iris", 1), "refused");
  EXPECT_THAT(MessageOf("iris", 1), HasSubstr("SETTINGS_INVALID"));
  EXPECT_THAT(MessageOf("iris", kNoVersion), HasSubstr("unknown key \"nonsense\""));

  WriteOld("/m/iris/model.json", "all");
  Run();

  EXPECT_THAT(Serving(), ElementsAre("iris/1"));
  EXPECT_EQ(StateOf("iris", kNoVersion), "unknown");
}

TEST_F(ManagerTest, BadSettingsLaterLeaveTheOldOnesInForce) {
  files_.Write("/m/iris/model.json", "batch=7");
  WriteOld("/m/iris/1.h5", "good");
  StartAndRun();
  WriteOld("/m/iris/model.json", "nonsense");
  Run();

  EXPECT_THAT(Serving(), ElementsAre("iris/1"));
  EXPECT_EQ(manager_->OptionsOf("iris")->batching.max_batch_size, 7);
  EXPECT_EQ(StateOf("iris", kNoVersion), "refused");
}

TEST_F(ManagerTest, SettingsThatConcernTheLoadCauseAReload) {
  WriteOld("/m/iris/1.h5", "good");
  StartAndRun();
  TakeLoaded();

  WriteOld("/m/iris/model.json", "golden=require");
  Run();

  EXPECT_EQ(loaded_.size(), 1);
  EXPECT_EQ(StateOf("iris", 1), "serving");
}

TEST_F(ManagerTest, BatchingSettingsTakeEffectWithoutAReload) {
  WriteOld("/m/iris/1.h5", "good");
  StartAndRun();
  TakeLoaded();
  const std::shared_ptr<const ServedModel> before = *store_.Find({"iris", std::nullopt, ""});

  WriteOld("/m/iris/model.json", "batch=8");
  Run();

  const std::shared_ptr<const ServedModel> after = *store_.Find({"iris", std::nullopt, ""});
  EXPECT_NE(before, after);
  EXPECT_EQ(before->servable, after->servable);
  EXPECT_THAT(loaded_, IsEmpty());
}

TEST_F(ManagerTest, AMomentWithoutSettingsChangesNothing) {
  files_.Write("/m/iris/model.json", "golden=require");
  WriteOld("/m/iris/1.h5", "good");
  StartAndRun();
  TakeLoaded();

  files_.Move("/m/iris/model.json", "/m/iris/model.json~");
  Run();
  Pass(absl::Milliseconds(500));
  files_.Move("/m/iris/model.json~", "/m/iris/model.json");
  Run();
  Pass(absl::Minutes(1));

  EXPECT_THAT(loaded_, IsEmpty());
}

TEST_F(ManagerTest, NewDefaultsReachModelsWithoutSettingsOfTheirOwn) {
  WriteOld("/m/iris/1.h5", "good");
  StartAndRun();
  TakeLoaded();
  options_.defaults.compatibility.golden = "require";

  ASSERT_TRUE(manager_->SetOptions(options_).ok());
  Run();

  EXPECT_EQ(loaded_.size(), 1);
  options_.directory = "/elsewhere";
  EXPECT_FALSE(manager_->SetOptions(options_).ok());
}

TEST_F(ManagerTest, OptionsWithoutADifferenceDoNothing) {
  WriteOld("/m/iris/1.h5", "good");
  StartAndRun();
  TakeLoaded();
  listener_.Take();

  ASSERT_TRUE(manager_->SetOptions(options_).ok());
  Run();

  EXPECT_THAT(loaded_, IsEmpty());
  EXPECT_THAT(listener_.Take(), IsEmpty());
}

// --- Layout problems.

TEST_F(ManagerTest, TellsOnceWhatCannotBeTried) {
  WriteOld("/m/iris/1/a.h5", "good");
  WriteOld("/m/iris/1/b.h5", "good");
  StartAndRun();
  Pass(absl::Minutes(5));

  EXPECT_EQ(StateOf("iris", 1), "refused");
  EXPECT_THAT(MessageOf("iris", 1), HasSubstr("a.h5, b.h5"));
  const std::vector<std::string> lines = listener_.Take();
  EXPECT_EQ(std::count(lines.begin(), lines.end(), "load iris/1 refused SETTINGS_INVALID"), 1);

  files_.Remove("/m/iris/1/b.h5");
  clock_.Advance(absl::Minutes(1));
  Run();
  EXPECT_THAT(Serving(), ElementsAre("iris/1"));
}

// --- Memory.

TEST_F(ManagerTest, RefusesWithNumbersWhatDoesNotFit) {
  WriteOld("/m/a/1.h5", "good 600");
  WriteOld("/m/b/1.h5", "good 500");
  options_.max_parallel_loads = 1;
  StartAndRun();
  EXPECT_THAT(Serving(), ElementsAre("a/1"));
  EXPECT_THAT(MessageOf("b", 1), HasSubstr("RESOURCE_LIMIT"));

  Pass(absl::Seconds(5));  // now that the need is known, it is refused without a load

  EXPECT_THAT(MessageOf("b", 1), HasSubstr("needs 500 B, but of 1000 B for all models only 400 B "
                                           "are free (a 600 B)"));
}

TEST_F(ManagerTest, LoadsWhatDidNotFitAsSoonAsThereIsRoom) {
  options_.max_parallel_loads = 1;
  WriteOld("/m/a/1.h5", "good 600");
  WriteOld("/m/b/1.h5", "good 500");
  StartAndRun();
  Pass(absl::Minutes(30));  // the next retry is minutes away
  files_.Remove("/m/a/1.h5");
  Run();

  Pass(absl::Seconds(10));

  EXPECT_THAT(Serving(), ElementsAre("b/1"));
}

TEST_F(ManagerTest, WaitsForADrainingVersionRatherThanRefusing) {
  WriteOld("/m/a/1.h5", "good 600");
  StartAndRun();
  std::shared_ptr<const ServedModel> held = *store_.Find({"a", std::nullopt, ""});
  files_.Remove("/m/a/1.h5");
  Run();
  Pass(absl::Seconds(10));
  EXPECT_EQ(StateOf("a", 1), "draining");
  WriteOld("/m/b/1.h5", "good 500");
  Run();
  EXPECT_EQ(StateOf("b", 1), "found");

  held = nullptr;
  while (reaper_.RunOne() || loads_.RunOne()) {
  }

  EXPECT_THAT(Serving(), ElementsAre("b/1"));
}

TEST_F(ManagerTest, LoadsAtTheSameTimeDoNotExceedTheLimitTogether) {
  WriteOld("/m/a/1.h5", "good 600");
  WriteOld("/m/b/1.h5", "good 600");
  options_.max_parallel_loads = 2;

  StartAndRun();

  EXPECT_EQ(Serving().size(), 1);
  EXPECT_EQ(manager_->memory_used_bytes(), 600);
}

TEST_F(ManagerTest, AModelsOwnLimitIsAPermanentCause) {
  files_.Write("/m/a/model.json", "limit=10");
  WriteOld("/m/a/1.h5", "good 20");
  StartAndRun();
  EXPECT_EQ(TakeLoaded().size(), 1);
  EXPECT_THAT(MessageOf("a", 1), HasSubstr("RESOURCE_LIMIT"));

  Pass(absl::Hours(1));
  EXPECT_THAT(loaded_, IsEmpty());
  WriteOld("/m/a/model.json", "limit=30");
  Run();

  EXPECT_THAT(Serving(), ElementsAre("a/1"));
}

// --- Management calls.

TEST_F(ManagerTest, UnloadedModelsStayAwayUntilAFileChanges) {
  WriteOld("/m/iris/1.h5", "good");
  StartAndRun();
  ASSERT_TRUE(manager_->Unload("iris").ok());
  Run();
  Pass(absl::Hours(1));
  EXPECT_THAT(Serving(), IsEmpty());
  EXPECT_EQ(StateOf("iris", 1), "removed");
  EXPECT_FALSE(manager_->readiness().ready);

  WriteOld("/m/iris/1.h5", "good,2");
  Run();

  EXPECT_THAT(Serving(), ElementsAre("iris/1"));
  EXPECT_EQ(manager_->Unload("nobody").code(), absl::StatusCode::kNotFound);
}

class ManagerCallTest : public ManagerTest {
 protected:
  // Runs the manager while another thread calls Load.
  absl::Status Load(const std::string& name) {
    std::atomic<bool> done{false};
    absl::Status status;
    std::thread caller([&] {
      status = manager_->Load(name, absl::Now() + absl::Minutes(1));
      done = true;
    });
    while (!done) {
      Run(WatchReport());
      if (manager_->NextStep() > clock_.Elapsed()) clock_.Advance(absl::Milliseconds(100));
    }
    caller.join();
    return status;
  }
};

TEST_F(ManagerCallTest, LoadBringsBackAnUnloadedModel) {
  WriteOld("/m/iris/1.h5", "good");
  StartAndRun();
  ASSERT_TRUE(manager_->Unload("iris").ok());
  Run();

  EXPECT_TRUE(Load("iris").ok());

  EXPECT_THAT(Serving(), ElementsAre("iris/1"));
}

TEST_F(ManagerCallTest, LoadTriesARefusedFileAgainAndTellsTheDiagnosis) {
  WriteOld("/m/iris/1.h5", "bad NOT_HDF5");
  StartAndRun();
  TakeLoaded();

  const absl::Status status = Load("iris");

  EXPECT_THAT(std::string(status.message()), HasSubstr("NOT_HDF5"));
  EXPECT_EQ(loaded_.size(), 1);
}

TEST_F(ManagerCallTest, LoadWaitsForAFileThatHasJustCome) {
  StartAndRun();
  files_.Write("/m/iris/1.h5", "good");

  EXPECT_TRUE(Load("iris").ok());

  EXPECT_THAT(Serving(), ElementsAre("iris/1"));
}

TEST_F(ManagerCallTest, LoadOfAnUnknownModelIsNotFound) {
  StartAndRun();

  EXPECT_EQ(Load("nobody").code(), absl::StatusCode::kNotFound);
}

TEST_F(ManagerCallTest, LoadGivesUpAtTheDeadline) {
  StartAndRun();

  EXPECT_EQ(manager_->Load("iris", absl::InfinitePast()).code(),
            absl::StatusCode::kDeadlineExceeded);
}

// --- Readiness.

TEST_F(ManagerTest, NothingFoundIsNotReady) {
  StartAndRun();
  EXPECT_FALSE(manager_->readiness().ready);
  EXPECT_THAT(manager_->readiness().reason, HasSubstr("no model found in /m"));

  WriteOld("/m/iris/1.h5", "good");
  Run();

  EXPECT_TRUE(manager_->readiness().ready);
}

TEST_F(ManagerTest, ReadyMeansEveryModelFoundAtStartServes) {
  WriteOld("/m/iris/1.h5", "good");
  WriteOld("/m/rose/1.h5", "bad NOT_HDF5");
  StartAndRun();
  EXPECT_THAT(manager_->readiness().missing, ElementsAre("rose"));

  WriteOld("/m/rose/2.h5", "good");
  Run();

  EXPECT_TRUE(manager_->readiness().ready);
}

TEST_F(ManagerTest, WhatComesLaterNeverTakesReadinessAway) {
  WriteOld("/m/iris/1.h5", "good");
  StartAndRun();

  WriteOld("/m/rose/1.h5", "bad NOT_HDF5");
  Run();
  WriteOld("/m/iris/2.h5", "bad NOT_HDF5");
  Run();

  EXPECT_TRUE(manager_->readiness().ready);
}

TEST_F(ManagerTest, RequiredModelsAloneDecideWhenTheyAreNamed) {
  options_.required_models = {"rose"};
  WriteOld("/m/iris/1.h5", "good");
  StartAndRun();
  EXPECT_FALSE(manager_->readiness().ready);

  WriteOld("/m/rose/1.h5", "good");
  Run();

  EXPECT_TRUE(manager_->readiness().ready);
}

TEST_F(ManagerTest, IsIdleOnlyWhenAllIsDone) {
  Start();
  EXPECT_FALSE(manager_->idle());
  files_.Write("/m/iris/1.h5", "good");
  Run();
  EXPECT_FALSE(manager_->idle());

  Pass(absl::Seconds(1));

  EXPECT_TRUE(manager_->idle());
}

}  // namespace
}  // namespace h5serve::model
