// Images.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "compute/ops/convolution.h"
#include "compute/ops/elementwise.h"
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

// Images as (batch, height, width, channels), and the way back.
struct Images {
  Value x;
  bool channels_first = false;
  bool single = false;  // one image without a batch

  Value Restore(Graph& graph, Value y) const {
    if (channels_first) y = ops::MoveAxis(graph, y, -1, 1);
    return single ? ops::Squeeze(graph, y, {0}) : y;
  }
};

Images ReadImages(FunctionCall& call) {
  Graph& graph = call.graph();
  Images images;
  images.x = call.Tensor("images");
  images.channels_first = call.ChannelsFirst("data_format");
  images.single = graph.rank(images.x) == 3;
  if (images.single) images.x = ops::ExpandDims(graph, images.x, 0);
  if (call.ok() && graph.rank(images.x) != 4) {
    call.Invalid(fmt::format("expected images, got {}", graph.shape(images.x).ToString()));
  }
  if (images.channels_first && call.ok()) images.x = ops::MoveAxis(graph, images.x, 1, -1);
  return images;
}

std::optional<ops::ResizeMethod> Method(std::string name) {
  std::transform(name.begin(), name.end(), name.begin(),
                 [](unsigned char c) { return std::tolower(c); });
  if (const size_t dot = name.rfind('.'); dot != std::string::npos) name = name.substr(dot + 1);
  if (name == "bilinear") return ops::ResizeMethod::kBilinear;
  if (name == "nearest" || name == "nearest_neighbor") return ops::ResizeMethod::kNearest;
  if (name == "bicubic") return ops::ResizeMethod::kBicubic;
  if (name == "area") return ops::ResizeMethod::kArea;
  if (name == "lanczos3") return ops::ResizeMethod::kLanczos3;
  if (name == "lanczos5") return ops::ResizeMethod::kLanczos5;
  if (name == "gaussian") return ops::ResizeMethod::kGaussian;
  if (name == "mitchellcubic") return ops::ResizeMethod::kMitchell;
  return std::nullopt;
}

// A name, or the number of TensorFlow 1's enumeration.
std::optional<ops::ResizeMethod> ReadMethod(FunctionCall& call) {
  const FunctionArgument& argument = call.Get("interpolation");
  if (argument.is_constant() && argument.constant.is_int()) {
    constexpr ops::ResizeMethod kNumbered[] = {
        ops::ResizeMethod::kBilinear, ops::ResizeMethod::kNearest, ops::ResizeMethod::kBicubic,
        ops::ResizeMethod::kArea};
    const int64_t number = argument.constant.as_int();
    if (number >= 0 && number < 4) return kNumbered[number];
  } else if (auto method = Method(call.String("interpolation", "bilinear"))) {
    return method;
  }
  call.Unsupported("interpolation", "unknown method");
  return std::nullopt;
}

Value ResizeTo(Graph& graph, Value x, const ops::ResizeAttributes& attributes) {
  const bool whole = graph.dtype(x) == DType::kInt64;
  x = ops::Resize(graph, ops::Cast(graph, x, DType::kFloat32), attributes);
  // Nearest neighbours are the pixels themselves.
  return whole && attributes.method == ops::ResizeMethod::kNearest
             ? ops::Cast(graph, x, DType::kInt64)
             : x;
}

