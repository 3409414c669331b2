// STFTSpectrogram and MelSpectrogram of Keras 3.

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "compute/ops/convolution.h"
#include "compute/ops/elementwise.h"
#include "compute/ops/linear.h"
#include "compute/ops/reduce.h"
#include "compute/ops/shape_ops.h"
#include "compute/ops/signal.h"
#include "model/layers/layer_functions.h"
#include "model/layers/layout.h"

namespace h5serve::model {

namespace ops = compute::ops;
using compute::Shape;
using compute::Tensor;
using compute::Value;
using ops::BinaryKind;
using ops::UnaryKind;

namespace {

Value AtLeastEpsilon(compute::Graph& graph, Value x, float epsilon) {
  return ops::Binary(graph, BinaryKind::kMaximum, x, graph.Constant(Tensor::Scalar(epsilon)));
}

Value Power(compute::Graph& graph, Value real, Value imaginary) {
  return ops::Add(graph, ops::Unary(graph, UnaryKind::kSquare, real),
                  ops::Unary(graph, UnaryKind::kSquare, imaginary));
}

// The stored kernels are the windowed, scaled rows of the transform.
Value Correlate(const LayerScope& scope, Value x, std::string_view role) {
  const Tensor* stored = scope.WeightTensor(role);
  const int64_t bins = stored == nullptr ? 1 : stored->shape().dim(-1);
  const Value kernel = scope.Weight(role, {compute::kUnknown, 1, bins});
  if (scope.failed()) return {};
  ops::ConvAttributes attributes;
  const int64_t length = scope.Int("frame_length", 256);
  attributes.strides = {scope.Has("frame_step") ? scope.PositiveInt("frame_step")
                                                : std::max<int64_t>(1, length / 2)};
  attributes.dilations = {1};
  attributes.same = scope.Choice("padding", "valid", {"valid", "same"}) == "same";
  return ops::Conv(scope.graph(), x, kernel, {}, attributes);
}

// Hz to mel, the HTK formula that tf.signal uses.
double Mel(double hertz) { return 1127.0 * std::log(1.0 + hertz / 700.0); }

// (bins, mel bands): triangles on the mel scale; the zero frequency has no weight.
Tensor MelMatrix(int64_t bands, int64_t bins, double rate, double low, double high) {
  Tensor matrix = Tensor::Fill({bins, bands}, 0);
  float* to = matrix.mutable_data<float>();
  const double first = Mel(low), step = (Mel(high) - first) / static_cast<double>(bands + 1);
  for (int64_t bin = 1; bin < bins; ++bin) {
    const double mel = Mel(rate / 2 * static_cast<double>(bin) / static_cast<double>(bins - 1));
    for (int64_t band = 0; band < bands; ++band) {
      const double left = first + step * static_cast<double>(band);
      const double rising = (mel - left) / step, falling = (left + 2 * step - mel) / step;
      to[bin * bands + band] = static_cast<float>(std::max(0.0, std::min(rising, falling)));
    }
  }
  return matrix;
}

// A periodic window of `length`, in the middle of `fft_length` zeros.
std::vector<float> Window(const LayerScope& scope, int64_t length, int64_t fft_length) {
  std::vector<float> window(static_cast<size_t>(fft_length), 0.0f);
  const ConfigValue& stored = scope.config()["window"];
  const std::string kind =
      stored.is_null() ? "none" : scope.Choice("window", "hann", {"hann", "hamming"});
  const int64_t start = (fft_length - length) / 2;
  for (int64_t i = 0; i < length; ++i) {
    const double wave =
        std::cos(2 * std::numbers::pi * static_cast<double>(i) / static_cast<double>(length));
    const double value = kind == "hann"      ? 0.5 - 0.5 * wave
                         : kind == "hamming" ? 0.54 - 0.46 * wave
                                             : 1.0;
    window[static_cast<size_t>(start + i)] = static_cast<float>(value);
  }
  return window;
}

// 10 log10, limited to top_db below the loudest value of the whole batch.
Value ToDecibels(const LayerScope& scope, Value x) {
  compute::Graph& graph = scope.graph();
  const float floor = scope.Float("min_power", 1e-10f);
  const float reference = std::max(floor, std::abs(scope.Float("ref_power", 1.0f)));
  const Value log = ops::MultiplyScalar(
      graph, ops::Unary(graph, UnaryKind::kLog10, AtLeastEpsilon(graph, x, floor)), 10.0f);
  const Value decibels = ops::AddScalar(graph, log, -10.0f * std::log10(reference));
  if (!scope.Has("top_db")) return decibels;
  scope.Warn(
      Code::kBatchDependent,
      fmt::format("layer {} limits its values by the maximum of the batch (top_db)", scope.path()));
  const Value top = ops::Reduce(graph, ops::ReduceKind::kMax, decibels, {}, false);
  return ops::Binary(graph, BinaryKind::kMaximum, decibels,
                     ops::AddScalar(graph, top, -scope.Float("top_db", 80)));
}

}  // namespace

std::vector<KerasTensor> LowerStftSpectrogram(const LayerScope& scope, const CallInputs& inputs) {
  const std::optional<KerasTensor> input = InputOfRank(scope, inputs, 3);
  if (!input) return {};
  compute::Graph& graph = scope.graph();
  const bool first = scope.ChannelsFirst();
  const std::string mode =
      scope.Choice("mode", "log", {"log", "magnitude", "psd", "real", "imag", "angle", "stft"});
  // Each channel is a signal of its own: (batch · channels, samples, 1).
  const Value by_channel = first ? input->value : ops::Transpose(graph, input->value, {0, 2, 1});
  const Value signal = ops::ExpandDims(graph, ops::MergeAxes(graph, by_channel, 0, 2), -1);
  Value real, imaginary;
  if (mode != "imag") real = Correlate(scope, signal, "real_kernel");
  if (mode != "real") imaginary = Correlate(scope, signal, "imag_kernel");
  if (scope.failed()) return {};
  Value y;
  if (mode == "real") {
    y = real;
  } else if (mode == "imag") {
    y = imaginary;
  } else if (mode == "angle") {
    y = ops::Binary(graph, BinaryKind::kAtan2, imaginary, real);
  } else if (mode == "stft") {
    y = ops::Concat(graph, {real, imaginary}, -1);
  } else {
    y = Power(graph, real, imaginary);
    if (mode != "psd") y = ops::Unary(graph, UnaryKind::kSqrt, y);
    if (mode == "log") y = ops::Unary(graph, UnaryKind::kLog, AtLeastEpsilon(graph, y, 1e-7f));
  }
  // (batch, channels, frames, bins).
  y = ops::UnmergeLeading(graph, y, by_channel, 2);
  const bool expand = scope.Bool("expand_dims", false);
  if (!first) {
    y = ops::Transpose(graph, y,
                       expand ? std::vector<int>{0, 2, 3, 1} : std::vector<int>{0, 2, 1, 3});
    return One(expand ? y : ops::MergeAxes(graph, y, 2, 4));
  }
  y = ops::Transpose(graph, y, {0, 1, 3, 2});
  return One(expand ? y : ops::MergeAxes(graph, y, 1, 3));
}

std::vector<WeightRole> StftSpectrogramWeights(const Layer& layer, const Writer&) {
  const std::string_view mode = layer.config.StringOr("mode", "log");
  std::vector<WeightRole> roles;
  if (mode != "imag") roles.push_back({"real_kernel", false});
  if (mode != "real") roles.push_back({"imag_kernel", false});
  return roles;
}

std::vector<KerasTensor> LowerMelSpectrogram(const LayerScope& scope, const CallInputs& inputs) {
  const std::optional<KerasTensor> input = OnlyInput(scope, inputs);
  if (!input) return {};
  compute::Graph& graph = scope.graph();
  const int64_t fft = scope.Int("fft_length", 2048);
  const int64_t length = scope.Has("sequence_length") ? scope.PositiveInt("sequence_length") : fft;
  const int64_t hop = scope.Int("sequence_stride", 512);
  const int64_t bands = scope.Int("num_mel_bins", 128);
  const double rate = static_cast<double>(scope.Int("sampling_rate", 16000));
  if (fft < 2 || fft > (1 << 20) || length < 1 || length > fft || hop < 1 || bands < 1 ||
      bands > (1 << 16) || rate <= 0) {
    scope.BadValue("fft_length", "sizes do not fit each other");
    return {};
  }
  const std::vector<float> window = Window(scope, length, fft);
  const int rank = graph.rank(input->value);
  std::vector<std::pair<int64_t, int64_t>> pads(rank, {0, 0});
  if (scope.failed() || rank == 0) return {};
  pads[rank - 1] = {fft / 2, fft / 2};
  const Value padded = ops::Pad(graph, input->value, pads, ops::PadMode::kReflect);
  const std::vector<Value> parts = ops::Stft(graph, padded, window, hop, fft);
  if (scope.failed() || parts.size() != 2) return {};
  Value y = ops::Unary(graph, UnaryKind::kSqrt, Power(graph, parts[0], parts[1]));
  y = ops::Binary(graph, BinaryKind::kPower, y,
                  graph.Constant(Tensor::Scalar(scope.Float("mag_exp", 2))));
  const float high = scope.Float("max_freq", static_cast<float>(rate / 2));
  const Tensor matrix = MelMatrix(bands, fft / 2 + 1, rate, scope.Float("min_freq", 20), high);
  y = ops::Dense(graph, y, graph.Constant(matrix), {});
  if (scope.Bool("power_to_db", true)) y = ToDecibels(scope, y);
  return One(ops::MoveAxis(graph, y, -1, -2));
}

}  // namespace h5serve::model
