#include "model/reader/read_model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <thread>

#include "model/digest.h"

namespace h5serve::model {
namespace {

using compute::DType;
using compute::Shape;
using compute::Tensor;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Key;
using testing::Pair;
using testing::UnorderedElementsAre;

struct Outcome {
  std::optional<ModelImage> image;
  DiagnosisList diagnoses;

  // The message of the finding, or "".
  std::string MessageOf(Code code) const {
    for (const Diagnosis& item : diagnoses.items()) {
      if (item.code == code) return item.message + " [" + item.where.hdf5_path + "]";
    }
    return "";
  }
};

Outcome Read(const std::string& name) {
  Outcome outcome;
  const std::string path = std::string(H5SERVE_MODEL_FILES) + "/" + name;
  outcome.image = ReadModelFile(path, {}, &outcome.diagnoses);
  if (outcome.image) DiagnoseContents(*outcome.image, &outcome.diagnoses);
  return outcome;
}

std::vector<float> AsFloats(const Tensor& tensor) {
  const Tensor floats = Cast(tensor, DType::kFloat32).value();
  return {floats.data<float>(), floats.data<float>() + floats.num_elements()};
}

// Files that differ in how the same model is stored.
class SameModelTest : public testing::TestWithParam<const char*> {};

TEST_P(SameModelTest, IsRead) {
  const Outcome outcome = Read(GetParam());

  ASSERT_TRUE(outcome.image) << outcome.diagnoses.Summary();
  EXPECT_TRUE(outcome.diagnoses.empty()) << outcome.diagnoses.items()[0].message;
  const ModelImage& image = *outcome.image;
  EXPECT_THAT(image.notes, testing::IsEmpty());
  EXPECT_THAT(image.model_config.value_or(""), HasSubstr("\"Sequential\""));
  EXPECT_EQ(image.keras_version, "2.3.1");
  EXPECT_TRUE(image.version_on_weights);
  EXPECT_FALSE(image.weights_on_root);
  ASSERT_EQ(image.layer_groups.size(), 2u);
  EXPECT_EQ(image.layer_groups[0].name, "dense");
  EXPECT_THAT(image.layer_groups[0].weight_names, ElementsAre("dense/kernel:0", "dense/bias:0"));
  EXPECT_EQ(image.layer_groups[1].name, "dropout");
  EXPECT_THAT(image.layer_groups[1].weight_names, ElementsAre());
  const Tensor& kernel =
      image.datasets.at(image.WeightPath(image.layer_groups[0], "dense/kernel:0"));
  EXPECT_EQ(kernel.shape(), Shape({2, 3}));
  EXPECT_THAT(AsFloats(kernel), ElementsAre(0, 1, 2, 3, 4, 5));
  EXPECT_THAT(AsFloats(image.datasets.at("model_weights/dense/dense/bias:0")),
              ElementsAre(0.5, 1.5, 2.5));
}

INSTANTIATE_TEST_SUITE_P(
    Files, SameModelTest,
    testing::Values("strings_variable_ascii.h5", "strings_variable_utf8.h5",
                    "strings_fixed_null_padded.h5", "strings_fixed_null_terminated.h5",
                    "strings_fixed_space_padded.h5", "strings_null_space.h5",
                    "strings_one_element.h5", "strings_latin1.h5", "strings_chunked.h5",
                    "strings_dense_attributes.h5", "arrays_gzip.h5", "arrays_shuffle.h5",
                    "arrays_fletcher32.h5", "arrays_chunked.h5", "arrays_lzf.h5",
                    "arrays_compact.h5", "arrays_latest.h5", "arrays_user_block.h5",
                    "arrays_optimizer.h5", "arrays_types.h5", "hostile_cycle.h5"),
    [](const auto& info) {
      std::string name = info.param;
      return name.substr(0, name.find('.'));
    });

TEST(ReadModelTest, UnpacksEveryBuiltInFilter) {
  for (const char* name :
       {"arrays_gzip.h5", "arrays_shuffle.h5", "arrays_fletcher32.h5", "arrays_lzf.h5"}) {
    const Outcome outcome = Read(name);
    ASSERT_TRUE(outcome.image) << name;
    const Tensor& tensor = outcome.image->datasets.at("model_weights/long2");
    for (int i = 0; i < 5000; ++i) ASSERT_EQ(tensor.data<float>()[i], i / 16) << name;
  }
}

TEST(ReadModelTest, ReadsEveryElementType) {
  const Outcome outcome = Read("arrays_types.h5");
  ASSERT_TRUE(outcome.image);
  const auto& datasets = outcome.image->datasets;
  const std::string below = "model_weights/types/";

  const std::pair<const char*, DType> kTypes[] = {{"<f2", DType::kFloat16},
                                                  {">f2", DType::kFloat16},
                                                  {"<f4", DType::kFloat32},
                                                  {">f4", DType::kFloat32},
                                                  {"<f8", DType::kFloat64},
                                                  {">f8", DType::kFloat64},
                                                  {"|i1", DType::kInt8},
                                                  {">i2", DType::kInt16},
                                                  {"<i4", DType::kInt32},
                                                  {">i4", DType::kInt32},
                                                  {">i8", DType::kInt64},
                                                  {"|u1", DType::kUInt8},
                                                  {">u2", DType::kUInt16},
                                                  {">u4", DType::kUInt32},
                                                  {"<u8", DType::kUInt64},
                                                  {">u8", DType::kUInt64},
                                                  {"bfloat16_opaque", DType::kBFloat16},
                                                  {"bfloat16_float", DType::kBFloat16}};
  for (const auto& [name, dtype] : kTypes) {
    const Tensor& tensor = datasets.at(below + name);
    EXPECT_EQ(tensor.dtype(), dtype) << name;
    EXPECT_EQ(tensor.shape(), Shape({2, 3})) << name;
    EXPECT_THAT(AsFloats(tensor), ElementsAre(0, 1, 2, 3, 4, 100)) << name;
  }
  EXPECT_EQ(datasets.at(below + "bool").dtype(), DType::kBool);
  EXPECT_THAT(AsFloats(datasets.at(below + "bool")), ElementsAre(0, 0, 0, 1, 1, 1));
  EXPECT_EQ(datasets.at(below + "scalar").shape(), Shape());
  EXPECT_EQ(datasets.at(below + "empty").shape(), Shape({0, 4}));
  EXPECT_EQ(datasets.at(below + "null").num_elements(), 0);
  EXPECT_EQ(datasets.at(below + "text").data<std::string>()[1], "bé");
  EXPECT_EQ(datasets.at(below + "bytes").shape(), Shape({2, 1}));
  EXPECT_EQ(datasets.at(below + "bytes").data<std::string>()[1], "c");
  EXPECT_EQ(datasets.at(below + "hard_link").raw_data(),
            datasets.at("model_weights/dense/dense/kernel:0").raw_data());
  EXPECT_THAT(outcome.image->unsupported_datasets,
              UnorderedElementsAre(Key(below + "complex"), Pair(below + "long_double", "float128"),
                                   Pair(below + "rank13", "rank 13")));
}

TEST(ReadModelTest, LooksLayersUpByPath) {
  const Outcome outcome = Read("names_with_slash.h5");

  ASSERT_TRUE(outcome.image);
  const ModelImage& image = *outcome.image;
  ASSERT_EQ(image.layer_groups.size(), 3u);
  EXPECT_EQ(image.layer_groups[1].name, "block/conv");
  EXPECT_THAT(image.layer_groups[1].weight_names, ElementsAre("dense/kernel:0", "dense/bias:0"));
  for (const ModelImage::LayerGroup& group : image.layer_groups) {
    EXPECT_TRUE(group.group_exists) << group.name;
    for (const std::string& name : group.weight_names) {
      EXPECT_TRUE(image.datasets.contains(image.WeightPath(group, name))) << name;
    }
  }
}

TEST(ReadModelTest, LeavesTheOptimizerOut) {
  const Outcome outcome = Read("arrays_optimizer.h5");

  EXPECT_EQ(outcome.image->datasets.size(), 2u);
  EXPECT_FALSE(outcome.diagnoses.has_errors());
}

TEST(ReadModelTest, KeepsArraysAliveWithoutTheImage) {
  Tensor kernel;
  {
    kernel =
        Read("strings_variable_ascii.h5").image->datasets.at("model_weights/dense/dense/kernel:0");
  }
  EXPECT_THAT(AsFloats(kernel), ElementsAre(0, 1, 2, 3, 4, 5));
}

// Who reads the statistics of a process keeps its memory mapped past its end.
class StatisticsReader {
 public:
  StatisticsReader() : thread_([this] { Run(); }) {}
  ~StatisticsReader() {
    ended_ = true;
    thread_.join();
  }

