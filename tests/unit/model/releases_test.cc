// What releases of Keras make of a file.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "model/compatibility/assess.h"
#include "model/compatibility/constructors.h"
#include "model/compatibility/rehearsal.h"

namespace h5serve::model {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::SizeIs;

std::vector<ReleaseVerdict> Judge(const std::string& model_config,
                                  const std::string& training_config = "",
                                  const std::string& path = "model.h5") {
  ModelImage image;
  image.model_config = model_config;
  if (!training_config.empty()) image.training_config = training_config;
  return AssessReleases(image, path);
}

const ReleaseVerdict& Of(const std::vector<ReleaseVerdict>& verdicts, Release release) {
  return verdicts.at(static_cast<size_t>(release));
}

// "" when the release loads it, otherwise the name of what it meets first.
std::string First(const std::vector<ReleaseVerdict>& verdicts, Release release) {
  const ReleaseVerdict& verdict = Of(verdicts, release);
  return verdict.obstacles.empty() ? "" : std::string(Name(verdict.obstacles[0].cause));
}

std::string Error(const std::vector<ReleaseVerdict>& verdicts, Release release) {
  const ReleaseVerdict& verdict = Of(verdicts, release);
  return verdict.obstacles.empty() ? "" : verdict.obstacles[0].error;
}

std::string Functional(const std::string& class_name, const std::string& layers) {
  return R"({"class_name": ")" + class_name + R"(", "config": {"name": "m", "layers": [)" + layers +
         R"(], "input_layers": [], "output_layers": []}})";
}

std::string Entry(const std::string& class_name, const std::string& config) {
  return R"({"class_name": ")" + class_name + R"(", "name": "x", "inbound_nodes": [], "config": )" +
         config + "}";
}

const char kDense[] = R"({"name": "d", "trainable": true, "dtype": "float32", "units": 2})";

TEST(ReleasesTest, EveryReleaseHasAVerdictInOrder) {
  const auto verdicts = Judge(Functional("Model", Entry("Dense", kDense)));

  ASSERT_EQ(verdicts.size(), AllReleases().size());
  for (size_t i = 0; i < verdicts.size(); ++i) {
    EXPECT_EQ(verdicts[i].release, AllReleases()[i].release);
  }
}

TEST(ReleasesTest, FunctionalIsUnknownBeforeTensorFlow23) {
  const auto verdicts = Judge(Functional("Functional", Entry("Dense", kDense)));

  EXPECT_EQ(Error(verdicts, Release::k1_2_2), "ValueError: Invalid layer: Functional");
  EXPECT_EQ(Error(verdicts, Release::k2_3_1), "ValueError: Unknown layer: Functional");
  EXPECT_EQ(First(verdicts, Release::kTf2_3), "UNKNOWN_CLASS");
  EXPECT_EQ(First(verdicts, Release::kTf2_4), "");
  EXPECT_EQ(First(verdicts, Release::k3_15_1), "");
}

TEST(ReleasesTest, BatchShapeIsNewToKeras3) {
  const auto verdicts = Judge(Functional(
      "Model",
      Entry("InputLayer", R"({"name": "i", "batch_shape": [null, 4], "dtype": "float32"})")));

  EXPECT_EQ(Error(verdicts, Release::k2_3_1),
            "TypeError: InputLayer.__init__() got an unexpected keyword argument 'batch_shape'");
  EXPECT_EQ(First(verdicts, Release::kTf2_15), "UNKNOWN_ARGUMENT");
  EXPECT_EQ(First(verdicts, Release::k3_0_0), "");
}

TEST(ReleasesTest, GroupsOfDepthwiseConvolutionsStopKeras3) {
  const auto verdicts = Judge(
      Functional("Functional",
                 Entry("DepthwiseConv2D", R"({"name": "d", "kernel_size": [3, 3], "groups": 1})")));

  EXPECT_EQ(First(verdicts, Release::kTf2_15), "");
  EXPECT_EQ(Error(verdicts, Release::k3_0_0),
            "ValueError: Unrecognized keyword arguments passed to DepthwiseConv2D: {'groups': 1}");
}

TEST(ReleasesTest, TheFormOfSequentialChangedIn223AndKeras3ReadsOne) {
  const auto list = Judge(R"({"class_name": "Sequential", "config": []})");
  const auto object =
      Judge(R"({"class_name": "Sequential", "config": {"name": "s", "layers": []}})");

  EXPECT_EQ(First(list, Release::k2_1_6), "");
  EXPECT_EQ(First(list, Release::k2_3_1), "");
  EXPECT_EQ(Error(list, Release::k3_15_1), "TypeError: pop expected at most 1 argument, got 2");
  EXPECT_EQ(Error(object, Release::k2_2_2), "KeyError: 0");
  EXPECT_EQ(First(object, Release::k2_2_4), "");
  EXPECT_EQ(First(object, Release::k3_15_1), "");
}

TEST(ReleasesTest, Keras1KnowsOtherArgumentsAndKeras2TranslatesThem) {
  const auto new_names = Judge(Functional("Model", Entry("Dense", R"({"name": "d", "units": 2})")));
  const auto old_names = Judge(Functional(
      "Model", Entry("Convolution2D",
                     R"({"name": "c", "nb_filter": 2, "nb_row": 3, "nb_col": 3, "init": "one",
                         "W_regularizer": null, "bias": true})")));

  EXPECT_EQ(Error(new_names, Release::k1_2_2),
            "TypeError: Dense.__init__() missing 1 required positional argument: 'output_dim'");
  EXPECT_EQ(First(old_names, Release::k1_2_2), "");
  EXPECT_EQ(First(old_names, Release::k2_2_4), "");
  EXPECT_EQ(First(old_names, Release::k3_15_1), "UNKNOWN_CLASS");
}

TEST(ReleasesTest, CompilingNeedsKnownArgumentsAndNames) {
  const std::string model = Functional("Model", Entry("Dense", kDense));
  const auto with_lr = Judge(
      model,
      R"({"optimizer_config": {"class_name": "SGD", "config": {"lr": 0.01}}, "loss": "hinge"})");
  const auto with_learning_rate =
      Judge(model, R"({"optimizer_config": {"class_name": "SGD", "config": {"learning_rate": 0.01}},
                       "loss": ["mse"]})");

  EXPECT_EQ(First(with_lr, Release::k2_3_1), "");
  EXPECT_EQ(Error(with_lr, Release::k3_15_1),
            "ValueError: Argument(s) not recognized: {'lr': 0.01}");
  EXPECT_EQ(Error(with_learning_rate, Release::k2_2_4),
            "TypeError: Unexpected keyword argument passed to optimizer: learning_rate");
  EXPECT_EQ(First(with_learning_rate, Release::k2_3_1), "");
  EXPECT_EQ(First(with_learning_rate, Release::k3_15_1), "LOSS_NAME");
}

TEST(ReleasesTest, Keras3TakesTheFirstShapeForOneWithoutBatch) {
  const auto sequential = [](const std::string& layers) {
    return Judge(R"({"class_name": "Sequential", "config": {"name": "s", "layers": [)" + layers +
                 "]}}");
  };
  const auto convolution = sequential(
      Entry("Conv2D", R"({"name": "c", "batch_input_shape": [null, 8, 8, 3], "filters": 2,
                          "kernel_size": [3, 3]})"));
  const auto dense =
      sequential(Entry("Dense", R"({"name": "d", "batch_input_shape": [null, 4], "units": 2})"));
  const auto reshaped = sequential(
      Entry("Reshape",
            R"({"name": "r", "batch_input_shape": [null, 12], "target_shape": [3, 4]})") +
      "," + Entry("Conv1D", R"({"name": "c", "filters": 2, "kernel_size": [3]})"));
  const auto flattened =
      sequential(Entry("Flatten", R"({"name": "f", "batch_input_shape": [null, 3, 4]})") + "," +
                 Entry("Dense", kDense));

  EXPECT_EQ(First(convolution, Release::k3_15_1), "INPUT_SHAPE_MISREAD");
  EXPECT_EQ(First(convolution, Release::k2_3_1), "");
  EXPECT_EQ(First(dense, Release::k3_15_1), "");
  EXPECT_THAT(Of(dense, Release::k3_15_1).notes, SizeIs(1));
  EXPECT_EQ(First(reshaped, Release::k3_15_1), "");
  EXPECT_EQ(First(flattened, Release::k3_15_1), "INPUT_SHAPE_MISREAD");
}

TEST(ReleasesTest, InitializersHoldWhatOnlySomeReleasesTake) {
  const auto with_type =
      Judge(Functional("Model", Entry("Dense", R"({"name": "d", "units": 2, "kernel_initializer":
          {"class_name": "GlorotUniform", "config": {"seed": null, "dtype": "float32"}}})")));

  EXPECT_EQ(Error(with_type, Release::k2_3_1), "ValueError: Unknown initializer: GlorotUniform");
  EXPECT_EQ(First(with_type, Release::kTf2_4), "");
  EXPECT_EQ(First(with_type, Release::k3_15_1), "INITIALIZER_ARGUMENT");
}

TEST(ReleasesTest, Keras3FindsNoClassOfAWrappedLayerWithoutModule) {
  const auto verdicts = Judge(
      Functional("Model", Entry("Bidirectional", R"({"name": "b", "merge_mode": "concat", "layer":
                     {"class_name": "LSTM", "config": {"name": "l", "units": 2}}})")));

  EXPECT_EQ(First(verdicts, Release::k2_3_1), "");
  EXPECT_EQ(Error(verdicts, Release::k3_15_1), "TypeError: Could not locate class 'LSTM'.");
}

TEST(ReleasesTest, CallsOfNestedModelsAreCountedDifferently) {
  const std::string inner = R"({"class_name": "Model", "name": "inner", "config": {"name": "inner",
      "layers": [], "input_layers": [], "output_layers": []}, "inbound_nodes": [[["i", 0, 0, {}]]]})";
  const auto model = [&](const std::string& call) {
    return Judge(Functional(
        "Model", inner + R"(, {"class_name": "Dense", "name": "d", "config": )" + kDense +
                     R"(, "inbound_nodes": [[["inner", )" + call + ", 0, {}]]]}"));
  };

