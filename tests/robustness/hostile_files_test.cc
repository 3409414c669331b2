// Files made to exhaust what reads them.
#include <dirent.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <chrono>
#include <fstream>
#include <iterator>
#include <string>
#include <thread>
#include <vector>

#include "model/reader/read_model.h"

namespace h5serve::model {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

std::string PathOf(const std::string& name) {
  return H5SERVE_MODEL_FILES "/" + name;
}

struct Outcome {
  std::optional<ModelImage> image;
  DiagnosisList diagnoses;
};

Outcome Read(const std::string& path, const ReadOptions& options = {}) {
  Outcome outcome;
  outcome.image = ReadModelFile(path, options, &outcome.diagnoses);
  return outcome;
}

int64_t LargestResidentBytesOfChildren() {
  rusage usage{};
  getrusage(RUSAGE_CHILDREN, &usage);
  return usage.ru_maxrss * int64_t{1024};
}

size_t OpenDescriptors() {
  size_t count = 0;
  DIR* directory = opendir("/proc/self/fd");
  while (readdir(directory) != nullptr) ++count;
  closedir(directory);
  return count;
}

TEST(HostileFilesTest, FollowsNoCycle) {
  const Outcome outcome = Read(PathOf("hostile_cycle.h5"));

  ASSERT_TRUE(outcome.image);
  EXPECT_FALSE(outcome.diagnoses.has_errors());
  EXPECT_EQ(outcome.image->datasets.size(), 2u);
}

TEST(HostileFilesTest, VisitsDoublingPathsOnlySoOften) {
  const steady_clock::time_point begin = steady_clock::now();

  const Outcome outcome = Read(PathOf("hostile_doubling.h5"));

  ASSERT_TRUE(outcome.image);
  EXPECT_LT(steady_clock::now() - begin, std::chrono::seconds(5));
}

TEST(HostileFilesTest, RefusesDeepNesting) {
  EXPECT_TRUE(Read(PathOf("hostile_deep.h5")).diagnoses.Contains(Code::kHdf5Corrupt));
}

TEST(HostileFilesTest, RefusesArraysFarLargerThanTheFile) {
  for (const char* name : {"hostile_nearly_unwritten_giant.h5", "hostile_giant_chunk.h5"}) {
    const Outcome outcome = Read(PathOf(name));

    EXPECT_TRUE(outcome.diagnoses.Contains(Code::kReaderMemory)) << name;
  }
  EXPECT_TRUE(Read(PathOf("hostile_unwritten_giant.h5")).diagnoses.Contains(Code::kIncompleteSave));
  EXPECT_LT(LargestResidentBytesOfChildren(), int64_t{1} << 30);
}

TEST(HostileFilesTest, KeepsArraysWithinTheBudget) {
  ReadOptions options;
  options.max_array_bytes = 16 << 20;

  const Outcome outcome = Read(PathOf("hostile_many_large.h5"), options);

  EXPECT_TRUE(outcome.diagnoses.Contains(Code::kResourceLimit));
  EXPECT_FALSE(outcome.diagnoses.Contains(Code::kReaderMemory));
}

TEST(HostileFilesTest, RefusesArchiveWithoutWeights) {
  const Outcome outcome = Read(PathOf("archive_bomb.keras"));

  EXPECT_FALSE(outcome.image);
  EXPECT_TRUE(outcome.diagnoses.has_errors());
}

TEST(HostileFilesTest, StopsAtTheDeadline) {
  ReadOptions options;
  options.timeout = milliseconds(1);
  const steady_clock::time_point begin = steady_clock::now();

  const Outcome outcome = Read(PathOf("hostile_many_large.h5"), options);

  EXPECT_FALSE(outcome.image);
  EXPECT_TRUE(outcome.diagnoses.Contains(Code::kReaderTimeout)) << outcome.diagnoses.Summary();
  EXPECT_LT(steady_clock::now() - begin, std::chrono::seconds(5));
}

TEST(HostileFilesTest, LeavesNoDescriptorsBehind) {
  const size_t before = OpenDescriptors();

  for (int i = 0; i < 100; ++i) {
    EXPECT_TRUE(Read(PathOf("strings_variable_ascii.h5")).image);
    EXPECT_FALSE(Read(PathOf("kind_foreign.h5")).image->model_config);
  }

  EXPECT_EQ(OpenDescriptors(), before);
}

TEST(HostileFilesTest, ReadsInParallel) {
  std::vector<std::thread> threads;
  std::atomic<int> good = 0;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&good] {
      for (int k = 0; k < 5; ++k) good += Read(PathOf("arrays_gzip.h5")).image.has_value();
    });
  }

  for (std::thread& thread : threads) thread.join();

  EXPECT_EQ(good, 20);
}

TEST(HostileFilesTest, NoticesAFileThatGrows) {
  const std::string path = testing::TempDir() + "h5serve_growing.h5";
  std::ifstream source(PathOf("hostile_many_large.h5"), std::ios::binary);
  const std::string bytes((std::istreambuf_iterator<char>(source)), {});
  std::ofstream(path, std::ios::binary) << bytes;
  std::atomic<bool> done = false;
  std::thread writer([&] {
    while (!done) {
      std::ofstream(path, std::ios::binary | std::ios::app) << "more";
      std::this_thread::sleep_for(milliseconds(1));
    }
  });

  const Outcome outcome = Read(path);

  done = true;
  writer.join();
  std::remove(path.c_str());
  EXPECT_FALSE(outcome.image);
  EXPECT_TRUE(outcome.diagnoses.Contains(Code::kBeingWritten));
}

}  // namespace
}  // namespace h5serve::model
