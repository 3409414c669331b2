#include "model/dialect/class_names.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

#include "model/lowering.h"

namespace h5serve::model {
namespace {

using Alias = std::pair<std::string_view, std::string_view>;

// Sorted by the first name.
constexpr auto kAliases = std::to_array<Alias>({
    {"AtrousConv1D", "Conv1D"},
    {"AtrousConv2D", "Conv2D"},
    {"AtrousConvolution1D", "Conv1D"},
    {"AtrousConvolution2D", "Conv2D"},
    {"AvgPool1D", "AveragePooling1D"},
    {"AvgPool2D", "AveragePooling2D"},
    {"AvgPool3D", "AveragePooling3D"},
    {"BatchNormalizationV1", "BatchNormalization"},
    {"BatchNormalizationV2", "BatchNormalization"},
    {"Convolution1D", "Conv1D"},
    {"Convolution1DTranspose", "Conv1DTranspose"},
    {"Convolution2D", "Conv2D"},
    {"Convolution2DTranspose", "Conv2DTranspose"},
    {"Convolution3D", "Conv3D"},
    {"Convolution3DTranspose", "Conv3DTranspose"},
    {"CuDNNGRU", "GRU"},
    {"CuDNNLSTM", "LSTM"},
    {"DenseV1", "Dense"},
    {"Deconv2D", "Conv2DTranspose"},
    {"Deconv3D", "Conv3DTranspose"},
    {"Deconvolution2D", "Conv2DTranspose"},
    {"Deconvolution3D", "Conv3DTranspose"},
    {"DropoutV1", "Dropout"},
    {"EmbeddingV1", "Embedding"},
    {"FlattenV1", "Flatten"},
    {"GRUCellV2", "GRUCell"},
    {"GRUV1", "GRU"},
    {"GRUV2", "GRU"},
    {"GlobalAvgPool1D", "GlobalAveragePooling1D"},
    {"GlobalAvgPool2D", "GlobalAveragePooling2D"},
    {"GlobalAvgPool3D", "GlobalAveragePooling3D"},
    {"GlobalMaxPool1D", "GlobalMaxPooling1D"},
    {"GlobalMaxPool2D", "GlobalMaxPooling2D"},
    {"GlobalMaxPool3D", "GlobalMaxPooling3D"},
    {"GroupQueryAttention", "GroupedQueryAttention"},
    {"Input", "InputLayer"},
    {"LSTMCellV2", "LSTMCell"},
    {"LSTMV1", "LSTM"},
    {"LSTMV2", "LSTM"},
    {"MaxPool1D", "MaxPooling1D"},
    {"MaxPool2D", "MaxPooling2D"},
    {"MaxPool3D", "MaxPooling3D"},
    {"Model", "Functional"},
    {"NormalizationV1", "Normalization"},
    {"SeparableConvolution1D", "SeparableConv1D"},
    {"SeparableConvolution2D", "SeparableConv2D"},
    {"SyncBatchNormalization", "BatchNormalization"},
    {"TimeDistributedDense", "Dense"},
    {"UnifiedGRU", "GRU"},
    {"UnifiedLSTM", "LSTM"},
    {"add", "Add"},
    {"average", "Average"},
    {"concatenate", "Concatenate"},
    {"dot", "Dot"},
    {"maximum", "Maximum"},
    {"minimum", "Minimum"},
    {"multiply", "Multiply"},
    {"subtract", "Subtract"},
});

bool IsKerasModule(std::string_view module) {
  return module.empty() || module == "builtins" || module.starts_with("keras") ||
         module.starts_with("tf_keras") || module.starts_with("tensorflow.");
}

}  // namespace

std::string_view ResolveClassAlias(std::string_view name) {
  const auto at = std::find_if(kAliases.begin(), kAliases.end(),
                               [name](const Alias& alias) { return alias.first == name; });
  return at == kAliases.end() ? name : at->second;
}

std::vector<std::string_view> ClassAliases(std::string_view class_name) {
  std::vector<std::string_view> names;
  for (const auto& [name, canonical] : kAliases) {
    if (canonical == class_name) names.push_back(name);
  }
  return names;
}

std::string CanonicalClass(const ConfigValue& entry) {
  std::string_view name = entry.StringOr("class_name");
  const std::string_view module = entry.StringOr("module");
  const std::string_view registered = entry.StringOr("registered_name");
  const size_t package = registered.find('>');
  if (package != std::string_view::npos && !registered.starts_with("keras")) {
    return std::string(registered);
  }
  if (!IsKerasModule(module) || module.starts_with("keras_")) {
    // Somebody's class that is called like one of Keras' must not pass for it.
    const bool clash = FindLayerClass(ResolveClassAlias(name)) != nullptr;
    return clash ? fmt::format("{}>{}", module, name) : std::string(name);
  }
  if (name.starts_with("keras>")) name.remove_prefix(6);
  if (name.find('>') != std::string_view::npos) return std::string(name);
  if (name.starts_with("keras.") || name.starts_with("tf.keras.")) {
    name.remove_prefix(name.rfind('.') + 1);
  }
  return std::string(ResolveClassAlias(name));
}

}  // namespace h5serve::model
