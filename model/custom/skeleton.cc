#include "model/custom/skeleton.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <set>

#include "model/custom/custom_config.h"

namespace h5serve::model {
namespace {

// The last word of an array's name that can be a name in an expression.
std::string Identifier(std::string_view stored) {
  stored = stored.substr(0, stored.rfind(':'));
  stored = stored.substr(stored.rfind('/') + 1);
  std::string name;
  for (char c : stored) {
    const bool good = std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_';
    name += good ? c : '_';
  }
  if (name.empty() || std::isdigit(static_cast<unsigned char>(name[0]))) name = "w" + name;
  return name;
}

std::vector<std::string> StoredNames(const Layer& layer, const LayerWeights* weights) {
  if (!layer.saved_weights.empty()) return layer.saved_weights;
  std::vector<std::string> names;
  if (weights != nullptr) {
    for (const auto& [name, tensor] : *weights) names.push_back(name);
  }
  return names;
}

ConfigValue::Dict Settings(const Layer& layer) {
  ConfigValue::Dict settings;
  const ConfigValue& config = layer.saved_config.is_dict() ? layer.saved_config : layer.config;
  if (!config.is_dict()) return settings;
  for (const auto& [key, value] : config.as_dict()) {
    if (!IsNeutralSetting(key, value)) settings.emplace(key, value);
  }
  return settings;
}

}  // namespace

std::string DescribeWeights(const Layer& layer, const LayerWeights* weights) {
  if (weights == nullptr || weights->empty()) return "no weights";
  std::string text;
  for (const std::string& name : StoredNames(layer, weights)) {
    if (text.size() > 300) return text + ", …";
    const auto at = weights->find(name);
    if (at == weights->end()) continue;
    text += fmt::format("{}{} {}", text.empty() ? "weights " : ", ", name,
                        at->second.shape().ToString());
  }
  return text;
}

std::string GraphSkeleton(const std::string& class_name) {
  ConfigValue::Dict graph, definition, objects, root;
  graph.emplace("class_name", "Functional");
  graph.emplace("config", "…");
  definition.emplace("graph", std::move(graph));
  objects.emplace(class_name, std::move(definition));
  root.emplace("custom_objects", std::move(objects));
  return ConfigValue(std::move(root)).ToJson();
}

std::string DefinitionSkeleton(const Layer& layer, const LayerWeights* weights) {
  const bool plain = weights == nullptr || weights->empty();
  ConfigValue::Dict definition;
  definition.emplace("expression", plain ? "x" : "…");
  const ConfigValue::Dict settings = Settings(layer);
  if (!settings.empty()) definition.emplace("parameters", settings);
  if (!plain) {
    ConfigValue::List list;
    std::set<std::string> used;
    for (const std::string& stored : StoredNames(layer, weights)) {
      const std::string word = Identifier(stored);
      std::string name = word;
      for (int i = 1; !used.insert(name).second; ++i) name = fmt::format("{}_{}", word, i);
      list.emplace_back(name);
      if (list.size() == 64) break;
    }
    definition.emplace("weights", std::move(list));
  }
  ConfigValue::Dict objects, root;
  const std::string& name =
      layer.registered_name.empty() ? layer.written_class : layer.registered_name;
  objects.emplace(name, std::move(definition));
  root.emplace("custom_objects", std::move(objects));
  return ConfigValue(std::move(root)).ToJson();
}

}  // namespace h5serve::model
