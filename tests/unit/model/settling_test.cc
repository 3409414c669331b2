#include "model/settling.h"

#include <gtest/gtest.h>

#include <string>

#include "tests/unit/model/fakes.h"

namespace h5serve::model {
namespace {

const SettlingRules kRules = {absl::Seconds(1), absl::Seconds(15)};

Settling::Sighting Sighting(int64_t size, absl::Duration age = absl::ZeroDuration()) {
  Settling::Sighting sighting;
  sighting.file.inode = 1;
  sighting.file.size = size;
  sighting.age = age;
  return sighting;
}

TEST(SettlingTest, SettlesWhenAFileStandsStill) {
  Settling settling;
  EXPECT_TRUE(settling.Observe(Sighting(1), absl::Seconds(10)));
  settling.SetCompleteness(Completeness::kComplete);
  EXPECT_EQ(settling.SettledAt(kRules), absl::Seconds(11));

  EXPECT_FALSE(settling.Observe(Sighting(1), absl::Seconds(12)));

  EXPECT_EQ(settling.SettledAt(kRules), absl::Seconds(11));
}

TEST(SettlingTest, StartsAnewWithEveryChange) {
  Settling settling;
  settling.Observe(Sighting(1), absl::Seconds(10));
  EXPECT_TRUE(settling.Observe(Sighting(2), absl::Seconds(20)));
  settling.SetCompleteness(Completeness::kComplete);

  EXPECT_EQ(settling.SettledAt(kRules), absl::Seconds(21));
}

TEST(SettlingTest, FilesThatBelongToItCount) {
  Settling settling;
  settling.Observe(Sighting(1), absl::Seconds(10));
  Settling::Sighting with_digest = Sighting(1);
  with_digest.digest_file.inode = 2;

  EXPECT_TRUE(settling.Observe(with_digest, absl::Seconds(20)));
}

TEST(SettlingTest, WhatIsOldAtFirstSightIsSettled) {
  Settling settling;
  settling.Observe(Sighting(1, absl::Hours(1)), absl::Seconds(10));
  settling.SetCompleteness(Completeness::kComplete);

  EXPECT_LE(settling.SettledAt(kRules), absl::Seconds(10));
}

TEST(SettlingTest, ATimeInTheFutureIsNoAge) {
  Settling settling;
  settling.Observe(Sighting(1, -absl::Hours(1)), absl::Seconds(10));
  settling.SetCompleteness(Completeness::kComplete);

  EXPECT_EQ(settling.SettledAt(kRules), absl::Seconds(11));
}

TEST(SettlingTest, WhatWasRenamedIsSettledIfItIsComplete) {
  Settling settling;
  Settling::Sighting renamed = Sighting(1);
  renamed.renamed = true;
  settling.Observe(renamed, absl::Seconds(10));
  EXPECT_EQ(settling.SettledAt(kRules), absl::Seconds(25));  // incomplete until checked

  settling.SetCompleteness(Completeness::kComplete);

  EXPECT_EQ(settling.SettledAt(kRules), absl::Seconds(10));
}

class CompletenessTest : public testing::Test {
 protected:
  CompletenessTest() : files_(&clock_) {}

  Completeness Check(const std::string& bytes) {
    files_.Write("/f", bytes);
    return CheckCompleteness(files_, "/f", static_cast<int64_t>(bytes.size()));
  }
  static std::string Number(uint64_t value, int width) {
    std::string bytes;
    for (int i = 0; i < width; ++i) bytes += static_cast<char>(value >> (8 * i));
    return bytes;
  }
  // A superblock that says where the file ends, and that many bytes.
  static std::string Hdf5(int version, uint64_t end, size_t size, uint8_t flags = 0,
                          size_t offset = 0) {
    std::string bytes(offset, 'u');
    bytes += std::string("\x89HDF\r\n\x1a\n", 8) + static_cast<char>(version);
    if (version < 2) {
      bytes += std::string("\0\0\0\0\x08\x08\0\x04\0\x10\0\0\0\0\0", 15);
      if (version == 1) bytes += std::string(4, '\0');
    } else {
      bytes += std::string("\x08\x08", 2) + static_cast<char>(flags);
    }
    bytes += Number(offset, 8) + Number(~0ULL, 8) + Number(end, 8) + Number(~0ULL, 8);
    bytes.resize(size, 'd');
    return bytes;
  }

  FakeClock clock_;
  FakeFileSystem files_;
};

TEST_F(CompletenessTest, TrustsTheSuperblocksEndOfFile) {
  for (int version = 0; version <= 3; ++version) {
    EXPECT_EQ(Check(Hdf5(version, 2048, 2048)), Completeness::kComplete) << version;
    EXPECT_EQ(Check(Hdf5(version, 2048, 2047)), Completeness::kIncomplete) << version;
    EXPECT_EQ(Check(Hdf5(version, 2048, 100)), Completeness::kIncomplete) << version;
  }
}

TEST_F(CompletenessTest, AFileLongerThanItsHeaderSaysIsOpenForWriting) {
  EXPECT_EQ(Check(Hdf5(0, 2048, 802048)), Completeness::kIncomplete);
}

TEST_F(CompletenessTest, AFlaggedFileIsOpenForWriting) {
  EXPECT_EQ(Check(Hdf5(3, 2048, 2048, /*flags=*/1)), Completeness::kIncomplete);
}

TEST_F(CompletenessTest, FindsTheSuperblockBehindAUserBlock) {
  EXPECT_EQ(Check(Hdf5(0, 4096, 4096, 0, 1024)), Completeness::kComplete);
  EXPECT_EQ(Check(Hdf5(0, 4096, 4000, 0, 1024)), Completeness::kIncomplete);
}

TEST_F(CompletenessTest, NothingAndZerosAreIncomplete) {
  EXPECT_EQ(Check(""), Completeness::kIncomplete);
  EXPECT_EQ(Check(std::string(5000, '\0')), Completeness::kIncomplete);
}

TEST_F(CompletenessTest, AnArchiveNeedsItsEnd) {
  const std::string start = std::string("PK\x03\x04", 4) + std::string(1000, 'z');
  EXPECT_EQ(Check(start), Completeness::kIncomplete);
  EXPECT_EQ(Check(start + std::string("PK\x05\x06", 4) + std::string(18, '\0')),
            Completeness::kComplete);
}

TEST_F(CompletenessTest, ForeignFilesAreWhole) {
  EXPECT_EQ(Check("version https://git-lfs.github.com/spec/v1"), Completeness::kComplete);
  EXPECT_EQ(Check(Hdf5(9, 2048, 100)), Completeness::kComplete);
}

TEST_F(CompletenessTest, AnUnreadableFileIsForTheReaderToExplain) {
  EXPECT_EQ(CheckCompleteness(files_, "/nothing", 100), Completeness::kComplete);
}

}  // namespace
}  // namespace h5serve::model
