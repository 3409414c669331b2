#include "model/dialect/arguments.h"

#include <algorithm>
#include <array>
#include <string>
#include <string_view>
#include <utility>

namespace h5serve::model {
namespace {

using List = ConfigValue::List;
using Dict = ConfigValue::Dict;

// A Keras 1 argument and what Keras 2 calls it, for one class or for all ("").
// Source: keras/legacy/interfaces.py of 2.1.6 and keras/layers of 1.2.2.
struct Rename {
  std::string_view class_name;
  std::string_view from;
  std::string_view to;
};

constexpr auto kRenames = std::to_array<Rename>({
    {"", "border_mode", "padding"},
    {"", "bias", "use_bias"},
    {"", "dim_ordering", "data_format"},
    {"", "inner_activation", "recurrent_activation"},
    {"", "input_dtype", "dtype"},
    {"", "subsample", "strides"},
    {"", "subsample_length", "strides"},
    {"", "atrous_rate", "dilation_rate"},
    {"", "nb_filter", "filters"},
    {"", "filter_length", "kernel_size"},
    {"", "pool_length", "pool_size"},
    {"", "consume_less", "implementation"},
    {"AveragePooling1D", "stride", "strides"},
    {"MaxPooling1D", "stride", "strides"},
    {"Dense", "output_dim", "units"},
    {"LSTM", "output_dim", "units"},
    {"GRU", "output_dim", "units"},
    {"SimpleRNN", "output_dim", "units"},
    {"UpSampling1D", "length", "size"},
    {"Dropout", "p", "rate"},
    {"SpatialDropout1D", "p", "rate"},
    {"SpatialDropout2D", "p", "rate"},
    {"SpatialDropout3D", "p", "rate"},
    {"GaussianDropout", "p", "rate"},
    {"GaussianNoise", "sigma", "stddev"},
});

void RenameKey(Dict& config, std::string_view from, std::string_view to) {
  const auto at = config.find(from);
  if (at == config.end()) return;
  ConfigValue value = std::move(at->second);
  config.erase(at);
  config.emplace(std::string(to), std::move(value));
}

// Collects keys such as nb_row, nb_col into one list.
void JoinKeys(Dict& config, std::initializer_list<std::string_view> from, std::string_view to) {
  List values;
  for (std::string_view key : from) {
    const auto at = config.find(key);
    if (at == config.end()) return;
    values.push_back(at->second);
  }
  for (std::string_view key : from) config.erase(config.find(key));
  config.emplace(std::string(to), std::move(values));
}

// Keras 1 stored ZeroPadding as a dict of sides when it was asymmetric.
void CanonicalPadding(Dict& config) {
  const auto at = config.find("padding");
  if (at == config.end() || !at->second.is_dict()) return;
  const ConfigValue sides = at->second;
  const auto side = [&sides](std::string_view key) {
    const ConfigValue* value = sides.Find(key);
    return value == nullptr ? ConfigValue(0) : *value;
  };
  if (sides.Find("top_pad") != nullptr || sides.Find("bottom_pad") != nullptr) {
    at->second =
        List{List{side("top_pad"), side("bottom_pad")}, List{side("left_pad"), side("right_pad")}};
  } else {
    at->second = List{side("left_pad"), side("right_pad")};
  }
}

void CanonicalDataFormat(Dict& config) {
  const auto at = config.find("data_format");
  if (at == config.end() || !at->second.is_string()) return;
  const std::string& value = at->second.as_string();
  if (value == "tf") {
    at->second = "channels_last";
  } else if (value == "th") {
    at->second = "channels_first";
  } else if (value == "default") {
    config.erase(at);
  }
}

void CanonicalKeras1(Dict& config, std::string_view class_name) {
  JoinKeys(config, {"nb_row", "nb_col"}, "kernel_size");
  JoinKeys(config, {"kernel_dim1", "kernel_dim2", "kernel_dim3"}, "kernel_size");
  for (const Rename& rename : kRenames) {
    if (rename.class_name.empty() || rename.class_name == class_name) {
      RenameKey(config, rename.from, rename.to);
    }
  }
  CanonicalPadding(config);
  CanonicalDataFormat(config);
}

// What CuDNN layers do not store because they cannot do otherwise.
void CanonicalCudnn(Dict& config, std::string_view class_name) {
  config.insert_or_assign("activation", "tanh");
  config.insert_or_assign("recurrent_activation", "sigmoid");
  config.insert_or_assign("use_bias", true);
  if (class_name == "GRU") config.insert_or_assign("reset_after", true);
}

// Fills what a version did not write because it knew only one value.
void FillEraDefaults(Dict& config, std::string_view class_name, const Writer& writer) {
  using Dialect = Writer::Dialect;
  const bool recurrent = class_name == "LSTM" || class_name == "GRU" || class_name == "LSTMCell" ||
                         class_name == "GRUCell";
  if (recurrent && !config.contains("recurrent_activation")) {
    const bool sigmoid = writer.dialect == Dialect::kKeras3 ||
                         (writer.dialect == Dialect::kTfKeras && writer.AtLeast(2, 3)) ||
                         (writer.dialect == Dialect::kKeras2 && writer.AtLeast(2, 3));
    config.emplace("recurrent_activation", sigmoid ? "sigmoid" : "hard_sigmoid");
  }
  if ((class_name == "GRU" || class_name == "GRUCell") && !config.contains("reset_after")) {
    const bool after = writer.dialect == Dialect::kKeras3 ||
                       (writer.dialect == Dialect::kTfKeras && writer.AtLeast(2, 4));
    config.emplace("reset_after", after);
  }
}

std::string_view PolicyName(const ConfigValue& policy) {
  const ConfigValue& config = policy["config"];
  if (policy.StringOr("class_name") == "DTypePolicyMap") {
    const ConfigValue& fallback = config["default_policy"];
    if (fallback.is_string()) return fallback.as_string();
    return fallback["config"].StringOr("name", "float32");
  }
  return config.StringOr("name", "float32");
}

ConfigValue UnwrapAt(const ConfigValue& value, int depth);

ConfigValue UnwrapDict(const ConfigValue& value, int depth) {
  const std::string_view name = value.StringOr("class_name");
  if (name == "__tuple__" || name == "TensorShape") {
    return UnwrapAt(value["items"], depth + 1);
  }
  if (name == "__tensor__" || name == "__numpy__") {
    return UnwrapAt(value["config"]["value"], depth + 1);
  }
  if (name.ends_with("Policy") || name == "PolicyV1" || name == "DTypePolicyMap") {
    return std::string(PolicyName(value));
  }
  if (value.StringOr("type") == "ndarray" && value.Find("value") != nullptr) {
    return UnwrapAt(value["value"], depth + 1);
  }
  Dict result;
  for (const auto& [key, item] : value.as_dict()) result.emplace(key, UnwrapAt(item, depth + 1));
  return result;
}

ConfigValue UnwrapAt(const ConfigValue& value, int depth) {
  if (depth > 300) return value;
  if (value.is_list()) {
    List result;
    result.reserve(value.as_list().size());
    for (const ConfigValue& item : value.as_list()) result.push_back(UnwrapAt(item, depth + 1));
    return result;
  }
  if (value.is_dict()) return UnwrapDict(value, depth);
  return value;
}

}  // namespace

ConfigValue Unwrap(const ConfigValue& value) { return UnwrapAt(value, 0); }

ConfigValue CanonicalConfig(const ConfigValue& config, std::string_view written_class,
                            std::string_view class_name, const Writer& writer) {
  if (!config.is_dict()) return config;
  ConfigValue unwrapped = Unwrap(config);
  if (!unwrapped.is_dict()) return unwrapped;
  Dict& dict = unwrapped.as_dict();
  if (writer.dialect == Writer::Dialect::kKeras1) CanonicalKeras1(dict, class_name);
  // Some converters and Keras 2 files of Keras 1 layers keep the old spelling.
  CanonicalDataFormat(dict);
  if (written_class.find("CuDNN") != std::string_view::npos) CanonicalCudnn(dict, class_name);
  FillEraDefaults(dict, class_name, writer);
  return unwrapped;
}

}  // namespace h5serve::model
