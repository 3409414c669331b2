#include "compute/ops/linear.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "compute/ops/einsum.h"
#include "tests/unit/compute/evaluate.h"

namespace h5serve::compute {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

void ExpectNear(const std::vector<double>& values, const std::vector<double>& expected) {
  ASSERT_EQ(values.size(), expected.size());
  for (size_t i = 0; i < values.size(); ++i) {
    ASSERT_NEAR(values[i], expected[i], 1e-5 * (1 + std::fabs(expected[i]))) << i;
  }
}

// Row-major index of a multi-index.
int64_t Offset(const Shape& shape, const std::vector<int64_t>& index) {
  int64_t offset = 0;
  for (int axis = 0; axis < shape.rank(); ++axis) offset = offset * shape[axis] + index[axis];
  return offset;
}

// Einsum by its definition: a loop over all labels.
std::vector<double> ReferenceEinsum(const std::vector<std::string>& terms,
                                    const std::string& output,
                                    const std::vector<Tensor>& operands) {
  std::map<char, int64_t> sizes;
  for (size_t i = 0; i < terms.size(); ++i) {
    for (size_t axis = 0; axis < terms[i].size(); ++axis) {
      int64_t& size = sizes[terms[i][axis]];
      size = std::max(size, operands[i].shape()[static_cast<int>(axis)]);
    }
  }
  Shape output_shape;
  for (char label : output) output_shape.push_back(sizes[label]);
  std::vector<double> result(static_cast<size_t>(output_shape.num_elements()));
  int64_t total = 1;
  for (const auto& [label, size] : sizes) total *= size;
  for (int64_t i = 0; i < total; ++i) {
    std::map<char, int64_t> at;
    int64_t rest = i;
    for (const auto& [label, size] : sizes) {
      at[label] = rest % size;
      rest /= size;
    }
    double product = 1;
    for (size_t j = 0; j < terms.size(); ++j) {
      std::vector<int64_t> index;
      for (size_t axis = 0; axis < terms[j].size(); ++axis) {
        const bool stretched = operands[j].shape()[static_cast<int>(axis)] == 1;
        index.push_back(stretched ? 0 : at[terms[j][axis]]);
      }
      product *= operands[j].data<float>()[Offset(operands[j].shape(), index)];
    }
    std::vector<int64_t> index;
    for (char label : output) index.push_back(at[label]);
    result[static_cast<size_t>(Offset(output_shape, index))] += product;
  }
  return result;
}

std::vector<double> RunEinsum(const std::string& equation, const std::vector<Tensor>& operands,
                              bool constant_second = false) {
  std::vector<Tensor> inputs = operands;
  if (constant_second) inputs.resize(1);
  return Numbers(inputs, [&](Graph& graph, const std::vector<Value>& v) {
    std::vector<Value> values = v;
    if (constant_second) values.push_back(graph.Constant(operands[1]));
    return ops::Einsum(graph, equation, values);
  });
}

TEST(DenseTest, ConstantAndComputedKernelsAgree) {
  const Tensor x = Noise(Shape{2, 3, 5}, 1), kernel = Noise(Shape{5, 4}, 2),
               bias = Noise(Shape{4}, 3);
  std::vector<double> expected = ReferenceEinsum({"abk", "kn"}, "abn", {x, kernel});
  for (size_t i = 0; i < expected.size(); ++i) expected[i] += bias.data<float>()[i % 4];

  Shape shape;
  ExpectNear(Numbers(
                 {x},
                 [&](Graph& graph, const std::vector<Value>& v) {
                   return ops::Dense(graph, v[0], graph.Constant(kernel), graph.Constant(bias));
                 },
                 &shape),
             expected);
  EXPECT_EQ(shape, (Shape{2, 3, 4}));
  ExpectNear(Numbers({x, kernel, bias},
                     [&](Graph& graph, const std::vector<Value>& v) {
                       return ops::Dense(graph, v[0], v[1], v[2]);
                     }),
             expected);
  ExpectNear(Numbers({x, kernel},
                     [&](Graph& graph, const std::vector<Value>& v) {
                       return ops::Dense(graph, v[0], v[1], graph.Constant(bias));
                     }),
             expected);
  ExpectNear(Numbers({x, bias},
                     [&](Graph& graph, const std::vector<Value>& v) {
                       return ops::Dense(graph, v[0], graph.Constant(kernel), v[1]);
                     }),
             expected);
}

TEST(DenseTest, EmptyBatchAndEmptyInner) {
  EXPECT_TRUE(Numbers({Tensor::Fill(Shape{0, 3}, 1)}, [](Graph& graph, const auto& v) {
                return ops::Dense(graph, v[0], graph.Constant(Noise(Shape{3, 2})), Value());
              }).empty());
  EXPECT_THAT(Numbers({Tensor::Fill(Shape{2, 0}, 1)},
                      [](Graph& graph, const auto& v) {
                        return ops::Dense(graph, v[0], graph.Constant(Tensor::Fill(Shape{0, 2}, 1)),
                                          graph.Constant(Tensor::Floats(Shape{2}, {5, 6})));
                      }),
              ElementsAre(5, 6, 5, 6));
}

TEST(DenseTest, WrongSizesAreNamed) {
  Graph graph;
  const Value x = graph.Input(DType::kFloat32, Shape{kUnknown, 3});

  EXPECT_FALSE(ops::Dense(graph, x, graph.Constant(Noise(Shape{4, 2})), Value()).valid());

  EXPECT_THAT(std::string(graph.status().message()),
              HasSubstr("input (None, 3) does not fit a kernel of (4, 2)"));
}

TEST(MatMulTest, BatchesBroadcastAndTransposesApply) {
  struct Case {
    Shape a, b;
    bool transpose_a, transpose_b;
    std::string term_a, term_b, output;
  };
  const std::vector<Case> cases = {
      {{3, 4}, {4, 5}, false, false, "mk", "kn", "mn"},
      {{4, 3}, {4, 5}, true, false, "km", "kn", "mn"},
      {{3, 4}, {5, 4}, false, true, "mk", "nk", "mn"},
      {{4, 3}, {5, 4}, true, true, "km", "nk", "mn"},
      {{2, 3, 4}, {4, 5}, false, false, "amk", "kn", "amn"},
      {{2, 3, 4}, {2, 4, 5}, false, false, "amk", "akn", "amn"},
      {{2, 1, 3, 4}, {1, 6, 4, 5}, false, false, "abmk", "abkn", "abmn"},
      {{2, 4, 33}, {6, 2, 4, 5}, true, false, "bkm", "abkn", "abmn"},
      {{2, 3, 40}, {2, 50, 40}, false, true, "amk", "ank", "amn"},
      {{4}, {4, 5}, false, false, "k", "kn", "n"},
      {{2, 3, 4}, {4}, false, false, "amk", "k", "am"},
      {{4}, {4}, false, false, "k", "k", ""},
      {{4}, {2, 4, 5}, false, false, "k", "akn", "an"},
  };
  for (const Case& c : cases) {
    const Tensor a = Noise(c.a, 1), b = Noise(c.b, 2);
    const auto build = [&](Graph& graph, const std::vector<Value>& v) {
      return ops::MatMul(graph, v[0], v[1], c.transpose_a, c.transpose_b);
    };
    const std::vector<double> expected = ReferenceEinsum({c.term_a, c.term_b}, c.output, {a, b});

    ExpectNear(Numbers({a, b}, build), expected);
    ExpectNear(Numbers({a, b}, build, nullptr, true), expected);
  }
}

TEST(MatMulTest, IntegersAreExact) {
  const int64_t big = int64_t{1} << 40;
  const Tensor a = Tensor::Ints(Shape{1, 2}, {big + 1, 1});
  const Tensor b = Tensor::Ints(Shape{2, 1}, {3, 5});

  EXPECT_THAT(
      Numbers({a, b}, [](Graph& graph,
                         const std::vector<Value>& v) { return ops::MatMul(graph, v[0], v[1]); }),
      ElementsAre(static_cast<double>(3 * big + 8)));
}

TEST(EinsumTest, AgreesWithTheDefinition) {
  struct Case {
    std::string equation;
    std::vector<std::string> terms;
    std::string output;
    std::vector<Shape> shapes;
  };
  const std::vector<Case> cases = {
      {"ij->ji", {"ij"}, "ji", {{3, 4}}},
      {"ii->i", {"ii"}, "i", {{4, 4}}},
      {"ii", {"ii"}, "", {{4, 4}}},
      {"ijk->k", {"ijk"}, "k", {{2, 3, 4}}},
      {"iij->ij", {"iij"}, "ij", {{3, 3, 2}}},
      {"ij,jk->ik", {"ij", "jk"}, "ik", {{3, 4}, {4, 5}}},
      {"ij,jk", {"ij", "jk"}, "ik", {{3, 4}, {4, 5}}},
      {"ba,bc", {"ba", "bc"}, "ac", {{3, 4}, {3, 5}}},
      {"abc,cde->abde", {"abc", "cde"}, "abde", {{2, 3, 4}, {4, 5, 6}}},
      {"abc,acd->abd", {"abc", "acd"}, "abd", {{2, 3, 4}, {2, 4, 5}}},
      {"aecd,abcd->acbe", {"aecd", "abcd"}, "acbe", {{2, 3, 4, 5}, {2, 6, 4, 5}}},
      {"acbe,aecd->abcd", {"acbe", "aecd"}, "abcd", {{2, 4, 6, 3}, {2, 3, 4, 5}}},
      {"i,j->ij", {"i", "j"}, "ij", {{3}, {4}}},
      {"i,i->", {"i", "i"}, "", {{5}, {5}}},
      {"ij,j->ij", {"ij", "j"}, "ij", {{3, 4}, {4}}},
      {"ij,kl->il", {"ij", "kl"}, "il", {{3, 4}, {2, 5}}},
      {"iij,jk->ik", {"iij", "jk"}, "ik", {{3, 3, 4}, {4, 5}}},
      {"...ij,...jk->...ik", {"abij", "bjk"}, "abik", {{2, 3, 4, 5}, {3, 5, 6}}},
      {"...ij,jk->...ik", {"abij", "jk"}, "abik", {{2, 3, 4, 5}, {5, 6}}},
      {"...i->...", {"abi"}, "ab", {{2, 3, 4}}},
      {"...x,xy->...y", {"x", "xy"}, "y", {{4}, {4, 5}}},
      {"abc,cd->dba", {"abc", "cd"}, "dba", {{2, 3, 4}, {4, 5}}},
      {"a b c , c d -> a b d", {"abc", "cd"}, "abd", {{2, 3, 4}, {4, 5}}},
      {"ab,bc->ac", {"ab", "bc"}, "ac", {{3, 1}, {4, 5}}},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.equation);
    std::vector<Tensor> operands;
    for (size_t i = 0; i < c.shapes.size(); ++i) {
      operands.push_back(Noise(c.shapes[i], static_cast<uint32_t>(i + 1)));
    }
    const std::vector<double> expected = ReferenceEinsum(c.terms, c.output, operands);

    ExpectNear(RunEinsum(c.equation, operands), expected);
    if (operands.size() == 2) ExpectNear(RunEinsum(c.equation, operands, true), expected);
  }
}