FunctionArgument Resize(FunctionCall& call) {
  Graph& graph = call.graph();
  const Images images = ReadImages(call);
  const auto size = call.Ints("size");
  const auto method = ReadMethod(call);
  if (!call.ok() || !size || !method)
    return call.ok() ? call.Invalid("missing argument: size") : FunctionArgument{};
  if (size->size() != 2 || size->at(0) < 1 || size->at(1) < 1)
    return call.Invalid("size must be (height, width)");
  ops::ResizeAttributes attributes;
  attributes.method = *method;
  attributes.size = *size;
  attributes.antialias = call.Bool("antialias", false);
  attributes.half_pixel_centers = call.Bool("half_pixel_centers", true);
  attributes.align_corners = call.Bool("align_corners", false);
  Value x = images.x;
  const int64_t height = graph.shape(x)[1], width = graph.shape(x)[2];
  const bool crops = call.Bool("crop_to_aspect_ratio", false),
             keeps = call.Bool("preserve_aspect_ratio", false);
  if (call.Bool("pad_to_aspect_ratio", false))
    return call.Unsupported("pad_to_aspect_ratio", "not supported");
  if ((crops || keeps) && (height <= 0 || width <= 0))
    return call.Invalid("the images must have a known size");
  if (keeps) {
    const double scale = std::min(static_cast<double>(size->at(0)) / static_cast<double>(height),
                                  static_cast<double>(size->at(1)) / static_cast<double>(width));
    attributes.size = {static_cast<int64_t>(std::nearbyint(scale * static_cast<double>(height))),
                       static_cast<int64_t>(std::nearbyint(scale * static_cast<double>(width)))};
  }
  if (crops) {
    const int64_t crop_height =
        std::max<int64_t>(1, std::min(height, width * size->at(0) / size->at(1)));
    const int64_t crop_width =
        std::max<int64_t>(1, std::min(width, height * size->at(1) / size->at(0)));
    const int64_t top = (height - crop_height) / 2, left = (width - crop_width) / 2;
    x = ops::SliceAxis(graph, x, 1, top, top + crop_height);
    x = ops::SliceAxis(graph, x, 2, left, left + crop_width);
  }
  return Result(images.Restore(graph, ResizeTo(graph, x, attributes)));
}

// Resizes within the target and pads the rest evenly with zeros.
FunctionArgument ResizeWithPad(FunctionCall& call) {
  Graph& graph = call.graph();
  const Images images = ReadImages(call);
  const auto method = ReadMethod(call);
  const int64_t target[] = {call.RequiredInt("target_height"), call.RequiredInt("target_width")};
  if (!call.ok() || !method) return {};
  const int64_t size[] = {graph.shape(images.x)[1], graph.shape(images.x)[2]};
  if (size[0] <= 0 || size[1] <= 0 || target[0] < 1 || target[1] < 1)
    return call.Invalid("the images must have a known size");
  const double ratio = std::max(static_cast<double>(size[0]) / static_cast<double>(target[0]),
                                static_cast<double>(size[1]) / static_cast<double>(target[1]));
  ops::ResizeAttributes attributes;
  attributes.method = *method;
  attributes.antialias = call.Bool("antialias", false);
  std::vector<std::pair<int64_t, int64_t>> pads(4, {0, 0});
  for (int i : {0, 1}) {
    const double exact = static_cast<double>(size[i]) / ratio;
    attributes.size.push_back(std::max<int64_t>(1, static_cast<int64_t>(std::floor(exact))));
    const int64_t before = std::max<int64_t>(
        0, static_cast<int64_t>(std::floor((static_cast<double>(target[i]) - exact) / 2)));
    pads[1 + i] = {before, std::max<int64_t>(0, target[i] - attributes.size[i] - before)};
  }
  return Result(
      images.Restore(graph, ops::Pad(graph, ResizeTo(graph, images.x, attributes), pads)));
}

// Each patch becomes the channels of one pixel: a convolution with a kernel
// that hands every cell through.
FunctionArgument ExtractPatches(FunctionCall& call) {
  Graph& graph = call.graph();
  const Images images = ReadImages(call);
  if (!call.ok()) return {};
  const std::vector<int64_t> size = call.SpatialInts("size", 2, 1, images.channels_first);
  ops::ConvAttributes attributes;
  attributes.strides =
      call.Has("strides") ? call.SpatialInts("strides", 2, 1, images.channels_first) : size;
  attributes.dilations = call.SpatialInts("dilation_rate", 2, 1, images.channels_first);
  std::string padding = call.String("padding", "valid");
  std::transform(padding.begin(), padding.end(), padding.begin(),
                 [](unsigned char c) { return std::tolower(c); });
  attributes.same = padding == "same";
  const int64_t channels = graph.shape(images.x).dim(-1);
  if (!call.ok()) return {};
  if (!attributes.same && padding != "valid")
    return call.Unsupported("padding", "expected same or valid");
  if (channels <= 0 || size[0] > 1024 || size[1] > 1024 || size[0] * size[1] * channels > 8192) {
    return call.Unsupported("size", "the patches are too large");
  }
  const int64_t cells = size[0] * size[1] * channels;
  std::vector<float> kernel(static_cast<size_t>(cells * cells), 0.0f);
  for (int64_t i = 0; i < cells; ++i) kernel[i * cells + i] = 1;
  const Value weights = graph.Constant(
      compute::Tensor::Floats(compute::Shape{size[0], size[1], channels, cells}, kernel));
  return Result(images.Restore(graph, ops::Conv(graph, ops::Cast(graph, images.x, DType::kFloat32),
                                                weights, Value{}, attributes)));
}