  EXPECT_EQ(First(model("1"), Release::k3_15_1), "NODE_INDEX");
  EXPECT_EQ(First(model("1"), Release::k2_3_1), "");
  EXPECT_EQ(First(model("0"), Release::k3_15_1), "");
}

TEST(ReleasesTest, BackendsMatter) {
  const auto verdicts = Judge(Functional(
      "Model", Entry("SeparableConv2D", R"({"name": "s", "filters": 2, "kernel_size": [3, 3]})")));

  EXPECT_TRUE(Of(verdicts, Release::k2_1_6).loads());
  EXPECT_EQ(Of(verdicts, Release::k2_1_6).obstacles.at(0).only_with, "theano");
  EXPECT_THAT(Of(verdicts, Release::k2_2_4).obstacles, IsEmpty());
}

TEST(ReleasesTest, TheNameOfTheFileMattersToKeras3) {
  const std::string model = Functional("Model", Entry("Dense", kDense));

  EXPECT_EQ(First(Judge(model, "", "model.keras"), Release::k3_15_1), "FILE_NAME");
  EXPECT_EQ(First(Judge(model, "", "model.keras"), Release::k2_3_1), "");
}

TEST(ReleasesTest, AFileThatIsNoModelLoadsNowhere) {
  DiagnosisList diagnoses;
  diagnoses.Add(Code::kGitLfsPointer, "a pointer");
  const auto verdicts = AssessUnreadable(diagnoses);

  ASSERT_EQ(verdicts.size(), AllReleases().size());
  EXPECT_EQ(First(verdicts, Release::k3_15_1), "UNREADABLE");
  EXPECT_THAT(GroupVerdicts(verdicts), SizeIs(3));  // one for each line

  DiagnosisList of_ours;
  of_ours.Add(Code::kReaderTimeout, "too slow");
  EXPECT_THAT(AssessUnreadable(of_ours), IsEmpty());
}

