#include "model/model_directory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "tests/unit/model/fakes.h"

namespace h5serve::model {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::UnorderedElementsAre;

class ModelDirectoryTest : public testing::Test {
 protected:
  ModelDirectoryTest() : files_(&clock_) { files_.MakeDirectory("/m"); }

  DirectoryScan Scan() { return ScanModelDirectory(files_, "/m"); }
  // What is found, as "iris/3=/m/iris/3.h5", refused ones with the code.
  std::vector<std::string> Found() { return Describe(Scan()); }
  static std::vector<std::string> Describe(const DirectoryScan& scan) {
    std::vector<std::string> lines;
    for (const FoundModel& model : scan.models) {
      for (const Candidate& candidate : model.versions) {
        std::string line =
            model.name + "/" + std::to_string(candidate.version) + "=" + candidate.path;
        if (!candidate.problems.empty()) line += " " + std::string(candidate.problems.Reason());
        lines.push_back(line);
      }
      for (const Diagnosis& problem : model.problems.items()) {
        lines.push_back(model.name + ": " + std::string(Name(problem.code)));
      }
    }
    return lines;
  }

  FakeClock clock_;
  FakeFileSystem files_;
};

TEST_F(ModelDirectoryTest, ReadsEveryLayout) {
  files_.Write("/m/flat.h5", "x");
  files_.Write("/m/versions/3.h5", "x");
  files_.Write("/m/versions/12.keras", "x");
  files_.Write("/m/serving/7/anything.hdf5", "x");
  files_.Write("/m/serving/model.json", "{}");

  const DirectoryScan scan = Scan();

  const std::string seconds = std::to_string(absl::ToUnixSeconds(clock_.Now()));
  EXPECT_THAT(Describe(scan),
              ElementsAre("flat/" + seconds + "=/m/flat.h5", "serving/7=/m/serving/7/anything.hdf5",
                          "versions/3=/m/versions/3.h5", "versions/12=/m/versions/12.keras"));
  EXPECT_EQ(scan.models[1].settings_path, "/m/serving/model.json");
  EXPECT_THAT(scan.directories,
              UnorderedElementsAre("/m", "/m/versions", "/m/serving", "/m/serving/7"));
}

TEST_F(ModelDirectoryTest, IgnoresHiddenAndUnfinishedAndForeignFiles) {
  for (const char* name : {".iris.h5", ".iris.h5.x7Yz", "iris.h5~", "iris.h5.tmp", "iris.h5.part",
                           "README.md", "iris.h5.sha256", "iris.h5.golden.npz", "notes/todo.txt",
                           "..data/iris.h5", "lost+found/x.h5", "notes/assets/1.h5"}) {
    files_.Write("/m/" + std::string(name), "x");
  }

  EXPECT_THAT(Found(), IsEmpty());
}

TEST_F(ModelDirectoryTest, FlatFilesAndAFolderOfTheSameNameAreOneModel) {
  files_.Write("/m/iris.h5", "x");
  files_.Write("/m/iris/1.h5", "x");
  files_.Write("/m/iris/model.json", "{}");

  const DirectoryScan scan = Scan();

  ASSERT_EQ(scan.models.size(), 1);
  EXPECT_EQ(scan.models[0].versions.size(), 2);
  EXPECT_FALSE(scan.models[0].settings_path.empty());
}

TEST_F(ModelDirectoryTest, KnowsTheFilesThatBelongToAModelFile) {
  files_.Write("/m/iris/1.h5", "x");
  files_.Write("/m/iris/1.h5.sha256", "x");
  files_.Write("/m/iris/1.h5.golden.npz", "x");

  const Candidate candidate = Scan().models.at(0).versions.at(0);

  EXPECT_NE(candidate.digest_file, FileIdentity{});
  EXPECT_NE(candidate.golden_file, FileIdentity{});
}

TEST_F(ModelDirectoryTest, RefusesWhatIsAmbiguous) {
  files_.Write("/m/iris/1.h5", "x");
  files_.Write("/m/iris/1/model.h5", "x");
  files_.Write("/m/rose/2/a.h5", "x");
  files_.Write("/m/rose/2/b.h5", "x");

  const DirectoryScan scan = Scan();

  EXPECT_THAT(Describe(scan), ElementsAre("iris/1=/m/iris/1/model.h5 SETTINGS_INVALID",
                                          "rose/2=/m/rose/2 SETTINGS_INVALID"));
  EXPECT_THAT(scan.models[0].versions[0].problems.items()[0].message,
              HasSubstr("/m/iris/1/model.h5 and /m/iris/1.h5"));
}

TEST_F(ModelDirectoryTest, ExplainsNamesThatAreNoVersions) {
  files_.Write("/m/iris/model.h5", "x");
  files_.Write("/m/iris/99999999999999999999.h5", "x");

  EXPECT_THAT(Found(), ElementsAre("iris: SETTINGS_INVALID", "iris: SETTINGS_INVALID"));
}

TEST_F(ModelDirectoryTest, ExplainsFoldersAndDevicesNamedLikeModels) {
  files_.Write("/m/folder.h5/x.txt", "x");
  files_.Write("/m/saved.h5/saved_model.pb", "x");
  files_.MakeOther("/m/pipe.h5", FileKind::kOther);
  files_.Write("/m/iris/1/saved_model.pb", "x");
  files_.Write("/m/iris/2/weights.bin", "x");
  files_.MakeDirectory("/m/iris/3");

  EXPECT_THAT(Found(), ElementsAre("folder: FILE_UNREADABLE", "iris/1=/m/iris/1 SAVEDMODEL_DIR",
                                   "iris/2=/m/iris/2 FILE_NOT_FOUND", "pipe: FILE_UNREADABLE",
                                   "saved: SAVEDMODEL_DIR"));
}

TEST_F(ModelDirectoryTest, ExplainsLinksThatLeadNowhere) {
  files_.Break("/m/gone.h5", absl::NotFoundError("gone"), /*is_link=*/true);
  files_.Break("/m/loop.h5", absl::FailedPreconditionError("loop"), /*is_link=*/true);

  EXPECT_THAT(Found(), ElementsAre("gone: FILE_NOT_FOUND", "loop: FILE_UNREADABLE"));
}

TEST_F(ModelDirectoryTest, AFileThatHasJustGoneIsNotMentioned) {
  files_.Write("/m/iris.h5", "x");
  files_.Break("/m/iris.h5", absl::NotFoundError("gone"));

  EXPECT_THAT(Found(), IsEmpty());
}

TEST_F(ModelDirectoryTest, WhatCannotBeReadIsUnknownNotGone) {
  files_.Write("/m/a.h5", "x");
  files_.Write("/m/b/1.h5", "x");
  files_.Write("/m/c/1/x.h5", "x");
  files_.Break("/m/a.h5", absl::UnavailableError("I/O error"));
  files_.Break("/m/b", absl::PermissionDeniedError("denied"));
  files_.Break("/m/c/1", absl::UnavailableError("I/O error"));

  const DirectoryScan scan = Scan();

  ASSERT_EQ(scan.models.size(), 3);
  for (const FoundModel& model : scan.models) EXPECT_TRUE(model.incomplete) << model.name;
  EXPECT_TRUE(scan.status.ok());
}

TEST_F(ModelDirectoryTest, AnUnreadableRootIsAnError) {
  files_.Break("/m", absl::UnavailableError("I/O error"));

  const DirectoryScan scan = Scan();

  EXPECT_FALSE(scan.status.ok());
  EXPECT_THAT(scan.models, IsEmpty());
}

TEST_F(ModelDirectoryTest, OddNamesAreNamesUnlessNobodyCouldAskForThem) {
  files_.Write("/m/with space.h5", "x");
  files_.Write("/m/it's \"quoted\".h5", "x");
  files_.Write("/m/\xc3\xa9l\xc3\xa8ve.h5", "x");
  files_.Write("/m/\xff\xfe.h5", "x");
  files_.Write("/m/line\nbreak.h5", "x");

  const std::vector<std::string> found = Found();

  ASSERT_EQ(found.size(), 5);
  EXPECT_THAT(found, testing::Contains("\\xff\\xfe: SETTINGS_INVALID"));
  EXPECT_THAT(found, testing::Contains("line\\x0abreak: SETTINGS_INVALID"));
  EXPECT_THAT(found, testing::Contains(testing::StartsWith("with space/")));
  EXPECT_THAT(found, testing::Contains(testing::StartsWith("it's \"quoted\"/")));
}

TEST(PrintableNameTest, EscapesWhatIsNotPrintableUtf8) {
  EXPECT_EQ(PrintableName("plain \xe2\x82\xac"), "plain \xe2\x82\xac");
  EXPECT_EQ(PrintableName("\xc0\xaf"), "\\xc0\\xaf");           // overlong
  EXPECT_EQ(PrintableName("\xed\xa0\x80"), "\\xed\\xa0\\x80");  // surrogate
  EXPECT_EQ(PrintableName("\xc2\x9b"), "\\xc2\\x9b");           // control
  EXPECT_EQ(PrintableName("cut \xe2\x82"), "cut \\xe2\\x82");
}

class RealDirectoryTest : public testing::Test {
 protected:
  void Write(const std::string& name) {
    std::filesystem::create_directories(std::filesystem::path(directory_ / name).parent_path());
    std::ofstream(directory_ / name) << "x";
  }
  std::vector<std::string> Names() {
    std::vector<std::string> names;
    for (const FoundModel& model : ScanModelDirectory(files_, directory_.path()).models) {
      names.push_back(model.name + (model.problems.empty() ? "" : "!"));
    }
    return names;
  }

