#include "model/npz.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <string>

#include "model/digest.h"

namespace h5serve::model {
namespace {

using compute::DType;
using compute::Shape;
using compute::Tensor;
using testing::ElementsAre;
using testing::HasSubstr;

std::string PathOf(const std::string& name) {
  return std::string(H5SERVE_MODEL_FILES) + "/" + name;
}

std::vector<float> AsFloats(const Tensor& tensor) {
  const Tensor floats = Cast(tensor, DType::kFloat32).value();
  return {floats.data<float>(), floats.data<float>() + floats.num_elements()};
}

std::vector<std::string> AsStrings(const Tensor& tensor) {
  return {tensor.data<std::string>(), tensor.data<std::string>() + tensor.num_elements()};
}

class NpzTest : public testing::TestWithParam<const char*> {};

TEST_P(NpzTest, ReadsEveryElementType) {
  const absl::StatusOr<std::vector<NamedTensor>> arrays = ReadNpz(PathOf(GetParam()));
  ASSERT_TRUE(arrays.ok()) << arrays.status();
  EXPECT_EQ(arrays->front().name, "little");
  std::map<std::string, Tensor> named;
  for (const NamedTensor& array : *arrays) named[array.name] = array.tensor;

  std::vector<float> counting(24);
  for (int i = 0; i < 24; ++i) counting[i] = static_cast<float>(i);
  for (const char* name : {"little", "fortran", "big", "half"}) {
    EXPECT_EQ(named[name].shape(), Shape({2, 3, 4})) << name;
    EXPECT_EQ(AsFloats(named[name]), counting) << name;
  }
  EXPECT_EQ(named["fortran"].dtype(), DType::kFloat64);
  EXPECT_EQ(named["big"].dtype(), DType::kInt32);
  EXPECT_EQ(named["half"].dtype(), DType::kFloat16);
  EXPECT_EQ(named["bool"].dtype(), DType::kBool);
  EXPECT_EQ(AsFloats(named["bool"])[5], 1);
  EXPECT_THAT(AsStrings(named["text"]), ElementsAre("aé", "", "日本😀"));
  EXPECT_THAT(AsStrings(named["big_text"]), ElementsAre("x", "yy"));
  EXPECT_THAT(AsStrings(named["bytes"]), ElementsAre("ab", "c"));
  EXPECT_THAT(AsStrings(named["fortran_text"]), ElementsAre("a", "b", "c", "dd"));
  EXPECT_THAT(AsFloats(named["scalar"]), ElementsAre(3));
  EXPECT_EQ(named["scalar"].shape(), Shape());
  EXPECT_EQ(named["empty"].shape(), Shape({0, 3}));
  EXPECT_EQ(named["bfloat16"].dtype(), DType::kBFloat16);
  EXPECT_THAT(AsFloats(named["bfloat16"]), ElementsAre(1));
}

INSTANTIATE_TEST_SUITE_P(Packing, NpzTest, testing::Values("numpy_plain.npz", "numpy_packed.npz"),
                         [](const auto& info) { return info.index == 0 ? "Stored" : "Deflated"; });

TEST(NpzFileTest, WritesWhatItReads) {
  const std::string path = testing::TempDir() + "h5serve_written.npz";
  const std::vector<NamedTensor> arrays = ReadNpz(PathOf("numpy_plain.npz")).value();

  ASSERT_TRUE(WriteNpz(path, arrays).ok());
  const absl::StatusOr<std::vector<NamedTensor>> again = ReadNpz(path);

  std::filesystem::remove(path);
  ASSERT_TRUE(again.ok()) << again.status();
  ASSERT_EQ(again->size(), arrays.size());
  for (size_t i = 0; i < arrays.size(); ++i) {
    EXPECT_EQ((*again)[i].name, arrays[i].name);
    EXPECT_EQ((*again)[i].tensor.shape(), arrays[i].tensor.shape());
    if (arrays[i].tensor.dtype() == DType::kString) {
      EXPECT_EQ(AsStrings((*again)[i].tensor), AsStrings(arrays[i].tensor));
    } else {
      EXPECT_EQ(AsFloats((*again)[i].tensor), AsFloats(arrays[i].tensor));
    }
  }
}

TEST(NpzFileTest, RefusesWhatItCannotHold) {
  EXPECT_THAT(std::string(ReadNpz(PathOf("numpy_objects.npz")).status().message()),
              HasSubstr("Python objects"));
  EXPECT_EQ(ReadNpz(PathOf("numpy_complex.npz")).status().code(), absl::StatusCode::kUnimplemented);
  EXPECT_EQ(ReadNpz(PathOf("nothing.npz")).status().code(), absl::StatusCode::kNotFound);
  EXPECT_FALSE(ReadNpz(PathOf("zip_arrays.npz")).ok());
  EXPECT_FALSE(ReadNpz(PathOf("numpy_one.npy")).ok());
}

std::string Npy(const std::string& header, const std::string& data) {
  std::string bytes = "\x93NUMPY";
  bytes += {1, 0};
  bytes += static_cast<char>(header.size());
  bytes += '\0';
  return bytes + header + data;
}

class NpyTest : public testing::Test {
 protected:
  ~NpyTest() override { std::filesystem::remove(path_); }