TEST(ReleasesTest, ObstaclesSayWhereAndAreFew) {
  std::string layers;
  for (int i = 0; i < 100; ++i) {
    layers += (i > 0 ? "," : "") + Entry("Custom" + std::to_string(i), R"({"name": "c"})");
  }
  const auto verdicts = Judge(Functional("Model", layers));
  const ReleaseVerdict& verdict = Of(verdicts, Release::k2_3_1);

  EXPECT_THAT(verdict.obstacles, SizeIs(8));
  EXPECT_EQ(verdict.obstacles[1].where.json_pointer, "/config/layers/1");
  EXPECT_EQ(verdict.obstacles[1].where.layer, "c");
  EXPECT_EQ(verdict.obstacles[1].where.class_name, "Custom1");
}

TEST(ReleasesTest, SurvivesConfigsOfAnyForm) {
  for (const char* config :
       {"null", "[]", "3", R"({"class_name": 3})", R"({"class_name": "Sequential"})",
        R"({"class_name": "Sequential", "config": [null, 3, {"class_name": "Dense"}]})",
        R"({"class_name": "Model", "config": {"layers": [[], {"inbound_nodes": 3}]}})",
        R"({"class_name": "Sequential", "config": {"layers": [{"class_name": "Bidirectional",
            "config": {"layer": [[[]]], "batch_input_shape": []}}]}})",
        R"({"class_name": "Sequential", "config": {"layers": [{"class_name": "Lambda",
            "config": {"function": ["4w=="], "batch_input_shape": ["x"]}}]}})"}) {
    EXPECT_THAT(Judge(config), SizeIs(AllReleases().size())) << config;
  }
  EXPECT_THAT(Judge("{"), IsEmpty());
}

