#include "compute/ops/recurrent.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "tests/unit/compute/op_runner.h"

namespace h5serve::compute {
namespace {

using ::testing::HasSubstr;
using Row = std::vector<double>;

// Single precision against double over up to some dozen steps that feed back.
constexpr double kTolerance = 1e-4;

Row Apply(const ops::CellActivation& activation, Row values) {
  if (activation.softmax) {
    double total = 0;
    for (double& value : values) total += value = std::exp(value);
    for (double& value : values) value /= total;
    return values;
  }
  for (double& value : values) {
    switch (activation.kind) {
      case ops::UnaryKind::kTanh:
        value = std::tanh(value);
        break;
      case ops::UnaryKind::kSigmoid:
        value = 1 / (1 + std::exp(-value));
        break;
      case ops::UnaryKind::kHardSigmoid:
        value = std::clamp(activation.p * value + activation.q, 0.0, 1.0);
        break;
      case ops::UnaryKind::kRelu:
        value = std::max(value, 0.0);
        break;
      default:
        break;
    }
  }
  return values;
}

// One cell with its weights, as the layers define it.
struct Cell {
  ops::RecurrentAttributes attributes;
  const float* kernel;     // (in, gates)
  const float* recurrent;  // (units, gates)
  const float* bias;       // (gates) or (2, gates) or null
  int64_t in, units, gates;

  // a · columns [gate * units, (gate + 1) * units) of a matrix.
  Row Product(const Row& a, const float* matrix, int64_t gate) const {
    Row result(static_cast<size_t>(units));
    for (int64_t u = 0; u < units; ++u) {
      for (size_t i = 0; i < a.size(); ++i) {
        result[u] += a[i] * matrix[static_cast<int64_t>(i) * gates + gate * units + u];
      }
    }
    return result;
  }
  Row Input(const Row& x, int64_t gate) const {
    Row result = Product(x, kernel, gate);
    for (int64_t u = 0; u < units; ++u) {
      if (bias != nullptr) result[u] += bias[gate * units + u];
    }
    return result;
  }
  Row Sum(Row a, const Row& b) const {
    for (size_t i = 0; i < a.size(); ++i) a[i] += b[i];
    return a;
  }
  Row Gate(const Row& x, const Row& h, int64_t gate) const {
    return Sum(Input(x, gate), Product(h, recurrent, gate));
  }

