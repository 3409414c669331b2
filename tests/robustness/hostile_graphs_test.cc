// Configs that describe no model, or one made to exhaust whoever follows it.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <string>
#include <vector>

#include "model/compile_model.h"

namespace h5serve::model {
namespace {

using compute::Tensor;
using std::chrono::steady_clock;

// A file without a file: the config and the weights by layer.
struct File {
  std::string config;
  std::map<std::string, std::vector<std::pair<std::string, Tensor>>> weights;
  std::string version = "2.3.1";
};

DiagnosisList Load(const File& file) {
  ModelImage image;
  image.model_config = file.config;
  image.keras_version = file.version;
  image.version_on_weights = !file.version.starts_with("1.");
  if (image.version_on_weights) image.backend = "tensorflow";
  for (const auto& [layer, arrays] : file.weights) {
    ModelImage::LayerGroup group{layer, {}, true};
    for (const auto& [name, tensor] : arrays) {
      group.weight_names.push_back(name);
      image.datasets.emplace(fmt::format("model_weights/{}/{}", layer, name), tensor);
    }
    image.layer_groups.push_back(std::move(group));
  }
  DiagnosisList diagnoses;
  UnderstandModel(image, {}, &diagnoses);
  return diagnoses;
}

std::string Entry(const std::string& class_name, const std::string& name, const std::string& config,
                  const std::string& inbound) {
  return fmt::format(
      R"({{"class_name": "{}", "name": "{}", "config": {{"name": "{}"{}{}}}, "inbound_nodes": {}}})",
      class_name, name, name, config.empty() ? "" : ", ", config, inbound);
}

std::string Input(const std::string& name, const std::string& shape = "[null, 4]") {
  return Entry("InputLayer", name,
               fmt::format(R"("batch_input_shape": {}, "dtype": "float32")", shape), "[]");
}

std::string Calls(const std::string& from) {
  return fmt::format(R"([[["{}", 0, 0, {{}}]]])", from);
}

std::string Activation(const std::string& name, const std::string& inbound) {
  return Entry("Activation", name, R"("activation": "relu")", inbound);
}

std::string Graph(const std::vector<std::string>& layers, const std::string& output) {
  return fmt::format(
      R"({{"class_name": "Model", "config": {{"name": "m", "layers": [{}],
         "input_layers": [["x", 0, 0]], "output_layers": [["{}", 0, 0]]}}}})",
      fmt::join(layers, ","), output);
}

std::string Sequential(const std::string& name, const std::string& layers) {
  return fmt::format(
      R"({{"class_name": "Sequential", "config": {{"name": "{}", "layers": [{}]}}}})", name,
      layers);
}

// An error with one of the codes, or the summary of what came instead.
testing::AssertionResult Refused(const DiagnosisList& diagnoses, std::vector<Code> codes) {
  for (const Diagnosis& item : diagnoses.items()) {
    if (item.severity != Severity::kError) continue;
    if (std::find(codes.begin(), codes.end(), item.code) == codes.end()) continue;
    const bool placed = !item.where.layer.empty() || !item.where.json_pointer.empty();
    if (placed || item.code == Code::kModelConfigInvalid) return testing::AssertionSuccess();
    return testing::AssertionFailure() << Name(item.code) << " without a place: " << item.message;
  }
  return testing::AssertionFailure() << diagnoses.Summary();
}

TEST(HostileGraphsTest, RefusesReferencesToNothing) {
  EXPECT_TRUE(Refused(Load({Graph({Input("x"), Activation("a", Calls("nobody"))}, "a"), {}}),
                      {Code::kGraphInvalid}));
  EXPECT_TRUE(Refused(Load({Graph({Input("x"), Activation("a", Calls("x"))}, "nobody"), {}}),
                      {Code::kGraphInvalid}));
  EXPECT_TRUE(
      Refused(Load({Graph({Input("x"), Activation("a", R"([[["x", 7, 0, {}]]])")}, "a"), {}}),
              {Code::kGraphInvalid}));
  EXPECT_TRUE(
      Refused(Load({Graph({Input("x"), Activation("a", R"([[["x", 0, 7, {}]]])")}, "a"), {}}),
              {Code::kGraphInvalid}));
}

TEST(HostileGraphsTest, RefusesCycles) {
  EXPECT_TRUE(Refused(
      Load(
          {Graph({Input("x"), Activation("a", Calls("b")), Activation("b", Calls("a"))}, "b"), {}}),
      {Code::kGraphInvalid}));
  EXPECT_TRUE(Refused(Load({Graph({Input("x"), Activation("a", Calls("a"))}, "a"), {}}),
                      {Code::kGraphInvalid}));
}

TEST(HostileGraphsTest, RefusesTwoLayersOfOneName) {
  EXPECT_TRUE(Refused(
      Load(
          {Graph({Input("x"), Activation("a", Calls("x")), Activation("a", Calls("x"))}, "a"), {}}),
      {Code::kGraphInvalid}));
}

