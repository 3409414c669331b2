#include "model/memory_ledger.h"

#include <gtest/gtest.h>

#include "tests/unit/model/fakes.h"

namespace h5serve::model {
namespace {

class AllowedMemoryTest : public testing::Test {
 protected:
  AllowedMemoryTest() : files_(&clock_) {
    files_.Write("/r/proc/meminfo", "MemTotal:        1000 kB\nMemFree: 5 kB\n");
  }
  int64_t Allowed() { return AllowedMemoryBytes(files_, "/r"); }

  FakeClock clock_;
  FakeFileSystem files_;
};

TEST_F(AllowedMemoryTest, IsTheMachinesWithoutAControlGroup) { EXPECT_EQ(Allowed(), 1024000); }

TEST_F(AllowedMemoryTest, ReadsVersionTwoAndItsParents) {
  files_.Write("/r/proc/self/cgroup", "0::/kube/pod/app\n");
  files_.Write("/r/sys/fs/cgroup/kube/pod/app/memory.max", "max\n");
  files_.Write("/r/sys/fs/cgroup/kube/pod/memory.max", "300000\n");
  files_.Write("/r/sys/fs/cgroup/kube/memory.max", "max\n");

  EXPECT_EQ(Allowed(), 300000);
}

TEST_F(AllowedMemoryTest, ReadsTheMountItselfInsideAContainer) {
  files_.Write("/r/proc/self/cgroup", "0::/somewhere/on/the/host\n");
  files_.Write("/r/sys/fs/cgroup/memory.max", "200000\n");

  EXPECT_EQ(Allowed(), 200000);
}

TEST_F(AllowedMemoryTest, ReadsVersionOne) {
  files_.Write("/r/proc/self/cgroup", "5:cpu,cpuacct:/app\n4:memory:/app\n0::/\n");
  files_.Write("/r/sys/fs/cgroup/memory/app/memory.limit_in_bytes", "100000\n");
  files_.Write("/r/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");

  EXPECT_EQ(Allowed(), 100000);
}

TEST_F(AllowedMemoryTest, GarbageIsNoLimit) {
  files_.Write("/r/proc/self/cgroup", "\n::\n0::/\nnonsense");
  files_.Write("/r/sys/fs/cgroup/memory.max", "99999999999999999999999999\n");

  EXPECT_EQ(Allowed(), 1024000);
}

TEST(MemoryLedgerTest, CountsWhatIsReservedAndHeld) {
  MemoryLedger ledger(1000);
  ledger.Reserve("a", 300);
  ledger.Hold("b", 200);
  EXPECT_EQ(ledger.used_bytes(), 500);
  EXPECT_EQ(ledger.free_bytes(), 500);

  ledger.Unreserve("a", 300);
  ledger.Release("b", 200);

  EXPECT_EQ(ledger.used_bytes(), 0);
  EXPECT_EQ(ledger.Describe(), "");
}

TEST(MemoryLedgerTest, NamesTheLargestHolders) {
  MemoryLedger ledger(1 << 30);
  for (int i = 1; i <= 7; ++i) ledger.Hold("m" + std::to_string(i), i * 1024);

  EXPECT_EQ(ledger.Describe(),
            "m7 7.0 KiB, m6 6.0 KiB, m5 5.0 KiB, m4 4.0 KiB, m3 3.0 KiB and 2 more");
}

TEST(FormatBytesTest, UsesBinaryUnits) {
  EXPECT_EQ(FormatBytes(0), "0 B");
  EXPECT_EQ(FormatBytes(1023), "1023 B");
  EXPECT_EQ(FormatBytes(1536), "1.5 KiB");
  EXPECT_EQ(FormatBytes(int64_t{5} << 40), "5.0 TiB");
}

}  // namespace
}  // namespace h5serve::model
