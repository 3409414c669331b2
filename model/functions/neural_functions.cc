// Convolutions, pooling, normalisation and attention.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "compute/ops/convolution.h"
#include "compute/ops/elementwise.h"
#include "compute/ops/linear.h"
#include "compute/ops/reduce.h"
#include "compute/ops/shape_ops.h"
#include "model/functions/function_call.h"

namespace h5serve::model {
namespace {

using compute::DType;
using compute::Graph;
using compute::kUnknown;
using compute::Value;
namespace ops = compute::ops;

FunctionArgument Result(Value value) { return FunctionArgument::Tensor(value); }

Value AsFloat(Graph& graph, Value x) { return ops::Cast(graph, x, DType::kFloat32); }

// --- convolutions ------------------------------------------------------------------

// The image of a convolution with channels last, and how to put it back.
struct Image {
  Value x;
  bool channels_first = false;
  int spatial = 0;

  Value Restore(Graph& graph, Value y) const {
    return channels_first ? ops::MoveAxis(graph, y, -1, 1) : y;
  }
};

Image ReadImage(FunctionCall& call) {
  Image image;
  Graph& graph = call.graph();
  image.channels_first = call.ChannelsFirst("data_format");
  image.x = AsFloat(graph, call.Tensor("inputs"));
  image.spatial = graph.rank(image.x) - 2;
  if (call.ok() && (image.spatial < 1 || image.spatial > 3)) {
    call.Invalid(fmt::format("expected (batch, spatial, channels), got {}",
                             graph.shape(image.x).ToString()));
  }
  if (image.channels_first && call.ok()) image.x = ops::MoveAxis(graph, image.x, 1, -1);
  return image;
}

struct Padding {
  bool same = false;
  bool causal = false;
  std::vector<std::pair<int64_t, int64_t>> pads;
};

// A name in any case, or explicit pairs for all axes.
Padding ReadPadding(FunctionCall& call, const Image& image) {
  Padding padding;
  const FunctionArgument& argument = call.Get("padding");
  std::string name = "valid";
  std::vector<int64_t> pairs;
  if (argument.is_constant() && argument.constant.is_string()) {
    name = argument.constant.as_string();
    std::transform(name.begin(), name.end(), name.begin(),
                   [](unsigned char c) { return std::tolower(c); });
    if (name == "explicit") pairs = call.Ints("explicit_paddings").value_or(std::vector<int64_t>{});
  } else if (!argument.is_null()) {
    const compute::Tensor* table = call.graph().constant(call.Tensor("padding"));
    if (table != nullptr && table->dtype() == DType::kInt64) {
      pairs.assign(table->data<int64_t>(), table->data<int64_t>() + table->num_elements());
    }
    name = "explicit";
  }
  padding.same = name == "same";
  padding.causal = name == "causal";
  if (name == "explicit") {
    if (pairs.size() != 2 * static_cast<size_t>(image.spatial + 2)) {
      call.Unsupported("padding", "expected a pair for each axis");
      return padding;
    }
    const size_t first = image.channels_first ? 2 : 1;
    for (int i = 0; i < image.spatial; ++i) {
      const int64_t before = pairs[2 * (first + i)], after = pairs[2 * (first + i) + 1];
      if (before < 0 || after < 0) call.Unsupported("padding", "it must not be negative");
      padding.pads.emplace_back(before, after);
    }
  } else if (!padding.same && !padding.causal && name != "valid") {
    call.Unsupported("padding", "expected same or valid");
  }
  return padding;
}

ops::ConvAttributes ReadConv(FunctionCall& call, const Image& image, Value kernel) {
  ops::ConvAttributes attributes;
  Graph& graph = call.graph();
  attributes.strides = call.SpatialInts("strides", image.spatial, 1, image.channels_first);
  attributes.dilations = call.SpatialInts("dilation_rate", image.spatial, 1, image.channels_first);
  const Padding padding = ReadPadding(call, image);
  attributes.same = padding.same;
  attributes.pads = padding.pads;
  if (!call.ok()) return attributes;
  if (graph.rank(kernel) != image.spatial + 2) {
    call.Invalid(fmt::format("kernel {} does not fit {} spatial axes",
                             graph.shape(kernel).ToString(), image.spatial));
    return attributes;
  }
  if (padding.causal) {
    const int64_t size = graph.shape(kernel)[0];
    if (image.spatial != 1 || size == kUnknown) {
      call.Unsupported("padding", "causal padding is for one spatial axis");
      return attributes;
    }
    attributes.pads = {{attributes.dilations[0] * (size - 1), 0}};
  }
  return attributes;
}

FunctionArgument Conv(FunctionCall& call) {
  Graph& graph = call.graph();
  const Image image = ReadImage(call);
  const Value kernel = AsFloat(graph, call.Tensor("kernel"));
  ops::ConvAttributes attributes = ReadConv(call, image, kernel);
  if (!call.ok()) return {};
  const int64_t in = graph.shape(image.x).dim(-1), per_group = graph.shape(kernel).dim(-2);
  if (in != kUnknown && per_group > 0 && in % per_group == 0) attributes.groups = in / per_group;
  return Result(image.Restore(graph, ops::Conv(graph, image.x, kernel, Value{}, attributes)));
}

FunctionArgument DepthwiseConv(FunctionCall& call) {
  Graph& graph = call.graph();
  const Image image = ReadImage(call);
  const Value kernel = AsFloat(graph, call.Tensor("kernel"));
  const ops::ConvAttributes attributes = ReadConv(call, image, kernel);
  if (!call.ok()) return {};
  return Result(
      image.Restore(graph, ops::DepthwiseConv(graph, image.x, kernel, Value{}, attributes)));
}

FunctionArgument SeparableConv(FunctionCall& call) {
  Graph& graph = call.graph();
  const Image image = ReadImage(call);
  const Value depthwise = AsFloat(graph, call.Tensor("depthwise_kernel"));
  const Value pointwise = AsFloat(graph, call.Tensor("pointwise_kernel"));
  const ops::ConvAttributes attributes = ReadConv(call, image, depthwise);
  if (!call.ok()) return {};
  Value y = ops::DepthwiseConv(graph, image.x, depthwise, Value{}, attributes);
  ops::ConvAttributes plain;
  plain.strides = plain.dilations = std::vector<int64_t>(static_cast<size_t>(image.spatial), 1);
  return Result(image.Restore(graph, ops::Conv(graph, y, pointwise, Value{}, plain)));
}

FunctionArgument ConvTranspose(FunctionCall& call) {
  Graph& graph = call.graph();
  const Image image = ReadImage(call);
  const Value kernel = AsFloat(graph, call.Tensor("kernel"));
  if (!call.ok()) return {};
  ops::ConvTransposeAttributes attributes;
  attributes.strides = call.SpatialInts("strides", image.spatial, 1, image.channels_first);
  attributes.dilations = call.SpatialInts("dilation_rate", image.spatial, 1, image.channels_first);
  const Padding padding = ReadPadding(call, image);
  if (padding.causal || !padding.pads.empty())
    return call.Unsupported("padding", "expected same or valid");
  attributes.same = padding.same;
  if (call.Has("output_padding")) {
    attributes.output_padding = call.Ints("output_padding").value_or(std::vector<int64_t>{0});
    if (attributes.output_padding.size() == 1)
      attributes.output_padding.resize(static_cast<size_t>(image.spatial),
                                       attributes.output_padding[0]);
    if (static_cast<int>(attributes.output_padding.size()) != image.spatial)
      return call.Invalid("output_padding does not fit");
  }
  if (call.Has("output_shape")) {
    // Of (batch, spatial, channels) only the spatial sizes tell something new.
    FunctionArgument shape = call.Get("output_shape");
    if (shape.is_list()) {
      for (FunctionArgument& item : shape.list) {
        if (!KnownInts(graph, item)) item = FunctionArgument();
      }
    }
    const auto sizes = KnownInts(graph, shape);
    if (sizes && static_cast<int>(sizes->size()) == image.spatial + 2) {
      const size_t first = image.channels_first ? 2 : 1;
      attributes.output_spatial.assign(sizes->begin() + first,
                                       sizes->begin() + first + image.spatial);
    }
  }
  if (!call.ok()) return {};
  return Result(
      image.Restore(graph, ops::ConvTranspose(graph, image.x, kernel, Value{}, attributes)));
}

FunctionArgument PoolOf(FunctionCall& call, ops::PoolKind kind) {
  Graph& graph = call.graph();
  const Image image = ReadImage(call);
  if (!call.ok()) return {};
  ops::PoolAttributes attributes;
  attributes.kind = kind;
  attributes.sizes = call.SpatialInts("pool_size", image.spatial, 1, image.channels_first);
  attributes.strides = call.Has("strides")
                           ? call.SpatialInts("strides", image.spatial, 1, image.channels_first)
                           : attributes.sizes;
  const Padding padding = ReadPadding(call, image);
  if (padding.causal) return call.Unsupported("padding", "expected same or valid");
  attributes.same = padding.same;
  attributes.pads = padding.pads;
  if (!call.ok()) return {};
  return Result(image.Restore(graph, ops::Pool(graph, image.x, attributes)));
}

template <ops::PoolKind kind>
FunctionArgument Pool(FunctionCall& call) {
  return PoolOf(call, kind);
}

FunctionArgument NamedPool(FunctionCall& call) {
  std::string mode = call.String("pool_mode", "max");
  std::transform(mode.begin(), mode.end(), mode.begin(),
                 [](unsigned char c) { return std::tolower(c); });
  if (mode == "max") return PoolOf(call, ops::PoolKind::kMax);
  if (mode == "avg") return PoolOf(call, ops::PoolKind::kAverage);
  return call.Unsupported("pool_mode", "expected max or avg");
}

template <ops::PoolKind kind>
FunctionArgument AdaptivePool(FunctionCall& call) {
  Graph& graph = call.graph();
  const Image image = ReadImage(call);
  if (!call.ok()) return {};
  const std::vector<int64_t> size =
      call.SpatialInts("output_size", image.spatial, 1, image.channels_first);
  if (!call.ok()) return {};
  return Result(image.Restore(graph, ops::AdaptivePool(graph, image.x, kind, size)));
}

// --- normalisation ------------------------------------------------------------------

// A vector along `axis` of x, shaped so that it broadcasts.
Value Along(FunctionCall& call, Value vector, Value x) {
  Graph& graph = call.graph();
  if (!vector.valid() || graph.rank(vector) != 1 || !call.Has("axis")) return vector;
  const std::vector<int64_t> axes = call.Ints("axis").value_or(std::vector<int64_t>{-1});
  const auto axis = compute::NormalizeAxis(axes.empty() ? -1 : axes[0], graph.rank(x));
  if (!axis) {
    call.Invalid("axis does not exist");
    return vector;
  }
  for (int i = *axis + 1; i < graph.rank(x); ++i) vector = ops::ExpandDims(graph, vector, -1);
  return vector;
}

FunctionArgument BatchNormalization(FunctionCall& call) {
  Graph& graph = call.graph();
  const Value x = AsFloat(graph, call.Tensor("x"));
  const Value mean = Along(call, call.Tensor("mean"), x);
  Value factor = Along(call, call.Tensor("variance"), x);
  factor = ops::AddScalar(graph, factor, static_cast<float>(call.Float("epsilon", 1e-3)));
  factor = ops::Unary(graph, ops::UnaryKind::kRsqrt, factor);
  if (call.Has("scale"))
    factor = ops::Multiply(graph, factor, Along(call, call.Tensor("scale"), x));
  Value shift = ops::Unary(graph, ops::UnaryKind::kNegative, ops::Multiply(graph, mean, factor));
  if (call.Has("offset")) shift = ops::Add(graph, shift, Along(call, call.Tensor("offset"), x));
  return Result(ops::Add(graph, ops::Multiply(graph, x, factor), shift));
}

// The node of TensorFlow: six outputs, of which inference uses the first.
FunctionArgument FusedBatchNorm(FunctionCall& call) {
  Graph& graph = call.graph();
  if (call.Bool("is_training", true))
    return call.Unsupported("is_training", "it would use the moments of the batch");
  Value x = AsFloat(graph, call.Tensor("x"));
  const bool first = call.ChannelsFirst("data_format");
  if (first) x = ops::MoveAxis(graph, x, 1, -1);
  Value factor = ops::AddScalar(graph, call.Tensor("variance"),
                                static_cast<float>(call.Float("epsilon", 1e-4)));
  factor =
      ops::Multiply(graph, ops::Unary(graph, ops::UnaryKind::kRsqrt, factor), call.Tensor("scale"));
  Value y = ops::Multiply(graph, ops::Subtract(graph, x, call.Tensor("mean")), factor);
  y = ops::Add(graph, y, call.Tensor("offset"));
  if (first) y = ops::MoveAxis(graph, y, -1, 1);
  return FunctionArgument::List({Result(y), call.Get("mean"), call.Get("variance")});
}

// gamma and beta have the shape of the normalised axes.
Value OverAxes(Graph& graph, Value weight, Value x, const std::vector<int64_t>& axes) {
  if (!weight.valid() || graph.rank(weight) != static_cast<int>(axes.size())) return weight;
  std::vector<int> normal;
  for (int64_t axis : axes) {
    const auto found = compute::NormalizeAxis(axis, graph.rank(x));
    if (found) normal.push_back(*found);
  }
  std::sort(normal.begin(), normal.end());
  for (int axis = normal.empty() ? 0 : normal.front(); axis < graph.rank(x); ++axis) {
    if (!std::binary_search(normal.begin(), normal.end(), axis)) {
      weight = ops::ExpandDims(graph, weight, axis - (graph.rank(x) - graph.rank(weight)) + 1);
    }
  }
  return weight;
}

FunctionArgument LayerNormalization(FunctionCall& call) {
  Graph& graph = call.graph();
  const Value x = AsFloat(graph, call.Tensor("x"));
  const std::vector<int64_t> axes = call.Ints("axis").value_or(std::vector<int64_t>{-1});
  const float epsilon = static_cast<float>(call.Float("epsilon", 1e-7));
  const Value gamma = OverAxes(graph, call.OptionalTensor("gamma"), x, axes);
  const Value beta = OverAxes(graph, call.OptionalTensor("beta"), x, axes);
  if (!call.ok()) return {};
  return Result(ops::MomentsNormalize(graph, x, axes, epsilon, gamma, beta));
}

FunctionArgument RmsNormalization(FunctionCall& call) {
  Graph& graph = call.graph();
  const Value x = AsFloat(graph, call.Tensor("x"));
  const std::vector<int64_t> axes = call.Ints("axis").value_or(std::vector<int64_t>{-1});
  Value factor = ops::Reduce(graph, ops::ReduceKind::kMean,
                             ops::Unary(graph, ops::UnaryKind::kSquare, x), axes, true);
  factor = ops::AddScalar(graph, factor, static_cast<float>(call.Float("epsilon", 1e-7)));
  const Value y = ops::Multiply(graph, x, ops::Unary(graph, ops::UnaryKind::kRsqrt, factor));
  if (!call.Has("scale")) return Result(y);
  return Result(ops::Multiply(graph, y, OverAxes(graph, call.Tensor("scale"), x, axes)));
}

// x / (bias + alpha · sum of squares over the near channels)^beta.
FunctionArgument LocalResponseNormalization(FunctionCall& call) {
  Graph& graph = call.graph();
  const Value x = AsFloat(graph, call.Tensor("x"));
  const int64_t radius = call.Int("depth_radius", 5);
  const int64_t channels = graph.shape(x).dim(-1);
  if (radius < 0 || radius > 256 || channels <= 0)
    return call.Unsupported("depth_radius", "no window over the channels");
  std::vector<std::pair<int64_t, int64_t>> pads(static_cast<size_t>(graph.rank(x)), {0, 0});
  pads.back() = {radius, radius};
  const Value squares = ops::Pad(graph, ops::Unary(graph, ops::UnaryKind::kSquare, x), pads);
  Value sum;
  for (int64_t i = 0; i <= 2 * radius; ++i) {
    const Value part = ops::SliceAxis(graph, squares, -1, i, i + channels);
    sum = sum.valid() ? ops::Add(graph, sum, part) : part;
  }
  sum = ops::MultiplyScalar(graph, sum, static_cast<float>(call.Float("alpha", 1)));
  sum = ops::AddScalar(graph, sum, static_cast<float>(call.Float("bias", 1)));
  const Value beta =
      graph.Constant(compute::Tensor::Scalar(static_cast<float>(call.Float("beta", 0.5))));
  return Result(ops::Divide(graph, x, ops::Binary(graph, ops::BinaryKind::kPower, sum, beta)));
}

// --- attention -----------------------------------------------------------------------

// Where the mask is false: far below every score, yet finite.
constexpr float kMaskedScore = -0.7f * std::numeric_limits<float>::max();

FunctionArgument DotProductAttention(FunctionCall& call) {
  Graph& graph = call.graph();
  const Value query = AsFloat(graph, call.Tensor("query"));
  Value key = AsFloat(graph, call.Tensor("key"));
  Value value = AsFloat(graph, call.Tensor("value"));
  if (!call.ok()) return {};
  if (graph.rank(query) != 4 || graph.rank(key) != 4 || graph.rank(value) != 4) {
    return call.Invalid("expected (batch, steps, heads, size)");
  }
  const int64_t size = graph.shape(query)[3], heads = graph.shape(query)[2],
                groups = graph.shape(key)[2];
  if (size <= 0 || heads <= 0 || groups <= 0 || heads % groups != 0)
    return call.Invalid("the heads do not fit");
  key = ops::Repeat(graph, key, heads / groups, 2);
  value = ops::Repeat(graph, value, heads / groups, 2);
  const double scale = call.Float("scale", 1 / std::sqrt(static_cast<double>(size)));
  Value scores = ops::Einsum(graph, "btnh,bsnh->bnts", {query, key});
  scores = ops::MultiplyScalar(graph, scores, static_cast<float>(scale));
  if (call.Has("attn_logits_soft_cap")) {
    const float cap = static_cast<float>(call.Float("attn_logits_soft_cap", 1));
    scores = ops::MultiplyScalar(
        graph, ops::Tanh(graph, ops::MultiplyScalar(graph, scores, 1 / cap)), cap);
  }
  if (call.Has("bias")) scores = ops::Add(graph, scores, call.Tensor("bias"));
  const Value masked = graph.Constant(compute::Tensor::Scalar(kMaskedScore));
  if (call.Has("mask")) scores = ops::Where(graph, call.Tensor("mask"), scores, masked);
  if (call.Bool("is_causal", false)) {
    const Value ones = ops::FillLike(graph, scores, graph.Constant(compute::Tensor::Scalar(1.0f)));
    scores = ops::Where(graph, ops::Triangle(graph, ones, 0, true), scores, masked);
  }
  return Result(ops::Einsum(graph, "bnts,bsnh->btnh", {ops::Softmax(graph, scores, {-1}), value}));
}

constexpr FunctionRow kFunctions[] = {
    {"conv", "inputs, kernel, strides, padding, data_format, dilation_rate; explicit_paddings",
     Conv},
    {"depthwise_conv",
     "inputs, kernel, strides, padding, data_format, dilation_rate; explicit_paddings",
     DepthwiseConv},
    {"separable_conv",
     "inputs, depthwise_kernel, pointwise_kernel, strides, padding, data_format, dilation_rate",
     SeparableConv},
    {"conv_transpose",
     "inputs, kernel, strides, padding, output_padding, data_format, dilation_rate; output_shape",
     ConvTranspose},
    {"max_pool", "inputs, pool_size, strides, padding, data_format; explicit_paddings",
     Pool<ops::PoolKind::kMax>},
    {"average_pool", "inputs, pool_size, strides, padding, data_format; explicit_paddings",
     Pool<ops::PoolKind::kAverage>},
    {"<pool>", "inputs, pool_size, strides, padding, data_format, pool_mode", NamedPool},
    {"adaptive_max_pool", "inputs, output_size, data_format", AdaptivePool<ops::PoolKind::kMax>},
    {"adaptive_average_pool", "inputs, output_size, data_format",
     AdaptivePool<ops::PoolKind::kAverage>},
    {"batch_normalization", "x, mean, variance, axis, offset, scale, epsilon", BatchNormalization},
    {"<fused_batch_norm>", "x, scale, offset, mean, variance; epsilon, data_format, is_training",
     FusedBatchNorm},
    {"layer_normalization", "x, gamma, beta, axis, epsilon, rms_scaling=!", LayerNormalization},
    {"rms_normalization", "x, scale, axis, epsilon", RmsNormalization},
    {"<local_response_normalization>", "x, depth_radius, bias, alpha, beta",
     LocalResponseNormalization},
    {"dot_product_attention",
     "query, key, value, bias, mask, scale, is_causal, flash_attention=-, attn_logits_soft_cap",
     DotProductAttention},
};

}  // namespace

std::span<const FunctionRow> NeuralFunctions() { return kFunctions; }

}  // namespace h5serve::model