TEST(HostileGraphsTest, RefusesADepthOfTenThousand) {
  for (const auto& [open, close] : {std::pair("[", "]"), std::pair(R"({"a":)", "}")}) {
    std::string text;
    for (int i = 0; i < 10000; ++i) text += open;
    text += "1";
    for (int i = 0; i < 10000; ++i) text += close;

    EXPECT_TRUE(Refused(Load({text, {}}), {Code::kModelConfigInvalid}));
    EXPECT_TRUE(Refused(Load({Sequential("m", text), {}}), {Code::kModelConfigInvalid}));
  }
}

TEST(HostileGraphsTest, RefusesModelsInModelsWithoutEnd) {
  for (int depth : {70, 84, 1000, 10000}) {
    std::string model = R"({"class_name": "Activation", "config": {"name": "a",
        "activation": "relu", "batch_input_shape": [null, 4]}})";
    for (int i = 0; i < depth; ++i) model = Sequential(fmt::format("m{}", i), model);

    EXPECT_TRUE(Refused(Load({model, {}}), {Code::kModelConfigInvalid, Code::kGraphInvalid}))
        << depth;
  }
}

TEST(HostileGraphsTest, RefusesASharedLayerForTwoShapes) {
  const std::string both = R"([[["x", 0, 0, {}]], [["y", 0, 0, {}]]])";
  const std::string graph = fmt::format(
      R"({{"class_name": "Model", "config": {{"name": "m", "layers": [{}, {}, {}],
         "input_layers": [["x", 0, 0], ["y", 0, 0]],
         "output_layers": [["d", 0, 0], ["d", 1, 0]]}}}})",
      Input("x"), Input("y", "[null, 5]"),
      Entry("Dense", "d", R"("units": 2, "use_bias": false)", both));

  EXPECT_TRUE(Refused(
      Load({graph, {{"d", {{"d/kernel:0", Tensor::Floats({4, 2}, {1, 2, 3, 4, 5, 6, 7, 8})}}}}}),
      {Code::kWeightShapeMismatch, Code::kShapeInferenceFailed}));
}

// Each model calls the one inside of it twice: 2^40 calls of the innermost layer.
TEST(HostileGraphsTest, RefusesCallsThatDoubleWithEachLevel) {
  std::string inner = Activation("a", Calls("x"));
  std::string name = "a";
  for (int i = 0; i < 25; ++i) {
    const std::string model = fmt::format(
        R"({{"class_name": "Model", "name": "m{0}", "config": {{"name": "m{0}",
           "layers": [{1}, {2}], "input_layers": [["x", 0, 0]],
           "output_layers": [["{3}", {4}, 0]]}}, "inbound_nodes":
           [[["x", 0, 0, {{}}]], [["m{0}", 1, 0, {{}}]]]}})",
        i, Input("x"), inner, name, i == 0 ? 0 : 2);
    inner = model;
    name = fmt::format("m{}", i);
  }
  const steady_clock::time_point begin = steady_clock::now();

  const DiagnosisList diagnoses =
      Load({fmt::format(R"({{"class_name": "Model", "config": {{"name": "m", "layers": [{}, {}],
          "input_layers": [["x", 0, 0]], "output_layers": [["{}", 2, 0]]}}}})",
                        Input("x"), inner, name),
            {}});

  EXPECT_TRUE(diagnoses.has_errors());
  EXPECT_LT(steady_clock::now() - begin, std::chrono::seconds(30));
}

TEST(HostileGraphsTest, FollowsAChainOfTwentyThousandLayers) {
  std::vector<std::string> layers{Input("x")};
  std::string last = "x";
  for (int i = 0; i < 20000; ++i) {
    const std::string name = fmt::format("a{}", i);
    layers.push_back(Activation(name, Calls(last)));
    last = name;
  }
  const steady_clock::time_point begin = steady_clock::now();

  const DiagnosisList diagnoses = Load({Graph(layers, last), {}});

  EXPECT_FALSE(diagnoses.has_errors()) << diagnoses.Summary();
  EXPECT_LT(steady_clock::now() - begin, std::chrono::seconds(30));
}

TEST(HostileGraphsTest, RefusesRandomNumbersAtInference) {
  const std::string trained = R"([[["x", 0, 0, {"training": true}]]])";
  const auto load = [&](const std::string& class_name, const std::string& config,
                        const std::string& inbound) {
    return Load({Graph({Input("x"), Entry(class_name, "l", config, inbound)}, "l"), {}});
  };

  EXPECT_TRUE(Refused(load("Dropout", R"("rate": 0.5)", trained), {Code::kUnsupportedArgument}));
  EXPECT_TRUE(
      Refused(load("GaussianNoise", R"("stddev": 0.5)", trained), {Code::kUnsupportedArgument}));
  EXPECT_FALSE(load("Dropout", R"("rate": 0.0)", trained).has_errors());
  EXPECT_FALSE(load("Dropout", R"("rate": 0.5)", Calls("x")).has_errors());
  EXPECT_FALSE(load("Activation", R"("activation": "relu")", trained).has_errors());
}

// --- arguments ---

struct Argument {
  const char* class_name;
  const char* shape;   // of the input
  const char* config;  // valid, but for the last key
  std::vector<const char*> values;
};