  absl::StatusOr<Tensor> Read(const std::string& bytes) {
    std::ofstream(path_, std::ios::binary) << bytes;
    return ReadNpy(path_);
  }

  const std::string path_ = testing::TempDir() + "h5serve_one.npy";
};

TEST_F(NpyTest, ReadsFortranOrder) {
  const absl::StatusOr<Tensor> tensor = ReadNpy(PathOf("numpy_one.npy"));

  ASSERT_TRUE(tensor.ok()) << tensor.status();
  EXPECT_EQ(tensor->data<double>()[5], 5);
}

TEST_F(NpyTest, AcceptsHeadersOfOtherWriters) {
  EXPECT_EQ(Read(Npy("{\"shape\":(2L,),\"descr\":\"=i2\",\"fortran_order\":False}", std::string("\1\0\2\0", 4)))
                .value()
                .data<int16_t>()[1],
            2);
}

TEST_F(NpyTest, BelievesNoShape) {
  const char* const kShapes[] = {"(3,)",
                                 "(1000000000000,)",
                                 "(99999999999999999999,)",
                                 "(-1,)",
                                 "(4294967296, 4294967296, 4294967296)",
                                 "(1,"};
  for (const char* shape : kShapes) {
    const std::string header =
        std::string("{'descr': '<f4', 'fortran_order': False, 'shape': ") + shape + ", }";
    EXPECT_FALSE(Read(Npy(header, "12345678")).ok()) << shape;
  }
  EXPECT_FALSE(
      Read(Npy("{'descr': '<U0', 'fortran_order': False, 'shape': (1000000000,), }", "")).ok());
}

TEST_F(NpyTest, SurvivesEveryTruncationAndChange) {
  std::ifstream file(PathOf("numpy_one.npy"), std::ios::binary);
  const std::string whole((std::istreambuf_iterator<char>(file)), {});
  for (size_t size = 0; size < whole.size(); ++size) {
    EXPECT_FALSE(Read(whole.substr(0, size)).ok()) << size;
  }
  for (size_t at = 0; at < 128; ++at) {
    for (const char c : {'\0', '9', '(', '\'', '\xFF'}) {
      std::string changed = whole;
      changed[at] = c;
      Read(changed).IgnoreError();
    }
  }
}

TEST(DigestTest, IsSha256) {
  const std::string path = testing::TempDir() + "h5serve_digest";
  std::ofstream(path) << "abc";

  EXPECT_EQ(Sha256File(path).value(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");

  std::filesystem::remove(path);
  EXPECT_EQ(Sha256File(path).status().code(), absl::StatusCode::kNotFound);
}

TEST(DigestTest, EndsWhereTheFileEndedWhenItWasOpened) {
  const std::string path = testing::TempDir() + "h5serve_growing";
  std::ofstream(path) << "abc and what came later";
  std::FILE* const file = std::fopen(path.c_str(), "rb");
  ASSERT_NE(file, nullptr);

  EXPECT_EQ(Sha256Descriptor(fileno(file), 3).value(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");

  std::fclose(file);
  std::filesystem::remove(path);
}

}  // namespace
}  // namespace h5serve::model
