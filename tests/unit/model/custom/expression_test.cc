#include "model/custom/expression.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "model/custom/evaluate_expression.h"
#include "model/custom/expression_builtins.h"

namespace h5serve::model {
namespace {

using compute::Shape;
using compute::Tensor;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

// Evaluates with x = [[1, 2], [3, 4]], a setting beta = 2, and y of unknown batch.
class Calculator {
 public:
  absl::StatusOr<FunctionArgument> Run(std::string_view source) {
    const auto expression = ParseExpression(source);
    if (!expression.ok()) return expression.status();
    ExpressionScope scope;
    scope.context.graph = &graph_;
    scope.variable =
        [this](std::string_view name) -> absl::StatusOr<std::optional<FunctionArgument>> {
      if (name == "x") {
        return std::optional(
            FunctionArgument::Tensor(graph_.Constant(Tensor::Floats(Shape{2, 2}, {1, 2, 3, 4}))));
      }
      if (name == "y") {
        return std::optional(FunctionArgument::Tensor(
            graph_.Input(compute::DType::kFloat32, Shape{compute::kUnknown, 3})));
      }
      if (name == "beta") return std::optional(FunctionArgument::Constant(2));
      return std::optional<FunctionArgument>();
    };
    scope.known_names = "; there is x";
    return EvaluateExpression(**expression, scope);
  }

  // JSON of a value that is known, its numbers for a tensor, else the error.
  std::string Text(std::string_view source) {
    const absl::StatusOr<FunctionArgument> value = Run(source);
    if (!value.ok()) return "error: " + std::string(value.status().message());
    if (const auto known = StaticValue(graph_, *value)) return known->ToJson();
    if (!value->is_tensor()) return "no value";
    const Tensor* tensor = graph_.constant(value->tensor);
    if (tensor == nullptr) return graph_.shape(value->tensor).ToString();
    std::string text = tensor->shape().ToString();
    for (int64_t i = 0; i < tensor->num_elements(); ++i) {
      text += tensor->dtype() == compute::DType::kFloat32
                  ? " " + ConfigValue(static_cast<double>(tensor->data<float>()[i])).ToJson()
                  : "";
    }
    return text;
  }

