#include "model/dialect/translate.h"

#include <fmt/format.h>

#include "model/custom/custom_objects.h"
#include "model/custom/translate_custom.h"
#include "model/dialect/class_names.h"
#include "model/dialect/layer_entries.h"

namespace h5serve::model {
namespace {

// Channel order of the first layer that stores one: what Keras 1 layers that do
// not store it most likely had.
std::string FindDataFormat(const ConfigValue& value, int depth) {
  if (depth > 64) return "";
  if (value.is_list()) {
    for (const ConfigValue& item : value.as_list()) {
      std::string found = FindDataFormat(item, depth + 1);
      if (!found.empty()) return found;
    }
    return "";
  }
  if (!value.is_dict()) return "";
  const std::string_view stored = value.StringOr("dim_ordering");
  if (stored == "th") return "channels_first";
  if (stored == "tf") return "channels_last";
  for (const auto& [key, item] : value.as_dict()) {
    std::string found = FindDataFormat(item, depth + 1);
    if (!found.empty()) return found;
  }
  return "";
}

}  // namespace

std::unique_ptr<KerasModel> TranslateModel(const ConfigValue& model_config, const Writer& writer,
                                           const CustomObjects* custom, DiagnosisList* diagnoses) {
  const std::string_view class_name = model_config.StringOr("class_name");
  if (class_name.empty() || model_config.Find("config") == nullptr) {
    diagnoses->Add(
        Code::kModelConfigInvalid,
        fmt::format("model_config needs class_name and config, found {}", model_config.ToJson(80)),
        {"", "", "/", ""});
    return nullptr;
  }
  Translation translation{.writer = writer,
                          .diagnoses = diagnoses,
                          .custom = custom,
                          .assumed_data_format = FindDataFormat(model_config, 0)};
  if (custom != nullptr) {
    if (const auto definition = custom->Find(model_config, diagnoses)) {
      return TranslateCustomModel(model_config, *definition, translation);
    }
  }
  if (!IsModelEntry(model_config)) {
    const ConfigValue& config = model_config["config"];
    if (config.is_dict() && config["layers"].is_list() && config["name"].is_string() &&
        config["input_layers"].is_null()) {
      // Keras serves a user's subclass with name and layers like a Sequential.
      ConfigValue::Dict entry;
      entry.emplace("class_name", "Sequential");
      entry.emplace("config", config);
      return TranslateNested(ConfigValue(std::move(entry)), "", translation);
    }
    const std::string registered(model_config.StringOr("registered_name"));
    diagnoses->Add(
        Code::kCustomModelClass,
        fmt::format("the model is of class {}{}, whose config ({}) describes no graph of layers",
                    class_name,
                    registered.empty() || registered == class_name
                        ? ""
                        : fmt::format(" (registered as {})", registered),
                    config.ToJson(160)),
        {"", std::string(class_name), "/class_name", ""});
    return nullptr;
  }
  return TranslateNested(model_config, "", translation);
}

}  // namespace h5serve::model
