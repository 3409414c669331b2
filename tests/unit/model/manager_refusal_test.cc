#include "model/manager.h"
#include "tests/unit/model/manager_fixture.h"

namespace h5serve::model {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

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

TEST_F(ManagerTest, MakesNoDigestOfAFileTooLargeToRead) {
  WriteOld("/m/iris/1.h5", "bad RESOURCE_LIMIT");
  options_.defaults.max_file_bytes = 4;
  StartAndRun();

  EXPECT_EQ(StateOf("iris", 1), "refused");
  EXPECT_EQ(digests_, 0);
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
  files_.MakeDirectory("/m/iris");
  WriteOld("/m/iris/1.h5", "good");
  StartAndRun();
  files_.Remove("/m/iris/1.h5");
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

}  // namespace
}  // namespace h5serve::model
