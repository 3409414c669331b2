// Layers that prepare features: Normalization, bins, categories, hashes.

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "compute/ops/elementwise.h"
#include "compute/ops/reduce.h"
#include "compute/ops/shape_ops.h"
#include "compute/ops/text.h"
#include "model/layers/encode.h"
#include "model/layers/layer_functions.h"
#include "model/layers/layout.h"

namespace h5serve::model {

namespace ops = compute::ops;
using compute::DType;
using compute::Shape;
using compute::Tensor;
using compute::Value;

namespace {

// Flattens nested lists of numbers.
bool Flatten(const ConfigValue& value, int depth, std::vector<float>* numbers) {
  if (value.is_number()) {
    numbers->push_back(static_cast<float>(value.as_float()));
    return true;
  }
  if (!value.is_list() || depth > 12) return false;
  for (const ConfigValue& item : value.as_list()) {
    if (!Flatten(item, depth + 1, numbers)) return false;
  }
  return true;
}

// Statistics by the kept axes, shaped to broadcast against the input.
Value Statistic(const LayerScope& scope, std::string_view role, const Shape& input,
                const std::vector<int64_t>& axes) {
  compute::Graph& graph = scope.graph();
  Shape shape;
  for (int i = 0; i < input.rank(); ++i) {
    const bool kept = std::find(axes.begin(), axes.end(), i) != axes.end();
    shape.push_back(kept ? input[i] : 1);
  }
  std::vector<float> numbers;
  const ConfigValue& given = scope.config()[role];
  if (!given.is_null()) {
    if (!Flatten(given, 0, &numbers)) {
      scope.BadValue(role, "numbers are expected");
      return {};
    }
  } else if (const Tensor* weight = scope.WeightTensor(role)) {
    if (weight->dtype() != DType::kFloat32) {
      scope.Fail(Code::kWeightDtypeUnsupported,
                 fmt::format("layer {}, {}: floats are expected", scope.path(), role));
      return {};
    }
    numbers.assign(weight->data<float>(), weight->data<float>() + weight->num_elements());
  } else {
    scope.Fail(Code::kWeightMissing,
               fmt::format("layer {} was never adapted: it has no {}", scope.path(), role));
    return {};
  }
  const int64_t count = static_cast<int64_t>(numbers.size());
  if (count == 1) return graph.Constant(Tensor::Scalar(numbers[0]));
  if (!shape.known() || shape.num_elements() != count) {
    scope.Fail(Code::kWeightShapeMismatch,
               fmt::format("layer {}, {}: {} values for an input of {}", scope.path(), role, count,
                           input.ToString()));
    return {};
  }
  return graph.Constant(Tensor::Floats(shape, numbers));
}

// np.interp: linear between ascending xs, flat outside.
double Interpolate(double x, const std::vector<double>& xs, const std::vector<double>& ys) {
  if (x <= xs.front()) return ys.front();
  for (size_t i = 1; i < xs.size(); ++i) {
    if (x > xs[i]) continue;
    const double width = xs[i] - xs[i - 1];
    return width <= 0 ? ys[i] : ys[i - 1] + (ys[i] - ys[i - 1]) * (x - xs[i - 1]) / width;
  }
  return ys.back();
}

// Boundaries from what adapt() gathered: values and their weights. Source:
// compress_summary and get_bin_boundaries in keras/layers/preprocessing/discretization.py of
// 2.10.
std::optional<std::vector<float>> AdaptedBoundaries(const LayerScope& scope) {
  const Tensor* summary = scope.WeightTensor("summary");
  const int64_t bins = scope.PositiveInt("num_bins");
  if (summary == nullptr || scope.failed()) return std::nullopt;
  const Shape& shape = summary->shape();
  if (summary->dtype() != DType::kFloat32 || shape.rank() != 2 || shape[0] != 2 || shape[1] < 1 ||
      bins > (1 << 20)) {
    return std::nullopt;
  }
  const int64_t count = shape[1];
  const float* data = summary->data<float>();
  std::vector<double> values(data, data + count), shares(count);
  std::vector<float> boundaries;
  const double step = 1.0 / static_cast<double>(bins);
  if (static_cast<double>(count) * step < 1) {
    boundaries.assign(data, data + count);
  } else {
    double sum = 0;
    for (int64_t i = 0; i < count; ++i) shares[i] = sum += data[count + i];
    for (double& share : shares) share /= sum;
    for (int64_t i = 0; static_cast<double>(i) * step < 1.0; ++i) {
      const double percent = step + static_cast<double>(i) * step;
      boundaries.push_back(static_cast<float>(Interpolate(percent, shares, values)));
    }
  }
  boundaries.pop_back();
  return boundaries;
}

}  // namespace

std::vector<KerasTensor> LowerNormalization(const LayerScope& scope, const CallInputs& inputs) {
  const std::optional<KerasTensor> x = OnlyInput(scope, inputs);
  if (!x) return {};
  compute::Graph& graph = scope.graph();
  const Shape input = graph.shape(x->value);
  std::vector<int64_t> axes;
  const bool absent = scope.config().Find("axis") == nullptr;
  if (scope.Has("axis") || absent) axes = scope.Ints("axis", {-1});
  for (int64_t& axis : axes) {
    if (axis < 0) axis += input.rank();
  }
  const Value mean = Statistic(scope, "mean", input, axes);
  const Value variance = Statistic(scope, "variance", input, axes);
  if (scope.failed()) return {};
  const Value deviation = ops::Binary(graph, ops::BinaryKind::kMaximum,
                                      ops::Unary(graph, ops::UnaryKind::kSqrt, variance),
                                      graph.Constant(Tensor::Scalar(1e-7f)));
  const Value value = ops::Cast(graph, x->value, DType::kFloat32);
  if (!scope.Bool("invert", false)) {
    return One(ops::Divide(graph, ops::Subtract(graph, value, mean), deviation));
  }
  // tf.keras 2.10 to 2.12 computed something else, but did not save `invert`.
  return One(ops::Add(graph, mean, ops::Multiply(graph, value, deviation)));
}

std::vector<WeightRole> NormalizationWeights(const Layer& layer, const Writer&) {
  if (!layer.config["mean"].is_null()) return {};
  return {{"mean", false}, {"variance", false}, {"count", false}};
}

std::vector<KerasTensor> LowerDiscretization(const LayerScope& scope, const CallInputs& inputs) {
  const std::optional<KerasTensor> x = OnlyInput(scope, inputs);
  if (!x) return {};
  compute::Graph& graph = scope.graph();
  const ConfigValue& stored =
      scope.Has("bin_boundaries") ? scope.config()["bin_boundaries"] : scope.config()["bins"];
  std::vector<float> boundaries;
  const bool adapted = stored.is_null() && scope.HasWeight("summary");
  if (adapted) {
    const std::optional<std::vector<float>> learnt = AdaptedBoundaries(scope);
    if (!learnt) scope.BadValue("num_bins", "the adapted summary does not fit");
    if (scope.failed()) return {};
    boundaries = *learnt;
  }
  if ((!adapted && !stored.is_list()) || (!adapted && !Flatten(stored, 0, &boundaries)) ||
      !std::is_sorted(boundaries.begin(), boundaries.end())) {
    scope.BadValue("bin_boundaries", "an ascending list of numbers is expected");
    return {};
  }
  const Value bins = ops::Bucketize(graph, ops::Cast(graph, x->value, DType::kFloat32), boundaries);
  return One(Encode(scope, bins, static_cast<int64_t>(boundaries.size()) + 1,
                    scope.String("output_mode", "int"), {}));
}

std::vector<WeightRole> DiscretizationWeights(const Layer& layer, const Writer& writer) {
  const bool adapted = layer.config["bin_boundaries"].is_null() && layer.config["bins"].is_null();
  if (!adapted || writer.dialect == Writer::Dialect::kKeras3) return {};
  return {{"summary", false}};
}

std::vector<KerasTensor> LowerCategoryEncoding(const LayerScope& scope, const CallInputs& inputs) {
  const std::vector<KerasTensor> tensors = inputs.Tensors();
  if (tensors.empty()) {
    scope.Fail(Code::kGraphInvalid,
               fmt::format("layer {} is called without a tensor", scope.path()));
    return {};
  }
  const int64_t tokens =
      scope.Has("num_tokens") ? scope.PositiveInt("num_tokens") : scope.PositiveInt("max_tokens");
  Value weights;
  if (const CallArgument* given = inputs.Keyword("count_weights");
      given != nullptr && given->is_tensor()) {
    weights = given->tensor.value;
  } else if (tensors.size() > 1) {
    weights = tensors[1].value;
  }
  if (scope.failed()) return {};
  const Value ids = ops::Cast(scope.graph(), tensors[0].value, DType::kInt64);
  return One(Encode(scope, ids, tokens, scope.String("output_mode", "multi_hot"), weights));
}

std::vector<KerasTensor> LowerHashing(const LayerScope& scope, const CallInputs& inputs) {
  const std::optional<KerasTensor> x = OnlyInput(scope, inputs);
  if (!x) return {};
  compute::Graph& graph = scope.graph();
  ops::HashAttributes attributes;
  attributes.bins = scope.PositiveInt("num_bins");
  if (scope.Has("salt")) {
    std::vector<int64_t> salt = scope.Ints("salt", {});
    if (salt.size() == 1) salt.push_back(salt[0]);
    if (salt.size() != 2) {
      scope.BadValue("salt", "one or two integers are expected");
      return {};
    }
    attributes.salted = true;
    attributes.salt[0] = static_cast<uint64_t>(salt[0]);
    attributes.salt[1] = static_cast<uint64_t>(salt[1]);
  }
  const ConfigValue& mask = scope.config()["mask_value"];
  if (!mask.is_null()) {
    attributes.has_mask = true;
    attributes.mask = mask.is_string() ? mask.as_string() : mask.ToJson();
  }
  if (scope.failed()) return {};
  const Value value = graph.dtype(x->value) == DType::kFloat32
                          ? ops::Cast(graph, x->value, DType::kInt64)
                          : x->value;
  return One(Encode(scope, ops::HashBuckets(graph, value, attributes), attributes.bins,
                    scope.String("output_mode", "int"), {}));
}

std::vector<KerasTensor> LowerHashedCrossing(const LayerScope& scope, const CallInputs& inputs) {
  const std::vector<KerasTensor> tensors = inputs.Tensors();
  if (tensors.size() < 2) {
    scope.Fail(Code::kGraphInvalid, fmt::format("layer {} needs two inputs", scope.path()));
    return {};
  }
  const int64_t bins = scope.PositiveInt("num_bins");
  if (scope.failed()) return {};
  std::vector<Value> columns;
  for (const KerasTensor& tensor : tensors) columns.push_back(tensor.value);
  return One(Encode(scope, ops::HashCross(scope.graph(), columns, bins), bins,
                    scope.String("output_mode", "int"), {}));
}

}  // namespace h5serve::model
