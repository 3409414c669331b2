#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "server/inference.h"
#include "server/inference_codec.h"
#include "server/json_tensor.h"
#include "server/log.h"
#include "server/tensor_codec.h"
#include "server/wire_types.h"

namespace h5serve::server {
namespace {

using compute::DType;
using compute::Shape;
using compute::Tensor;
using tensorflow::TensorProto;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr int64_t kLimit = 1 << 20;

TensorProto Proto(tensorflow::DataType type, std::initializer_list<int64_t> dims) {
  TensorProto proto;
  proto.set_dtype(type);
  proto.mutable_tensor_shape();
  for (int64_t dim : dims) proto.mutable_tensor_shape()->add_dim()->set_size(dim);
  return proto;
}

template <typename T>
std::vector<T> Values(const Tensor& tensor) {
  return {tensor.data<T>(), tensor.data<T>() + tensor.num_elements()};
}

std::string Error(const absl::Status& status) {
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  return std::string(status.message());
}

model::TensorSpec Spec(const std::string& name, DType dtype, const Shape& shape) {
  model::TensorSpec spec;
  spec.name = name;
  spec.keras_name = name;
  spec.dtype = dtype;
  spec.shape = shape;
  return spec;
}

model::Signature TwoInputs() {
  return {{Spec("a", DType::kFloat32, {compute::kUnknown, 2}),
           Spec("b", DType::kInt64, {compute::kUnknown})},
          {Spec("y", DType::kFloat32, {compute::kUnknown, 1})}};
}

TEST(TensorCodecTest, SharesTypedValuesWithoutACopy) {
  TensorProto proto = Proto(tensorflow::DT_FLOAT, {2, 2});
  for (float value : {1.f, 2.f, 3.f, 4.f}) proto.add_float_val(value);

  const absl::StatusOr<Tensor> tensor = DecodeTensor(proto, kLimit);

  ASSERT_TRUE(tensor.ok());
  EXPECT_EQ(tensor->raw_data(), proto.float_val().data());
  EXPECT_EQ(tensor->shape(), (Shape{2, 2}));
}

TEST(TensorCodecTest, SharesContentWithoutACopy) {
  TensorProto proto = Proto(tensorflow::DT_DOUBLE, {3});
  const double values[] = {1, 2, 3};
  proto.set_tensor_content(values, sizeof values);

  const absl::StatusOr<Tensor> tensor = DecodeTensor(proto, kLimit);

  ASSERT_TRUE(tensor.ok());
  EXPECT_EQ(tensor->raw_data(), proto.tensor_content().data());
}

TEST(TensorCodecTest, RepeatsTheLastValue) {
  TensorProto proto = Proto(tensorflow::DT_INT32, {4});
  proto.add_int_val(7);
  proto.add_int_val(9);

  EXPECT_THAT(Values<int32_t>(*DecodeTensor(proto, kLimit)), ElementsAre(7, 9, 9, 9));
}

TEST(TensorCodecTest, DecodesNarrowIntegersAndHalves) {
  TensorProto bytes = Proto(tensorflow::DT_UINT8, {2});
  bytes.add_int_val(0);
  bytes.add_int_val(255);
  TensorProto half = Proto(tensorflow::DT_HALF, {1});
  half.add_half_val(0x3C00);
  TensorProto brain = Proto(tensorflow::DT_BFLOAT16, {1});
  brain.add_half_val(0xFF80);

  EXPECT_THAT(Values<uint8_t>(*DecodeTensor(bytes, kLimit)), ElementsAre(0, 255));
  EXPECT_THAT(Values<uint16_t>(*DecodeTensor(half, kLimit)), ElementsAre(0x3C00));
  EXPECT_THAT(Values<uint16_t>(*DecodeTensor(brain, kLimit)), ElementsAre(0xFF80));
}

TEST(TensorCodecTest, RefusesWhatDoesNotFit) {
  TensorProto narrow = Proto(tensorflow::DT_INT8, {1});
  narrow.add_int_val(128);
  EXPECT_THAT(Error(DecodeTensor(narrow, kLimit).status()), HasSubstr("128"));

  TensorProto many = Proto(tensorflow::DT_FLOAT, {1});
  many.add_float_val(1);
  many.add_float_val(2);
  EXPECT_THAT(Error(DecodeTensor(many, kLimit).status()), HasSubstr("got 2 values in float_val"));

  EXPECT_THAT(Error(DecodeTensor(Proto(tensorflow::DT_FLOAT, {3}), kLimit).status()),
              HasSubstr("got no values"));

  TensorProto content = Proto(tensorflow::DT_FLOAT, {3});
  content.set_tensor_content("12345");
  EXPECT_THAT(Error(DecodeTensor(content, kLimit).status()),
              AllOf(HasSubstr("5 bytes"), HasSubstr("expected 12")));

  TensorProto flags = Proto(tensorflow::DT_BOOL, {2});
  flags.set_tensor_content(std::string("\1\2"));
  EXPECT_THAT(Error(DecodeTensor(flags, kLimit).status()), HasSubstr("neither 0 nor 1"));

  TensorProto text = Proto(tensorflow::DT_STRING, {1});
  text.set_tensor_content("x");
  EXPECT_THAT(Error(DecodeTensor(text, kLimit).status()), HasSubstr("string_val"));
}

TEST(TensorCodecTest, RefusesHostileShapes) {
  const auto error = [](std::initializer_list<int64_t> dims) {
    TensorProto proto = Proto(tensorflow::DT_FLOAT, dims);
    proto.add_float_val(0);
    return Error(DecodeTensor(proto, kLimit).status());
  };

  EXPECT_THAT(error({-1}), HasSubstr("negative"));
  EXPECT_THAT(error({int64_t{1} << 62, 8}), HasSubstr("more than"));
  EXPECT_THAT(error({1 << 20, 1 << 20}), HasSubstr("more than"));
  EXPECT_THAT(error({INT64_MIN}), HasSubstr("negative"));
  EXPECT_THAT(error({1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}), HasSubstr("dimensions"));
  TensorProto unknown = Proto(tensorflow::DT_FLOAT, {});
  unknown.mutable_tensor_shape()->set_unknown_rank(true);
  EXPECT_THAT(Error(DecodeTensor(unknown, kLimit).status()), HasSubstr("rank"));
  TensorProto strange = Proto(static_cast<tensorflow::DataType>(77), {1});
  EXPECT_THAT(Error(DecodeTensor(strange, kLimit).status()), HasSubstr("77"));
  EXPECT_THAT(Error(DecodeTensor(Proto(tensorflow::DT_COMPLEX64, {1}), kLimit).status()),
              HasSubstr("DT_COMPLEX64"));
}

TEST(TensorCodecTest, EveryTypeComesBack) {
  const std::pair<DType, Tensor> cases[] = {
      {DType::kFloat32, Tensor::Floats({2}, {1.5f, -2})},
      {DType::kInt64, Tensor::Ints({2}, {INT64_MIN, 3})},
      {DType::kString, Tensor::Strings({2}, {"", "z"})},
  };
  for (const auto& [dtype, tensor] : cases) {
    for (bool as_content : {false, true}) {
      TensorProto proto;
      EncodeTensor(tensor, as_content, &proto);
      const absl::StatusOr<Tensor> back = DecodeTensor(proto, kLimit);
      ASSERT_TRUE(back.ok()) << back.status();
      EXPECT_EQ(back->dtype(), dtype);
      EXPECT_EQ(back->shape(), tensor.shape());
    }
  }
  for (DType dtype : {DType::kFloat64, DType::kFloat16, DType::kBFloat16, DType::kInt8,
                      DType::kInt16, DType::kInt32, DType::kUInt8, DType::kUInt16, DType::kUInt32,
                      DType::kUInt64, DType::kBool}) {
    Tensor tensor = Tensor::Allocate(dtype, {3});
    std::fill_n(static_cast<char*>(tensor.raw_mutable_data()), tensor.size_bytes(), 1);
    for (bool as_content : {false, true}) {
      TensorProto proto;
      EncodeTensor(tensor, as_content, &proto);
      const absl::StatusOr<Tensor> back = DecodeTensor(proto, kLimit);
      ASSERT_TRUE(back.ok()) << compute::Name(dtype) << back.status();
      EXPECT_EQ(RawBytes(*back), RawBytes(tensor)) << compute::Name(dtype);
    }
  }
}

TEST(TensorCodecTest, InputsComeInSignatureOrder) {
  tensorflow::serving::PredictRequest request;
  TensorProto b = Proto(tensorflow::DT_INT64, {1});
  b.add_int64_val(5);
  TensorProto a = Proto(tensorflow::DT_FLOAT, {1, 2});
  a.add_float_val(1);
  (*request.mutable_inputs())["b"] = b;
  (*request.mutable_inputs())["a"] = a;

  const auto inputs = DecodeInputs(TwoInputs(), request, kLimit);

  ASSERT_TRUE(inputs.ok()) << inputs.status();
  EXPECT_EQ((*inputs)[0].dtype(), DType::kFloat32);
  EXPECT_EQ((*inputs)[1].dtype(), DType::kInt64);
}

TEST(TensorCodecTest, NamesMissingAndSurplusInputs) {
  tensorflow::serving::PredictRequest request;
  TensorProto a = Proto(tensorflow::DT_FLOAT, {1, 2});
  a.add_float_val(1);
  (*request.mutable_inputs())["a"] = a;
  (*request.mutable_inputs())["c"] = a;

  EXPECT_THAT(Error(DecodeInputs(TwoInputs(), request, kLimit).status()),
              AllOf(HasSubstr("Sent extra: {c}"), HasSubstr("Missing but required: {b}")));
}

TEST(TensorCodecTest, NamesTheInputOfAWrongType) {
  tensorflow::serving::PredictRequest request;
  TensorProto a = Proto(tensorflow::DT_DOUBLE, {1, 2});
  a.add_double_val(1);
  (*request.mutable_inputs())["a"] = a;
  (*request.mutable_inputs())["b"] = a;

  EXPECT_THAT(
      Error(DecodeInputs(TwoInputs(), request, kLimit).status()),
      AllOf(HasSubstr("\"a\""), HasSubstr("got element type DT_DOUBLE"), HasSubstr("DT_FLOAT")));
}

TEST(TensorCodecTest, ExamplesBecomeRows) {
  tensorflow::serving::Input input;
  auto* list = input.mutable_example_list_with_context();
  for (float value : {1.f, 2.f}) {
    auto& features = *list->add_examples()->mutable_features()->mutable_feature();
    features["a"].mutable_float_list()->add_value(value);
    features["a"].mutable_float_list()->add_value(-value);
  }
  auto& shared = *list->mutable_context()->mutable_features()->mutable_feature();
  shared["b"].mutable_int64_list()->add_value(9);

  const auto tensors =
      DecodeExamples({{Spec("a", DType::kFloat32, {-1, 2}), Spec("b", DType::kInt64, {-1, 1})}, {}},
                     input, kLimit);

  ASSERT_TRUE(tensors.ok()) << tensors.status();
  EXPECT_THAT(Values<float>((*tensors)[0]), ElementsAre(1, -1, 2, -2));
  EXPECT_THAT(Values<int64_t>((*tensors)[1]), ElementsAre(9, 9));
}

TEST(SelectOutputsTest, UnknownAndRepeatedNamesAreErrors) {
  const model::Signature signature = TwoInputs();
  const std::vector<std::string_view> unknown = {"z"}, repeated = {"y", "y"};

  EXPECT_THAT(*SelectOutputs(signature, {}), ElementsAre(0));
  EXPECT_THAT(Error(SelectOutputs(signature, unknown).status()),
              AllOf(HasSubstr("alias not found in signature: z"), HasSubstr("{y}")));
  EXPECT_THAT(Error(SelectOutputs(signature, repeated).status()), HasSubstr("duplicate"));
}

inference::ModelInferRequest InferRequest() {
  inference::ModelInferRequest request;
  auto* b = request.add_inputs();
  b->set_name("b");
  b->set_datatype("INT64");
  b->add_shape(1);
  auto* a = request.add_inputs();
  a->set_name("a");
  a->set_datatype("FP32");
  a->add_shape(1);
  a->add_shape(2);
  return request;
}

TEST(InferenceCodecTest, TakesTypedContents) {
  inference::ModelInferRequest request = InferRequest();
  request.mutable_inputs(0)->mutable_contents()->add_int64_contents(4);
  request.mutable_inputs(1)->mutable_contents()->add_fp32_contents(1);
  request.mutable_inputs(1)->mutable_contents()->add_fp32_contents(2);

  const auto inputs = DecodeInferInputs(TwoInputs(), request, kLimit);

  ASSERT_TRUE(inputs.ok()) << inputs.status();
  EXPECT_THAT(Values<float>((*inputs)[0]), ElementsAre(1, 2));
  EXPECT_THAT(Values<int64_t>((*inputs)[1]), ElementsAre(4));
}

TEST(InferenceCodecTest, TakesRawContents) {
  inference::ModelInferRequest request = InferRequest();
  const int64_t b = 4;
  const float a[] = {1, 2};
  request.add_raw_input_contents(&b, sizeof b);
  request.add_raw_input_contents(a, sizeof a);

  const auto inputs = DecodeInferInputs(TwoInputs(), request, kLimit);

  ASSERT_TRUE(inputs.ok()) << inputs.status();
  EXPECT_THAT(Values<float>((*inputs)[0]), ElementsAre(1, 2));
}

TEST(InferenceCodecTest, RefusesMixedAndMiscountedContents) {
  inference::ModelInferRequest request = InferRequest();
  request.add_raw_input_contents("12345678");
  EXPECT_THAT(Error(DecodeInferInputs(TwoInputs(), request, kLimit).status()),
              HasSubstr("1 raw_input_contents for 2 inputs"));
  request.add_raw_input_contents("12345678");
  request.mutable_inputs(1)->mutable_contents()->add_fp32_contents(1);
  EXPECT_THAT(Error(DecodeInferInputs(TwoInputs(), request, kLimit).status()),
              HasSubstr("along with"));
  inference::ModelInferRequest few = InferRequest();
  few.mutable_inputs(0)->mutable_contents()->add_int64_contents(4);
  EXPECT_THAT(Error(DecodeInferInputs(TwoInputs(), few, kLimit).status()),
              AllOf(HasSubstr("\"a\""), HasSubstr("got 0 values in fp32_contents")));
  inference::ModelInferRequest twice = InferRequest();
  twice.mutable_inputs(0)->set_name("a");
  EXPECT_THAT(Error(DecodeInferInputs(TwoInputs(), twice, kLimit).status()),
              HasSubstr("more than once"));
}

TEST(InferenceCodecTest, BytesElementsCarryTheirLength) {
  std::string raw;
  AppendRaw(Tensor::Strings({3}, {"ab", "", "xyz"}), &raw);
  EXPECT_EQ(raw, std::string("\2\0\0\0ab\0\0\0\0\3\0\0\0xyz", 17));

  EXPECT_THAT(Values<std::string>(*DecodeBytes(raw, {3})), ElementsAre("ab", "", "xyz"));
  EXPECT_THAT(Error(DecodeBytes(raw, {2}).status()), HasSubstr("7 bytes follow"));
  EXPECT_THAT(Error(DecodeBytes(raw.substr(0, 5), {1}).status()), HasSubstr("2 bytes, 1 remain"));
  EXPECT_THAT(Error(DecodeBytes("\1", {1}).status()), HasSubstr("ends before"));
}

TEST(InferenceCodecTest, ListsTheTopClasses) {
  const Tensor scores = Tensor::Floats({2, 3}, {0.1f, 0.7f, 0.2f, 0.5f, 0.25f, 0.25f});

  const absl::StatusOr<Tensor> classes = TopClasses(scores, 2);

  ASSERT_TRUE(classes.ok());
  EXPECT_EQ(classes->shape(), (Shape{2, 2}));
  EXPECT_THAT(Values<std::string>(*classes),
              ElementsAre("0.700000:1", "0.200000:2", "0.500000:0", "0.250000:1"));
}

absl::StatusOr<Tensor> FromText(const std::string& json, DType dtype) {
  simdjson::dom::parser parser;
  const auto document = ParseJsonDocument(json, &parser);
  if (!document.ok()) return document.status();
  return TensorFromJson(*document, dtype, kLimit);
}

TEST(JsonTensorTest, NestedListsBecomeShapes) {
  const absl::StatusOr<Tensor> tensor = FromText("[[1, 2.5], [3e1, -4]]", DType::kFloat32);

  ASSERT_TRUE(tensor.ok()) << tensor.status();
  EXPECT_EQ(tensor->shape(), (Shape{2, 2}));
  EXPECT_THAT(Values<float>(*tensor), ElementsAre(1, 2.5, 30, -4));
}

TEST(JsonTensorTest, TokensOfPythonAreFloats) {
  const absl::StatusOr<Tensor> tensor = FromText("[NaN, Infinity, -Infinity]", DType::kFloat64);

  ASSERT_TRUE(tensor.ok()) << tensor.status();
  EXPECT_TRUE(std::isnan(tensor->data<double>()[0]));
  EXPECT_EQ(QuoteNonFinite(R"(["NaN \" NaN", NaN])"), R"(["NaN \" NaN", "NaN"])");
}

TEST(JsonTensorTest, RefusesRaggedListsAndWrongValues) {
  EXPECT_THAT(Error(FromText("[[1, 2], [3]]", DType::kFloat32).status()), HasSubstr("ragged"));
  EXPECT_THAT(Error(FromText("[[1], 2]", DType::kFloat32).status()), HasSubstr("ragged"));
  EXPECT_THAT(Error(FromText("[1.5]", DType::kInt32).status()), HasSubstr("fraction"));
  EXPECT_THAT(Error(FromText("[300]", DType::kUInt8).status()), HasSubstr("300"));
  EXPECT_THAT(Error(FromText("[\"x\"]", DType::kFloat32).status()), HasSubstr("string"));
  EXPECT_THAT(Error(FromText("[1", DType::kFloat32).status()), HasSubstr("JSON"));
  EXPECT_THAT(
      Error(FromText(std::string(500, '[') + std::string(500, ']'), DType::kFloat32).status()),
      HasSubstr("deeper"));
  EXPECT_FALSE(FromText(std::string(100000, '['), DType::kFloat32).ok());
}

TEST(JsonTensorTest, StringsMayBeBase64) {
  const absl::StatusOr<Tensor> tensor = FromText(R"(["ü", {"b64": "AP8="}])", DType::kString);

  ASSERT_TRUE(tensor.ok()) << tensor.status();
  EXPECT_THAT(Values<std::string>(*tensor), ElementsAre("ü", std::string("\0\xff", 2)));
  EXPECT_EQ(Base64(std::string("\0\xff", 2)), "AP8=");
  EXPECT_FALSE(FromBase64("!").ok());
}

TEST(JsonTensorTest, PrintsShortestFloatsAndKeepsThemFloats) {
  std::string json;
  AppendJson(Tensor::Floats({2, 2}, {0.1f, 1, -2.5f, std::numeric_limits<float>::infinity()}),
             {2, 2}, 0, false, &json);

  EXPECT_EQ(json, "[[0.1,1.0],[-2.5,Infinity]]");
}

TEST(JsonQuoteTest, EscapesAndRepairs) {
  EXPECT_EQ(JsonQuote("a\"\\\n\x01ü€😀"), "\"a\\\"\\\\\\n\\u0001ü€😀\"");
  EXPECT_EQ(JsonQuote("\xff\xc0\x80"), "\"\\ufffd\\ufffd\\ufffd\"");
}

}  // namespace
}  // namespace h5serve::server
