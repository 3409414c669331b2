// Locally connected layers: convolutions with an own kernel at each place.
#include <fmt/format.h>

#include <algorithm>

#include "compute/ops/convolution.h"
#include "compute/ops/elementwise.h"
#include "compute/ops/shape_ops.h"
#include "model/layers/activation.h"
#include "model/layers/layer_functions.h"
#include "model/layers/layout.h"

namespace h5serve::model {

namespace ops = compute::ops;
using compute::Graph;
using compute::kUnknown;
using compute::Shape;
using compute::Tensor;
using compute::Value;

namespace {

// The stored kernel where it is of float32 and of a shape that fits.
const Tensor* FloatKernel(const LayerScope& scope, const Shape& shape) {
  if (!scope.Weight("kernel", shape).valid()) return nullptr;
  const Tensor* kernel = scope.WeightTensor("kernel");
  if (kernel->dtype() == compute::DType::kFloat32) return kernel;
  scope.Fail(Code::kWeightDtypeUnsupported,
             fmt::format("layer {}, kernel: floats are expected", scope.path()));
  return nullptr;
}

struct Local {
  int rank = 0;
  std::vector<int64_t> kernel, strides, in, out, before, after;
  int64_t channels = 0, filters = 0;
  bool first = false;  // channels_first
  bool same = false;

