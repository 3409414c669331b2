#include "networks.h"

#include <cmath>
#include <functional>
#include <random>
#include <utility>

#include "compute/ops/convolution.h"
#include "compute/ops/elementwise.h"
#include "compute/ops/linear.h"
#include "compute/ops/recurrent.h"
#include "compute/ops/reduce.h"
#include "compute/ops/shape_ops.h"

namespace h5serve::bench {
namespace {

namespace ops = compute::ops;
using compute::DType;
using compute::kUnknown;
using compute::Shape;
using compute::Tensor;
using compute::Value;

// Adds layers to a graph as the model folder does for Keras' layers.
class Builder {
 public:
  explicit Builder(Network* network) : network_(*network), graph_(network->graph) {}

  Value Input(Shape shape, int64_t vocabulary = 0) {
    shape.Insert(0, kUnknown);
    network_.vocabulary = vocabulary;
    network_.input = graph_.Input(vocabulary > 0 ? DType::kInt64 : DType::kFloat32, shape);
    return network_.input;
  }

  Value Weight(const Shape& shape, double deviation) {
    Tensor tensor = Tensor::Allocate(DType::kFloat32, shape);
    std::uniform_real_distribution<float> values(-1, 1);
    for (int64_t i = 0; i < tensor.num_elements(); ++i) {
      tensor.mutable_data<float>()[i] = static_cast<float>(deviation) * values(random_);
    }
    return graph_.Constant(tensor);
  }

  Value Dense(Value x, int64_t units) {
    const int64_t in = graph_.shape(x).back();
    CountProducts(x, graph_.rank(x) - 1, in * units);
    return ops::Dense(graph_, x, Weight(Shape{in, units}, 1.7 / std::sqrt(in)),
                      Weight(Shape{units}, 0.1));
  }

  Value Conv(Value x, int64_t filters, std::vector<int64_t> size, int64_t stride = 1,
             bool same = true, bool bias = true) {
    const int64_t in = graph_.shape(x).back();
    int64_t taps = 1;
    Shape kernel;
    for (int64_t axis : size) {
      taps *= axis;
      kernel.push_back(axis);
    }
    kernel.push_back(in);
    kernel.push_back(filters);
    const Value y = ops::Conv(graph_, x, Weight(kernel, 1.7 / std::sqrt(taps * in)),
                              bias ? Weight(Shape{filters}, 0.1) : Value(),
                              Attributes(size.size(), stride, same));
    CountProducts(y, graph_.rank(y), taps * in);
    return y;
  }

  Value Depthwise(Value x, int64_t size, int64_t stride) {
    const int64_t in = graph_.shape(x).back();
    const Value y = ops::DepthwiseConv(graph_, x, Weight(Shape{size, size, in, 1}, 1.7 / size),
                                       Value(), Attributes(2, stride, true));
    CountProducts(y, graph_.rank(y), size * size);
    return y;
  }

  // Batch normalisation at inference.
  Value Normalized(Value x) {
    const int64_t channels = graph_.shape(x).back();
    const Value scale = ops::AddScalar(graph_, Weight(Shape{channels}, 0.2), 1);
    return ops::Add(graph_, ops::Multiply(graph_, x, scale), Weight(Shape{channels}, 0.1));
  }

  Value Relu(Value x) { return ops::Relu(graph_, x); }
  Value Relu6(Value x) { return ops::Unary(graph_, ops::UnaryKind::kClip, x, 0, 6); }
  Value Softmax(Value x) { return ops::Softmax(graph_, x, {-1}); }
  Value MaxPool(Value x, int64_t size, int64_t stride, bool same) {
    ops::PoolAttributes attributes;
    attributes.sizes = {size, size};
    attributes.strides = {stride, stride};
    attributes.same = same;
    return ops::Pool(graph_, x, attributes);
  }
  Value Average(Value x) { return ops::Reduce(graph_, ops::ReduceKind::kMean, x, {1, 2}, false); }
  Value LayerNormalized(Value x) {
    const int64_t width = graph_.shape(x).back();
    return ops::MomentsNormalize(graph_, x, {-1}, 1e-6f, Weight(Shape{width}, 1),
                                 Weight(Shape{width}, 0.1));
  }

  compute::Graph& graph() { return graph_; }
  void CountFlops(double flops) { network_.flops += flops; }

