// Image preprocessing.

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "compute/ops/convolution.h"
#include "compute/ops/elementwise.h"
#include "compute/ops/reduce.h"
#include "compute/ops/shape_ops.h"
#include "model/layers/layer_functions.h"
#include "model/layers/layout.h"

namespace h5serve::model {

namespace ops = compute::ops;
using compute::kUnknown;
using compute::Shape;
using compute::Value;

namespace {

// A factor or offset: a number, or a list over the last axis.
Value Factor(const LayerScope& scope, std::string_view key, float otherwise) {
  const ConfigValue& value = scope.config()[key];
  compute::Graph& graph = scope.graph();
  if (!value.is_list()) {
    return graph.Constant(compute::Tensor::Scalar(scope.Float(key, otherwise)));
  }
  std::vector<float> numbers;
  for (const ConfigValue& item : value.as_list()) {
    if (!item.is_number()) {
      scope.BadValue(key, "a list of numbers is expected");
      return {};
    }
    numbers.push_back(static_cast<float>(item.as_float()));
  }
  return graph.Constant(compute::Tensor::Floats({static_cast<int64_t>(numbers.size())}, numbers));
}

std::optional<ops::ResizeMethod> MethodOf(std::string_view name) {
  if (name == "nearest") return ops::ResizeMethod::kNearest;
  if (name == "bilinear") return ops::ResizeMethod::kBilinear;
  if (name == "bicubic") return ops::ResizeMethod::kBicubic;
  if (name == "lanczos3") return ops::ResizeMethod::kLanczos3;
  if (name == "lanczos5") return ops::ResizeMethod::kLanczos5;
  if (name == "area") return ops::ResizeMethod::kArea;
  if (name == "gaussian") return ops::ResizeMethod::kGaussian;
  if (name == "mitchellcubic") return ops::ResizeMethod::kMitchell;
  return std::nullopt;
}

// An image or a batch of images, channels last, with a batch axis.
struct Image {
  Value value;
  bool batched = true;
  bool first = false;
  int64_t height = kUnknown, width = kUnknown;
};

std::optional<Image> ParseImage(const LayerScope& scope, const CallInputs& inputs) {
  const std::optional<KerasTensor> x = OnlyInput(scope, inputs);
  if (!x) return std::nullopt;
  compute::Graph& graph = scope.graph();
  Image image{x->value, graph.rank(x->value) == 4, scope.ChannelsFirst()};
  if (graph.rank(x->value) == 3) image.value = ops::ExpandDims(graph, image.value, 0);
  if (graph.rank(image.value) != 4) {
    scope.Fail(Code::kShapeInferenceFailed,
               fmt::format("layer {} needs images, got {}", scope.path(),
                           graph.shape(x->value).ToString()));
    return std::nullopt;
  }
  if (image.first) image.value = ToChannelsLast(graph, image.value);
  image.height = graph.shape(image.value).dim(1);
  image.width = graph.shape(image.value).dim(2);
  return image;
}

std::vector<KerasTensor> Finish(const LayerScope& scope, const Image& image, Value y) {
  if (image.first) y = ToChannelsFirst(scope.graph(), y);
  if (!image.batched) y = ops::Squeeze(scope.graph(), y, {0});
  return One(y);
}

bool NeedsFixedSize(const LayerScope& scope, const Image& image) {
  if (image.height != kUnknown && image.width != kUnknown) return false;
  scope.Fail(Code::kUnsupportedArgument,
             fmt::format("layer {} needs images of a fixed size here", scope.path()));
  return true;
}

Value Crop(compute::Graph& graph, Value x, int64_t top, int64_t left, int64_t height,
           int64_t width) {
  x = ops::SliceAxis(graph, x, 1, top, top + height);
  return ops::SliceAxis(graph, x, 2, left, left + width);
}

// The largest part of the image with the target's aspect ratio, from the middle.
Value CropToAspect(const LayerScope& scope, const Image& image, int64_t height, int64_t width) {
  const auto by = [](int64_t a, int64_t b, int64_t c) {
    return static_cast<int64_t>(static_cast<double>(a * b) / static_cast<double>(c));
  };
  const int64_t crop_height =
      std::max<int64_t>(1, std::min(image.height, by(image.width, height, width)));
  const int64_t crop_width =
      std::max<int64_t>(1, std::min(image.width, by(image.height, width, height)));
  return Crop(scope.graph(), image.value, (image.height - crop_height) / 2,
              (image.width - crop_width) / 2, crop_height, crop_width);
}

// The image in the middle of a larger one with the target's aspect ratio.
Value PadToAspect(const LayerScope& scope, const Image& image, int64_t height, int64_t width) {
  const auto by = [](int64_t a, int64_t b, int64_t c) {
    return static_cast<int64_t>(static_cast<double>(a * b) / static_cast<double>(c));
  };
  const int64_t pad_height = std::max(image.height, by(image.width, height, width));
  const int64_t pad_width = std::max(image.width, by(image.height, width, height));
  const int64_t top = (pad_height - image.height) / 2, left = (pad_width - image.width) / 2;
  if (scope.Choice("fill_mode", "constant", {"constant"}) != "constant") return {};
  // Keras 3 pads both sides by the same number of cells, rounded down.
  return ops::Pad(scope.graph(), image.value, {{0, 0}, {top, top}, {left, left}, {0, 0}},
                  ops::PadMode::kConstant, scope.Float("fill_value", 0));
}

Value ResizeTo(const LayerScope& scope, Value x, int64_t height, int64_t width,
               ops::ResizeMethod method) {
  compute::Graph& graph = scope.graph();
  ops::ResizeAttributes attributes;
  attributes.method = method;
  attributes.size = {height, width};
  attributes.antialias = scope.Bool("antialias", false);
  if (graph.dtype(x) != compute::DType::kInt64) return ops::Resize(graph, x, attributes);
  const Value y = ops::Resize(graph, ops::Cast(graph, x, compute::DType::kFloat32), attributes);
  if (scope.writer().dialect != Writer::Dialect::kKeras3) return y;
  // Keras 3 gives integers back for integers.
  return ops::Cast(graph, ops::Unary(graph, ops::UnaryKind::kRound, y), compute::DType::kInt64);
}

// Smart resize: cropped to the aspect ratio, then bilinear.
Value SmartResize(const LayerScope& scope, const Image& image, int64_t height, int64_t width) {
  return ResizeTo(scope, CropToAspect(scope, image, height, width), height, width,
                  ops::ResizeMethod::kBilinear);
}

}  // namespace

std::vector<KerasTensor> LowerRescaling(const LayerScope& scope, const CallInputs& inputs) {
  const std::optional<KerasTensor> x = OnlyInput(scope, inputs);
  if (!x) return {};
  compute::Graph& graph = scope.graph();
  const Value scale = Factor(scope, "scale", 1);
  const Value offset = Factor(scope, "offset", 0);
  if (scope.failed()) return {};
  const Value value = ops::Cast(graph, x->value, compute::DType::kFloat32);
  const bool keras3 = scope.writer().dialect == Writer::Dialect::kKeras3;
  return One(ops::Add(graph, ops::Multiply(graph, value, scale), offset),
             keras3 ? x->mask : std::nullopt);
}

std::vector<KerasTensor> LowerResizing(const LayerScope& scope, const CallInputs& inputs) {
  const std::optional<Image> image = ParseImage(scope, inputs);
  if (!image) return {};
  const int64_t height = scope.PositiveInt("height"), width = scope.PositiveInt("width");
  const std::string name = scope.String("interpolation", "bilinear");
  const std::optional<ops::ResizeMethod> method = MethodOf(name);
  if (!method) scope.BadValue("interpolation", "no such method");
  if (scope.failed()) return {};
  Value x = image->value;
  if (scope.Bool("crop_to_aspect_ratio", false)) {
    if (NeedsFixedSize(scope, *image)) return {};
    x = CropToAspect(scope, *image, height, width);
  } else if (scope.Bool("pad_to_aspect_ratio", false)) {
    if (NeedsFixedSize(scope, *image)) return {};
    x = PadToAspect(scope, *image, height, width);
  }
  if (scope.failed()) return {};
  return Finish(scope, *image, ResizeTo(scope, x, height, width, *method));
}

std::vector<KerasTensor> LowerCenterCrop(const LayerScope& scope, const CallInputs& inputs) {
  const std::optional<Image> image = ParseImage(scope, inputs);
  if (!image || NeedsFixedSize(scope, *image)) return {};
  const int64_t height = scope.PositiveInt("height"), width = scope.PositiveInt("width");
  if (scope.failed()) return {};
  if (image->height >= height && image->width >= width) {
    return Finish(scope, *image,
                  Crop(scope.graph(), image->value, (image->height - height) / 2,
                       (image->width - width) / 2, height, width));
  }
  return Finish(scope, *image, SmartResize(scope, *image, height, width));
}

// Each channel of each image is stretched over the whole range; a flat one stays. Unlike
// its relatives it does so at inference, too. Source: auto_contrast.py of Keras 3.15.
std::vector<KerasTensor> LowerAutoContrast(const LayerScope& scope, const CallInputs& inputs) {
  const std::optional<KerasTensor> input = OnlyInput(scope, inputs);
  if (!input) return {};
  compute::Graph& graph = scope.graph();
  std::vector<float> range{0, 255};
  if (const ConfigValue& stored = scope.config()["value_range"]; !stored.is_null()) {
    if (!stored.is_list() || stored.as_list().size() != 2 || !stored.as_list()[0].is_number() ||
        !stored.as_list()[1].is_number()) {
      scope.BadValue("value_range", "two numbers are expected");
      return {};
    }
    for (size_t i : {0, 1}) range[i] = static_cast<float>(stored.as_list()[i].as_float());
  }
  if (graph.rank(input->value) < 3) {
    scope.Fail(Code::kShapeInferenceFailed, fmt::format("layer {} needs images", scope.path()));
    return {};
  }
  const Value x = ops::Cast(graph, input->value, compute::DType::kFloat32);
  const Value low = ops::Reduce(graph, ops::ReduceKind::kMin, x, {1, 2}, true);
  const Value high = ops::Reduce(graph, ops::ReduceKind::kMax, x, {1, 2}, true);
  // What lies outside of the range is not cut off before: only the spread counts.
  const Value spread = ops::Subtract(graph, high, low);
  const Value share = ops::Divide(graph, ops::Subtract(graph, x, low), spread);
  const float least = std::min(range[0], range[1]), most = std::max(range[0], range[1]);
  const Value y = ops::AddScalar(graph, ops::MultiplyScalar(graph, share, most - least), least);
  const Value flat = ops::Binary(graph, ops::BinaryKind::kEqual, high, low);
  return One(ops::Where(graph, flat, x, y));
}

// tf.keras crops the middle at inference, Keras 3 leaves the image alone.
std::vector<KerasTensor> LowerRandomCrop(const LayerScope& scope, const CallInputs& inputs) {
  if (scope.writer().dialect != Writer::Dialect::kKeras3) return LowerCenterCrop(scope, inputs);
  return LowerAugmentation(scope, inputs);
}

}  // namespace h5serve::model