  int64_t places() const { return Product(out); }
  int64_t taps() const { return Product(kernel); }
  static int64_t Product(const std::vector<int64_t>& sizes) {
    int64_t product = 1;
    for (int64_t size : sizes) product *= size;
    return product;
  }
  // The input position of a tap of an output place, or -1 outside.
  int64_t Source(int64_t place, int64_t tap) const {
    int64_t position = 0, scale = 1;
    for (int axis = rank - 1; axis >= 0; --axis) {
      const int64_t at = place % out[axis] * strides[axis] + tap % kernel[axis] - before[axis];
      place /= out[axis];
      tap /= kernel[axis];
      if (at < 0 || at >= in[axis]) return -1;
      position += at * scale;
      scale *= in[axis];
    }
    return position;
  }
};

// (places, taps · channels, filters) of the kernel that implementation 1 stores;
// with channels_first its patches are (channels, taps).
Tensor FromPatches(const Local& local, const Tensor& stored) {
  if (!local.first) return stored;
  Tensor kernel = Tensor::Allocate(stored.dtype(), stored.shape());
  const int64_t patch = local.taps() * local.channels;
  for (int64_t place = 0; place < local.places(); ++place) {
    for (int64_t tap = 0; tap < local.taps(); ++tap) {
      for (int64_t c = 0; c < local.channels; ++c) {
        const int64_t from = (place * patch + c * local.taps() + tap) * local.filters;
        const int64_t to = (place * patch + tap * local.channels + c) * local.filters;
        std::copy_n(stored.data<float>() + from, local.filters, kernel.mutable_data<float>() + to);
      }
    }
  }
  return kernel;
}

// Implementation 2 stores the whole matrix from inputs to outputs.
Tensor FromMatrix(const Local& local, const Tensor& stored) {
  const int64_t patch = local.taps() * local.channels;
  Tensor kernel = Tensor::Fill(Shape{local.places(), patch, local.filters}, 0);
  const int64_t positions = Local::Product(local.in), places = local.places();
  for (int64_t place = 0; place < places; ++place) {
    for (int64_t tap = 0; tap < local.taps(); ++tap) {
      const int64_t source = local.Source(place, tap);
      if (source < 0) continue;
      for (int64_t c = 0; c < local.channels; ++c) {
        for (int64_t f = 0; f < local.filters; ++f) {
          const int64_t row = local.first ? c * positions + source : source * local.channels + c;
          const int64_t column = local.first ? f * places + place : place * local.filters + f;
          kernel.mutable_data<float>()[(place * patch + tap * local.channels + c) * local.filters +
                                       f] =
              stored.data<float>()[row * places * local.filters + column];
        }
      }
    }
  }
  return kernel;
}

// Implementation 3 stores the non-zero entries alone, sorted by output and input.
std::optional<Tensor> FromEntries(const Local& local, const Tensor& stored) {
  const int64_t patch = local.taps() * local.channels;
  const int64_t places = local.places();
  Tensor kernel = Tensor::Fill(Shape{places, patch, local.filters}, 0);
  int64_t next = 0;
  const int64_t count = stored.num_elements();
  const auto put = [&](int64_t place, int64_t tap, int64_t c, int64_t f) {
    if (local.Source(place, tap) < 0) return true;
    if (next == count) return false;
    kernel.mutable_data<float>()[(place * patch + tap * local.channels + c) * local.filters + f] =
        stored.data<float>()[next++];
    return true;
  };
  const int64_t outputs = places * local.filters;
  for (int64_t output = 0; output < outputs; ++output) {
    const int64_t place = local.first ? output % places : output / local.filters;
    const int64_t f = local.first ? output / places : output % local.filters;
    for (int64_t input = 0; input < patch; ++input) {
      const int64_t tap = local.first ? input % local.taps() : input / local.channels;
      const int64_t c = local.first ? input / local.taps() : input % local.channels;
      if (!put(place, tap, c, f)) return std::nullopt;
    }
  }
  if (next != count) return std::nullopt;
  return kernel;
}

bool ReadLocal(const LayerScope& scope, Value x, int rank, Local* local) {
  Graph& graph = scope.graph();
  local->rank = rank;
  local->filters = scope.PositiveInt("filters");
  local->kernel = scope.Sizes("kernel_size", rank, 1);
  local->strides = scope.Sizes("strides", rank, 1);
  local->same = scope.Choice("padding", "valid", {"valid", "same"}) == "same";
  if (scope.failed()) return false;
  local->channels = graph.shape(x).back();
  for (int i = 0; i < rank; ++i) {
    const int64_t size = graph.shape(x)[1 + i];
    local->in.push_back(size);
    if (size == kUnknown || local->channels == kUnknown) {
      graph.Fail(absl::InvalidArgumentError(fmt::format(
          "locally connected layers need known sizes, not {}", graph.shape(x).ToString())));
      return false;
    }
    const int64_t k = local->kernel[i], s = local->strides[i];
    if (!local->same && size < k) {
      graph.Fail(absl::InvalidArgumentError(
          fmt::format("a kernel of {} does not fit {}", k, graph.shape(x).ToString())));
      return false;
    }
    const int64_t out = local->same ? (size + s - 1) / s : (size - k) / s + 1;
    local->out.push_back(out);
    // tf.keras' conv_connected_inputs: k / 2 before, whatever the stride.
    const int64_t before = local->same ? k / 2 : 0;
    local->before.push_back(before);
    local->after.push_back(local->same ? std::max<int64_t>(0, (out - 1) * s + k - before - size)
                                       : 0);
  }
  return true;
}

// The kernel as (places, taps · channels, filters), whatever the implementation.
Value LocalKernel(const LayerScope& scope, const Local& local) {
  const int64_t implementation = scope.Int("implementation", 1);
  const Tensor* stored = scope.WeightTensor("kernel");
  const int64_t places = local.places();
  const Shape patches{places, local.taps() * local.channels, local.filters};
  // Keras 1 and 2 wrote other things under this name, or nothing.
  const bool tf = scope.writer().dialect == Writer::Dialect::kTfKeras;
  if (!compute::CheckedElementCount(patches)) {
    scope.Fail(Code::kResourceLimit, fmt::format("layer {} is too large", scope.path()));
    return {};
  }
  if (!tf || implementation == 1) {
    if (local.same) {
      scope.Fail(Code::kUnsupportedArgument,
                 fmt::format("{}.padding = same needs implementation 2 or 3", scope.path()));
    }
    if (scope.failed() || FloatKernel(scope, patches) == nullptr) return {};
    return scope.graph().Constant(FromPatches(local, *stored));
  }
  if (implementation == 2) {
    Shape shape;
    if (local.first) shape.push_back(local.channels);
    for (int64_t size : local.in) shape.push_back(size);
    shape.push_back(local.first ? local.filters : local.channels);
    for (int64_t size : local.out) shape.push_back(size);
    if (!local.first) shape.push_back(local.filters);
    if (FloatKernel(scope, shape) == nullptr) return {};
    return scope.graph().Constant(FromMatrix(local, *stored));
  }
  if (implementation == 3) {
    if (FloatKernel(scope, Shape{kUnknown}) == nullptr) return {};
    const std::optional<Tensor> kernel = FromEntries(local, *stored);
    if (kernel) return scope.graph().Constant(*kernel);
    scope.Fail(Code::kWeightShapeMismatch,
               fmt::format("layer {}, kernel: {} values do not fit its connections", scope.path(),
                           stored->num_elements()));
    return {};
  }
  scope.BadValue("implementation", "1, 2 or 3 is expected");
  return {};
}

std::vector<KerasTensor> LocallyConnected(const LayerScope& scope, const CallInputs& inputs,
                                          int rank) {
  Graph& graph = scope.graph();
  const std::optional<KerasTensor> input = InputOfRank(scope, inputs, rank + 2);
  Local local;
  local.first = scope.ChannelsFirst();
  if (!input || scope.failed()) return {};
  Value x = ops::Cast(graph, input->value, compute::DType::kFloat32);
  if (local.first) x = ToChannelsLast(graph, x);
  if (!ReadLocal(scope, x, rank, &local)) return {};
  const Value kernel = LocalKernel(scope, local);
  Shape bias_shape(local.out);
  bias_shape.push_back(local.filters);
  const bool use_bias = scope.Bool("use_bias", true);
  Value bias = use_bias ? scope.Weight("bias", bias_shape) : Value{};
  if (scope.failed()) return {};
  if (local.same) {
    std::vector<std::pair<int64_t, int64_t>> pads(rank + 2, {0, 0});
    for (int i = 0; i < rank; ++i) pads[1 + i] = {local.before[i], local.after[i]};
    x = ops::Pad(graph, x, pads);
  }
  Value y = ops::LocallyConnected(graph, x, kernel, local.first ? Value{} : bias, local.kernel,
                                  local.strides);
  if (local.first) {
    y = ToChannelsFirst(graph, y);
    // Keras reshapes the bias to (filters, spatial…) where one would transpose it.
    if (use_bias) {
      Shape reshaped{local.filters};
      for (int64_t size : local.out) reshaped.push_back(size);
      y = ops::Add(graph, y, ops::Reshape(graph, bias, reshaped));
    }
  }
  return One(ApplyActivation(scope, "activation", y));
}

}  // namespace

std::vector<KerasTensor> LowerLocallyConnected(const LayerScope& scope, const CallInputs& inputs) {
  return LocallyConnected(scope, inputs, SpatialRank(scope.layer()));
}

}  // namespace h5serve::model
