// Normalizations whose statistics are weights or moments of the input.

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "compute/ops/elementwise.h"
#include "compute/ops/reduce.h"
#include "compute/ops/shape_ops.h"
#include "model/layers/layer_functions.h"

namespace h5serve::model {

namespace ops = compute::ops;
using compute::kUnknown;
using compute::Shape;
using compute::Tensor;
using compute::Value;

namespace {

// The only tensor of the call.
std::optional<KerasTensor> Single(const LayerScope& scope, const CallInputs& inputs) {
  const std::vector<KerasTensor> tensors = inputs.Tensors();
  if (!tensors.empty()) return tensors[0];
  scope.Fail(Code::kGraphInvalid, fmt::format("layer {} is called without a tensor", scope.path()));
  return std::nullopt;
}

// Axes of the config counted from the start and sorted; {} after a failure.
std::vector<int64_t> Axes(const LayerScope& scope, std::vector<int64_t> otherwise, int rank) {
  std::vector<int64_t> axes = scope.Ints("axis", std::move(otherwise));
  for (int64_t& axis : axes) {
    const std::optional<int> at = compute::NormalizeAxis(axis, rank);
    if (!at) {
      scope.BadValue("axis", fmt::format("outside an input of rank {}", rank));
      return {};
    }
    axis = *at;
  }
  std::sort(axes.begin(), axes.end());
  return axes;
}

Shape SizesAt(const Shape& shape, const std::vector<int64_t>& axes) {
  Shape sizes;
  for (int64_t axis : axes) sizes.push_back(shape[static_cast<int>(axis)]);
  return sizes;
}

// A weight over `axes`, shaped so that it broadcasts against an input of `rank`.
Value Spread(const LayerScope& scope, Value weight, const std::vector<int64_t>& axes, int rank) {
  if (!weight.valid()) return weight;
  const Shape& sizes = scope.graph().shape(weight);
  if (axes.size() == 1 && axes[0] == rank - 1) return weight;
  Shape shape;
  size_t next = 0;
  for (int i = 0; i < rank; ++i) {
    const bool kept = next < axes.size() && axes[next] == i;
    shape.push_back(kept ? sizes[static_cast<int>(next)] : 1);
    next += kept;
  }
  return ops::Reshape(scope.graph(), weight, shape);
}

Value OptionalWeight(const LayerScope& scope, std::string_view flag, std::string_view role,
                     const Shape& sizes) {
  return scope.Bool(flag, true) ? scope.Weight(role, sizes) : Value{};
}

std::vector<int64_t> OtherAxes(const std::vector<int64_t>& axes, int rank, int first) {
  std::vector<int64_t> others;
  for (int i = first; i < rank; ++i) {
    if (std::find(axes.begin(), axes.end(), i) == axes.end()) others.push_back(i);
  }
  return others;
}

bool Flag(const Layer& layer, std::string_view key, bool otherwise) {
  const ConfigValue& value = layer.config[key];
  return value.is_bool() ? value.as_bool() : otherwise;
}

// The axis that virtual_batch_size shifted when it was saved.
void RepairVirtualBatch(const LayerScope& scope, int rank, std::vector<int64_t>* axes) {
  if (!scope.Has("virtual_batch_size")) return;
  for (int64_t& axis : *axes) {
    if (axis == rank) --axis;
  }
}

// x * scale + shift with scale and shift known at load time, so that the
// optimiser can fold them into a layer before.
Value Affine(const LayerScope& scope, Value x, const std::vector<int64_t>& axes, int rank,
             const Shape& sizes, float epsilon) {
  compute::Graph& graph = scope.graph();
  for (std::string_view role : {"moving_mean", "moving_variance"}) scope.Weight(role, sizes);
  if (scope.Bool("scale", true)) scope.Weight("gamma", sizes);
  if (scope.Bool("center", true)) scope.Weight("beta", sizes);
  if (scope.failed()) return {};
  for (std::string_view role : {"moving_mean", "moving_variance", "gamma", "beta"}) {
    const Tensor* stored = scope.WeightTensor(role);
    if (stored == nullptr || stored->dtype() == compute::DType::kFloat32) continue;
    scope.Fail(Code::kWeightDtypeUnsupported,
               fmt::format("layer {}, {}: {} where floats are expected", scope.path(), role,
                           compute::Name(stored->dtype())));
    return {};
  }
  const Tensor& mean = *scope.WeightTensor("moving_mean");
  const Tensor& variance = *scope.WeightTensor("moving_variance");
  const Tensor* gamma = scope.Bool("scale", true) ? scope.WeightTensor("gamma") : nullptr;
  const Tensor* beta = scope.Bool("center", true) ? scope.WeightTensor("beta") : nullptr;
  Tensor scale = Tensor::Allocate(compute::DType::kFloat32, mean.shape());
  Tensor shift = Tensor::Allocate(compute::DType::kFloat32, mean.shape());
  for (int64_t i = 0, n = mean.num_elements(); i < n; ++i) {
    const double factor = (gamma == nullptr ? 1.0 : gamma->data<float>()[i]) /
                          std::sqrt(static_cast<double>(variance.data<float>()[i]) + epsilon);
    scale.mutable_data<float>()[i] = static_cast<float>(factor);
    shift.mutable_data<float>()[i] = static_cast<float>(
        (beta == nullptr ? 0.0 : beta->data<float>()[i]) - mean.data<float>()[i] * factor);
  }
  const Value a = Spread(scope, graph.Constant(scale), axes, rank);
  const Value b = Spread(scope, graph.Constant(shift), axes, rank);
  return ops::Add(graph, ops::Multiply(graph, x, a), b);
}

// Keras 1's modes that look at the input itself: 1 normalizes each sample over
// its last axis (with epsilon twice, as its source did), 2 over the batch.
Value Keras1Mode(const LayerScope& scope, int64_t mode, Value x, const std::vector<int64_t>& axes,
                 int rank, float epsilon) {
  compute::Graph& graph = scope.graph();
  const Shape sizes = SizesAt(graph.shape(x), axes);
  const Value gamma = Spread(scope, scope.Weight("gamma", sizes), axes, rank);
  const Value beta = Spread(scope, scope.Weight("beta", sizes), axes, rank);
  if (mode == 2) {
    scope.Warn(Code::kBatchDependent,
               fmt::format("layer {} uses batch statistics at inference (mode=2)", scope.path()));
    return ops::MomentsNormalize(graph, x, OtherAxes(axes, rank, 0), epsilon, gamma, beta);
  }
  const Value mean = ops::Reduce(graph, ops::ReduceKind::kMean, x, {-1}, true);
  const Value variance = ops::Reduce(graph, ops::ReduceKind::kVariance, x, {-1}, true);
  const Value std = ops::AddScalar(
      graph, ops::Unary(graph, ops::UnaryKind::kSqrt, ops::AddScalar(graph, variance, epsilon)),
      epsilon);
  const Value normal = ops::Divide(graph, ops::Subtract(graph, x, mean), std);
  return ops::Add(graph, ops::Multiply(graph, normal, gamma), beta);
}

}  // namespace

std::vector<KerasTensor> LowerBatchNormalization(const LayerScope& scope,
                                                 const CallInputs& inputs) {
  const std::optional<KerasTensor> x = Single(scope, inputs);
  if (!x) return {};
  const int rank = scope.graph().rank(x->value);
  std::vector<int64_t> axes = scope.Ints("axis", {-1});
  RepairVirtualBatch(scope, rank, &axes);
  for (int64_t& axis : axes) {
    const std::optional<int> at = compute::NormalizeAxis(axis, rank);
    if (!at) {
      scope.BadValue("axis", fmt::format("outside an input of rank {}", rank));
      return {};
    }
    axis = *at;
  }
  std::sort(axes.begin(), axes.end());
  const float epsilon = scope.Float("epsilon", 1e-3f);
  const int64_t mode = scope.Int("mode", 0);
  if (mode < 0 || mode > 2) scope.BadValue("mode", "0, 1 or 2 is expected");
  if (axes.empty()) scope.BadValue("axis", "at least one axis is expected");
  if (scope.failed()) return {};
  const Value y = mode == 0 ? Affine(scope, x->value, axes, rank,
                                     SizesAt(scope.graph().shape(x->value), axes), epsilon)
                            : Keras1Mode(scope, mode, x->value, axes, rank, epsilon);
  return One(y, x->mask);
}

std::vector<WeightRole> BatchNormalizationWeights(const Layer& layer, const Writer&) {
  std::vector<WeightRole> roles;
  if (Flag(layer, "scale", true)) roles.push_back({"gamma"});
  if (Flag(layer, "center", true)) roles.push_back({"beta"});
  roles.push_back({"moving_mean", false});
  roles.push_back({"moving_variance", false});
  // Statistics that renormalisation keeps for training alone.
  if (Flag(layer, "renorm", false)) {
    for (const char* role : {"moving_stddev", "renorm_mean", "renorm_stddev"}) {
      roles.push_back({role, false});
    }
  }
  return roles;
}

std::vector<KerasTensor> LowerLayerNormalization(const LayerScope& scope,
                                                 const CallInputs& inputs) {
  const std::optional<KerasTensor> x = Single(scope, inputs);
  if (!x) return {};
  compute::Graph& graph = scope.graph();
  const int rank = graph.rank(x->value);
  const std::vector<int64_t> axes = Axes(scope, {-1}, rank);
  if (scope.failed()) return {};
  const Shape sizes = SizesAt(graph.shape(x->value), axes);
  const float epsilon = scope.Float("epsilon", 1e-3f);
  if (scope.Bool("rms_scaling", false)) {
    // Keras 3.0 to 3.8: scaled by the centred variance, but not centred.
    const Value variance = ops::Reduce(graph, ops::ReduceKind::kVariance, x->value, axes, true);
    const Value factor =
        ops::Unary(graph, ops::UnaryKind::kRsqrt, ops::AddScalar(graph, variance, epsilon));
    const Value gamma = Spread(scope, scope.Weight("gamma", sizes), axes, rank);
    return One(ops::Multiply(graph, ops::Multiply(graph, x->value, factor), gamma), x->mask);
  }
  const Value gamma = Spread(scope, OptionalWeight(scope, "scale", "gamma", sizes), axes, rank);
  const Value beta = Spread(scope, OptionalWeight(scope, "center", "beta", sizes), axes, rank);
  if (scope.failed()) return {};
  return One(ops::MomentsNormalize(graph, x->value, axes, epsilon, gamma, beta), x->mask);
}

std::vector<WeightRole> ScaleCenterWeights(const Layer& layer, const Writer&) {
  std::vector<WeightRole> roles;
  const bool rms = Flag(layer, "rms_scaling", false);
  if (rms || Flag(layer, "scale", true)) roles.push_back({"gamma"});
  if (!rms && Flag(layer, "center", true)) roles.push_back({"beta"});
  return roles;
}

std::vector<KerasTensor> LowerGroupNormalization(const LayerScope& scope,
                                                 const CallInputs& inputs) {
  const std::optional<KerasTensor> x = Single(scope, inputs);
  if (!x) return {};
  compute::Graph& graph = scope.graph();
  const int rank = graph.rank(x->value);
  const std::vector<int64_t> axes = Axes(scope, {-1}, rank);
  if (axes.size() != 1 || axes[0] == 0)
    scope.BadValue("axis", "one axis behind the batch is expected");
  if (scope.failed()) return {};
  const int axis = static_cast<int>(axes[0]);
  const int64_t channels = graph.shape(x->value)[axis];
  int64_t groups = scope.Int("groups", 32);
  if (groups == -1) groups = channels;
  if (channels <= 0 || groups < 1 || channels % groups != 0) {
    scope.BadValue("groups", fmt::format("must divide the {} channels", channels));
    return {};
  }
  // Statistics over everything but batch and group.
  const Value split = ops::SplitAxis(graph, x->value, axis, groups, channels / groups);
  const Value normal = ops::MomentsNormalize(graph, split, OtherAxes({axis}, rank + 1, 1),
                                             scope.Float("epsilon", 1e-3f), {}, {});
  Value y = ops::MergeAxes(graph, normal, axis, axis + 2);
  const Value gamma =
      Spread(scope, OptionalWeight(scope, "scale", "gamma", {channels}), axes, rank);
  const Value beta = Spread(scope, OptionalWeight(scope, "center", "beta", {channels}), axes, rank);
  if (scope.failed()) return {};
  if (gamma.valid()) y = ops::Multiply(graph, y, gamma);
  if (beta.valid()) y = ops::Add(graph, y, beta);
  return One(y, x->mask);
}

std::vector<KerasTensor> LowerUnitNormalization(const LayerScope& scope, const CallInputs& inputs) {
  const std::optional<KerasTensor> x = Single(scope, inputs);
  if (!x) return {};
  const std::vector<int64_t> axes = Axes(scope, {-1}, scope.graph().rank(x->value));
  if (scope.failed()) return {};
  // Keras 3 bounds the norm by 1e-12, TensorFlow its square.
  const bool keras3 = scope.writer().dialect == Writer::Dialect::kKeras3;
  return One(ops::L2Normalize(scope.graph(), x->value, axes, keras3 ? 1e-24f : 1e-12f), x->mask);
}

std::vector<KerasTensor> LowerRmsNormalization(const LayerScope& scope, const CallInputs& inputs) {
  const std::optional<KerasTensor> x = Single(scope, inputs);
  if (!x) return {};
  compute::Graph& graph = scope.graph();
  const int rank = graph.rank(x->value);
  const std::vector<int64_t> axes = Axes(scope, {-1}, rank);
  if (scope.failed()) return {};
  const Value square = ops::Unary(graph, ops::UnaryKind::kSquare, x->value);
  const Value mean = ops::Reduce(graph, ops::ReduceKind::kMean, square, axes, true);
  const Value factor = ops::Unary(graph, ops::UnaryKind::kRsqrt,
                                  ops::AddScalar(graph, mean, scope.Float("epsilon", 1e-6f)));
  const Value scale =
      Spread(scope, scope.Weight("scale", SizesAt(graph.shape(x->value), axes)), axes, rank);
  return One(ops::Multiply(graph, ops::Multiply(graph, x->value, factor), scale), x->mask);
}

std::vector<WeightRole> RmsNormalizationWeights(const Layer&, const Writer&) { return {{"scale"}}; }

}  // namespace h5serve::model