std::vector<Argument> Arguments() {
  const char* text = "[null, 6, 4]";
  const char* image = "[null, 6, 6, 4]";
  const std::vector<const char*> sizes = {
      "0", "-1", "1.5", "\"8\"", "[]", "[2,2,2,2,2]", "{}", "true", "1152921504606846976"};
  return {
      {"MaxPooling2D", image, R"("padding")", {"\"vaild\"", "\"VALID \"", "1", "[]", "true"}},
      {"MaxPooling2D", image, R"("data_format")", {"\"xyz\"", "7", "[]", "true"}},
      {"MaxPooling2D", image, R"("pool_size")", sizes},
      {"MaxPooling1D", text, R"("strides")", sizes},
      {"AveragePooling2D", image, R"("strides")", sizes},
      {"GlobalAveragePooling2D", image, R"("data_format")", {"\"xyz\"", "7"}},
      {"Activation", text, R"("activation")", {"\"unknown\"", "7", "[]", "{}", "\"\""}},
      {"UpSampling2D", image, R"("interpolation")", {"\"vaild\"", "1", "[]"}},
      {"UpSampling2D", image, R"("size")", sizes},
      {"ZeroPadding2D",
       image,
       R"("padding")",
       {"-1", "1.5", "[1]", "[[1,2]]", "\"8\"", "{}", "1152921504606846976"}},
      {"Cropping2D",
       image,
       R"("cropping")",
       {"-1", "3", "1.5", "[1]", "[[1,2]]", "\"8\"", "1152921504606846976"}},
      {"Reshape",
       text,
       R"("target_shape")",
       {"[-1, -1]", "[5]", "[0]", "[-2]", "\"8\"", "[1.5]", "[1152921504606846976, -1]", "{}"}},
      {"Permute", text, R"("dims")", {"[1]", "[0, 1]", "[1, 1]", "[3, 1]", "\"8\"", "[]"}},
      {"RepeatVector", "[null, 4]", R"("n")", {"0", "-1", "1.5", "\"8\"", "[]", "null"}},
      {"Softmax", text, R"("axis")", {"3", "-4", "1.5", "\"8\"", "{}", "1152921504606846976"}},
      {"LeakyReLU", text, R"("alpha")", {"\"8\"", "[1, 2]", "{}"}},
      {"ThresholdedReLU", text, R"("theta")", {"\"8\"", "[1, 2]", "{}"}},
      {"ReLU", text, R"("max_value")", {"\"8\"", "[1, 2]", "{}"}},
      {"Masking", text, R"("mask_value")", {"\"8\"", "[1, 2]", "{}"}},
  };
}

TEST(HostileGraphsTest, RefusesArgumentsThatMeanNothing) {
  for (const Argument& argument : Arguments()) {
    for (const char* value : argument.values) {
      const File file{Graph({Input("x", argument.shape),
                             Entry(argument.class_name, "l",
                                   fmt::format("{}: {}", argument.config, value), Calls("x"))},
                            "l"),
                      {}};

      EXPECT_TRUE(Refused(Load(file), {Code::kInvalidConfigValue, Code::kUnknownActivation,
                                       Code::kShapeInferenceFailed, Code::kUnsupportedArgument}))
          << argument.class_name << "." << argument.config << " = " << value;
    }
  }
}

// Keras 1 stores the whole output shape: without it the result is a guess.
TEST(HostileGraphsTest, RefusesAnOutputShapeOfOtherRank) {
  for (const char* shape : {"[null, 8, 8]", "7", "\"8\"", "{}"}) {
    const File file{
        fmt::format(R"({{"class_name": "Sequential", "config": [{{"class_name": "Deconvolution2D",
            "config": {{"name": "d", "nb_filter": 1, "nb_row": 2, "nb_col": 2, "activation": "linear",
            "border_mode": "valid", "subsample": [2, 2], "dim_ordering": "tf", "bias": false,
            "batch_input_shape": [null, 4, 4, 1], "output_shape": {}}}}}]}})",
                    shape),
        {{"d", {{"d_W:0", Tensor::Floats({2, 2, 1, 1}, {1, 2, 3, 4})}}}},
        "1.2.2"};

    EXPECT_TRUE(Refused(Load(file), {Code::kInvalidConfigValue})) << shape;
  }
}

TEST(HostileGraphsTest, RefusesAbsurdSizes) {
  for (const char* units :
       {"1152921504606846976", "-3", "0", "1.5", "\"8\"", "null", "[3]", "{}"}) {
    const File file{
        Graph({Input("x"), Entry("Dense", "d", fmt::format(R"("units": {})", units), Calls("x"))},
              "d"),
        {{"d",
          {{"d/kernel:0", Tensor::Floats({4, 2}, {1, 2, 3, 4, 5, 6, 7, 8})},
           {"d/bias:0", Tensor::Floats({2}, {1, 2})}}}}};

    EXPECT_TRUE(Refused(Load(file), {Code::kInvalidConfigValue, Code::kWeightShapeMismatch}))
        << units;
  }
}

}  // namespace
}  // namespace h5serve::model
