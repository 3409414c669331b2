#include "model/compatibility/constructors.h"

#include <algorithm>
#include <array>
#include <span>
#include <utility>

namespace h5serve::model {
namespace {

using enum Release;

#define CONSTRUCTOR(name, from, until, required, optional) \
  Constructor{#name, {from, until}, required, optional},
constexpr Constructor kKeras[] = {
#include "model/compatibility/constructors_keras.def"
};
constexpr Constructor kTfKeras[] = {
#include "model/compatibility/constructors_tf_keras.def"
};
constexpr Constructor kKeras3[] = {
#include "model/compatibility/constructors_keras3.def"
};
#undef CONSTRUCTOR

constexpr bool Sorted(std::span<const Constructor> rows) {
  for (size_t i = 1; i < rows.size(); ++i) {
    if (rows[i].class_name < rows[i - 1].class_name) return false;
  }
  return true;
}
static_assert(Sorted(kKeras) && Sorted(kTfKeras) && Sorted(kKeras3));

// Names that a release understands although its class is called otherwise.
struct Alias {
  std::string_view name;
  std::string_view class_name;
  ReleaseRange releases;
};

constexpr Alias kAliases[] = {
    {"Conv1D", "Convolution1D", {k1_2_0, k1_2_2}},
    {"Conv2D", "Convolution2D", {k1_2_0, k1_2_2}},
    {"Conv3D", "Convolution3D", {k1_2_0, k1_2_2}},
    {"Deconv2D", "Deconvolution2D", {k1_2_0, k1_2_2}},
    {"SeparableConv2D", "SeparableConvolution2D", {k1_2_0, k1_2_2}},
    {"AtrousConv1D", "AtrousConvolution1D", {k1_2_0, k1_2_2}},
    {"AtrousConv2D", "AtrousConvolution2D", {k1_2_0, k1_2_2}},
    {"Convolution1D", "Conv1D", {k2_0_0, k2_3_1}},
    {"Convolution2D", "Conv2D", {k2_0_0, k2_3_1}},
    {"Convolution3D", "Conv3D", {k2_0_0, k2_3_1}},
    {"AtrousConvolution1D", "Conv1D", {k2_0_0, k2_3_1}},
    {"AtrousConvolution2D", "Conv2D", {k2_0_0, k2_3_1}},
    {"Deconvolution2D", "Conv2DTranspose", {k2_0_0, k2_3_1}},
    {"SeparableConvolution2D", "SeparableConv2D", {k2_0_0, k2_3_1}},
};

// Keys a constructor takes although its signature does not name them ("*": all),
// or refuses although a rule below would let them pass.
struct KeyRule {
  std::string_view class_name;
  std::string_view keys;
  ReleaseRange releases;
};

constexpr KeyRule kTolerated[] = {
    {"Bidirectional", "num_constants", {k3_0_0, k3_15_1}},
    {"ConvLSTM2D", "implementation time_major", {kTf2_2_4, kTf2_21}},
    {"Embedding", "input_length", {k3_0_0, k3_15_1}},
    {"GRU", "implementation", {kTf2_2_4, k3_15_1}},
    {"InputLayer", "*", {k3_0_0, k3_15_1}},
    {"LSTM", "implementation", {kTf2_2_4, k3_15_1}},
    {"Lambda", "module function_type output_shape_type output_shape_module", {k3_0_0, k3_15_1}},
    {"LeakyReLU", "alpha", {k3_0_0, k3_15_1}},
    {"MultiHeadAttention", "query_shape key_shape value_shape", {kTf2_4, kTf2_21}},
    {"RNN", "num_constants", {k3_0_0, k3_15_1}},
    {"SimpleRNN", "implementation", {kTf2_2_4, k3_15_1}},
};

constexpr KeyRule kRefused[] = {
    {"DepthwiseConv1D",
     "kernel_initializer kernel_regularizer kernel_constraint",
     {k3_0_0, k3_15_1}},
    {"DepthwiseConv2D",
     "kernel_initializer kernel_regularizer kernel_constraint",
     {k3_0_0, k3_15_1}},
};

// Constructors without **kwargs: they take no argument that their row lacks
// but these.
constexpr KeyRule kStrict[] = {
    {"InputLayer", "name batch_input_shape input_dtype", {k1_0_8, k1_2_2}},
    {"InputLayer", "name batch_input_shape dtype input_dtype", {k2_0_0, k2_3_1}},
    {"InputLayer", "name batch_input_shape dtype", {kTf2_2_4, kTf2_21}},
    {"SpatialDropout1D", "name dtype", {k3_0_0, k3_15_1}},
    {"SpatialDropout2D", "name dtype", {k3_0_0, k3_15_1}},
    {"SpatialDropout3D", "name dtype", {k3_0_0, k3_15_1}},
};

std::span<const Constructor> RowsOf(KerasLine line) {
  switch (line) {
    case KerasLine::kKeras:
      return kKeras;
    case KerasLine::kTfKeras:
      return kTfKeras;
    case KerasLine::kKeras3:
      return kKeras3;
  }
  return {};
}

std::span<const Constructor> RowsOf(KerasLine line, std::string_view class_name) {
  const std::span<const Constructor> rows = RowsOf(line);
  const auto first = std::ranges::lower_bound(rows, class_name, {}, &Constructor::class_name);
  const auto last = std::ranges::upper_bound(rows, class_name, {}, &Constructor::class_name);
  return {first, last};
}

bool ListsWord(std::string_view words, std::string_view word) {
  while (!words.empty()) {
    const size_t end = std::min(words.find(' '), words.size());
    if (words.substr(0, end) == word) return true;
    words.remove_prefix(std::min(end + 1, words.size()));
  }
  return false;
}

std::vector<std::string> Words(std::string_view words) {
  std::vector<std::string> list;
  while (!words.empty()) {
    const size_t end = std::min(words.find(' '), words.size());
    list.emplace_back(words.substr(0, end));
    words.remove_prefix(std::min(end + 1, words.size()));
  }
  return list;
}

const KeyRule* FindRule(std::span<const KeyRule> rules, std::string_view class_name,
                        Release release) {
  const auto at = std::ranges::find_if(rules, [&](const KeyRule& rule) {
    return rule.class_name == class_name && rule.releases.Contains(release);
  });
  return at == rules.end() ? nullptr : &*at;
}

bool RuleLists(std::span<const KeyRule> rules, std::string_view class_name, Release release,
               std::string_view key) {
  const KeyRule* rule = FindRule(rules, class_name, release);
  return rule != nullptr && (rule->keys == "*" || ListsWord(rule->keys, key));
}

bool EndsWithAny(std::string_view key, std::initializer_list<std::string_view> endings) {
  return std::ranges::any_of(endings, [&](std::string_view end) { return key.ends_with(end); });
}

// What the base class Layer takes in a release, and the arguments for training
// that the tables leave out.
bool EveryLayerTakes(Release release, std::string_view key) {
  if (release <= k1_2_2) {
    return ListsWord(
               "name trainable batch_input_shape input_shape input_dtype weights init "
               "inner_init forget_bias_init beta_init gamma_init t_left_init a_left_init "
               "t_right_init a_right_init alpha_init",
               key) ||
           (!key.starts_with("kernel_") && !key.starts_with("bias_") &&
            !key.starts_with("recurrent_") && !key.starts_with("embeddings_") &&
            EndsWithAny(key, {"_regularizer", "_constraint"}));
  }
  if (EndsWithAny(key, {"_initializer", "_regularizer", "_constraint"})) return true;
  switch (Info(release).line) {
    case KerasLine::kKeras:
      return ListsWord(
          "name trainable dtype batch_input_shape input_shape batch_size weights "
          "input_dtype",
          key);
    case KerasLine::kTfKeras:
      return ListsWord(
          "name trainable dtype batch_input_shape input_shape input_dim batch_size "
          "weights autocast implementation dynamic",
          key);
    case KerasLine::kKeras3:
      return ListsWord("name trainable dtype autocast input_shape batch_input_shape input_dim",
                       key);
  }
  return false;
}

bool Takes(const Constructor& constructor, std::string_view key, Release release) {
  return ListsWord(constructor.required, key) || ListsWord(constructor.optional, key) ||
         RuleLists(kTolerated, constructor.class_name, release, key) ||
         (EveryLayerTakes(release, key) &&
          !RuleLists(kRefused, constructor.class_name, release, key));
}

// Keras 2 for several backends translates the argument names of Keras 1.
const Constructor* ForebearOf(std::string_view class_name, Release release) {
  return release < k2_0_0 || release > k2_3_1 ? nullptr : FindConstructor(class_name, k1_2_2);
}

}  // namespace

const Constructor* FindConstructor(std::string_view class_name, Release release) {
  for (const Constructor& row : RowsOf(Info(release).line, class_name)) {
    if (row.releases.Contains(release)) return &row;
  }
  for (const Alias& alias : kAliases) {
    if (alias.name != class_name || !alias.releases.Contains(release)) continue;
    return FindConstructor(alias.class_name, release);
  }
  return nullptr;
}

std::vector<ReleaseRange> ReleasesWithClass(std::string_view class_name) {
  std::vector<ReleaseRange> ranges;
  for (KerasLine line : {KerasLine::kKeras, KerasLine::kTfKeras, KerasLine::kKeras3}) {
    const auto rows = RowsOf(line, class_name);
    if (rows.empty()) continue;
    ReleaseRange range = rows.front().releases;
    for (const Constructor& row : rows) range.last = std::max(range.last, row.releases.last);
    ranges.push_back(range);
  }
  return ranges;
}

ConstructorCall CallConstructor(std::string_view class_name, const Constructor& constructor,
                                const ConfigValue& config, Release release) {
  ConstructorCall call;
  if (!config.is_dict()) return call;
  const KeyRule* strict = FindRule(kStrict, constructor.class_name, release);
  call.strict = strict != nullptr;
  const Constructor* forebear = ForebearOf(class_name, release);
  for (const auto& [key, value] : config.as_dict()) {
    const bool taken = strict != nullptr
                           ? ListsWord(strict->keys, key) || ListsWord(constructor.optional, key) ||
                                 ListsWord(constructor.required, key)
                           : Takes(constructor, key, release) ||
                                 (forebear != nullptr && Takes(*forebear, key, k1_2_2));
    if (!taken) call.unknown.push_back(key);
  }
  const auto missing = [&](std::string_view required) {
    std::vector<std::string> names = Words(required);
    std::erase_if(names, [&](const std::string& name) { return config.Find(name) != nullptr; });
    return names;
  };
  call.missing = missing(constructor.required);
  if (!call.missing.empty() && forebear != nullptr && missing(forebear->required).empty()) {
    call.missing.clear();
  }
  return call;
}

}  // namespace h5serve::model
