#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>

#include "model/bytecode/decompile.h"
#include "model/bytecode/stored_function.h"
#include "tests/unit/model/lambda_samples.h"

namespace h5serve::model {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

const std::vector<LambdaSample>& Samples() {
  static const auto* const samples = new std::vector<LambdaSample>(
      ReadLambdaSamples(H5SERVE_TEST_DATA "/unit/model/lambda_code.json"));
  return *samples;
}

const LambdaSample& Sample(std::string_view name, std::string_view python) {
  for (const LambdaSample& sample : Samples()) {
    if (sample.name == name && sample.python == python) return sample;
  }
  ADD_FAILURE() << "no sample " << name;
  return Samples().front();
}

std::string Bytes(const LambdaSample& sample) {
  return *CodeBytes(sample.function.as_list()[0].as_string());
}

bool SaysOneOf(const std::string& text, const std::string& alternatives) {
  for (size_t begin = 0; begin <= alternatives.size();) {
    const size_t end = std::min(alternatives.find('|', begin), alternatives.size());
    if (text.find(alternatives.substr(begin, end - begin)) != std::string::npos) return true;
    begin = end + 1;
  }
  return false;
}

TEST(LambdaTest, SamplesCoverTheVersions) {
  ASSERT_THAT(Samples(), Not(IsEmpty()));
  for (std::string_view python :
       {"2.7", "3.4", "3.5", "3.6", "3.7", "3.8", "3.9", "3.10", "3.11", "3.12", "3.13"}) {
    const auto count = std::count_if(Samples().begin(), Samples().end(),
                                     [&](const LambdaSample& s) { return s.python == python; });
    EXPECT_GE(count, 10) << python;
  }
}

TEST(LambdaTest, FindsTheVersionOfPython) {
  for (const LambdaSample& sample : Samples()) {
    const absl::StatusOr<StoredFunction> function = ReadStoredFunction(sample.function);

    ASSERT_TRUE(function.ok()) << sample.name << " " << sample.python << " " << function.status();
    std::vector<std::string_view> versions;
    for (const PythonVersion version : function->versions) versions.push_back(Name(version));
    EXPECT_THAT(versions, Contains(sample.python)) << sample.name;
    // Neighbours may share all the instructions that a function uses.
    EXPECT_LE(versions.size(), 2u) << sample.name << " " << sample.python;
  }
}

TEST(LambdaTest, TranslatesTheSamples) {
  for (const LambdaSample& sample : Samples()) {
    if (sample.refused) continue;
    const LambdaOutcome outcome = LowerLambdaSample(sample, sample.function);

    EXPECT_EQ(outcome.Errors(), "") << sample.name << " " << sample.python;
    EXPECT_THAT(outcome.outputs, Not(IsEmpty())) << sample.name << " " << sample.python;
  }
}

TEST(LambdaTest, RefusesWithTheReason) {
  for (const LambdaSample& sample : Samples()) {
    if (!sample.refused) continue;
    const LambdaOutcome outcome = LowerLambdaSample(sample, sample.function);

    EXPECT_THAT(outcome.outputs, IsEmpty()) << sample.name << " " << sample.python;
    EXPECT_TRUE(outcome.diagnoses.Contains(Code::kLambdaBytecode)) << sample.name;
    EXPECT_TRUE(SaysOneOf(outcome.Errors(), sample.says))
        << sample.name << " " << sample.python << ": " << outcome.Errors();
  }
}

TEST(LambdaTest, RefusalShowsCodeAndDefinition) {
  for (std::string_view python : {"2.7", "3.6", "3.9", "3.11", "3.13"}) {
    const LambdaSample& sample = Sample("unknownname", python);
    const std::string errors = LowerLambdaSample(sample, sample.function).Errors();

    EXPECT_THAT(errors, HasSubstr("return (x * my_scale) + offset")) << python;
    EXPECT_THAT(errors, HasSubstr("needs my_scale, offset, not in the file")) << python;
    EXPECT_THAT(errors, HasSubstr(R"({"custom_objects":{"the_lambda":)")) << python;
    EXPECT_THAT(errors, HasSubstr(R"("expression":"(x * my_scale) + offset")")) << python;
  }
}

TEST(LambdaTest, DecompilesCalls) {
  const LambdaSample& sample = Sample("unknownfunction", "3.8");
  const absl::StatusOr<StoredFunction> function = ReadStoredFunction(sample.function);
  ASSERT_TRUE(function.ok());

  const DecompiledFunction text = Decompile(*function->code, PythonVersion::k38);

  ASSERT_THAT(text.lines, SizeIs(1));
  EXPECT_EQ(text.lines[0], "return helper(K.square(x), 3)");
  EXPECT_TRUE(text.simple);
}

TEST(LambdaTest, RefusesFunctionsKnownByName) {
  LambdaSample sample;
  sample.inputs = {{compute::kUnknown, 4}};
  sample.whole = {false};

  const LambdaOutcome outcome = LowerLambdaSample(sample, "euclidean_distance");

  EXPECT_TRUE(outcome.diagnoses.Contains(Code::kLambdaNamedFunction));
  EXPECT_THAT(outcome.Errors(), HasSubstr("euclidean_distance"));
  EXPECT_THAT(outcome.Errors(), HasSubstr("custom_objects"));
}

TEST(LambdaTest, TranslatesLibraryFunctionsByName) {
  LambdaSample sample;
  sample.inputs = {{compute::kUnknown, 4}};
  sample.whole = {false};

  const LambdaOutcome outcome =
      LowerLambdaSample(sample, ConfigValue::Dict{{"module", "keras.src.ops.numpy"},
                                                  {"class_name", "function"},
                                                  {"config", "square"},
                                                  {"registered_name", "square"}});

  EXPECT_EQ(outcome.Errors(), "");
  EXPECT_THAT(outcome.outputs, SizeIs(1));
}

// --- damaged and hostile code ------------------------------------------------------

void ExpectUnreadable(const std::string& bytes) {
  const absl::StatusOr<StoredFunction> function =
      ReadStoredFunction(ConfigValue::List{EncodeBase64(bytes), {}, {}});
  EXPECT_FALSE(function.ok());
}

TEST(LambdaTest, RefusesTruncatedCode) {
  for (std::string_view python : {"2.7", "3.5", "3.7", "3.10", "3.13"}) {
    const std::string bytes = Bytes(Sample("loop", python));
    for (size_t size = 0; size < bytes.size(); ++size) {
      ExpectUnreadable(bytes.substr(0, size));
    }
    ExpectUnreadable(bytes + "N");
  }
}

// A code object of Python 3.7 whose constants are `constants`.
std::string CodeWithConstants(const std::string& constants) {
  const auto number = [](int value) {
    std::string text(4, '\0');
    for (int i = 0; i < 4; ++i) text[i] = static_cast<char>(value >> (8 * i));
    return text;
  };
  std::string code = "\xe3";
  for (int i = 0; i < 5; ++i) code += number(0);
  return code + "s" + number(4) + std::string("d\0S\0", 4) + constants + std::string(")\0", 2) +
         std::string(")\0", 2) + std::string(")\0", 2) + std::string(")\0", 2) + "z\1f" + "z\1f" +
         number(1) + "s" + number(0);
}

TEST(LambdaTest, ReadsHandmadeCode) {
  const absl::StatusOr<StoredFunction> function = ReadStoredFunction(
      ConfigValue::List{EncodeBase64(CodeWithConstants(std::string(")\1N", 3))), {}, {}});
  EXPECT_TRUE(function.ok()) << function.status();
}

TEST(LambdaTest, RefusesDeepNesting) {
  std::string nested = std::string(")\1", 2);
  for (int i = 0; i < 100000; ++i) nested += ")\1";
  ExpectUnreadable(CodeWithConstants(nested + "N"));
}

TEST(LambdaTest, RefusesHugeSizes) {
  ExpectUnreadable(CodeWithConstants("(\xff\xff\xff\x7f"));
  ExpectUnreadable(CodeWithConstants("(\xff\xff\xff\xff"));
  ExpectUnreadable(CodeWithConstants(")\1s\xff\xff\xff\x7f"));
  ExpectUnreadable(CodeWithConstants(")\1l\xff\xff\xff\x7f"));
  ExpectUnreadable(CodeWithConstants(std::string(")\1l\0\0\0\x80", 7)));
}

TEST(LambdaTest, RefusesObjectsThatHoldThemselves) {
  // Object 0 is the code, 1 the tuple of constants, which refers to both.
  ExpectUnreadable(CodeWithConstants(std::string("\xa9\1r\1\0\0\0", 7)));
  ExpectUnreadable(CodeWithConstants(std::string("\xa9\1r\0\0\0\0", 7)));
  ExpectUnreadable(CodeWithConstants(std::string("\xa9\1r\x7f\0\0\0", 7)));
}

TEST(LambdaTest, RefusesReferencesThatGrow) {
  // Each tuple holds the one before twice: 2^60 objects.
  std::string constants = ")\x3c";
  constants += std::string("\xa9\0", 2);
  for (char i = 1; i < 60; ++i) {
    const char before = i;  // the code is object 0
    constants += std::string("\xa9\2r", 3) + before + std::string("\0\0\0r", 4) + before +
                 std::string("\0\0\0", 3);
  }
  ExpectUnreadable(CodeWithConstants(constants));
}

TEST(LambdaTest, SurvivesRandomChanges) {
  std::mt19937 random(7);
  const auto start = std::chrono::steady_clock::now();
  int lowered = 0;
  for (int round = 0; round < 4000; ++round) {
    const LambdaSample& sample = Samples()[random() % Samples().size()];
    ConfigValue function = sample.function;
    function.as_list()[0] = EncodeBase64(MutateBytes(Bytes(sample), random));
    const LambdaOutcome outcome = LowerLambdaSample(sample, function);
    lowered += outcome.outputs.empty() ? 0 : 1;
    EXPECT_TRUE(outcome.outputs.empty() == outcome.diagnoses.has_errors());
    // Slow machines run fewer rounds.
    if (std::chrono::steady_clock::now() - start > std::chrono::seconds(20)) break;
  }
  EXPECT_GT(lowered, 0);
}

}  // namespace
}  // namespace h5serve::model