  PosixFileSystem files_;
  TempDir directory_;
};

TEST_F(RealDirectoryTest, FollowsLinksAndSurvivesLoopsAndPipes) {
  Write("real/1.h5");
  std::filesystem::create_symlink(directory_ / "real", directory_ / "linked");
  std::filesystem::create_symlink(directory_ / "self.h5", directory_ / "self.h5");
  std::filesystem::create_symlink(directory_.path(), directory_ / "up");
  std::filesystem::create_symlink("nowhere", directory_ / "broken.h5");
  ASSERT_EQ(mkfifo((directory_ / "pipe.h5").c_str(), 0600), 0);
  std::filesystem::create_directory(directory_ / "folder.h5");

  // "up" is the directory itself as a model's folder: its files are no versions.
  EXPECT_THAT(Names(),
              ElementsAre("broken!", "folder!", "linked", "pipe!", "real", "self!", "up!"));
}

TEST_F(RealDirectoryTest, TakesNamesOfEveryLength) {
  Write(std::string(252, 'n') + ".h5");
  Write(std::string(255, 'd') + "/1.h5");

  EXPECT_THAT(Names(), ElementsAre(std::string(255, 'd'), std::string(252, 'n')));
}

TEST_F(RealDirectoryTest, ReadsTenThousandFiles) {
  for (int i = 0; i < 10000; ++i) Write("model" + std::to_string(i) + ".h5");

  EXPECT_EQ(Names().size(), 10000);
}

TEST_F(RealDirectoryTest, SeesWhatKubernetesPublishes) {
  Write("..2026_01/iris.h5");
  std::filesystem::create_symlink("..2026_01", directory_ / "..data");
  std::filesystem::create_symlink("..data/iris.h5", directory_ / "iris.h5");
  const FileIdentity before =
      ScanModelDirectory(files_, directory_.path()).models.at(0).versions.at(0).identity;

  Write("..2026_02/iris.h5");
  std::filesystem::create_symlink("..2026_02", directory_ / "..data_tmp");
  std::filesystem::rename(directory_ / "..data_tmp", directory_ / "..data");
  const FileIdentity after =
      ScanModelDirectory(files_, directory_.path()).models.at(0).versions.at(0).identity;

  EXPECT_NE(before, after);
}

}  // namespace
}  // namespace h5serve::model