 private:
  compute::Graph graph_;
};

std::string Text(std::string_view source) { return Calculator().Text(source); }

TEST(ExpressionTest, ComputesKnownValuesAsPythonDoes) {
  const std::pair<const char*, const char*> cases[] = {
      {"1 + 2 * 3", "7"},
      {"(1 + 2) * 3", "9"},
      {"-7 // 2", "-4"},
      {"-7 % 3", "2"},
      {"2 ** -1", "0.5"},
      {"-2 ** 2", "-4"},
      {"2 ** 3 ** 2", "512"},
      {"7 / 2", "3.5"},
      {"not 1 == 2 and 3 < 4", "true"},
      {"None is None", "true"},
      {"'a' if beta > 1 else 'b'", "\"a\""},
      {"beta", "2"},
      {"[i * 2 for i in range(4) if i != 1]", "[0,4,6]"},
      {"[1, 2] + [3] * 2", "[1,2,3,3]"},
      {"[1, 2, 3, 4][1:]", "[2,3,4]"},
      {"[1, 2, 3, 4][::-2]", "[4,2]"},
      {"[1, 2, 3][-1]", "3"},
      {"len(range(1, 10, 3))", "3"},
      {"'a' in ['a', 'b']", "true"},
      {"3 not in [1, 2]", "true"},
      {"a = 2; b = a * a; a + b", "6"},
      {"a, b = 1, 2\nb, a", "[2,1]"},
      {"[(s := s + i) for i in range(4)] if (s := 10) else 0", "[10,11,13,16]"},
      {"int(7 / 2)", "3"},
      {"round(2.5)", "2"},
      {"round(3.5)", "4"},
      {"(1,\n 2)[1]  # a comment", "2"},
      {"x.shape", "[2,2]"},
      {"x.shape[-1] // 2", "1"},
      {"ndim(x)", "2"},
      {"np.pi > 3.14", "true"},
  };
  for (const auto& [source, result] : cases) EXPECT_EQ(Text(source), result) << source;
}

TEST(ExpressionTest, BuildsOpsUnderTheNamesOfEveryLibrary) {
  const std::pair<const char*, const char*> cases[] = {
      {"x * beta + 1", "(2, 2) 3.0 5.0 7.0 9.0"},
      {"x @ x", "(2, 2) 7.0 10.0 15.0 22.0"},
      {"-x[:, 0]", "(2,) -1.0 -3.0"},
      {"x[..., None].shape", "[2,2,1]"},
      {"x[::-1, 1:]", "(2, 1) 4.0 2.0"},
      {"x[None].shape", "[1,2,2]"},
      {"sum(x, axis=0)", "(2,) 4.0 6.0"},
      {"K.sum(x, axis=-1)", "(2,) 3.0 7.0"},
      {"tf.reduce_mean(x, axis=1)", "(2,) 1.5 3.5"},
      {"tf.math.maximum(x, 2)", "(2, 2) 2.0 2.0 3.0 4.0"},
      {"keras.ops.square(x)", "(2, 2) 1.0 4.0 9.0 16.0"},
      {"keras.backend.square(x)", "(2, 2) 1.0 4.0 9.0 16.0"},
      {"np.transpose(x)", "(2, 2) 1.0 3.0 2.0 4.0"},
      {"reduce_sum(x, axis=0)", "(2,) 4.0 6.0"},
      {"where(x > 2, x, 0)", "(2, 2) 0.0 0.0 3.0 4.0"},
      {"x / [1, 2]", "(2, 2) 1.0 1.0 3.0 2.0"},
      {"concatenate([x, x], axis=1).shape", "[2,4]"},
      {"y + [1, 2, 3]", "(None, 3)"},
      {"reshape(y, [y.shape[0], 3, 1])", "(None, 3, 1)"},
  };
  for (const auto& [source, result] : cases) EXPECT_EQ(Text(source), result) << source;
}

TEST(ExpressionTest, PointsAtWhatIsWrong) {
  EXPECT_EQ(ParseExpression("x * sigmoid(beta x)").status().message(),
            "expected ',':\n  x * sigmoid(beta x)\n                   ^");
  EXPECT_EQ(ParseExpression("a = 1\nx +").status().message(), "expected a value:\n  x +\n     ^");
  EXPECT_EQ(Text("x * bela"), "error: unknown name bela; there is x:\n  x * bela\n      ^");
  EXPECT_THAT(Text("x * sigmoit(x)"), StartsWith("error: unsupported function: sigmoit (did you "
                                                 "mean sigmoid"));
  EXPECT_THAT(Text("max(x, 0)"), HasSubstr("maximum(a, b)"));
  EXPECT_THAT(Text("1 if y[0, 0] > 0 else 2"), HasSubstr("where(condition, a, b)"));
  EXPECT_THAT(Text("1 / 0"), HasSubstr("a division by zero"));
  EXPECT_THAT(Text("2 ** 64"), HasSubstr("64 bits"));
  EXPECT_THAT(Text("refuse('masks')"), StartsWith("error: masks"));
  for (const char* source :
       {"", "x =", "a = 1", "x x", "f(a=1, 2)", "[1, 2", "'open", "lambda x: x", "import os",
        "x := ", "1.2.3", "a < b < c", "x[", "x[]", "…"}) {
    EXPECT_EQ(ParseExpression(source).status().code(), absl::StatusCode::kInvalidArgument)
        << source;
  }
}

TEST(ExpressionTest, FindsTheNamesThatMustComeFromOutside) {
  const auto expression =
      ParseExpression("h = K.dot(x, kernel) + np.pi\n[i * w for i in range(n)]; tanh(h) * h.shape");
  ASSERT_TRUE(expression.ok());

  EXPECT_THAT(FreeNames(**expression), ElementsAre("x", "kernel", "np", "w", "n"));
}

TEST(ExpressionTest, RefusesWhatWouldTakeTooMuch) {
  std::string chain = "x", nested = "x", minus(5000, '-');
  for (int i = 0; i < 3000; ++i) chain += "+x";
  for (int i = 0; i < 3000; ++i) nested = "(" + nested + ")";
  for (const std::string& source : {
           chain,
           nested,
           minus + "x",
           std::string(20000, 'x'),
           std::string("[[0] * 65536 for i in range(4096)]"),
           std::string("[[[i for i in range(4096)] for j in range(4096)] for k in range(4096)]"),
           std::string("[0] * 10 ** 12"),
           std::string("range(10 ** 12)"),
           std::string("a = [0] * 60000\n[a for i in range(4000)]"),
           std::string("zeros([10 ** 6, 10 ** 6, 10 ** 6])"),
           std::string("a = 'x' * 10"),
           std::string("9 ** 9 ** 9"),
       }) {
    EXPECT_THAT(Text(source), StartsWith("error: ")) << source.substr(0, 60);
  }
}

// Mutations of valid programs: nothing may crash, hang or take much memory.
TEST(ExpressionTest, SurvivesMutations) {
  const std::vector<std::string> seeds = {
      "x * sigmoid(beta * x)",
      "a = [i * 2 for i in range(4) if i != 1]; x[:, 0] + a[1]",
      "h, g = tanh(x @ x), K.sum(x, axis=-1, keepdims=True)\nwhere(h > g, h, 0.5) if beta else -x",
      "[(s := s + t) for t in range(3)] if (s := 0) == 0 else x[..., None, ::-1]",
      "reshape(transpose(x, [1, 0]), [-1, x.shape[0] // 2 ** 1])",
      "softmax(concatenate([x, x ** 2], axis=1), axis=-1)",
  };
  constexpr std::string_view kPieces[] = {
      "(", ")",    "[",      "]",          ",", ":",      "=",    "x",  "-", "**",
      "9", " if ", " else ", " for i in ", ".", "range(", "None", "\n", ";"};
  std::mt19937 random(7);
  for (int round = 0; round < 20000; ++round) {
    std::string source = seeds[random() % seeds.size()];
    const int changes = 1 + static_cast<int>(random() % 4);
    for (int i = 0; i < changes; ++i) {
      const size_t at = random() % (source.size() + 1);
      if (random() % 3 == 0 && at < source.size()) {
        source.erase(at, 1 + random() % 3);
      } else {
        source.insert(at, kPieces[random() % std::size(kPieces)]);
      }
    }
    Text(source);
  }
}

}  // namespace
}  // namespace h5serve::model
