#include "model/executor.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <vector>

#include "absl/synchronization/notification.h"

namespace h5serve::model {
namespace {

int Niceness() { return getpriority(PRIO_PROCESS, static_cast<id_t>(syscall(SYS_gettid))); }

TEST(ThreadPerTaskTest, TasksThatTasksStartAreAsNiceAsTheFirst) {
  const int base = Niceness();
  std::atomic<int> first = 0, second = 0;
  absl::Notification done;
  ThreadPerTask executor(3);
  executor.Run([&] {
    first = Niceness();
    executor.Run([&] {
      second = Niceness();
      done.Notify();
    });
  });
  done.WaitForNotification();

  EXPECT_EQ(first, base + 3);
  EXPECT_EQ(second, base + 3);
}

TEST(ThreadPerTaskTest, DestructionWaitsForTasksOfTasks) {
  std::atomic<int> ran = 0;
  {
    ThreadPerTask executor(0);
    executor.Run([&] { executor.Run([&] { ++ran; }); });
  }
  EXPECT_EQ(ran, 1);
}

TEST(SerialExecutorTest, RunsTasksInOrderBeforeItEnds) {
  std::vector<int> order;
  {
    SerialExecutor executor(0);
    for (int i = 0; i < 100; ++i) executor.Run([&order, i] { order.push_back(i); });
  }
  ASSERT_EQ(order.size(), 100u);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(order[i], i);
}

}  // namespace
}  // namespace h5serve::model
