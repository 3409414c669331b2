#include "model/functions/function_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <sstream>

#include "compute/program.h"

namespace h5serve::model {
namespace {

using compute::Tensor;
using compute::Value;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

FunctionNamespace NamespaceOf(std::string_view name) {
  if (name == "keras_operation") return FunctionNamespace::kKerasOperation;
  if (name == "backend") return FunctionNamespace::kBackend;
  if (name == "tensorflow") return FunctionNamespace::kTensorflow;
  if (name == "tensorflow_node") return FunctionNamespace::kTensorflowNode;
  if (name == "numpy") return FunctionNamespace::kNumpy;
  return FunctionNamespace::kKerasOps;
}

void Collect(const ConfigValue& value, int depth, compute::Shape* shape,
             std::vector<double>* leaves) {
  if (!value.is_list()) {
    leaves->push_back(value.is_bool() ? value.as_bool() : value.as_float());
    return;
  }
  if (depth == shape->rank()) shape->push_back(static_cast<int64_t>(value.as_list().size()));
  for (const ConfigValue& item : value.as_list()) Collect(item, depth + 1, shape, leaves);
}

Tensor TensorOf(std::string_view kind, const ConfigValue& value) {
  compute::Shape shape;
  std::vector<double> leaves;
  Collect(value, 0, &shape, &leaves);
  if (kind == "float")
    return Tensor::Floats(shape, std::vector<float>(leaves.begin(), leaves.end()));
  if (kind == "int") return Tensor::Ints(shape, std::vector<int64_t>(leaves.begin(), leaves.end()));
  Tensor tensor = Tensor::Allocate(compute::DType::kBool, shape);
  for (size_t i = 0; i < leaves.size(); ++i) tensor.mutable_data<bool>()[i] = leaves[i] != 0;
  return tensor;
}

// A graph whose inputs are the tensors of the case.
class Builder {
 public:
  explicit Builder(bool open_batch) : open_batch_(open_batch) {}

  FunctionArgument Argument(const ConfigValue& value) {
    if (value.is_list()) {
      std::vector<FunctionArgument> items;
      for (const ConfigValue& item : value.as_list()) items.push_back(Argument(item));
      return FunctionArgument::List(std::move(items));
    }
    if (!value.is_dict()) return FunctionArgument::Constant(value);
    const auto& [kind, data] = *value.as_dict().begin();
    if (kind == "slice") {
      const ConfigValue::List& parts = data.as_list();
      return FunctionArgument::Slice(Argument(parts[0]), Argument(parts[1]), Argument(parts[2]));
    }
    if (kind == "ellipsis") {
      FunctionArgument ellipsis;
      ellipsis.kind = FunctionArgument::Kind::kEllipsis;
      return ellipsis;
    }
    tensors_.push_back(TensorOf(kind, data));
    compute::Shape shape = tensors_.back().shape();
    if (open_batch_ && shape.rank() > 0) shape[0] = compute::kUnknown;
    return FunctionArgument::Tensor(graph_.Input(tensors_.back().dtype(), shape));
  }

  absl::StatusOr<std::vector<Tensor>> Run(const ConfigValue& test) {
    std::vector<FunctionArgument> args;
    for (const ConfigValue& item : test["args"].as_list()) args.push_back(Argument(item));
    KeywordArguments kwargs;
    for (const auto& [name, item] : test["kwargs"].as_dict()) kwargs.emplace(name, Argument(item));
    FunctionContext context;
    context.graph = &graph_;
    context.writer.dialect = Writer::Dialect::kKeras3;
    absl::StatusOr<FunctionArgument> result = CallFunction(
        context, NamespaceOf(test.StringOr("namespace")), test.StringOr("symbol"), args, kwargs);
    if (!result.ok()) return result.status();
    std::vector<Value> outputs;
    if (result->is_list()) {
      for (const FunctionArgument& item : result->list) outputs.push_back(ToTensor(graph_, item));
    } else {
      outputs.push_back(ToTensor(graph_, *result));
    }
    auto program = compute::Program::Compile(std::move(graph_), outputs, {});
    if (!program.ok()) return program.status();
    std::vector<Tensor> results;
    if (absl::Status status = (*program)->Run(tensors_, nullptr, &results); !status.ok())
      return status;
    return results;
  }

