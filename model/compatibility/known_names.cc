#include "model/compatibility/known_names.h"

#include <algorithm>
#include <array>

namespace h5serve::model {
namespace {

using enum Release;

// The first release of each line that knows a name; k3_15_1 + 1 stands for never.
constexpr Release kNever = static_cast<Release>(static_cast<int>(k3_15_1) + 1);

struct Known {
  std::string_view name;
  Release keras, tf_keras, keras3;

  bool In(Release release) const {
    switch (Info(release).line) {
      case KerasLine::kKeras:
        return release >= keras;
      case KerasLine::kTfKeras:
        return release >= tf_keras;
      case KerasLine::kKeras3:
        return release >= keras3;
    }
    return false;
  }
};

constexpr Known kActivations[] = {
    {"linear", k1_0_8, kTf2_2_4, k3_0_0},
    {"relu", k1_0_8, kTf2_2_4, k3_0_0},
    {"elu", k1_0_8, kTf2_2_4, k3_0_0},
    {"sigmoid", k1_0_8, kTf2_2_4, k3_0_0},
    {"hard_sigmoid", k1_0_8, kTf2_2_4, k3_0_0},
    {"tanh", k1_0_8, kTf2_2_4, k3_0_0},
    {"softplus", k1_0_8, kTf2_2_4, k3_0_0},
    {"softsign", k1_0_8, kTf2_2_4, k3_0_0},
    {"softmax", k1_0_8, kTf2_2_4, k3_0_0},
    {"selu", k2_0_9, kTf2_2_4, k3_0_0},
    {"exponential", k2_2_0, kTf2_2_4, k3_0_0},
    {"swish", kNever, kTf2_3, k3_0_0},
    {"gelu", kNever, kTf2_4, k3_0_0},
    {"mish", kNever, kTf2_13, k3_0_0},
    // Those of tf.nn, which tf.keras finds as well.
    {"relu6", kNever, kTf2_2_4, k3_0_0},
    {"leaky_relu", kNever, kTf2_2_4, k3_0_0},
    {"silu", kNever, kTf2_4, k3_0_0},
    {"log_softmax", kNever, kTf2_2_4, k3_0_0},
    {"crelu", kNever, kTf2_2_4, kNever},
    {"hard_silu", kNever, kNever, k3_0_5},
    {"hard_swish", kNever, kNever, k3_0_5},
    {"log_sigmoid", kNever, kNever, k3_8_0},
    {"celu", kNever, kNever, k3_8_0},
    {"glu", kNever, kNever, k3_8_0},
    {"hard_tanh", kNever, kNever, k3_8_0},
    {"hard_shrink", kNever, kNever, k3_8_0},
    {"tanh_shrink", kNever, kNever, k3_8_0},
    {"soft_shrink", kNever, kNever, k3_8_0},
    {"squareplus", kNever, kNever, k3_8_0},
    {"sparse_plus", kNever, kNever, k3_8_0},
    {"sparse_sigmoid", kNever, kNever, k3_12_0},
    {"sparsemax", kNever, kNever, k3_8_0},
    {"threshold", kNever, kNever, k3_8_0},
};

struct Initializer {
  Known known;
  std::string_view keys;
};

constexpr Initializer kInitializers[] = {
    {{"Zeros", k2_0_0, kTf2_2_4, k3_0_0}, ""},
    {{"Ones", k2_0_0, kTf2_2_4, k3_0_0}, ""},
    {{"Constant", k2_0_0, kTf2_2_4, k3_0_0}, "value"},
    {{"RandomNormal", k2_0_0, kTf2_2_4, k3_0_0}, "mean stddev seed"},
    {{"RandomUniform", k2_0_0, kTf2_2_4, k3_0_0}, "minval maxval seed"},
    {{"TruncatedNormal", k2_0_0, kTf2_2_4, k3_0_0}, "mean stddev seed"},
    {{"VarianceScaling", k2_0_0, kTf2_2_4, k3_0_0}, "scale mode distribution seed"},
    {{"Orthogonal", k2_0_0, kTf2_2_4, k3_0_0}, "gain seed"},
    {{"OrthogonalInitializer", kNever, kTf2_2_4, k3_0_0}, "gain seed"},
    {{"Identity", k2_0_0, kTf2_2_4, k3_0_0}, "gain"},
    {{"IdentityInitializer", kNever, kTf2_2_4, k3_0_0}, "gain"},
    {{"GlorotNormal", kNever, kTf2_2_4, k3_0_0}, "seed"},
    {{"GlorotUniform", kNever, kTf2_2_4, k3_0_0}, "seed"},
    {{"HeNormal", kNever, kTf2_2_4, k3_0_0}, "seed"},
    {{"HeUniform", kNever, kTf2_2_4, k3_0_0}, "seed"},
    {{"LecunNormal", kNever, kTf2_2_4, k3_0_0}, "seed"},
    {{"LecunUniform", kNever, kTf2_2_4, k3_0_0}, "seed"},
};

// Keys of the configs of all optimizers together that not every release takes.
constexpr Known kOptimizerKeys[] = {
    {"amsgrad", k2_1_3, kTf2_2_4, k3_0_0},
    {"learning_rate", k2_3_0, kTf2_2_4, k3_0_0},
    {"lr", k1_0_8, kTf2_2_4, kNever},
    {"name", kNever, kTf2_2_4, k3_0_0},
    {"schedule_decay", k1_0_8, kTf2_2_4, kNever},
};

constexpr auto kOptimizers = std::to_array<std::string_view>(
    {"Adadelta", "Adagrad", "Adam", "Adamax", "Nadam", "RMSprop", "SGD"});
constexpr auto kLaterOptimizers = std::to_array<Known>({
    {"Ftrl", kNever, kTf2_2_4, k3_0_0},
    {"AdamW", kNever, kTf2_11, k3_0_0},
    {"Adafactor", kNever, kTf2_11, k3_0_0},
    {"Lion", kNever, kTf2_13, k3_0_0},
    {"LossScaleOptimizer", kNever, kTf2_2_4, k3_1_0},
    {"Lamb", kNever, kNever, k3_5_0},
    {"Muon", kNever, kNever, k3_12_0},
});

constexpr auto kShortLosses = std::to_array<std::string_view>(
    {"bce", "BCE", "kld", "KLD", "mae", "MAE", "mse", "MSE", "mape", "MAPE", "msle", "MSLE"});

constexpr std::pair<std::string_view, std::string_view> kInnerLayers[] = {
    {"Bidirectional", "layer"},
    {"ConvRNN2D", "cell"},
    {"DeviceWrapper", "cell"},
    {"DropoutWrapper", "cell"},
    {"RNN", "cell"},
    {"ResidualWrapper", "cell"},
    {"SpectralNormalization", "layer"},
    {"StackedRNNCells", "cells"},
    {"TimeDistributed", "layer"},
};

bool ListsWord(std::string_view words, std::string_view word) {
  const size_t at = words.find(word);
  return at != std::string_view::npos && (at == 0 || words[at - 1] == ' ') &&
         (at + word.size() == words.size() || words[at + word.size()] == ' ');
}

const Initializer* FindInitializer(std::string_view class_name) {
  const auto at = std::ranges::find_if(kInitializers, [&](const Initializer& initializer) {
    return initializer.known.name == class_name;
  });
  return at == std::ranges::end(kInitializers) ? nullptr : at;
}

}  // namespace

bool KnowsActivation(std::string_view name, Release release) {
  return std::ranges::any_of(
      kActivations, [&](const Known& known) { return known.name == name && known.In(release); });
}

bool KnowsInitializer(std::string_view class_name, Release release) {
  const Initializer* initializer = FindInitializer(class_name);
  // Lower-case names are functions that every release has.
  if (initializer == nullptr) return !class_name.empty() && class_name[0] >= 'a';
  return initializer->known.In(release);
}

std::string_view ForeignInitializerKey(std::string_view class_name, const ConfigValue& config,
                                       Release release) {
  const Initializer* initializer = FindInitializer(class_name);
  if (initializer == nullptr || !config.is_dict()) return "";
  for (const auto& [key, value] : config.as_dict()) {
    if (ListsWord(initializer->keys, key)) continue;
    // tf.keras drops the element type it once wrote.
    if (key == "dtype" && Info(release).line == KerasLine::kTfKeras) continue;
    if ((key == "input_axes" || key == "output_axes") && release >= k3_15_1) continue;
    return key;
  }
  return "";
}

bool KnowsOptimizer(std::string_view class_name, Release release) {
  if (std::ranges::find(kOptimizers, class_name) != kOptimizers.end()) return true;
  // The optimizers that TensorFlow 2.11 introduced registered themselves so.
  if (class_name.starts_with("Custom>")) {
    return Info(release).line == KerasLine::kTfKeras && release >= kTf2_11 &&
           KnowsOptimizer(class_name.substr(7), release);
  }
  return std::ranges::any_of(kLaterOptimizers, [&](const Known& known) {
    return known.name == class_name && known.In(release);
  });
}

std::string_view ForeignOptimizerKey(const ConfigValue& config, Release release) {
  for (const Known& key : kOptimizerKeys) {
    if (config.Find(key.name) != nullptr && !key.In(release)) return key.name;
  }
  return "";
}

bool IsShortLossName(std::string_view name) {
  return std::ranges::find(kShortLosses, name) != kShortLosses.end();
}

std::string_view InnerLayerKey(std::string_view class_name) {
  for (const auto& [name, key] : kInnerLayers) {
    if (name == class_name) return key;
  }
  return "";
}

}  // namespace h5serve::model
