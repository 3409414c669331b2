#include "model/dialect/check_layers.h"

#include <fmt/format.h>

#include <algorithm>

#include "model/dialect/config_keys.h"

namespace h5serve::model {
namespace {

// Levenshtein distance, cut off at `limit`.
size_t Distance(std::string_view a, std::string_view b, size_t limit) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t above = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, diagonal + (a[i - 1] != b[j - 1])});
      diagonal = above;
    }
  }
  return std::min(row[b.size()], limit);
}

std::string SimilarClasses(std::string_view name) {
  const size_t limit = std::max<size_t>(2, name.size() / 3);
  std::string text;
  int count = 0;
  for (const LayerClass& row : AllLayerClasses()) {
    if (Distance(name, row.name, limit + 1) > limit || count == 3) continue;
    text += (text.empty() ? "" : ", ") + std::string(row.name);
    ++count;
  }
  return text;
}

std::string DescribeWeights(const LayerWeights* weights) {
  if (weights == nullptr || weights->empty()) return "no weights";
  std::string text = "weights ";
  bool first = true;
  for (const auto& [name, tensor] : *weights) {
    if (text.size() > 300) return text + ", …";
    text += fmt::format("{}{} {}", first ? "" : ", ", name, tensor.shape().ToString());
    first = false;
  }
  return text;
}

bool IsNeutral(const ConfigValue& value) {
  if (value.is_null()) return true;
  if (value.is_bool()) return !value.as_bool();
  if (value.is_list()) return value.as_list().empty();
  if (value.is_dict()) return value.as_dict().empty();
  return false;
}

// What a definition for the class would look like, to be pasted and edited.
std::string Skeleton(const Layer& layer, const LayerWeights* weights) {
  const bool plain = weights == nullptr || weights->empty();
  return fmt::format(
      "define it in custom_objects, for example {{\"custom_objects\": {{\"{}\": {}}}}}",
      layer.class_name, plain ? R"({"expression": "x"})" : R"({"layer": "…", "config": {…}})");
}

class Checker {
 public:
  Checker(const Lowering& lowering, bool unknown_key_is_error, DiagnosisList* diagnoses)
      : lowering_(lowering), unknown_key_is_error_(unknown_key_is_error), diagnoses_(*diagnoses) {}

  void Model(const KerasModel& model, const std::string& path, int depth) {
    if (depth > 64) return;
    for (size_t i = 0; i < model.layers.size(); ++i) {
      Check(*model.layers[i], static_cast<int>(i), path, depth);
    }
  }

 private:
  void Check(const Layer& layer, int index, const std::string& path, int depth) {
    const std::string name = path + layer.name;
    if (layer.nested) {
      Model(*layer.nested, name + "/", depth + 1);
      return;
    }
    if (layer.class_name == "InputLayer") return;
    if (lowering_.LowerFunctionOf(layer) == nullptr) {
      Unknown(layer, index, name);
    } else if (!layer.is_operation) {
      CheckKeys(layer, name);
    }
    for (const auto& inner : layer.inner) Check(*inner, 0, name + "/", depth + 1);
  }

  void Unknown(const Layer& layer, int index, const std::string& name) {
    const Place place{name, layer.written_class, layer.json_pointer, ""};
    if (layer.is_operation) {
      diagnoses_.Add(Code::kUnsupportedOp,
                     fmt::format("operation {} calls {}({}), which is not supported", name,
                                 layer.class_name, layer.config.ToJson(160)),
                     place);
      return;
    }
    const LayerWeights* weights = lowering_.weights(layer);
    const std::string similar = SimilarClasses(layer.class_name);
    std::string origin = layer.registered_name.empty() ? layer.module : layer.registered_name;
    if (!origin.empty()) origin = " from " + origin;
    diagnoses_.Add(
        Code::kUnknownLayer,
        fmt::format(
            "layer #{} \"{}\" is of class {}{}, which is not part of Keras{}; config {}; {}", index,
            name, layer.written_class, origin, similar.empty() ? "" : " (similar: " + similar + ")",
            layer.config.ToJson(240), DescribeWeights(weights)),
        place, {Skeleton(layer, weights), "or export the model again without this class"});
  }

  void CheckKeys(const Layer& layer, const std::string& name) {
    if (!layer.config.is_dict()) return;
    for (const auto& [key, value] : layer.config.as_dict()) {
      if (IsKnownConfigKey(layer.class_name, key) || IsNeutral(value)) continue;
      const std::string_view nearest = NearestConfigKey(layer.class_name, key);
      Diagnosis diagnosis{
          Code::kUnknownConfigKey,
          unknown_key_is_error_ ? Severity::kError : Severity::kWarning,
          fmt::format("layer {} ({}) has {} = {}, which no known Keras writes{}", name,
                      layer.written_class, key, value.ToJson(80),
                      nearest.empty() ? "" : fmt::format(" (nearest: {})", nearest)),
          {name, layer.written_class, layer.json_pointer + "/config/" + key, ""},
          {"if the key does not change predictions, set compatibility.unknown_config_key to "
           "\"warn\""}};
      diagnoses_.Add(std::move(diagnosis));
    }
  }

  const Lowering& lowering_;
  bool unknown_key_is_error_;
  DiagnosisList& diagnoses_;
};

}  // namespace

void CheckLayers(const KerasModel& model, const Lowering& lowering, bool unknown_key_is_error,
                 DiagnosisList* diagnoses) {
  Checker(lowering, unknown_key_is_error, diagnoses).Model(model, "", 0);
}

}  // namespace h5serve::model