// K.resize_images: whole factors. Keras on TensorFlow 1 did not centre pixels.
FunctionArgument ResizeByFactors(FunctionCall& call) {
  Graph& graph = call.graph();
  const Images images = ReadImages(call);
  const auto method = ReadMethod(call);
  const int64_t height = call.RequiredInt("height_factor"),
                width = call.RequiredInt("width_factor");
  if (!call.ok() || !method) return {};
  if (height < 1 || width < 1) return call.Invalid("factors must be positive");
  ops::ResizeAttributes attributes;
  attributes.method = *method;
  attributes.scale = {height, width};
  const Writer::Dialect dialect = call.context().writer.dialect;
  attributes.half_pixel_centers =
      dialect == Writer::Dialect::kTfKeras || dialect == Writer::Dialect::kKeras3;
  return Result(images.Restore(graph, ResizeTo(graph, images.x, attributes)));
}

FunctionArgument ResizeVolumes(FunctionCall& call) {
  Graph& graph = call.graph();
  Value x = call.Tensor("x");
  const int first = call.ChannelsFirst("data_format") ? 2 : 1;
  x = ops::Repeat(graph, x, call.RequiredInt("depth_factor"), first);
  x = ops::Repeat(graph, x, call.RequiredInt("height_factor"), first + 1);
  return Result(ops::Repeat(graph, x, call.RequiredInt("width_factor"), first + 2));
}

// --- pads and crops ----------------------------------------------------------------

// A number, a list of numbers or pairs, as Keras' padding layers take them.
template <int spatial>
FunctionArgument SpatialPadding(FunctionCall& call) {
  Graph& graph = call.graph();
  const Value x = call.Tensor("x");
  const int first = call.ChannelsFirst("data_format") ? 2 : 1;
  std::vector<int64_t> numbers(2 * spatial, 1);
  if (call.Has("padding")) {
    const compute::Tensor* known = graph.constant(call.Tensor("padding"));
    if (known == nullptr || known->dtype() != DType::kInt64)
      return call.Unsupported("padding", "expected integers");
    const int64_t count = known->num_elements();
    for (int i = 0; i < 2 * spatial; ++i) {
      const bool per_side = count == 2 * spatial && (known->shape().rank() == 2 || spatial == 1);
      const bool per_axis = count == spatial && !per_side;
      if (!per_side && !per_axis && count != 1)
        return call.Unsupported("padding", "it does not fit");
      numbers[i] = known->data<int64_t>()[per_side ? i : per_axis ? i / 2 : 0];
    }
  }
  if (graph.rank(x) != spatial + 2) return call.Invalid("padding does not fit the tensor");
  std::vector<std::pair<int64_t, int64_t>> pads(spatial + 2, {0, 0});
  for (int i = 0; i < spatial; ++i) pads[first + i] = {numbers[2 * i], numbers[2 * i + 1]};
  return Result(ops::Pad(graph, x, pads));
}

// Offset and target size along one axis, of which one may be missing.
struct Extent {
  int64_t before = 0, after = 0;
};

FunctionArgument PadImages(FunctionCall& call) {
  Graph& graph = call.graph();
  const Images images = ReadImages(call);
  if (!call.ok()) return {};
  Extent extents[2];
  constexpr std::string_view kBefore[] = {"top_padding", "left_padding"};
  constexpr std::string_view kAfter[] = {"bottom_padding", "right_padding"};
  constexpr std::string_view kTarget[] = {"target_height", "target_width"};
  for (int i : {0, 1}) {
    const auto before = call.OptionalInt(kBefore[i]), after = call.OptionalInt(kAfter[i]);
    const auto target = call.OptionalInt(kTarget[i]);
    const int64_t size = graph.shape(images.x)[1 + i];
    if (target && size == kUnknown) return call.Invalid("the images must have a known size");
    const int64_t missing = target ? *target - size : 0;
    extents[i].before = before ? *before : (target && after ? missing - *after : 0);
    extents[i].after = after ? *after : (target ? missing - extents[i].before : 0);
    if (extents[i].before < 0 || extents[i].after < 0)
      return call.Invalid("the images are larger than the target");
  }
  return Result(images.Restore(graph, ops::Pad(graph, images.x,
                                               {{0, 0},
                                                {extents[0].before, extents[0].after},
                                                {extents[1].before, extents[1].after},
                                                {0, 0}})));
}

