#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "compute/ops/recurrent.h"
#include "tests/unit/compute/conv_reference.h"
#include "tests/unit/compute/op_runner.h"

namespace h5serve::compute {
namespace {

using ::testing::HasSubstr;

struct ConvLstmCase {
  ops::ConvLstmAttributes attributes;
  int spatial;
  Shape x, kernel, recurrent, state;
  ReferenceWindow input, recurrent_window;
  bool has_bias, has_mask, has_states;
  std::vector<Tensor> tensors;
};

void AddAxis(std::mt19937& random, int axis, ConvLstmCase& c) {
  ops::ConvLstmAttributes& a = c.attributes;
  const int64_t size = RandomInt(random, 1, 4);
  const int64_t stride = RandomInt(random, 1, 2);
  const int64_t dilation = stride == 1 ? RandomInt(random, 1, 2) : 1;
  const int64_t reach = (size - 1) * dilation + 1;
  const int64_t in = RandomInt(random, a.same ? 1 : reach, reach + 4);
  a.strides.push_back(stride);
  a.dilations.push_back(dilation);
  c.x.push_back(in);
  c.kernel.push_back(size);
  c.recurrent.push_back(size);
  const int64_t out = a.same ? (in + stride - 1) / stride : (in - reach) / stride + 1;
  c.state.push_back(out);
  const int at = 3 - c.spatial + axis;
  c.input.out[at] = c.recurrent_window.out[at] = out;
  c.input.stride[at] = stride;
  c.input.dilation[at] = dilation;
  if (a.same) {
    c.input.before[at] =
        a.theano_same ? reach / 2 : std::max<int64_t>((out - 1) * stride + reach - in, 0) / 2;
  }
  c.recurrent_window.before[at] = a.theano_same ? size / 2 : (size - 1) / 2;
}

ConvLstmCase RandomConvLstm(std::mt19937& random) {
  ConvLstmCase c;
  c.input = c.recurrent_window = {{1, 1, 1}, {1, 1, 1}, {1, 1, 1}, {0, 0, 0}};
  ops::ConvLstmAttributes& a = c.attributes;
  c.spatial = static_cast<int>(RandomInt(random, 1, 3));
  a.filters = RandomInt(random, 1, 9);
  a.same = RandomInt(random, 0, 1) == 0;
  a.theano_same = RandomInt(random, 0, 2) == 0;
  a.go_backwards = RandomInt(random, 0, 1) == 0;
  a.return_sequences = RandomInt(random, 0, 1) == 0;
  a.recurrent_activation = {ops::UnaryKind::kHardSigmoid, 0.2f, 0.5f, false};
  c.x = Shape{RandomInt(random, 1, 3), RandomInt(random, 1, 4)};
  c.state = Shape{c.x[0]};
  for (int i = 0; i < c.spatial; ++i) AddAxis(random, i, c);
  c.x.push_back(RandomInt(random, 1, 6));
  c.kernel.push_back(c.x.back());
  c.recurrent.push_back(a.filters);
  c.state.push_back(a.filters);
  c.kernel.push_back(4 * a.filters);
  c.recurrent.push_back(4 * a.filters);
  c.has_bias = RandomInt(random, 0, 2) > 0;
  c.has_mask = RandomInt(random, 0, 1) == 0;
  c.has_states = RandomInt(random, 0, 1) == 0;
  c.tensors = {RandomTensor(random, c.x), RandomTensor(random, c.kernel),
               RandomTensor(random, c.recurrent)};
  for (int i = 1; i <= 2; ++i) {
    for (int64_t j = 0; j < c.tensors[i].num_elements(); ++j) {
      c.tensors[i].mutable_data<float>()[j] *= 0.2f;
    }
  }
  if (c.has_bias) c.tensors.push_back(RandomTensor(random, Shape{4 * a.filters}));
  if (c.has_mask) {
    Tensor mask = Tensor::Allocate(DType::kBool, Shape{c.x[0], c.x[1]});
    for (int64_t i = 0; i < mask.num_elements(); ++i) {
      mask.mutable_data<bool>()[i] = RandomInt(random, 0, 2) > 0;
    }
    c.tensors.push_back(mask);
  }
  for (int i = 0; c.has_states && i < 2; ++i) c.tensors.push_back(RandomTensor(random, c.state));
  return c;
}

// The states of one image after one step.
void Step(const ConvLstmCase& c, const std::vector<double>& x, std::vector<double>& h,
          std::vector<double>& carry) {
  const int64_t filters = c.attributes.filters;
  std::vector<double> gates =
      ReferenceConv(x, 1, SpatialOf(c.x, 2, 1), c.x.back(), Doubles(c.tensors[1]),
                    SpatialOf(c.kernel, 0, 2), 4 * filters, 1, c.input);
  const std::vector<double> recurrent =
      ReferenceConv(h, 1, SpatialOf(c.state, 1, 1), filters, Doubles(c.tensors[2]),
                    SpatialOf(c.recurrent, 0, 2), 4 * filters, 1, c.recurrent_window);
  const auto gate = [&](size_t cell, int64_t index, int64_t f) {
    const int64_t channel = index * filters + f;
    const size_t at = cell * static_cast<size_t>(4 * filters) + static_cast<size_t>(channel);
    return gates[at] + recurrent[at] + (c.has_bias ? c.tensors[3].data<float>()[channel] : 0.0);
  };
  const auto hard_sigmoid = [](double v) { return std::clamp(0.2f * v + 0.5, 0.0, 1.0); };
  for (size_t cell = 0; cell < h.size() / static_cast<size_t>(filters); ++cell) {
    for (int64_t f = 0; f < filters; ++f) {
      const size_t at = cell * static_cast<size_t>(filters) + static_cast<size_t>(f);
      carry[at] = hard_sigmoid(gate(cell, 1, f)) * carry[at] +
                  hard_sigmoid(gate(cell, 0, f)) * std::tanh(gate(cell, 2, f));
      h[at] = hard_sigmoid(gate(cell, 3, f)) * std::tanh(carry[at]);
    }
  }
}

std::vector<std::vector<double>> Expected(const ConvLstmCase& c) {
  std::vector<std::vector<double>> outputs(3);
  const int64_t state_size = c.state.num_elements() / c.state[0];
  const int64_t step_size = c.x.num_elements() / c.x[0] / c.x[1];
  const bool* mask = c.has_mask ? c.tensors[3 + c.has_bias].data<bool>() : nullptr;
  for (int64_t b = 0; b < c.x[0]; ++b) {
    std::vector<double> states[2];
    for (int i = 0; i < 2; ++i) {
      states[i].assign(static_cast<size_t>(state_size), 0.0);
      if (!c.has_states) continue;
      const float* initial =
          c.tensors[3 + c.has_bias + c.has_mask + i].data<float>() + b * state_size;
      std::copy_n(initial, state_size, states[i].begin());
    }
    std::vector<double> previous(static_cast<size_t>(state_size), 0.0);
    for (int64_t step = 0; step < c.x[1]; ++step) {
      const int64_t t = c.attributes.go_backwards ? c.x[1] - 1 - step : step;
      const float* x = c.tensors[0].data<float>() + (b * c.x[1] + t) * step_size;
      if (mask == nullptr || mask[b * c.x[1] + t]) {
        Step(c, std::vector<double>(x, x + step_size), states[0], states[1]);
        previous = states[0];
      }
      if (c.attributes.return_sequences || step + 1 == c.x[1]) {
        outputs[0].insert(outputs[0].end(), previous.begin(), previous.end());
      }
    }
    for (int i = 0; i < 2; ++i) {
      outputs[1 + i].insert(outputs[1 + i].end(), states[i].begin(), states[i].end());
    }
  }
  return outputs;
}

std::vector<Value> Build(Graph& graph, const std::vector<Value>& v, const ConvLstmCase& c) {
  ops::RecurrentInputs inputs{v[0], v[1], v[2], {}, {}, {}};
  if (c.has_bias) inputs.bias = v[3];
  if (c.has_mask) inputs.mask = v[3 + c.has_bias];
  inputs.initial_states.assign(v.begin() + 3 + c.has_bias + c.has_mask, v.end());
  return ops::ConvLstm(graph, inputs, c.attributes);
}

TEST(ConvLstmTest, MatchesTheDefinition) {
  std::mt19937 random(1);
  for (int i = 0; i < 150; ++i) {
    const ConvLstmCase c = RandomConvLstm(random);
    SCOPED_TRACE("x " + c.x.ToString() + " kernel " + c.kernel.ToString());
    const std::vector<std::vector<double>> expected = Expected(c);
    for (bool specialize : {false, true}) {
      for (int threads : {1, 3}) {
        const absl::StatusOr<std::vector<Tensor>> y =
            RunOp([&](Graph& graph, const std::vector<Value>& v) { return Build(graph, v, c); },
                  c.tensors, {.specialize = specialize, .threads = threads, .rewrite = {}});
        ASSERT_TRUE(y.ok()) << y.status();
        for (int j = 0; j < 3; ++j) {
          EXPECT_LT(RelativeError((*y)[j], expected[j]), 2e-5) << "output " << j;
        }
      }
    }
  }
}

// So many filters that the products are cut along their inner dimension.
TEST(ConvLstmTest, AddsPartsOfDeepProducts) {
  std::mt19937 random(2);
  ConvLstmCase c = RandomConvLstm(random);
  c.spatial = 1;
  c.attributes = {};
  c.attributes.filters = 256;
  c.attributes.same = true;
  c.attributes.recurrent_activation = {ops::UnaryKind::kHardSigmoid, 0.2f, 0.5f, false};
  c.x = Shape{1, 2, 30, 1};
  c.kernel = Shape{9, 1, 1024};
  c.recurrent = Shape{9, 256, 1024};
  c.state = Shape{1, 30, 256};
  c.input = c.recurrent_window = {{1, 1, 30}, {1, 1, 1}, {1, 1, 1}, {0, 0, 4}};
  c.has_bias = c.has_mask = c.has_states = false;
  c.tensors = {RandomTensor(random, c.x), RandomTensor(random, c.kernel),
               RandomTensor(random, c.recurrent)};
  const std::vector<std::vector<double>> expected = Expected(c);

  const absl::StatusOr<std::vector<Tensor>> y =
      RunOp([&](Graph& graph, const std::vector<Value>& v) { return Build(graph, v, c); },
            c.tensors, {.specialize = true, .threads = 1, .rewrite = {}});

  ASSERT_TRUE(y.ok()) << y.status();
  EXPECT_LT(RelativeError((*y)[0], expected[0]), 1e-4);
}

TEST(ConvLstmTest, KeepsUnknownDimensions) {
  Graph graph;
  ops::ConvLstmAttributes attributes;
  attributes.filters = 4;
  attributes.return_sequences = true;
  const std::vector<Value> outputs =
      ops::ConvLstm(graph,
                    {graph.Input(DType::kFloat32, Shape{kUnknown, kUnknown, kUnknown, 9, 2}),
                     graph.Input(DType::kFloat32, Shape{3, 3, 2, 16}),
                     graph.Input(DType::kFloat32, Shape{3, 3, 4, 16}),
                     {},
                     {},
                     {}},
                    attributes);
  EXPECT_EQ(graph.shape(outputs[0]), (Shape{kUnknown, kUnknown, kUnknown, 7, 4}));
  EXPECT_EQ(graph.shape(outputs[1]), (Shape{kUnknown, kUnknown, 7, 4}));
}

TEST(ConvLstmTest, RefusesWindowLargerThanInput) {
  Graph graph;
  ops::ConvLstmAttributes attributes;
  attributes.filters = 4;
  ops::ConvLstm(graph,
                {graph.Input(DType::kFloat32, Shape{1, 3, 2, 2}),
                 graph.Input(DType::kFloat32, Shape{3, 2, 16}),
                 graph.Input(DType::kFloat32, Shape{3, 4, 16}),
                 {},
                 {},
                 {}},
                attributes);
  EXPECT_THAT(std::string(graph.status().message()), HasSubstr("the window covers 3 cells"));
}

}  // namespace
}  // namespace h5serve::compute