TEST(PythonOfBytecodeTest, TellsVersionsApart) {
  const auto python = [](const char* json) { return PythonOfBytecode(*ParseJson(json)); };

  EXPECT_EQ(python(R"(["c\u0001\u0000\u0000\u0000", null, null])"), "2.7");
  // lambda x: x * x of 3.6, 3.8 and 3.11
  EXPECT_EQ(python(R"(["4wEAAAAAAAAAAQAAAAIAAABDAAAAcwgAAAB8AHwAFABTAA==", null, null])"),
            "3.4 to 3.7");
  EXPECT_EQ(python(R"({"class_name": "__lambda__", "config": {"code":
      "4wEAAAAAAAAAAAAAAAEAAAACAAAAQwAAAHMIAAAAfAB8ABQAUwA=", "defaults": null}})"),
            "3.8 to 3.10");
  EXPECT_EQ(python(R"(["4wEAAAAAAAAAAAAAAAIAAAADAAAA8woAAACXAHwAfAB6BQAA", null, null])"),
            "3.11 or later");
  EXPECT_EQ(python(R"("my_function")"), "");
  EXPECT_EQ(python("[]"), "");
}

TEST(ConstructorsTest, ClassesComeAndGo) {
  EXPECT_EQ(FindConstructor("Merge", Release::k2_2_0), nullptr);
  EXPECT_NE(FindConstructor("Merge", Release::k2_1_6), nullptr);
  EXPECT_EQ(FindConstructor("Conv2DTranspose", Release::k1_2_2), nullptr);
  ASSERT_NE(FindConstructor("Conv2D", Release::k1_2_2), nullptr);
  EXPECT_EQ(FindConstructor("Conv2D", Release::k1_2_2)->class_name, "Convolution2D");
  EXPECT_EQ(FindConstructor("No", Release::k3_15_1), nullptr);
}

TEST(ConstructorsTest, RowsOfAClassFollowEachOther) {
  for (const ReleaseInfo& info : AllReleases()) {
    const Constructor* constructor = FindConstructor("Dense", info.release);
    ASSERT_NE(constructor, nullptr) << info.version;
    EXPECT_TRUE(constructor->releases.Contains(info.release));
  }
}

TEST(CausesTest, EveryCauseHasANameAndARemedy) {
  for (const CauseInfo& info : AllCauses()) {
    EXPECT_THAT(std::string(info.name), Not(IsEmpty()));
    EXPECT_THAT(std::string(info.remedy), Not(IsEmpty())) << info.name;
  }
}

}  // namespace
}  // namespace h5serve::model
