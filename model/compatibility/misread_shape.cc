// The shapes of a Sequential model whose input shape Keras 3 misreads.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

#include "model/compatibility/rehearsal.h"

namespace h5serve::model {
namespace {

// Dimensions, the batch included, that classes insist on in Keras 3.
constexpr auto kRanks = std::to_array<std::pair<std::string_view, size_t>>({
    {"AveragePooling1D", 3},
    {"AveragePooling2D", 4},
    {"AveragePooling3D", 5},
    {"Conv1D", 3},
    {"Conv1DTranspose", 3},
    {"Conv2D", 4},
    {"Conv2DTranspose", 4},
    {"Conv3D", 5},
    {"Conv3DTranspose", 5},
    {"ConvLSTM1D", 4},
    {"ConvLSTM2D", 5},
    {"ConvLSTM3D", 6},
    {"Cropping1D", 3},
    {"Cropping2D", 4},
    {"Cropping3D", 5},
    {"DepthwiseConv1D", 3},
    {"DepthwiseConv2D", 4},
    {"GRU", 3},
    {"GlobalAveragePooling1D", 3},
    {"GlobalAveragePooling2D", 4},
    {"GlobalAveragePooling3D", 5},
    {"GlobalMaxPooling1D", 3},
    {"GlobalMaxPooling2D", 4},
    {"GlobalMaxPooling3D", 5},
    {"LSTM", 3},
    {"MaxPooling1D", 3},
    {"MaxPooling2D", 4},
    {"MaxPooling3D", 5},
    {"RepeatVector", 2},
    {"SeparableConv1D", 3},
    {"SeparableConv2D", 4},
    {"SimpleRNN", 3},
    {"SpatialDropout1D", 3},
    {"SpatialDropout2D", 4},
    {"SpatialDropout3D", 5},
    {"UpSampling1D", 3},
    {"UpSampling2D", 4},
    {"UpSampling3D", 5},
    {"ZeroPadding1D", 3},
    {"ZeroPadding2D", 4},
    {"ZeroPadding3D", 5},
});

// Classes whose output has the shape of their input.
constexpr auto kSameShape = std::to_array<std::string_view>(
    {"Activation", "ActivityRegularization", "AlphaDropout", "Dropout", "ELU", "GaussianDropout",
     "GaussianNoise", "Identity", "InputLayer", "LeakyReLU", "Masking", "ReLU", "Rescaling",
     "Softmax", "UnitNormalization"});

std::optional<size_t> RankOf(std::string_view class_name) {
  for (const auto& [name, rank] : kRanks) {
    if (name == class_name) return rank;
  }
  return std::nullopt;
}

}  // namespace

MisreadShape::MisreadShape(const ConfigValue& batch_input_shape) {
  if (!batch_input_shape.is_list()) return;
  following_ = true;
  shape_.emplace_back();
  for (const ConfigValue& size : batch_input_shape.as_list()) shape_.push_back(size.ToInt());
}

std::string MisreadShape::ToString() const {
  std::string text;
  for (const auto& size : shape_) {
    text += (text.empty() ? "" : ", ") + (size ? fmt::format("{}", *size) : "None");
  }
  return "(" + text + ")";
}

std::optional<std::string> MisreadShape::PassNormalization(const ConfigValue& config) const {
  const ConfigValue& value = config["axis"];
  const ConfigValue& single =
      value.is_list() && value.as_list().size() == 1 ? value.as_list()[0] : value;
  int64_t axis = single.ToInt().value_or(-1);
  const auto rank = static_cast<int64_t>(shape_.size());
  if (axis < 0) axis += rank;
  if (axis < 0 || axis >= rank || shape_[static_cast<size_t>(axis)]) {
    // Counted from the front, the axis is another one than it was.
    if (single.ToInt().value_or(-1) < 0) return std::nullopt;
    return "ValueError: Shape mismatch in layer for weight gamma";
  }
  return "ValueError: Shapes used to initialize variables must be fully-defined (no `None` "
         "dimensions).";
}

std::optional<std::string> MisreadShape::Pass(std::string_view class_name,
                                              const ConfigValue& config, std::string_view layer) {
  if (const std::optional<size_t> rank = RankOf(class_name); rank && *rank != shape_.size()) {
    return fmt::format(
        "ValueError: Input 0 of layer '{}' is incompatible with the layer: expected "
        "ndim={}, found ndim={}. Full shape received: {}",
        layer, *rank, shape_.size(), ToString());
  }
  if (class_name == "Permute" && config["dims"].is_list() &&
      config["dims"].as_list().size() + 1 != shape_.size()) {
    return fmt::format(
        "ValueError: Input 0 of layer '{}' is incompatible with the layer: expected "
        "ndim={}, found ndim={}. Full shape received: {}",
        layer, config["dims"].as_list().size() + 1, shape_.size(), ToString());
  }
  if (class_name == "BatchNormalization" || class_name == "LayerNormalization") {
    return PassNormalization(config);
  }
  if (class_name == "PReLU") {
    return "ValueError: Shapes used to initialize variables must be fully-defined (no `None` "
           "dimensions), or they do not fit the stored ones.";
  }
  if (class_name == "Dense") {
    if (!shape_.back()) {
      return "ValueError: Shapes used to initialize variables must be fully-defined (no `None` "
             "dimensions).";
    }
    shape_.back() = config["units"].ToInt();
  } else if (class_name == "Embedding") {
    shape_.push_back(config["output_dim"].ToInt());
  } else if (class_name == "Flatten") {
    shape_ = {std::nullopt, std::nullopt};
  } else if (std::ranges::find(kSameShape, class_name) == kSameShape.end()) {
    following_ = false;  // Reshape sets the dimensions right; of others nothing is known
  }
  return std::nullopt;
}

}  // namespace h5serve::model
