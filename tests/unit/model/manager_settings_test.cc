#include <atomic>
#include <thread>

#include "model/manager.h"
#include "tests/unit/model/manager_fixture.h"

namespace h5serve::model {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

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
