#include "model/watcher.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <thread>

#include "tests/unit/model/fakes.h"

namespace h5serve::model {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

// Long enough for any machine; an event ends the wait at once.
constexpr absl::Duration kPatience = absl::Minutes(1);

class WatcherTest : public testing::Test {
 protected:
  void Write(const std::string& name) { std::ofstream(directory_ / name) << "x"; }
  void Move(const std::string& from, const std::string& to) {
    std::filesystem::rename(directory_ / from, directory_ / to);
  }

  TempDir directory_;
  InotifyWatcher watcher_;
};

TEST_F(WatcherTest, HearsOfANewFile) {
  watcher_.Watch({directory_.path()});
  Write("iris.h5");

  const WatchReport report = watcher_.Wait(kPatience);

  EXPECT_TRUE(report.changed);
  EXPECT_THAT(report.renamed, IsEmpty());
}

TEST_F(WatcherTest, TellsWhichFileARenamePutThere) {
  Write("iris.h5.tmp");
  watcher_.Watch({directory_.path()});
  Move("iris.h5.tmp", "iris.h5");

  EXPECT_THAT(watcher_.Wait(kPatience).renamed, ElementsAre(directory_ / "iris.h5"));
}

TEST_F(WatcherTest, AFileWrittenAfterItsRenameWasNotOnlyRenamed) {
  Write("iris.h5.tmp");
  watcher_.Watch({directory_.path()});
  Move("iris.h5.tmp", "iris.h5");
  Write("iris.h5");

  EXPECT_THAT(watcher_.Wait(kPatience).renamed, IsEmpty());
}

TEST_F(WatcherTest, HearsOfAHardLinkAndOfADeletion) {
  Write("a");
  watcher_.Watch({directory_.path()});
  std::filesystem::create_hard_link(directory_ / "a", directory_ / "b.h5");
  EXPECT_TRUE(watcher_.Wait(kPatience).changed);

  std::filesystem::remove(directory_ / "b.h5");

  EXPECT_TRUE(watcher_.Wait(kPatience).changed);
}

TEST_F(WatcherTest, WatchesADirectoryThatTookAnothersName) {
  std::filesystem::create_directory(directory_ / "models");
  std::filesystem::create_directory(directory_ / "other");
  watcher_.Watch({directory_ / "models"});
  Move("models", "old");
  Move("other", "models");
  EXPECT_TRUE(watcher_.Wait(kPatience).changed);  // the watched one was moved

  watcher_.Watch({directory_ / "models"});
  Write("models/iris.h5");

  EXPECT_TRUE(watcher_.Wait(kPatience).changed);
  EXPECT_TRUE(watcher_.status().ok());
}

TEST_F(WatcherTest, ADirectoryThatIsNotThereIsToldAndNoHarm) {
  watcher_.Watch({directory_ / "nothing"});

  EXPECT_FALSE(watcher_.status().ok());
  EXPECT_FALSE(watcher_.Wait(absl::ZeroDuration()).changed);
}

TEST_F(WatcherTest, NoLongerHearsOfWhatIsNoLongerWatched) {
  watcher_.Watch({directory_.path()});
  watcher_.Watch({});
  watcher_.Wait(absl::ZeroDuration());  // the end of the watch is an event, too
  Write("iris.h5");

  EXPECT_FALSE(watcher_.Wait(absl::ZeroDuration()).changed);
}

TEST_F(WatcherTest, WakeEndsAWaitNowOrTheNext) {
  watcher_.Wake();
  EXPECT_FALSE(watcher_.Wait(kPatience).changed);

  std::thread waker([this] { watcher_.Wake(); });
  watcher_.Wait(kPatience);
  waker.join();
}

TEST_F(WatcherTest, WithoutInotifyOnlyWaits) {
  InotifyWatcher blind(/*use_inotify=*/false);
  blind.Watch({directory_.path()});
  Write("iris.h5");

  EXPECT_FALSE(blind.Wait(absl::ZeroDuration()).changed);
  EXPECT_FALSE(blind.status().ok());
}

}  // namespace
}  // namespace h5serve::model