 private:
  bool open_batch_;
  compute::Graph graph_;
  std::vector<Tensor> tensors_;
};

void Compare(const ConfigValue& expected, const Tensor& got) {
  const ConfigValue::List& values = expected["values"].as_list();
  const std::string kind(expected.StringOr("kind"));
  compute::Shape shape;
  for (const ConfigValue& dim : expected["shape"].as_list()) shape.push_back(dim.as_int());
  ASSERT_EQ(got.shape(), shape) << got.shape().ToString();
  const compute::DType dtype = kind == "float" ? compute::DType::kFloat32
                               : kind == "int" ? compute::DType::kInt64
                                               : compute::DType::kBool;
  EXPECT_EQ(Name(got.dtype()), Name(dtype));
  absl::StatusOr<Tensor> floats = compute::Cast(got, compute::DType::kFloat32);
  ASSERT_TRUE(floats.ok());
  for (size_t i = 0; i < values.size(); ++i) {
    const double want = values[i].as_float();
    const double have = floats->data<float>()[i];
    if (std::isinf(want) || std::isnan(want)) {
      EXPECT_TRUE(want == have || (std::isnan(want) && std::isnan(have)));
    } else {
      EXPECT_NEAR(have, want, 2e-5 * std::max(1.0, std::fabs(want))) << "element " << i;
    }
  }
}

std::vector<ConfigValue> Cases() {
  std::ifstream file(H5SERVE_TEST_DATA "/unit/model/function_cases.json");
  std::stringstream text;
  text << file.rdbuf();
  absl::StatusOr<ConfigValue> cases = ParseJson(text.str());
  if (!cases.ok() || !cases->is_list()) return {};
  return cases->as_list();
}

class FunctionCaseTest : public ::testing::TestWithParam<bool> {};

// Written by make_function_cases.py with NumPy.
TEST_P(FunctionCaseTest, AgreesWithNumPy) {
  const std::vector<ConfigValue> cases = Cases();
  ASSERT_GT(cases.size(), 300u);
  int refused = 0;
  for (const ConfigValue& test : cases) {
    SCOPED_TRACE(std::string(test.StringOr("namespace")) + " " +
                 std::string(test.StringOr("symbol")) + " " + test["kwargs"].ToJson(200));
    absl::StatusOr<std::vector<Tensor>> results = Builder(GetParam()).Run(test);
    if (GetParam() && !results.ok()) {
      // Some functions need to know the size of the first axis; none may crash.
      ++refused;
      continue;
    }
    if (!results.ok()) {
      ADD_FAILURE() << results.status();
      continue;
    }
    const ConfigValue::List& outputs = test["outputs"].as_list();
    if (results->size() != outputs.size()) {
      ADD_FAILURE() << results->size() << " outputs";
      continue;
    }
    for (size_t i = 0; i < outputs.size(); ++i) Compare(outputs[i], results->at(i));
  }
  EXPECT_LT(refused, 25);
}

INSTANTIATE_TEST_SUITE_P(Shapes, FunctionCaseTest, ::testing::Values(false, true),
                         [](const auto& info) { return info.param ? "OpenFirstAxis" : "Known"; });

absl::StatusOr<FunctionArgument> CallOn(compute::Graph* graph, FunctionNamespace name_space,
                                        std::string_view symbol,
                                        const std::vector<FunctionArgument>& args,
                                        const KeywordArguments& kwargs = {}) {
  FunctionContext context;
  context.graph = graph;
  return CallFunction(context, name_space, symbol, args, kwargs);
}

TEST(CallFunctionTest, FoldsPythonNumbers) {
  compute::Graph graph;
  const auto number = [](ConfigValue value) {
    return FunctionArgument::Constant(std::move(value));
  };

  EXPECT_EQ(CallOn(&graph, FunctionNamespace::kKerasOps, "add", {number(2), number(3)})->constant,
            ConfigValue(5));
  EXPECT_EQ(
      CallOn(&graph, FunctionNamespace::kKerasOps, "divide", {number(3), number(2)})->constant,
      ConfigValue(1.5));
  EXPECT_EQ(CallOn(&graph, FunctionNamespace::kKerasOps, "floor_divide", {number(-7), number(2)})
                ->constant,
            ConfigValue(-4));
  EXPECT_EQ(CallOn(&graph, FunctionNamespace::kKerasOps, "mod", {number(-7), number(2)})->constant,
            ConfigValue(1));
}

TEST(CallFunctionTest, NamesTheNearestFunctions) {
  compute::Graph graph;

  const absl::Status status =
      CallOn(&graph, FunctionNamespace::kTensorflow, "math.reduce_men", {}).status();

  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(status.message()), HasSubstr("reduce_mean"));
  EXPECT_THAT(NearestFunctions(FunctionNamespace::kKerasOperation, "LogSoftMaxx"),
              Contains("log_softmax"));
}

TEST(CallFunctionTest, RefusesArgumentsItDoesNotKnow) {
  compute::Graph graph;
  const FunctionArgument x =
      FunctionArgument::Tensor(graph.Input(compute::DType::kFloat32, {2, 3}));

  const absl::Status status = CallOn(&graph, FunctionNamespace::kTensorflow, "nn.relu", {x},
                                     {{"slope", FunctionArgument::Constant(1)}})
                                  .status();

  EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented);
  EXPECT_THAT(std::string(status.message()), HasSubstr("slope"));
}

