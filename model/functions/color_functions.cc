// Colours and whole turns of images, as tf.image computes them.
#include <array>

#include "compute/ops/elementwise.h"
#include "compute/ops/linear.h"
#include "compute/ops/reduce.h"
#include "compute/ops/shape_ops.h"
#include "model/functions/function_call.h"

namespace h5serve::model {
namespace {

using compute::DType;
using compute::Graph;
using compute::Value;
namespace ops = compute::ops;
using ops::BinaryKind;
using ops::UnaryKind;

FunctionArgument Result(Value value) { return FunctionArgument::Tensor(value); }

Value Colors(FunctionCall& call) {
  Graph& graph = call.graph();
  const Value x = ops::Cast(graph, call.Tensor("images"), DType::kFloat32);
  if (call.ok() && (graph.rank(x) < 1 || graph.shape(x).dim(-1) != 3)) {
    call.Invalid("the last axis of the images must hold three colours");
  }
  return x;
}

// --- linear spaces: the kernels of tensorflow/python/ops/image_ops_impl.py ------------

constexpr std::array<float, 9> kRgbToYuv = {0.299f, -0.14714119f, 0.61497538f,
                                            0.587f, -0.28886916f, -0.51496512f,
                                            0.114f, 0.43601035f,  -0.10001026f};
constexpr std::array<float, 9> kYuvToRgb = {
    1, 1, 1, 0, -0.394642334f, 2.03206185f, 1.13988303f, -0.58062185f, 0};
constexpr std::array<float, 9> kRgbToYiq = {0.299f, 0.59590059f,  0.2115f,
                                            0.587f, -0.27455667f, -0.52273617f,
                                            0.114f, -0.32134392f, 0.31119955f};
constexpr std::array<float, 9> kYiqToRgb = {
    1, 1, 1, 0.95598634f, -0.27201283f, -1.10674021f, 0.6208248f, -0.64720424f, 1.70423049f};

template <const std::array<float, 9>& kernel>
FunctionArgument Mix(FunctionCall& call) {
  Graph& graph = call.graph();
  const Value x = Colors(call);
  if (!call.ok()) return {};
  const Value weights = graph.Constant(compute::Tensor::Floats(
      compute::Shape{3, 3}, std::vector<float>(kernel.begin(), kernel.end())));
  return Result(ops::Dense(graph, x, weights, Value{}));
}

// --- hue, saturation, value: tensorflow/core/kernels/image/colorspace_op.h ---------------

Value Channel(Graph& graph, Value x, int64_t channel) {
  return ops::SliceAxis(graph, x, -1, channel, channel + 1);
}

Value ToHsv(Graph& graph, Value rgb) {
  const Value r = Channel(graph, rgb, 0), g = Channel(graph, rgb, 1), b = Channel(graph, rgb, 2);
  const Value value = ops::Reduce(graph, ops::ReduceKind::kMax, rgb, {-1}, true);
  const Value least = ops::Reduce(graph, ops::ReduceKind::kMin, rgb, {-1}, true);
  const Value range = ops::Subtract(graph, value, least);
  const Value zero = graph.Constant(compute::Tensor::Scalar(0.0f));
  const auto positive = [&](Value x) { return ops::Binary(graph, BinaryKind::kGreater, x, zero); };
  const Value saturation =
      ops::Where(graph, positive(value), ops::Divide(graph, range, value), zero);
  const auto sector = [&](Value a, Value c, float offset) {
    const Value turn =
        ops::MultiplyScalar(graph, ops::Divide(graph, ops::Subtract(graph, a, c), range), 1.0f / 6);
    return offset == 0 ? turn : ops::AddScalar(graph, turn, offset);
  };
  const auto is_largest = [&](Value x) { return ops::Binary(graph, BinaryKind::kEqual, x, value); };
  Value hue = ops::Where(graph, is_largest(g), sector(b, r, 2.0f / 6), sector(r, g, 4.0f / 6));
  hue = ops::Where(graph, is_largest(r), sector(g, b, 0), hue);
  hue = ops::Where(graph, positive(range), hue, zero);
  const Value negative = ops::Binary(graph, BinaryKind::kLess, hue, zero);
  hue = ops::Where(graph, negative, ops::AddScalar(graph, hue, 1), hue);
  return ops::Concat(graph, {hue, saturation, value}, -1);
}

// clip(offset + slope |6 hue - centre|, 0, 1)
Value Ramp(Graph& graph, Value turns, float centre, float slope, float offset) {
  Value distance = ops::Unary(graph, UnaryKind::kAbs, ops::AddScalar(graph, turns, -centre));
  distance = ops::AddScalar(graph, ops::MultiplyScalar(graph, distance, slope), offset);
  return ops::Unary(graph, UnaryKind::kClip, distance, 0, 1);
}

Value ToRgb(Graph& graph, Value hsv) {
  const Value turns = ops::MultiplyScalar(graph, Channel(graph, hsv, 0), 6);
  const Value saturation = Channel(graph, hsv, 1), value = Channel(graph, hsv, 2);
  const Value rest = ops::AddScalar(graph, ops::MultiplyScalar(graph, saturation, -1), 1);
  const auto color = [&](Value ramp) {
    return ops::Multiply(graph, ops::Add(graph, rest, ops::Multiply(graph, saturation, ramp)),
                         value);
  };
  return ops::Concat(graph,
                     {color(Ramp(graph, turns, 3, 1, -1)), color(Ramp(graph, turns, 2, -1, 2)),
                      color(Ramp(graph, turns, 4, -1, 2))},
                     -1);
}

template <bool to_hsv>
FunctionArgument Hsv(FunctionCall& call) {
  const Value x = Colors(call);
  if (!call.ok()) return {};
  return Result(to_hsv ? ToHsv(call.graph(), x) : ToRgb(call.graph(), x));
}

FunctionArgument AdjustSaturation(FunctionCall& call) {
  Graph& graph = call.graph();
  const Value x = Colors(call);
  const Value factor = ops::Cast(graph, call.Tensor("factor"), DType::kFloat32);
  if (!call.ok()) return {};
  const Value hsv = ToHsv(graph, x);
  const Value saturation = ops::Unary(graph, UnaryKind::kClip,
                                      ops::Multiply(graph, Channel(graph, hsv, 1), factor), 0, 1);
  return Result(ToRgb(
      graph, ops::Concat(graph, {Channel(graph, hsv, 0), saturation, Channel(graph, hsv, 2)}, -1)));
}

// gain x^gamma
FunctionArgument AdjustGamma(FunctionCall& call) {
  Graph& graph = call.graph();
  const Value x = call.Tensor("images");
  if (call.ok() && !compute::IsFloat(graph.dtype(x))) {
    return call.Unsupported("image", "whole numbers are scaled by the range of their type");
  }
  const Value power = ops::Binary(
      graph, BinaryKind::kPower, x,
      graph.Constant(compute::Tensor::Scalar(static_cast<float>(call.Float("gamma", 1)))));
  return Result(ops::MultiplyScalar(graph, power, static_cast<float>(call.Float("gain", 1))));
}

// --- turns and differences ----------------------------------------------------------------

// Rows and columns change places, for one image or a batch of them.
Value SwapSides(Graph& graph, Value x) {
  return graph.rank(x) == 3 ? ops::Transpose(graph, x, {1, 0, 2})
                            : ops::Transpose(graph, x, {0, 2, 1, 3});
}

Value Images(FunctionCall& call) {
  const Value x = call.Tensor("images");
  const int rank = call.ok() ? call.graph().rank(x) : 4;
  if (rank != 3 && rank != 4) call.Invalid("expected images");
  return x;
}

FunctionArgument TransposeImages(FunctionCall& call) {
  const Value x = Images(call);
  return call.ok() ? Result(SwapSides(call.graph(), x)) : FunctionArgument{};
}

// By 90 degrees, counter-clockwise, k times.
FunctionArgument RotateImages(FunctionCall& call) {
  Graph& graph = call.graph();
  const Value x = Images(call);
  const int64_t k = ((call.Int("k", 1) % 4) + 4) % 4;
  if (!call.ok()) return {};
  switch (k) {
    case 1:
      return Result(SwapSides(graph, ops::Reverse(graph, x, -2)));
    case 2:
      return Result(ops::Reverse(graph, ops::Reverse(graph, x, -3), -2));
    case 3:
      return Result(ops::Reverse(graph, SwapSides(graph, x), -2));
    default:
      return Result(x);
  }
}

// The sum of the differences between neighbours, for each image.
FunctionArgument TotalVariation(FunctionCall& call) {
  Graph& graph = call.graph();
  const Value x = ops::Cast(graph, Images(call), DType::kFloat32);
  if (!call.ok()) return {};
  Value total;
  for (const int64_t axis : {-3, -2}) {
    const Value steps = ops::Subtract(graph, ops::SliceAxis(graph, x, axis, 1, std::nullopt),
                                      ops::SliceAxis(graph, x, axis, 0, -1));
    const Value sum = ops::Reduce(graph, ops::ReduceKind::kSum,
                                  ops::Unary(graph, UnaryKind::kAbs, steps), {-3, -2, -1}, false);
    total = total.valid() ? ops::Add(graph, total, sum) : sum;
  }
  return Result(total);
}

constexpr FunctionRow kFunctions[] = {
    {"<rgb_to_yuv>", "images", Mix<kRgbToYuv>},
    {"<yuv_to_rgb>", "images", Mix<kYuvToRgb>},
    {"<rgb_to_yiq>", "images", Mix<kRgbToYiq>},
    {"<yiq_to_rgb>", "images", Mix<kYiqToRgb>},
    {"<rgb_to_hsv>", "images", Hsv<true>},
    {"<hsv_to_rgb>", "images", Hsv<false>},
    {"<adjust_saturation>", "images, factor", AdjustSaturation},
    {"<adjust_gamma>", "images, gamma, gain", AdjustGamma},
    {"<transpose_images>", "images", TransposeImages},
    {"<rotate_images>", "images, k", RotateImages},
    {"<total_variation>", "images", TotalVariation},
};

}  // namespace

std::span<const FunctionRow> ColorFunctions() { return kFunctions; }

}  // namespace h5serve::model