TEST(EinsumTest, WrongEquationsAreRefused) {
  const auto refuse = [](const std::string& equation, const std::vector<int>& ranks) {
    return std::string(ops::ParseEinsum(equation, ranks).status().message());
  };

  EXPECT_THAT(refuse("ij,jk->ik", {2}), HasSubstr("1 operands given"));
  EXPECT_THAT(refuse("ij->ijk", {2}), HasSubstr("a label of no operand"));
  EXPECT_THAT(refuse("ij->ii", {2}), HasSubstr("twice in the output"));
  EXPECT_THAT(refuse("i2->i", {2}), HasSubstr("unexpected character '2'"));
  EXPECT_THAT(refuse("ijk->i", {2}), HasSubstr("operand 0 has rank 2"));
  EXPECT_THAT(refuse("i->i", {2}), HasSubstr("operand 0 has rank 2"));
  EXPECT_THAT(refuse("...i...->i", {2}), HasSubstr("two ellipses"));
  Graph graph;
  const Value x = graph.Input(DType::kFloat32, Shape{2, 3});
  EXPECT_FALSE(ops::Einsum(graph, "ij,ij->i", {x, graph.Constant(Noise(Shape{2, 4}))}).valid());
}

TEST(TensorDotTest, ContractsAxes) {
  const Tensor a = Noise(Shape{2, 3, 4}, 1), b = Noise(Shape{4, 3, 5}, 2);

  ExpectNear(Numbers({a, b},
                     [](Graph& graph, const std::vector<Value>& v) {
                       return ops::TensorDot(graph, v[0], v[1], {1, -1}, {1, 0});
                     }),
             ReferenceEinsum({"aij", "jin"}, "an", {a, b}));
  ExpectNear(Numbers({a, b},
                     [](Graph& graph, const std::vector<Value>& v) {
                       return ops::TensorDot(graph, v[0], v[1], {}, {});
                     }),
             ReferenceEinsum({"abc", "def"}, "abcdef", {a, b}));
}

}  // namespace
}  // namespace h5serve::compute