  void Step(const Row& x, Row& h, Row& c) const {
    const auto& act = attributes.activation;
    const auto& gate_act = attributes.recurrent_activation;
    const size_t n = static_cast<size_t>(units);
    if (attributes.cell == ops::CellKind::kSimple) {
      h = Apply(act, Gate(x, h, 0));
    } else if (attributes.cell == ops::CellKind::kLstm) {
      const Row i = Apply(gate_act, Gate(x, h, 0));
      const Row f = Apply(gate_act, Gate(x, h, 1));
      const Row g = Apply(act, Gate(x, h, 2));
      const Row o = Apply(gate_act, Gate(x, h, 3));
      for (size_t u = 0; u < n; ++u) c[u] = f[u] * c[u] + i[u] * g[u];
      h = Apply(act, c);
      for (size_t u = 0; u < n; ++u) h[u] *= o[u];
    } else {
      Row parts[3];
      for (int64_t gate = 0; gate < 3; ++gate) {
        parts[gate] = Product(h, recurrent, gate);
        for (int64_t u = 0; u < units && attributes.reset_after && bias != nullptr; ++u) {
          parts[gate][u] += bias[gates + gate * units + u];
        }
      }
      const Row z = Apply(gate_act, Sum(Input(x, 0), parts[0]));
      const Row r = Apply(gate_act, Sum(Input(x, 1), parts[1]));
      Row reset = attributes.reset_after ? parts[2] : h;
      for (size_t u = 0; u < n; ++u) reset[u] *= r[u];
      const Row candidate = Apply(
          act, Sum(Input(x, 2), attributes.reset_after ? reset : Product(reset, recurrent, 2)));
      for (size_t u = 0; u < n; ++u) h[u] = z[u] * h[u] + (1 - z[u]) * candidate[u];
    }
  }
};

struct SequenceCase {
  ops::RecurrentAttributes attributes;
  int64_t batch, time, in, gates;
  bool has_bias, has_mask, has_states;
  std::vector<Tensor> tensors;
  int states() const { return attributes.cell == ops::CellKind::kLstm ? 2 : 1; }
};

Tensor RandomMask(std::mt19937& random, const Shape& shape) {
  Tensor mask = Tensor::Allocate(DType::kBool, shape);
  for (int64_t i = 0; i < shape.num_elements(); ++i) {
    mask.mutable_data<bool>()[i] = RandomInt(random, 0, 2) > 0;
  }
  return mask;
}

SequenceCase RandomSequence(std::mt19937& random) {
  SequenceCase c;
  ops::RecurrentAttributes& a = c.attributes;
  a.cell = static_cast<ops::CellKind>(RandomInt(random, 0, 2));
  a.units = RandomInt(random, 1, 24);
  const ops::CellActivation activations[] = {{ops::UnaryKind::kTanh, 0, 0, false},
                                             {ops::UnaryKind::kSigmoid, 0, 0, false},
                                             {ops::UnaryKind::kHardSigmoid, 0.2f, 0.5f, false},
                                             {ops::UnaryKind::kRelu, 0, 0, false},
                                             {ops::UnaryKind::kIdentity, 0, 0, true}};
  a.activation = activations[RandomInt(random, 0, 1) * RandomInt(random, 0, 4)];
  // Not the rectifier: gates beyond 1 make the state grow without bound.
  a.recurrent_activation =
      activations[RandomInt(random, 0, 1) == 0 ? 1 : 2 * RandomInt(random, 0, 2)];
  a.reset_after = RandomInt(random, 0, 1) == 0;
  a.go_backwards = RandomInt(random, 0, 1) == 0;
  a.return_sequences = RandomInt(random, 0, 1) == 0;
  a.zero_output_for_mask = RandomInt(random, 0, 2) == 0;
  c.batch = RandomInt(random, 1, 9);
  c.time = RandomInt(random, 1, 12);
  c.in = RandomInt(random, 1, 20);
  c.gates = a.units * (a.cell == ops::CellKind::kLstm ? 4 : a.cell == ops::CellKind::kGru ? 3 : 1);
  c.has_bias = RandomInt(random, 0, 3) > 0;
  c.has_mask = RandomInt(random, 0, 1) == 0;
  c.has_states = RandomInt(random, 0, 1) == 0;
  c.tensors = {RandomTensor(random, Shape{c.batch, c.time, c.in}),
               RandomTensor(random, Shape{c.in, c.gates}),
               RandomTensor(random, Shape{a.units, c.gates})};
  if (c.has_bias) {
    const bool two = a.cell == ops::CellKind::kGru && a.reset_after;
    c.tensors.push_back(RandomTensor(random, two ? Shape{2, c.gates} : Shape{c.gates}));
  }
  if (c.has_mask) c.tensors.push_back(RandomMask(random, Shape{c.batch, c.time}));
  for (int i = 0; c.has_states && i < c.states(); ++i) {
    c.tensors.push_back(RandomTensor(random, Shape{c.batch, a.units}));
  }
  return c;
}

std::vector<Row> Expected(const SequenceCase& c) {
  const ops::RecurrentAttributes& a = c.attributes;
  const Cell cell{a,
                  c.tensors[1].data<float>(),
                  c.tensors[2].data<float>(),
                  c.has_bias ? c.tensors[3].data<float>() : nullptr,
                  c.in,
                  a.units,
                  c.gates};
  const bool* mask = c.has_mask ? c.tensors[3 + c.has_bias].data<bool>() : nullptr;
  std::vector<Row> outputs(3);
  for (int64_t b = 0; b < c.batch; ++b) {
    Row states[2];
    for (int i = 0; i < 2; ++i) {
      states[i].assign(static_cast<size_t>(a.units), 0.0);
      for (int64_t u = 0; u < a.units && c.has_states && i < c.states(); ++u) {
        states[i][u] = c.tensors[3 + c.has_bias + c.has_mask + i].data<float>()[b * a.units + u];
      }
    }
    Row previous(static_cast<size_t>(a.units), 0.0);
    Row all;
    for (int64_t step = 0; step < c.time; ++step) {
      const int64_t t = a.go_backwards ? c.time - 1 - step : step;
      const float* x = c.tensors[0].data<float>() + (b * c.time + t) * c.in;
      if (mask == nullptr || mask[b * c.time + t]) {
        cell.Step(Row(x, x + c.in), states[0], states[1]);
        previous = states[0];
      } else if (a.zero_output_for_mask) {
        previous.assign(previous.size(), 0.0);
      }
      all.insert(all.end(), previous.begin(), previous.end());
      // A later masked step repeats the last valid output, not the zeros.
      if (a.zero_output_for_mask) previous.assign(previous.size(), 0.0);
    }
    const Row last(all.end() - a.units, all.end());
    const Row& y = a.return_sequences ? all : last;
    outputs[0].insert(outputs[0].end(), y.begin(), y.end());
    for (int i = 0; i < 2; ++i) {
      outputs[1 + i].insert(outputs[1 + i].end(), states[i].begin(), states[i].end());
    }
  }
  return outputs;
}

std::vector<Value> Build(Graph& graph, const std::vector<Value>& v, const SequenceCase& c) {
  ops::RecurrentInputs inputs{v[0], v[1], v[2], {}, {}, {}};
  if (c.has_bias) inputs.bias = v[3];
  if (c.has_mask) inputs.mask = v[3 + c.has_bias];
  inputs.initial_states.assign(v.begin() + 3 + c.has_bias + c.has_mask, v.end());
  return ops::Recurrent(graph, inputs, c.attributes);
}

void ExpectMatches(const SequenceCase& c) {
  const std::vector<Row> expected = Expected(c);
  for (bool specialize : {false, true}) {
    for (int threads : {1, 3}) {
      const absl::StatusOr<std::vector<Tensor>> y =
          RunOp([&](Graph& graph, const std::vector<Value>& v) { return Build(graph, v, c); },
                c.tensors, {.specialize = specialize, .threads = threads, .rewrite = {}});
      ASSERT_TRUE(y.ok()) << y.status();
      ASSERT_EQ(static_cast<int>(y->size()), 1 + c.states());
      for (int i = 0; i <= c.states(); ++i) {
        EXPECT_LT(RelativeError((*y)[i], expected[i]), kTolerance)
            << "output " << i << " of cell " << static_cast<int>(c.attributes.cell) << " mask "
            << c.has_mask << " backwards " << c.attributes.go_backwards << " reset_after "
            << c.attributes.reset_after << " units " << c.attributes.units;
      }
    }
  }
}

TEST(RecurrentTest, MatchesTheDefinition) {
  std::mt19937 random(1);
  for (int i = 0; i < 300; ++i) {
    SequenceCase c = RandomSequence(random);
    // A linear or rectified cell can grow without bound, which says nothing.
    for (int w = 1; w <= 2; ++w) {
      for (int64_t j = 0; j < c.tensors[w].num_elements(); ++j) {
        c.tensors[w].mutable_data<float>()[j] *= 0.3f;
      }
    }
    ExpectMatches(c);
  }
}

// Many steps and units: several chunks of steps, rows shared by threads.
TEST(RecurrentTest, JoinsChunksOfSteps) {
  std::mt19937 random(2);
  for (ops::CellKind cell : {ops::CellKind::kSimple, ops::CellKind::kLstm, ops::CellKind::kGru}) {
    SequenceCase c = RandomSequence(random);
    c.attributes = {};
    c.attributes.cell = cell;
    c.attributes.units = 80;
    c.attributes.recurrent_activation.kind = ops::UnaryKind::kSigmoid;
    c.attributes.go_backwards = true;
    c.attributes.return_sequences = true;
    c.batch = 13;
    c.time = 130;
    c.in = 7;
    c.gates = 80 * (cell == ops::CellKind::kLstm ? 4 : cell == ops::CellKind::kGru ? 3 : 1);
    c.has_bias = c.has_mask = true;
    c.has_states = false;
    c.tensors = {RandomTensor(random, Shape{13, 130, 7}), RandomTensor(random, Shape{7, c.gates}),
                 RandomTensor(random, Shape{80, c.gates}), RandomTensor(random, Shape{c.gates}),
                 RandomMask(random, Shape{13, 130})};
    for (int64_t j = 0; j < c.tensors[2].num_elements(); ++j) {
      c.tensors[2].mutable_data<float>()[j] *= 0.1f;
    }
    ExpectMatches(c);
  }
}

absl::Status InferStatus(const ops::RecurrentAttributes& attributes, const Shape& x,
                         const Shape& kernel, const Shape& recurrent, const Shape& bias,
                         Shape* y = nullptr) {
  Graph graph;
  const auto value = [&](const Shape& shape) { return graph.Input(DType::kFloat32, shape); };
  const std::vector<Value> outputs = ops::Recurrent(
      graph, {value(x), value(kernel), value(recurrent), value(bias), {}, {}}, attributes);
  if (y != nullptr) *y = graph.shape(outputs[0]);
  return graph.status();
}

TEST(RecurrentTest, KeepsUnknownDimensions) {
  ops::RecurrentAttributes attributes;
  attributes.units = 5;
  attributes.return_sequences = true;
  Shape y;
  ASSERT_TRUE(InferStatus(attributes, Shape{kUnknown, kUnknown, 3}, Shape{3, 20}, Shape{5, 20},
                          Shape{20}, &y)
                  .ok());
  EXPECT_EQ(y, (Shape{kUnknown, kUnknown, 5}));
}

TEST(RecurrentTest, RefusesWhatDoesNotFit) {
  ops::RecurrentAttributes attributes;
  attributes.units = 5;
  const Shape x{1, 4, 3};
  EXPECT_THAT(
      std::string(InferStatus(attributes, x, Shape{4, 20}, Shape{5, 20}, Shape{20}).message()),
      HasSubstr("expected a kernel of shape"));
  EXPECT_THAT(
      std::string(InferStatus(attributes, x, Shape{3, 20}, Shape{5, 15}, Shape{20}).message()),
      HasSubstr("expected a recurrent kernel of shape"));
  EXPECT_THAT(
      std::string(InferStatus(attributes, x, Shape{3, 20}, Shape{5, 20}, Shape{2, 20}).message()),
      HasSubstr("expected a bias of shape"));
  EXPECT_THAT(
      std::string(
          InferStatus(attributes, Shape{1, 0, 3}, Shape{3, 20}, Shape{5, 20}, Shape{20}).message()),
      HasSubstr("no time steps"));
  attributes.units = -1;
  EXPECT_FALSE(InferStatus(attributes, x, Shape{3, 20}, Shape{5, 20}, Shape{20}).ok());
}

}  // namespace
}  // namespace h5serve::compute
