// Damaged files may be refused or read, but never hurt the process that reads.
#include <dirent.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <random>
#include <string>

#include "model/config_value.h"
#include "model/reader/read_model.h"

namespace h5serve::model {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr milliseconds kTimeout{2000};
// For starting the child and for cleaning up on a machine that is busy.
constexpr milliseconds kSlack{5000};

// How much more than by default is to be tried.
int Effort() {
  const char* text = std::getenv("H5SERVE_ROBUSTNESS_EFFORT");
  return text == nullptr ? 1 : std::max(1, std::atoi(text));
}

std::string ReadBytes(const std::string& name) {
  std::ifstream file(H5SERVE_MODEL_FILES "/" + name, std::ios::binary);
  EXPECT_TRUE(file.good()) << name;
  return std::string((std::istreambuf_iterator<char>(file)), {});
}

size_t OpenDescriptors() {
  size_t count = 0;
  DIR* directory = opendir("/proc/self/fd");
  while (readdir(directory) != nullptr) ++count;
  closedir(directory);
  return count;
}

// Looks at everything, so that a sanitizer sees what lies out of bounds.
void UseImage(const ModelImage& image) {
  double sum = 0;
  for (const auto& [path, tensor] : image.datasets) {
    if (tensor.dtype() == compute::DType::kString) {
      for (int64_t i = 0; i < tensor.num_elements(); ++i) {
        sum += static_cast<double>(tensor.data<std::string>()[i].size());
      }
      continue;
    }
    const auto* bytes = static_cast<const uint8_t*>(tensor.raw_data());
    for (int64_t i = 0; i < tensor.size_bytes(); ++i) sum += bytes[i];
  }
  EXPECT_GE(sum, 0);
  if (image.model_config) ParseJson(*image.model_config).IgnoreError();
}

class DamagedFilesTest : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    path_ = testing::TempDir() + "h5serve_damaged_" + std::to_string(getpid()) + ".h5";
    whole_ = ReadBytes(GetParam());
    descriptors_ = OpenDescriptors();
  }

  void TearDown() override {
    std::filesystem::remove(path_);
    EXPECT_EQ(OpenDescriptors(), descriptors_);
    EXPECT_EQ(waitpid(-1, nullptr, WNOHANG), -1);
    EXPECT_EQ(errno, ECHILD);
  }

  // Reads `bytes` as a file. An error must say why there is no image.
  std::optional<ModelImage> Read(const std::string& bytes, DiagnosisList* diagnoses) {
    std::ofstream(path_, std::ios::binary) << bytes;
    ReadOptions options;
    options.timeout = kTimeout;
    const steady_clock::time_point begin = steady_clock::now();
    std::optional<ModelImage> image = ReadModelFile(path_, options, diagnoses);
    EXPECT_LT(steady_clock::now() - begin, kTimeout + kSlack);
    if (image) {
      UseImage(*image);
      DiagnoseContents(*image, diagnoses);
    } else {
      EXPECT_TRUE(diagnoses->has_errors());
    }
    EXPECT_FALSE(diagnoses->Contains(Code::kInternalError)) << diagnoses->Summary();
    return image;
  }

  std::string path_;
  std::string whole_;
  size_t descriptors_ = 0;
};

TEST_P(DamagedFilesTest, SurvivesChangedBytes) {
  std::mt19937 random(20240521);
  const int rounds = 25 * Effort();

  for (int round = 0; round < rounds; ++round) {
    std::string bytes = whole_;
    const int changes = std::uniform_int_distribution<int>(1, 8)(random);
    for (int i = 0; i < changes; ++i) {
      const size_t at = std::uniform_int_distribution<size_t>(0, bytes.size() - 1)(random);
      bytes[at] = static_cast<char>(random());
    }
    SCOPED_TRACE(round);
    DiagnosisList diagnoses;
    Read(bytes, &diagnoses);
  }
}

// Damage where there is something: most of a small file is free space.
TEST_P(DamagedFilesTest, SurvivesChangedMetadata) {
  std::mt19937 random(20240522);
  std::vector<size_t> used;
  for (size_t i = 0; i < whole_.size(); ++i) {
    if (whole_[i] != 0) used.push_back(i);
  }
  const int rounds = 25 * Effort();

  for (int round = 0; round < rounds; ++round) {
    std::string bytes = whole_;
    const int changes = std::uniform_int_distribution<int>(1, 8)(random);
    for (int i = 0; i < changes; ++i) {
      const size_t at = used[std::uniform_int_distribution<size_t>(0, used.size() - 1)(random)];
      bytes[at] = static_cast<char>(random());
    }
    SCOPED_TRACE(round);
    DiagnosisList diagnoses;
    Read(bytes, &diagnoses);
  }
}

TEST_P(DamagedFilesTest, NamesTruncation) {
  const size_t steps = 12 * static_cast<size_t>(Effort());

  for (size_t step = 0; step < steps; ++step) {
    const size_t size = step < 4 ? step * 10 : whole_.size() * step / steps;
    SCOPED_TRACE(size);
    DiagnosisList diagnoses;

    EXPECT_FALSE(Read(whole_.substr(0, size), &diagnoses));

    if (size == 0) {
      EXPECT_TRUE(diagnoses.Contains(Code::kEmptyFile));
    } else if (size >= 10) {
      EXPECT_TRUE(diagnoses.Contains(Code::kTruncated)) << diagnoses.Summary();
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Files, DamagedFilesTest,
                         testing::Values("strings_variable_ascii.h5", "strings_variable_utf8.h5",
                                         "strings_fixed_null_padded.h5",
                                         "strings_fixed_space_padded.h5", "arrays_latest.h5",
                                         "arrays_gzip.h5", "archive_stored.keras"),
                         [](const auto& info) {
                           std::string name = info.param;
                           std::replace(name.begin(), name.end(), '.', '_');
                           return name;
                         });

}  // namespace
}  // namespace h5serve::model
