#include "model/manager_thread.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <thread>

#include "absl/synchronization/notification.h"
#include "model/announcer.h"
#include "tests/unit/model/fakes.h"

namespace h5serve::model {
namespace {

// A real manager on real files, threads and time; only loads are made up.
class ManagerThreadTest : public testing::Test {
 protected:
  ManagerThreadTest() : loads_(0), reaper_(0) {
    options_.directory = directory_.path();
    options_.memory_limit_bytes = 1 << 20;
    options_.settling.settle = absl::ZeroDuration();
    options_.settling.incomplete = absl::ZeroDuration();
    options_.scan_gap = absl::Milliseconds(1);
    dependencies_.files = &files_;
    dependencies_.clock = &clock_;
    dependencies_.loads = &loads_;
    dependencies_.reaper = &reaper_;
    dependencies_.store = &store_;
    dependencies_.listener = &listener_;
    dependencies_.wake = [this] { watcher_.Wake(); };
    dependencies_.load = [](const LoadRequest& request) {
      LoadOutcome outcome;
      std::string text;
      std::getline(std::ifstream(request.path) >> std::ws, text);
      if (request.on_phase) request.on_phase(LoadPhase::kReading);
      outcome.facts.sha256 = text;
      outcome.facts.memory_bytes = 100;
      if (text.starts_with("bad")) {
        outcome.diagnoses.Add(Code::kNotHdf5, "bad");
      } else {
        outcome.servable =
            std::make_shared<const Servable>(Signature(), outcome.facts, nullptr, true);
      }
      return outcome;
    };
  }

  // Puts `text` under `name` in one step.
  void Publish(const std::string& name, const std::string& text) {
    std::filesystem::create_directories(std::filesystem::path(directory_ / name).parent_path());
    std::ofstream(directory_ / (name + ".tmp")) << text << std::endl;
    std::filesystem::rename(directory_ / (name + ".tmp"), directory_ / name);
  }

  TempDir directory_;
  PosixFileSystem files_;
  SystemClock clock_;
  ModelStore store_;
  RecordingListener listener_;
  InotifyWatcher watcher_;
  ThreadPerTask loads_;
  SerialExecutor reaper_;
  ManagerOptions options_;
  ManagerDependencies dependencies_;
};

TEST_F(ManagerThreadTest, EveryRequestIsServedWhileVersionsComeAndGo) {
  Publish("iris/1.h5", "good 1");
  Manager manager(options_, dependencies_);
  ManagerThread thread(&manager, &clock_, &watcher_);
  ASSERT_TRUE(manager.Load("iris", absl::Now() + absl::Minutes(1)).ok());
  std::atomic<bool> done{false};
  std::atomic<int> failures{0};
  std::vector<std::thread> clients;
  for (int i = 0; i < 3; ++i) {
    clients.emplace_back([&] {
      while (!done) {
        const auto served = store_.Find({"iris", std::nullopt, ""});
        if (!served.ok() || (*served)->servable->facts().memory_bytes != 100) ++failures;
        manager.readiness();
        manager.StatusOfAll();
      }
    });
  }

  for (int i = 2; i <= 40; ++i) {
    Publish("iris/" + std::to_string(i) + ".h5", i % 3 == 0 ? "bad" : "good");
    const absl::Status loaded = manager.Load("iris", absl::Now() + absl::Minutes(1));
    EXPECT_EQ(loaded.ok(), i % 3 != 0) << i << ": " << loaded;
    if (i > 3) std::filesystem::remove(directory_ / ("iris/" + std::to_string(i - 3) + ".h5"));
  }
  done = true;
  for (std::thread& client : clients) client.join();

  EXPECT_EQ(failures, 0);
  EXPECT_EQ(store_.All().back()->version, 40);
}

TEST_F(ManagerThreadTest, FindsWhatIsPutIntoANewFolder) {
  Manager manager(options_, dependencies_);
  ManagerThread thread(&manager, &clock_, &watcher_);
  Publish("rose/1/model.h5", "good");

  EXPECT_TRUE(manager.Load("rose", absl::Now() + absl::Minutes(1)).ok());
}

TEST_F(ManagerThreadTest, EndsWhileLoadsRun) {
  absl::Notification started, go_on;
  dependencies_.load = [&](const LoadRequest&) {
    started.Notify();
    go_on.WaitForNotification();
    LoadOutcome outcome;
    outcome.servable = std::make_shared<const Servable>(Signature(), ModelFacts(), nullptr, true);
    return outcome;
  };
  Publish("iris/1.h5", "good");
  {
    Manager manager(options_, dependencies_);
    ManagerThread thread(&manager, &clock_, &watcher_);
    started.WaitForNotification();
    go_on.Notify();
  }

  EXPECT_TRUE(store_.All().empty());
}

TEST(ExecutorTest, RunsEveryTaskBeforeItEnds) {
  std::atomic<int> count{0};
  {
    ThreadPerTask threads(1);
    SerialExecutor serial(1);
    for (int i = 0; i < 20; ++i) {
      threads.Run([&] { ++count; });
      serial.Run([&] { ++count; });
    }
  }

  EXPECT_EQ(count, 40);
}

TEST(ExecutorTest, ATaskMaySubmitAnother) {
  std::atomic<int> count{0};
  {
    ThreadPerTask threads(0);
    threads.Run([&] { threads.Run([&] { ++count; }); });
  }

  EXPECT_EQ(count, 1);
}

TEST(AnnouncerTest, TellsInOrderFromManyThreadsOneAtATime) {
  RecordingListener listener;
  Announcer announcer(&listener);
  std::atomic<int> inside{0};
  std::atomic<bool> overlapped{false};
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int j = 0; j < 100; ++j) {
        announcer.Add([&](LifecycleListener*) {
          if (inside.fetch_add(1) != 0) overlapped = true;
          --inside;
        });
        announcer.Tell();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();

  EXPECT_FALSE(overlapped);
}

}  // namespace
}  // namespace h5serve::model
