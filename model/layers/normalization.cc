// Normalization layers.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "compute/ops/elementwise.h"
#include "compute/ops/reduce.h"
#include "compute/ops/shape_ops.h"
#include "model/layers/layer_functions.h"
#include "model/layers/layer_support.h"

namespace h5serve::model {

namespace ops = compute::ops;

namespace {

// The axes in `axis`, counted from the start.
std::vector<int> Axes(const LayerScope& scope, Value x, int64_t otherwise, int64_t shift = 0) {
  Graph& graph = scope.graph();
  std::vector<int> axes;
  for (int64_t axis : scope.Ints("axis", {otherwise})) {
    const std::optional<int> normal =
        compute::NormalizeAxis(axis > 0 ? axis - shift : axis, graph.rank(x));
    if (!normal || std::find(axes.begin(), axes.end(), *normal) != axes.end()) {
      scope.BadValue("axis", fmt::format("an axis of {} is expected", graph.shape(x).ToString()));
      return {};
    }
    axes.push_back(*normal);
  }
  if (axes.empty()) scope.BadValue("axis", "at least one axis is expected");
  return axes;
}

// The sizes of `axes` in order: the shape of weights per place on them.
Shape SizesOf(const Graph& graph, Value x, const std::vector<int>& axes) {
  Shape shape;
  for (int axis : axes) shape.push_back(graph.shape(x)[axis]);
  return shape;
}

// The shape in which weights stored along `axes` broadcast against x.
Shape BroadcastShape(const Graph& graph, Value x, const std::vector<int>& axes,
                     const Shape& stored) {
  const int rank = graph.rank(x);
  if (axes.size() == 1 && axes[0] == rank - 1) return stored;
  Shape shape(std::vector<int64_t>(rank, 1));
  std::vector<int> sorted = axes;
  std::sort(sorted.begin(), sorted.end());
  // Keras reshapes, so the sizes stand in the order of the axes.
  for (size_t i = 0; i < axes.size(); ++i) {
    const int64_t size = graph.shape(x)[sorted[i]];
    shape[sorted[i]] = size == kUnknown ? stored[static_cast<int>(i)] : size;
  }
  return shape;
}

Value BroadcastWeight(const LayerScope& scope, std::string_view role, Value x,
                      const std::vector<int>& axes) {
  Graph& graph = scope.graph();
  const Value weight = scope.Weight(role, SizesOf(graph, x, axes));
  if (!weight.valid()) return {};
  const Tensor& tensor = *scope.WeightTensor(role);
  const Shape shape = BroadcastShape(graph, x, axes, tensor.shape());
  if (shape == tensor.shape()) return weight;
  return DerivedConstant(scope, fmt::format("{}@{}", role, shape.ToString()),
                         tensor.Reshaped(shape));
}

std::vector<int64_t> Wide(const std::vector<int>& axes) { return {axes.begin(), axes.end()}; }

// y = x · scale + shift with what training has gathered.
std::vector<KerasTensor> Inference(const LayerScope& scope, const KerasTensor& input,
                                   const std::vector<int>& axes, float epsilon) {
  Graph& graph = scope.graph();
  const Value x = AsFloat(graph, input.value);
  const Shape sizes = SizesOf(graph, x, axes);
  const bool has_scale = scope.Bool("scale", true), has_center = scope.Bool("center", true);
  const Tensor* mean = FloatWeight(scope, "moving_mean", sizes);
  const Tensor* variance = FloatWeight(scope, "moving_variance", sizes);
  const Tensor* gamma = has_scale ? FloatWeight(scope, "gamma", sizes) : nullptr;
  const Tensor* beta = has_center ? FloatWeight(scope, "beta", sizes) : nullptr;
  if (scope.failed() || mean == nullptr || variance == nullptr) return {};
  const Shape shape = BroadcastShape(graph, x, axes, mean->shape());
  Tensor scale = Tensor::Allocate(compute::DType::kFloat32, shape);
  Tensor shift = Tensor::Allocate(compute::DType::kFloat32, shape);
  for (int64_t i = 0; i < mean->num_elements(); ++i) {
    const double factor = (gamma == nullptr ? 1.0 : static_cast<double>(gamma->data<float>()[i])) /
                          std::sqrt(static_cast<double>(variance->data<float>()[i]) + epsilon);
    scale.mutable_data<float>()[i] = static_cast<float>(factor);
    shift.mutable_data<float>()[i] =
        static_cast<float>((beta == nullptr ? 0.0 : beta->data<float>()[i]) -
                           static_cast<double>(mean->data<float>()[i]) * factor);
  }
  const std::string suffix = shape.ToString();
  const Value scaled = ops::Multiply(graph, x, DerivedConstant(scope, "scale@" + suffix, scale));
  return One(ops::Add(graph, scaled, DerivedConstant(scope, "shift@" + suffix, shift)), input.mask);
}

// Keras 1's modes 1 and 2 normalise by the sample's or the batch's own moments.
// Source: keras/layers/normalization.py of 1.2.2.
std::vector<KerasTensor> OwnMoments(const LayerScope& scope, const KerasTensor& input,
                                    const std::vector<int>& axes, float epsilon, int64_t mode) {
  Graph& graph = scope.graph();
  const Value x = AsFloat(graph, input.value);
  if (mode == 2) {
    scope.Warn(
        Code::kBatchDependent,
        fmt::format("layer {} (mode 2) normalises over the requests of a batch", scope.path()));
    std::vector<int64_t> others;
    for (int axis = 0; axis < graph.rank(x); ++axis) {
      if (axis != axes[0]) others.push_back(axis);
    }
    return One(
        ops::MomentsNormalize(graph, x, others, epsilon, BroadcastWeight(scope, "gamma", x, axes),
                              BroadcastWeight(scope, "beta", x, axes)),
        input.mask);
  }
  // The weights have the size of `axis`, but stand on the last one.
  const std::vector<int> last{graph.rank(x) - 1};
  const Value mean = ops::Reduce(graph, ops::ReduceKind::kMean, x, {-1}, true);
  const Value variance = ops::Reduce(graph, ops::ReduceKind::kVariance, x, {-1}, true);
  const Value std =
      ops::Unary(graph, ops::UnaryKind::kSqrt, ops::AddScalar(graph, variance, epsilon));
  // epsilon counts twice there.
  const Value normed =
      ops::Divide(graph, ops::Subtract(graph, x, mean), ops::AddScalar(graph, std, epsilon));
  const Value scaled = ops::Multiply(graph, normed, BroadcastWeight(scope, "gamma", x, last));
  return One(ops::Add(graph, scaled, BroadcastWeight(scope, "beta", x, last)), input.mask);
}

float Epsilon(const LayerScope& scope, float otherwise) {
  const float epsilon = scope.Float("epsilon", otherwise);
  if (!(epsilon >= 0)) scope.BadValue("epsilon", "a number >= 0 is expected");
  return epsilon;
}

}  // namespace

std::vector<KerasTensor> LowerBatchNormalization(const LayerScope& scope,
                                                 const CallInputs& inputs) {
  const KerasTensor input = SingleInput(scope, inputs);
  const float epsilon = Epsilon(scope, 1e-3f);
  // tf.keras saved axis one too large with virtual batches.
  const int64_t shift = scope.Has("virtual_batch_size") ? 1 : 0;
  const std::vector<int> axes = Axes(scope, input.value, -1, shift);
  const int64_t mode = scope.Int("mode", 0);
  if (mode < 0 || mode > 2) scope.BadValue("mode", "0, 1 or 2 is expected");
  if (scope.failed()) return {};
  if (mode != 0) return OwnMoments(scope, input, axes, epsilon, mode);
  return Inference(scope, input, axes, epsilon);
}

std::vector<WeightRole> BatchNormalizationWeights(const Layer& layer, const Writer& writer) {
  std::vector<WeightRole> roles;
  if (ConfigBool(layer, "scale", true)) roles.push_back({"gamma"});
  if (ConfigBool(layer, "center", true)) roles.push_back({"beta"});
  roles.push_back({"moving_mean", false});
  roles.push_back({"moving_variance", false});
  if (ConfigBool(layer, "renorm", false)) {
    for (const char* role : {"moving_stddev", "renorm_mean", "renorm_stddev"}) {
      roles.push_back({role, false});
    }
  }
  return roles;
}

std::vector<KerasTensor> LowerLayerNormalization(const LayerScope& scope,
                                                 const CallInputs& inputs) {
  Graph& graph = scope.graph();
  const KerasTensor input = SingleInput(scope, inputs);
  const float epsilon = Epsilon(scope, 1e-3f);
  const std::vector<int> axes = Axes(scope, input.value, -1);
  const bool rms = scope.Bool("rms_scaling", false);
  const bool has_scale = scope.Bool("scale", true) || rms;
  const bool has_center = scope.Bool("center", true) && !rms;
  if (scope.failed()) return {};
  const Value x = AsFloat(graph, input.value);
  const Value gamma = has_scale ? BroadcastWeight(scope, "gamma", x, axes) : Value{};
  const Value beta = has_center ? BroadcastWeight(scope, "beta", x, axes) : Value{};
  if (scope.failed()) return {};
  if (!rms) {
    return One(ops::MomentsNormalize(graph, x, Wide(axes), epsilon, gamma, beta), input.mask);
  }
  // Keras 3 divided by the centred deviation without subtracting the mean.
  const Value variance = ops::Reduce(graph, ops::ReduceKind::kVariance, x, Wide(axes), true);
  const Value inverse =
      ops::Unary(graph, ops::UnaryKind::kRsqrt, ops::AddScalar(graph, variance, epsilon));
  return One(ops::Multiply(graph, ops::Multiply(graph, x, inverse), gamma), input.mask);
}

std::vector<WeightRole> ScaleCenterWeights(const Layer& layer, const Writer& writer) {
  const bool rms = ConfigBool(layer, "rms_scaling", false);
  std::vector<WeightRole> roles;
  if (ConfigBool(layer, "scale", true) || rms) roles.push_back({"gamma"});
  if (ConfigBool(layer, "center", true) && !rms) roles.push_back({"beta"});
  return roles;
}

// Moments over everything of a sample but the groups of channels.
std::vector<KerasTensor> LowerGroupNormalization(const LayerScope& scope,
                                                 const CallInputs& inputs) {
  Graph& graph = scope.graph();
  const KerasTensor input = SingleInput(scope, inputs);
  const float epsilon = Epsilon(scope, 1e-3f);
  const std::vector<int> axes = Axes(scope, input.value, -1);
  int64_t groups = scope.Int("groups", 32);
  if (scope.failed()) return {};
  const Value x = AsFloat(graph, input.value);
  const int axis = axes[0];
  const int64_t channels = graph.shape(x)[axis];
  if (groups == -1) groups = channels;
  if (axes.size() != 1 || axis == 0) scope.BadValue("axis", "one axis but the first is expected");
  if (channels == kUnknown || groups < 1 || channels % groups != 0) {
    scope.BadValue("groups", fmt::format("{} channels cannot be divided", channels));
  }
  if (scope.failed()) return {};
  const Value split = ops::SplitAxis(graph, x, axis, groups, channels / groups);
  std::vector<int64_t> reduced;
  for (int i = 1; i <= graph.rank(x); ++i) {
    if (i != axis) reduced.push_back(i);
  }
  const Value normed = ops::MomentsNormalize(graph, split, reduced, epsilon, {}, {});
  Value y = ops::MergeAxes(graph, normed, axis, axis + 2);
  if (scope.Bool("scale", true)) {
    y = ops::Multiply(graph, y, BroadcastWeight(scope, "gamma", x, axes));
  }
  if (scope.Bool("center", true)) {
    y = ops::Add(graph, y, BroadcastWeight(scope, "beta", x, axes));
  }
  return One(y, input.mask);
}

std::vector<KerasTensor> LowerUnitNormalization(const LayerScope& scope, const CallInputs& inputs) {
  Graph& graph = scope.graph();
  const KerasTensor input = SingleInput(scope, inputs);
  const std::vector<int> axes = Axes(scope, input.value, -1);
  if (scope.failed()) return {};
  // Keras 3 bounds the norm by 1e-12, TensorFlow its square.
  const float epsilon = IsKeras3(scope) ? 1e-24f : 1e-12f;
  return One(ops::L2Normalize(graph, AsFloat(graph, input.value), Wide(axes), epsilon), input.mask);
}

std::vector<KerasTensor> LowerRmsNormalization(const LayerScope& scope, const CallInputs& inputs) {
  Graph& graph = scope.graph();
  const KerasTensor input = SingleInput(scope, inputs);
  const float epsilon = Epsilon(scope, 1e-6f);
  const std::vector<int> axes = Axes(scope, input.value, -1);
  if (scope.failed()) return {};
  const Value x = AsFloat(graph, input.value);
  const Value scale = BroadcastWeight(scope, "scale", x, axes);
  const Value mean = ops::Reduce(graph, ops::ReduceKind::kMean,
                                 ops::Unary(graph, ops::UnaryKind::kSquare, x), Wide(axes), true);
  const Value inverse =
      ops::Unary(graph, ops::UnaryKind::kRsqrt, ops::AddScalar(graph, mean, epsilon));
  return One(ops::Multiply(graph, ops::Multiply(graph, x, inverse), scale), input.mask);
}

std::vector<WeightRole> RmsNormalizationWeights(const Layer& layer, const Writer& writer) {
  return {{"scale"}};
}

}  // namespace h5serve::model