TEST(CallFunctionTest, SparseFunctionsAreNotTheirDenseTwins) {
  EXPECT_FALSE(HasFunction(FunctionNamespace::kTensorflow, "sparse.reduce_sum"));
  EXPECT_FALSE(HasFunction(FunctionNamespace::kTensorflow, "random.normal"));
  EXPECT_TRUE(HasFunction(FunctionNamespace::kTensorflow, "compat.v1.math.reduce_sum"));
}

TEST(CallFunctionTest, ReshapesByAShapeThatIsPartlyOpen) {
  // tf.reshape(x, [tf.shape(x)[0], 12]) and x[:, :tf.shape(x)[1] - 1].
  compute::Graph graph;
  const Value x = graph.Input(compute::DType::kFloat32, {compute::kUnknown, 3, 4});
  const auto call = [&](std::string_view symbol, const std::vector<FunctionArgument>& args) {
    absl::StatusOr<FunctionArgument> result =
        CallOn(&graph, FunctionNamespace::kTensorflow, symbol, args);
    EXPECT_TRUE(result.ok()) << result.status();
    return result.ok() ? *result : FunctionArgument();
  };
  const FunctionArgument tensor = FunctionArgument::Tensor(x);
  const FunctionArgument shape = call("shape", {tensor});
  const FunctionArgument batch =
      call("__operators__.getitem", {shape, FunctionArgument::Constant(0)});
  const FunctionArgument steps =
      call("__operators__.getitem", {shape, FunctionArgument::Constant(1)});
  const FunctionArgument target = FunctionArgument::List({batch, FunctionArgument::Constant(12)});

  const FunctionArgument flat = call("reshape", {tensor, target});
  EXPECT_EQ(graph.shape(flat.tensor), (compute::Shape{compute::kUnknown, 12}));

  const FunctionArgument end = call("math.subtract", {steps, FunctionArgument::Constant(1)});
  const FunctionArgument all = FunctionArgument::Slice({}, {}, {});
  const FunctionArgument cut =
      call("__operators__.getitem",
           {tensor, FunctionArgument::List({all, FunctionArgument::Slice({}, end, {})})});
  EXPECT_EQ(graph.shape(cut.tensor), (compute::Shape{compute::kUnknown, 2, 4}));

  const FunctionArgument zeros =
      call("zeros", {FunctionArgument::List({batch, FunctionArgument::Constant(5)})});
  EXPECT_EQ(graph.shape(zeros.tensor), (compute::Shape{compute::kUnknown, 5}));

  auto program =
      compute::Program::Compile(std::move(graph), {flat.tensor, cut.tensor, zeros.tensor}, {});
  ASSERT_TRUE(program.ok()) << program.status();
  std::vector<Tensor> results;
  const Tensor input = Tensor::Fill({2, 3, 4}, 1);
  ASSERT_TRUE((*program)->Run(std::vector<Tensor>{input}, nullptr, &results).ok());
  EXPECT_EQ(results[0].shape(), (compute::Shape{2, 12}));
  EXPECT_EQ(results[1].shape(), (compute::Shape{2, 2, 4}));
  EXPECT_EQ(results[2].shape(), (compute::Shape{2, 5}));
}

}  // namespace
}  // namespace h5serve::model
