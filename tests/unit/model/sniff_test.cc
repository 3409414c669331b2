// Files that are not what their name says.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>

#include "model/reader/read_model.h"

namespace h5serve::model {
namespace {

namespace fs = std::filesystem;
using std::string_view_literals::operator""sv;
using std::string_literals::operator""s;
using testing::HasSubstr;

class SniffTest : public testing::Test {
 protected:
  SniffTest() { fs::create_directory(folder_); }
  ~SniffTest() override { fs::remove_all(folder_); }

  void Write(const std::string& name, std::string_view bytes) {
    std::ofstream(folder_ + "/" + name, std::ios::binary) << bytes;
  }

  // "CODE: message" of the only finding.
  std::string Explain(const std::string& name) {
    DiagnosisList diagnoses;
    EXPECT_FALSE(ReadModelFile(folder_ + "/" + name, {}, &diagnoses));
    EXPECT_EQ(diagnoses.items().size(), 1u);
    return std::string(diagnoses.Summary().message());
  }

  std::string ExplainBytes(std::string_view bytes) {
    Write("model.h5", bytes);
    return Explain("model.h5");
  }

  static std::string WholeModel() {
    std::ifstream file(std::string(H5SERVE_MODEL_FILES) + "/strings_variable_ascii.h5",
                       std::ios::binary);
    return std::string((std::istreambuf_iterator<char>(file)), {});
  }