 private:
  static ops::ConvAttributes Attributes(size_t spatial, int64_t stride, bool same) {
    ops::ConvAttributes attributes;
    attributes.strides.assign(spatial, stride);
    attributes.dilations.assign(spatial, 1);
    attributes.same = same;
    return attributes;
  }

  // Products of `each` multiplications for each element of axes [1, end) of x.
  void CountProducts(Value x, int end, int64_t each) {
    double count = static_cast<double>(each);
    for (int axis = 1; axis < end; ++axis) count *= static_cast<double>(graph_.shape(x)[axis]);
    network_.flops += 2 * count;
  }

  Network& network_;
  compute::Graph& graph_;
  std::mt19937 random_{1};
};

Value Perceptron(Builder& b, int64_t in, const std::vector<int64_t>& units) {
  Value x = b.Input(Shape{in});
  for (size_t i = 0; i + 1 < units.size(); ++i) x = b.Relu(b.Dense(x, units[i]));
  return b.Softmax(b.Dense(x, units.back()));
}

Value CnnMnist(Builder& b) {
  Value x = b.Input(Shape{28, 28, 1});
  x = b.Relu(b.Conv(x, 32, {3, 3}, 1, false));
  x = b.Relu(b.Conv(x, 64, {3, 3}, 1, false));
  x = b.MaxPool(x, 2, 2, false);
  x = ops::Reshape(b.graph(), x, Shape{kUnknown, 12 * 12 * 64});
  x = b.Relu(b.Dense(x, 128));
  return b.Softmax(b.Dense(x, 10));
}

Value InvertedResidual(Builder& b, Value x, int64_t filters, int64_t stride, int64_t expansion) {
  const int64_t in = b.graph().shape(x).back();
  Value y = x;
  if (expansion > 1) {
    y = b.Relu6(b.Normalized(b.Conv(y, in * expansion, {1, 1}, 1, true, false)));
  }
  y = b.Relu6(b.Normalized(b.Depthwise(y, 3, stride)));
  y = b.Normalized(b.Conv(y, filters, {1, 1}, 1, true, false));
  return stride == 1 && in == filters ? ops::Add(b.graph(), x, y) : y;
}

Value MobileNetV2(Builder& b) {
  Value x = b.Input(Shape{224, 224, 3});
  x = b.Relu6(b.Normalized(b.Conv(x, 32, {3, 3}, 2, true, false)));
  struct Stage {
    int64_t expansion, filters, blocks, stride;
  };
  for (const Stage& stage :
       {Stage{1, 16, 1, 1}, Stage{6, 24, 2, 2}, Stage{6, 32, 3, 2}, Stage{6, 64, 4, 2},
        Stage{6, 96, 3, 1}, Stage{6, 160, 3, 2}, Stage{6, 320, 1, 1}}) {
    for (int64_t i = 0; i < stage.blocks; ++i) {
      x = InvertedResidual(b, x, stage.filters, i == 0 ? stage.stride : 1, stage.expansion);
    }
  }
  x = b.Relu6(b.Normalized(b.Conv(x, 1280, {1, 1}, 1, true, false)));
  return b.Softmax(b.Dense(b.Average(x), 1000));
}

Value Bottleneck(Builder& b, Value x, int64_t filters, int64_t stride) {
  const int64_t out = 4 * filters;
  Value y = b.Relu(b.Normalized(b.Conv(x, filters, {1, 1}, stride)));
  y = b.Relu(b.Normalized(b.Conv(y, filters, {3, 3})));
  y = b.Normalized(b.Conv(y, out, {1, 1}));
  if (stride != 1 || b.graph().shape(x).back() != out) {
    x = b.Normalized(b.Conv(x, out, {1, 1}, stride));
  }
  return b.Relu(ops::Add(b.graph(), x, y));
}

Value ResNet50(Builder& b) {
  Value x = b.Input(Shape{224, 224, 3});
  x = b.MaxPool(b.Relu(b.Normalized(b.Conv(x, 64, {7, 7}, 2))), 3, 2, true);
  const std::pair<int64_t, int64_t> stages[] = {{64, 3}, {128, 4}, {256, 6}, {512, 3}};
  for (const auto& [filters, blocks] : stages) {
    for (int64_t i = 0; i < blocks; ++i) {
      x = Bottleneck(b, x, filters, i == 0 && filters > 64 ? 2 : 1);
    }
  }
  return b.Softmax(b.Dense(b.Average(x), 1000));
}

Value RecurrentNetwork(Builder& b, ops::CellKind cell) {
  constexpr int64_t kTime = 100, kIn = 64, kUnits = 128;
  const int64_t gates = (cell == ops::CellKind::kLstm ? 4 : 3) * kUnits;
  ops::RecurrentAttributes attributes;
  attributes.cell = cell;
  attributes.units = kUnits;
  attributes.recurrent_activation.kind = ops::UnaryKind::kSigmoid;
  attributes.reset_after = cell == ops::CellKind::kGru;
  ops::RecurrentInputs inputs;
  inputs.x = b.Input(Shape{kTime, kIn});
  inputs.kernel = b.Weight(Shape{kIn, gates}, 0.1);
  inputs.recurrent_kernel = b.Weight(Shape{kUnits, gates}, 0.1);
  inputs.bias = b.Weight(attributes.reset_after ? Shape{2, gates} : Shape{gates}, 0.1);
  b.CountFlops(2.0 * kTime * (kIn + kUnits) * static_cast<double>(gates));
  return b.Softmax(b.Dense(ops::Recurrent(b.graph(), inputs, attributes)[0], 10));
}

Value TextCnn(Builder& b) {
  const Value ids = b.Input(Shape{200}, 20000);
  Value x = ops::Gather(b.graph(), b.Weight(Shape{20000, 128}, 0.1), ids, 0);
  x = b.Relu(b.Conv(x, 128, {5}, 1, false));
  x = ops::Reduce(b.graph(), ops::ReduceKind::kMax, x, {1}, false);
  return ops::Sigmoid(b.graph(), b.Dense(b.Relu(b.Dense(x, 128)), 1));
}

// One block of a transformer, with normalisation after the sums.
Value Encoder(Builder& b) {
  constexpr int64_t kSteps = 128, kWidth = 256, kHeads = 4;
  compute::Graph& graph = b.graph();
  const Value x = b.Input(Shape{kSteps, kWidth});
  const auto project = [&] {
    return ops::SplitAxis(graph, b.Dense(x, kWidth), 2, kHeads, kWidth / kHeads);
  };
  Value q = project();
  const Value k = project(), v = project();
  q = ops::MultiplyScalar(graph, q, 0.125f);
  const Value weights = ops::Softmax(graph, ops::Einsum(graph, "abcd,aecd->acbe", {q, k}), {-1});
  Value y = ops::Einsum(graph, "acbe,aecf->abcf", {weights, v});
  y = b.Dense(ops::MergeAxes(graph, y, 2, 4), kWidth);
  y = b.LayerNormalized(ops::Add(graph, x, y));
  b.CountFlops(2.0 * 2 * kSteps * kSteps * kWidth);
  const Value z = b.Dense(b.Relu(b.Dense(y, 4 * kWidth)), kWidth);
  return b.LayerNormalized(ops::Add(graph, y, z));
}

using Make = std::function<Value(Builder&)>;
const std::vector<std::pair<std::string, Make>>& Networks() {
  static const std::vector<std::pair<std::string, Make>> networks = {
      {"mlp_small",
       [](Builder& b) {
         return Perceptron(b, 784, {128, 10});
       }},
      {"mlp_big",
       [](Builder& b) {
         return Perceptron(b, 1024, {4096, 4096, 1000});
       }},
      {"cnn_mnist", CnnMnist},
      {"mobilenetv2", MobileNetV2},
      {"resnet50", ResNet50},
      {"lstm", [](Builder& b) { return RecurrentNetwork(b, ops::CellKind::kLstm); }},
      {"gru", [](Builder& b) { return RecurrentNetwork(b, ops::CellKind::kGru); }},
      {"text_cnn", TextCnn},
      {"encoder", Encoder},
  };
  return networks;
}

}  // namespace

std::vector<std::string> NetworkNames() {
  std::vector<std::string> names;
  for (const auto& [name, make] : Networks()) names.push_back(name);
  return names;
}

Network MakeNetwork(const std::string& name) {
  Network network;
  network.name = name;
  for (const auto& [known, make] : Networks()) {
    if (known != name) continue;
    Builder builder(&network);
    network.output = make(builder);
  }
  return network;
}

}  // namespace h5serve::bench