FunctionArgument CropImages(FunctionCall& call) {
  Graph& graph = call.graph();
  const Images images = ReadImages(call);
  if (!call.ok()) return {};
  Value x = images.x;
  constexpr std::string_view kBefore[] = {"top_cropping", "left_cropping"};
  constexpr std::string_view kAfter[] = {"bottom_cropping", "right_cropping"};
  constexpr std::string_view kTarget[] = {"target_height", "target_width"};
  for (int i : {0, 1}) {
    const auto before = call.OptionalInt(kBefore[i]), after = call.OptionalInt(kAfter[i]);
    const auto target = call.OptionalInt(kTarget[i]);
    const int64_t size = graph.shape(x)[1 + i];
    if (size == kUnknown) return call.Invalid("the images must have a known size");
    const int64_t begin = before ? *before : (target && after ? size - *target - *after : 0);
    const int64_t end = target ? begin + *target : size - after.value_or(0);
    if (begin < 0 || end > size || begin > end)
      return call.Invalid("the crop lies outside the images");
    x = ops::SliceAxis(graph, x, 1 + i, begin, end);
  }
  return Result(images.Restore(graph, x));
}

// Cuts what is too large and pads what is too small, evenly; the odd pixel is the last.
FunctionArgument ResizeWithCropOrPad(FunctionCall& call) {
  Graph& graph = call.graph();
  const Images images = ReadImages(call);
  const int64_t target[] = {call.RequiredInt("target_height"), call.RequiredInt("target_width")};
  if (!call.ok()) return {};
  Value x = images.x;
  std::vector<std::pair<int64_t, int64_t>> pads(4, {0, 0});
  for (const int axis : {1, 2}) {
    const int64_t size = graph.shape(x)[axis], wanted = target[axis - 1];
    if (size == kUnknown) return call.Invalid("the images must have a known size");
    if (wanted < 1 || wanted > 1 << 20) return call.Invalid("the size is out of range");
    const int64_t cut = std::max<int64_t>(size - wanted, 0) / 2;
    const int64_t before = std::max<int64_t>(wanted - size, 0) / 2;
    const int64_t kept = std::min(size, wanted);
    x = ops::SliceAxis(graph, x, axis, cut, cut + kept);
    pads[static_cast<size_t>(axis)] = {before, wanted - kept - before};
  }
  return Result(images.Restore(graph, ops::Pad(graph, x, pads)));
}

FunctionArgument CentralCrop(FunctionCall& call) {
  Graph& graph = call.graph();
  const Images images = ReadImages(call);
  const double fraction = call.Float("central_fraction", 1);
  if (!call.ok()) return {};
  if (!(fraction > 0 && fraction <= 1)) return call.Invalid("central_fraction must lie in (0, 1]");
  Value x = images.x;
  for (int axis : {1, 2}) {
    const int64_t size = graph.shape(x)[axis];
    if (size == kUnknown) return call.Invalid("the images must have a known size");
    const int64_t begin = static_cast<int64_t>(
        (static_cast<double>(size) - static_cast<double>(size) * fraction) / 2);
    x = ops::SliceAxis(graph, x, axis, begin, size - begin);
  }
  return Result(images.Restore(graph, x));
}

template <int axis>
FunctionArgument FlipImages(FunctionCall& call) {
  Graph& graph = call.graph();
  const Images images = ReadImages(call);
  return Result(images.Restore(graph, ops::Reverse(graph, images.x, axis)));
}

// --- colours -------------------------------------------------------------------------

FunctionArgument RgbToGrayscale(FunctionCall& call) {
  Graph& graph = call.graph();
  const Images images = ReadImages(call);
  const Value weights =
      graph.Constant(compute::Tensor::Floats(compute::Shape{3}, {0.2989f, 0.5870f, 0.1140f}));
  const Value x = ops::Cast(graph, images.x, DType::kFloat32);
  const Value gray =
      ops::Reduce(graph, ops::ReduceKind::kSum, ops::Multiply(graph, x, weights), {-1}, true);
  return Result(images.Restore(graph, gray));
}

FunctionArgument GrayscaleToRgb(FunctionCall& call) {
  Graph& graph = call.graph();
  return Result(ops::Repeat(graph, call.Tensor("images"), 3, -1));
}