  const std::string folder_ = testing::TempDir() + "h5serve_sniff_" + std::to_string(getpid());
};

TEST_F(SniffTest, NamesSimilarFiles) {
  Write("iris_model.h5", "");
  Write("other.h5", "");

  EXPECT_THAT(Explain("iris-model.h5"), HasSubstr("FILE_NOT_FOUND"));
  EXPECT_THAT(Explain("iris-model.h5"), HasSubstr("similar names: iris_model.h5"));
  EXPECT_THAT(Explain("iris_model.hdf5"), HasSubstr("iris_model.h5"));
  EXPECT_THAT(Explain("completely_else.h5"), HasSubstr("holds iris_model.h5, other.h5"));
  EXPECT_THAT(Explain("nowhere/a.h5"), HasSubstr("there is no directory"));
}

TEST_F(SniffTest, NamesCheckpoints) {
  Write("m.h5.index", "x");
  Write("m.h5.data-00000-of-00001", "x");

  EXPECT_THAT(Explain("m.h5"), HasSubstr("TF_CHECKPOINT"));
  EXPECT_THAT(Explain("m.h5.index"), HasSubstr("TF_CHECKPOINT"));
}

TEST_F(SniffTest, NamesDirectories) {
  fs::create_directory(folder_ + "/saved");
  Write("saved/saved_model.pb", "x");
  fs::create_directory(folder_ + "/unpacked");
  Write("unpacked/config.json", "x");
  Write("unpacked/model.weights.h5", "x");
  fs::create_directory(folder_ + "/models");
  Write("models/a.h5", "x");

  EXPECT_THAT(Explain("saved"), HasSubstr("SAVEDMODEL_DIR"));
  EXPECT_THAT(Explain("unpacked"), HasSubstr("KERAS_V3_ZIP"));
  EXPECT_THAT(Explain("models"), HasSubstr("NOT_HDF5"));
  EXPECT_THAT(Explain("models"), HasSubstr("a.h5"));
}

TEST_F(SniffTest, OpensNoPipe) {
  ASSERT_EQ(mkfifo((folder_ + "/pipe.h5").c_str(), 0600), 0);

  EXPECT_THAT(Explain("pipe.h5"), HasSubstr("FILE_UNREADABLE"));
}

TEST_F(SniffTest, NamesUnreadableFiles) {
  fs::create_symlink("loop.h5", folder_ + "/loop.h5");

  EXPECT_THAT(Explain("loop.h5"), HasSubstr("FILE_UNREADABLE"));
}

TEST_F(SniffTest, NamesTruncationWithNumbers) {
  const std::string whole = WholeModel();

  const std::string half = ExplainBytes(whole.substr(0, whole.size() / 2));

  EXPECT_THAT(half, HasSubstr("TRUNCATED"));
  EXPECT_THAT(half, HasSubstr(std::to_string(whole.size())));
  EXPECT_THAT(half, HasSubstr("50.0% present"));
  EXPECT_THAT(ExplainBytes(whole.substr(0, 20)), HasSubstr("within the HDF5 superblock"));
}

TEST_F(SniffTest, NamesFilesOpenForWriting) {
  // Superblock of version 3 with the flag that HDF5 sets while it writes.
  std::string bytes = "\x89HDF\r\n\x1A\n"s + std::string("\3\10\10\1", 4) + std::string(36, '\0');

  EXPECT_THAT(ExplainBytes(bytes), HasSubstr("BEING_WRITTEN"));
  bytes[8] = 9;
  EXPECT_THAT(ExplainBytes(bytes), HasSubstr("HDF5_UNSUPPORTED_FEATURE"));
}

TEST_F(SniffTest, BlamesTheWriterThatHoldsALock) {
  Write("model.h5", WholeModel().substr(0, 5000));
  const int writer = open((folder_ + "/model.h5").c_str(), O_RDWR | O_CLOEXEC);
  ASSERT_EQ(flock(writer, LOCK_EX | LOCK_NB), 0);
  DiagnosisList diagnoses;

  EXPECT_FALSE(ReadModelFile(folder_ + "/model.h5", {}, &diagnoses));

  EXPECT_EQ(diagnoses.Reason(), "FILE_LOCKED");
  close(writer);
}

TEST_F(SniffTest, ReadsAWholeFileInSpiteOfALock) {
  Write("model.h5", WholeModel());
  const int writer = open((folder_ + "/model.h5").c_str(), O_RDWR | O_CLOEXEC);
  ASSERT_EQ(flock(writer, LOCK_EX | LOCK_NB), 0);
  DiagnosisList diagnoses;

  EXPECT_TRUE(ReadModelFile(folder_ + "/model.h5", {}, &diagnoses));

  EXPECT_TRUE(diagnoses.empty());
  close(writer);
}

TEST_F(SniffTest, KeepsToTheLimit) {
  Write("model.h5", WholeModel());
  ReadOptions options;
  options.max_file_bytes = 1000;
  DiagnosisList diagnoses;

  EXPECT_FALSE(ReadModelFile(folder_ + "/model.h5", options, &diagnoses));

  EXPECT_EQ(diagnoses.Reason(), "RESOURCE_LIMIT");
}

TEST_F(SniffTest, NamesGitLfsPointers) {
  const std::string pointer =
      "version https://git-lfs.github.com/spec/v1\n"
      "oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\n"
      "size 12345\n";

  EXPECT_THAT(ExplainBytes(pointer), HasSubstr("GIT_LFS_POINTER"));
  EXPECT_THAT(ExplainBytes(pointer), HasSubstr("12345-byte object sha256:4d7a"));
  EXPECT_THAT(ExplainBytes("<<<<<<< HEAD\n" + pointer), HasSubstr("merge conflict"));
}

struct Sample {
  std::string_view bytes;
  const char* code;
  const char* message;
};

TEST_F(SniffTest, NamesOtherFormats) {
  const Sample kSamples[] = {
      {"", "EMPTY_FILE", "0 bytes"},
      {"\n<!DOCTYPE html><html><head><title>\n 404 &middot; GitHub </title>", "HTML_OR_TEXT",
       "titled \"404 &middot; GitHub\""},
      {"<?xml version='1.0'?><Error>AccessDenied</Error>", "HTML_OR_TEXT", "XML"},
      {R"({"class_name": "Sequential", "config": {"layers": []}})", "HTML_OR_TEXT",
       "architecture of a Sequential"},
      {R"({"message": "Not Found"})", "HTML_OR_TEXT", "JSON"},
      {"backend: tensorflow\nclass_name: Model\nconfig:\n  layers: []\n", "HTML_OR_TEXT", "YAML"},
      {"Not found\n", "HTML_OR_TEXT", "begins with \"Not found\""},
      {"\x1F\x8B\x08\x08\0\0\0\0\0\3model.h5\0xxxxx"sv, "COMPRESSED_FILE", "gzip data holding model.h5"},
      {"BZh91AY&SY\0\xFF"sv, "COMPRESSED_FILE", "bzip2"},
      {"\xFD\x37zXZ\0\0"sv, "COMPRESSED_FILE", "xz"},
      {"\x28\xB5\x2F\xFD\0\0"sv, "COMPRESSED_FILE", "zstd"},
      {"\x1C\0\0\0TFL3\x14\0"sv, "WRONG_FORMAT_TFLITE", "TensorFlow Lite"},
      {"\x80\x04\x95\x10\0\0"sv, "WRONG_FORMAT_PICKLE", "pickle"},
      {"(dp0\nS'a'\np1\n", "WRONG_FORMAT_PICKLE", "pickle"},
      {"\x80\x02\x8A\x0A\x6C\xFC\x9C\x46\xF9\x20\x6A\xA8\x50\x19.\x80"sv, "WRONG_FORMAT_TORCH",
       "PyTorch"},
      {"\x08\x07\x12\x07pytorch\x1A\x03"sv, "WRONG_FORMAT_ONNX", "ONNX"},
      {"\x08\x01\x12\xCA\x9D\x02\x0A\x10\x0A\x00"sv, "WRONG_FORMAT_PB", "SavedModel"},
      {"\x0A\x1C\x0A\x05input\x12\x0BPlaceholder\xFF"sv, "WRONG_FORMAT_PB", "TensorFlow graph"},
      {"\x93NUMPY\1\0v\0"sv, "NOT_HDF5", "NumPy"},
      {"\x89HDF\n\x1A\n\0\0"sv, "NOT_HDF5", "text mode"},
      {"\0\0\0\0\0\0\0\0\0\0"sv, "NOT_HDF5", "zero bytes"},
      {"\x01\x02\x03\xFE\0\0\0\0"sv, "NOT_HDF5", "01 02 03 fe"},
      {"PK\x03\x04\x14\0\0\0broken"sv, "TRUNCATED", "zip"}};
  for (const Sample& sample : kSamples) {
    const std::string explanation = ExplainBytes(sample.bytes);

    EXPECT_THAT(explanation, testing::StartsWith(std::string(sample.code) + ": "));
    EXPECT_THAT(explanation, HasSubstr(sample.message));
  }
}

TEST_F(SniffTest, NamesTarArchives) {
  std::string tar(512, '\0');
  tar.replace(0, 8, "model.h5");
  tar.replace(257, 5, "ustar");

  EXPECT_THAT(ExplainBytes(tar), HasSubstr("tar archive holding model.h5"));
}

}  // namespace
}  // namespace h5serve::model