 private:
  void Run() {
    while (!ended_) {
      for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
        std::ifstream children(task.path() / "children");
        for (int child = 0; children >> child;) {
          std::ifstream maps("/proc/" + std::to_string(child) + "/smaps_rollup");
          std::ostringstream() << maps.rdbuf();  // the child may end meanwhile
        }
      }
    }
  }

  std::atomic<bool> ended_ = false;
  std::thread thread_;
};

TEST(ReadModelTest, ReadsWhileTheChildIsWatched) {
  const StatisticsReader watcher;
  for (int i = 0; i < 20; ++i) {
    const Outcome outcome = Read("arrays_gzip.h5");
    EXPECT_TRUE(outcome.image) << outcome.diagnoses.Summary();
  }
}

TEST(ReadModelTest, GivesTheDigestOfTheFile) {
  const std::string path = std::string(H5SERVE_MODEL_FILES) + "/arrays_gzip.h5";
  DiagnosisList diagnoses;
  FileDigest digest;
  ASSERT_TRUE(ReadModelFile(path, {}, &diagnoses, &digest));
  EXPECT_EQ(digest.get(), Sha256File(path).value());
}

TEST(ReadModelTest, ReadsKerasArchivesUnderAnyName) {
  for (const char* name : {"archive_stored.keras", "archive_deflated.h5"}) {
    const Outcome outcome = Read(name);
    ASSERT_TRUE(outcome.image) << outcome.diagnoses.Summary();
    const ModelImage& image = *outcome.image;
    EXPECT_EQ(image.container, ModelImage::Container::kKerasZip);
    EXPECT_EQ(image.keras_version, "3.4.1");
    EXPECT_THAT(image.model_config.value_or(""), HasSubstr("\"Sequential\""));
    EXPECT_THAT(image.datasets, UnorderedElementsAre(Key("layers/dense/vars/0"),
                                                     Key("layers/dense/vars/1"), Key("vars")));
    EXPECT_THAT(image.assets, ElementsAre(Pair("assets/layers/lookup/vocabulary.txt", "a\nb\n")));
  }
}

struct RefusedFile {
  const char* name;
  Code code;
  const char* message;
};

class RefusedFileTest : public testing::TestWithParam<RefusedFile> {};

TEST_P(RefusedFileTest, IsExplained) {
  const Outcome outcome = Read(GetParam().name);

  EXPECT_TRUE(outcome.diagnoses.has_errors());
  EXPECT_THAT(outcome.MessageOf(GetParam().code), HasSubstr(GetParam().message))
      << outcome.diagnoses.Summary();
}

INSTANTIATE_TEST_SUITE_P(
    Files, RefusedFileTest,
    testing::Values(
        RefusedFile{"refused_external_link.h5", Code::kExternalLink,
                    "other.h5 [model_weights/more]"},
        RefusedFile{"refused_external_storage.h5", Code::kExternalLink, "[model_weights/more]"},
        RefusedFile{"refused_virtual.h5", Code::kExternalLink, "virtual"},
        RefusedFile{"refused_filter.h5", Code::kHdf5UnsupportedFeature, "zstd"},
        RefusedFile{"refused_never_written.h5", Code::kIncompleteSave, "never written"},
        RefusedFile{"refused_missing_group.h5", Code::kIncompleteSave, "missing: dropout"},
        RefusedFile{"refused_no_weight_names.h5", Code::kIncompleteSave, "layer dense"},
        RefusedFile{"refused_no_layer_names.h5", Code::kIncompleteSave, "layer_names"},
        RefusedFile{"refused_no_weights.h5", Code::kIncompleteSave, "model_weights"},
        RefusedFile{"kind_save_weights.h5", Code::kWeightsOnly, "dense (2, 3)"},
        RefusedFile{"kind_keras0.h5", Code::kWeightsOnly, "Keras 0.x"},
        RefusedFile{"kind_keras3_weights.h5", Code::kWeightsOnly, "layers/dense (2, 3)"},
        RefusedFile{"kind_optimizer.h5", Code::kWeightsOnly, "optimizer"},
        RefusedFile{"kind_foreign.h5", Code::kNotAKerasFile, "images, labels"},
        RefusedFile{"kind_aborted.h5", Code::kIncompleteSave, "without an architecture"},
        RefusedFile{"archive_no_weights.keras", Code::kKerasV3Zip, "model.weights.h5"},
        RefusedFile{"archive_no_config.keras", Code::kKerasV3Zip, "config.json"},
        RefusedFile{"zip_torch.pt", Code::kWrongFormatTorch, "PyTorch"},
        RefusedFile{"zip_saved_model.zip", Code::kSavedModelDir, "SavedModel"},
        RefusedFile{"zip_of_model.zip", Code::kCompressedFile, "model.h5, readme.txt"},
        RefusedFile{"zip_arrays.npz", Code::kNotHdf5, "NumPy"}),
    [](const auto& info) {
      std::string name = info.param.name;
      return name.substr(0, name.find('.'));
    });

}  // namespace
}  // namespace h5serve::model