// (x - mean) / max(std, 1 / sqrt(pixels)) for each image.
FunctionArgument PerImageStandardization(FunctionCall& call) {
  Graph& graph = call.graph();
  const Value x = ops::Cast(graph, call.Tensor("images"), DType::kFloat32);
  int64_t pixels = 1;
  for (int axis = -3; axis < 0; ++axis) pixels *= graph.shape(x).dim(axis);
  if (graph.rank(x) < 3 || pixels <= 0) return call.Invalid("the images must have a known size");
  const Value mean = ops::Reduce(graph, ops::ReduceKind::kMean, x, {-3, -2, -1}, true);
  Value spread = ops::Reduce(graph, ops::ReduceKind::kStd, x, {-3, -2, -1}, true);
  const float least = static_cast<float>(1 / std::sqrt(static_cast<double>(pixels)));
  spread = ops::Binary(graph, ops::BinaryKind::kMaximum, spread,
                       graph.Constant(compute::Tensor::Scalar(least)));
  return Result(ops::Divide(graph, ops::Subtract(graph, x, mean), spread));
}

FunctionArgument AdjustBrightness(FunctionCall& call) {
  Graph& graph = call.graph();
  return Result(ops::Add(graph, call.Tensor("images"), call.Tensor("delta")));
}

FunctionArgument AdjustContrast(FunctionCall& call) {
  Graph& graph = call.graph();
  const Value x = ops::Cast(graph, call.Tensor("images"), DType::kFloat32);
  const Value mean = ops::Reduce(graph, ops::ReduceKind::kMean, x, {-3, -2}, true);
  const Value spread = ops::Multiply(graph, ops::Subtract(graph, x, mean), call.Tensor("factor"));
  return Result(ops::Add(graph, spread, mean));
}

template <bool to_depth>
FunctionArgument Blocks(FunctionCall& call) {
  Graph& graph = call.graph();
  const Value x = call.Tensor("x");
  const bool first = call.ChannelsFirst("data_format");
  const int64_t block = call.RequiredInt("block_size");
  return Result(to_depth ? ops::SpaceToDepth(graph, x, block, first)
                         : ops::DepthToSpace(graph, x, block, first));
}

constexpr FunctionRow kFunctions[] = {
    {"resize",
     "images, size, interpolation, antialias, crop_to_aspect_ratio, pad_to_aspect_ratio, "
     "fill_mode=-, fill_value=-, "
     "data_format; preserve_aspect_ratio, half_pixel_centers, align_corners",
     Resize},
    {"<resize_with_pad>", "images, target_height, target_width, interpolation, antialias",
     ResizeWithPad},
    {"extract_patches", "images, size, strides, dilation_rate, padding, data_format",
     ExtractPatches},
    {"<resize_by_factors>", "images, height_factor, width_factor, data_format, interpolation",
     ResizeByFactors},
    {"<resize_volumes>", "x, depth_factor, height_factor, width_factor, data_format",
     ResizeVolumes},
    {"<temporal_padding>", "x, padding", SpatialPadding<1>},
    {"<spatial_2d_padding>", "x, padding, data_format", SpatialPadding<2>},
    {"<spatial_3d_padding>", "x, padding, data_format", SpatialPadding<3>},
    {"pad_images",
     "images, top_padding, left_padding, bottom_padding, right_padding, target_height, "
     "target_width, data_format",
     PadImages},
    {"crop_images",
     "images, top_cropping, left_cropping, bottom_cropping, right_cropping, target_height, "
     "target_width, data_format",
     CropImages},
    {"<resize_with_crop_or_pad>", "images, target_height, target_width", ResizeWithCropOrPad},
    {"<central_crop>", "images, central_fraction", CentralCrop},
    {"<flip_left_right>", "images", FlipImages<2>},
    {"<flip_up_down>", "images", FlipImages<1>},
    {"rgb_to_grayscale", "images, data_format", RgbToGrayscale},
    {"<grayscale_to_rgb>", "images", GrayscaleToRgb},
    {"<per_image_standardization>", "images", PerImageStandardization},
    {"<adjust_brightness>", "images, delta", AdjustBrightness},
    {"<adjust_contrast>", "images, factor", AdjustContrast},
    {"<depth_to_space>", "x, block_size, data_format", Blocks<false>},
    {"<space_to_depth>", "x, block_size, data_format", Blocks<true>},
};

}  // namespace

std::span<const FunctionRow> ImageFunctions() { return kFunctions; }

}  // namespace h5serve::model
