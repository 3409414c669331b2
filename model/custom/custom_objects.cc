#include "model/custom/custom_objects.h"

#include <fmt/format.h>

#include <vector>

#include "model/custom/catalogue.h"

namespace h5serve::model {
namespace {

std::string_view AfterPackage(std::string_view name) {
  const size_t package = name.rfind('>');
  return package == std::string_view::npos ? name : name.substr(package + 1);
}

// Every name under which the entry's class may be defined, the exact ones first.
std::vector<std::string> NamesOf(const ConfigValue& entry) {
  const std::string class_name(entry.StringOr("class_name"));
  const std::string registered(entry.StringOr("registered_name"));
  const std::string module(entry.StringOr("module"));
  std::vector<std::string> names;
  const auto add = [&names](std::string name) {
    if (!name.empty()) names.push_back(std::move(name));
  };
  add(registered);
  if (!module.empty()) {
    add(fmt::format("{}.{}", module, class_name));
    add(fmt::format("{}>{}", module, class_name));
  }
  add(class_name);
  add(std::string(AfterPackage(registered)));
  add(std::string(AfterPackage(class_name)));
  if (class_name != "Lambda") return names;
  const ConfigValue& config = entry["config"];
  const ConfigValue& function = config["function"];
  add(std::string(entry["name"].is_string() ? entry.StringOr("name") : config.StringOr("name")));
  if (function.is_string()) add(function.as_string());
  if (function.is_dict() && function["config"].is_string()) add(function["config"].as_string());
  return names;
}

// {"catalogue": NAME, "parameters": {…}}: an entry with other defaults.
absl::StatusOr<std::shared_ptr<const CustomDefinition>> FromCatalogue(const ConfigValue& json) {
  for (const auto& [key, value] : json.as_dict()) {
    if (key != "catalogue" && key != "parameters" && key != "comment") {
      return absl::InvalidArgumentError(
          fmt::format("unknown key {}; beside catalogue there are parameters and comment", key));
    }
  }
  absl::StatusOr<std::shared_ptr<const CustomDefinition>> definition =
      CatalogueDefinition(json["catalogue"].as_string());
  if (!definition.ok() || !json["parameters"].is_dict()) return definition;
  auto changed = std::make_shared<CustomDefinition>(**definition);
  for (const auto& [key, value] : json["parameters"].as_dict()) {
    changed->parameters.insert_or_assign(key, value);
  }
  return std::shared_ptr<const CustomDefinition>(std::move(changed));
}

}  // namespace

CustomObjects::CustomObjects(const config::ModelOptions& options)
    : plugin_paths_(options.plugin_paths) {
  for (const auto& [name, text] : options.custom_objects) {
    Entry entry;
    const absl::StatusOr<ConfigValue> json = ParseJson(text);
    absl::StatusOr<std::shared_ptr<const CustomDefinition>> definition = nullptr;
    if (!json.ok()) {
      definition = json.status();
    } else {
      const ConfigValue& named = (*json)["catalogue"];
      definition = named.is_string() ? FromCatalogue(*json) : ParseDefinition(name, *json);
    }
    entry.status = definition.status();
    if (definition.ok()) entry.definition = *std::move(definition);
    entries_.emplace(name, std::move(entry));
  }
}

std::shared_ptr<const CustomDefinition> CustomObjects::Take(std::string_view name,
                                                            const Place& place,
                                                            DiagnosisList* diagnoses) const {
  const auto at = entries_.find(name);
  if (at == entries_.end()) return nullptr;
  if (!at->second.status.ok()) {
    diagnoses->Add(
        Code::kCustomDefinitionInvalid,
        fmt::format("custom_objects, {}: {}", name, std::string(at->second.status.message())),
        place);
  }
  return at->second.definition;
}

std::shared_ptr<const CustomDefinition> CustomObjects::Find(const ConfigValue& entry,
                                                            DiagnosisList* diagnoses) const {
  if (entries_.empty()) return nullptr;
  const Place place{std::string(entry["config"].StringOr("name")),
                    std::string(entry.StringOr("class_name")), "", ""};
  for (const std::string& name : NamesOf(entry)) {
    if (entries_.contains(name)) return Take(name, place, diagnoses);
  }
  return nullptr;
}

std::shared_ptr<const CustomDefinition> CustomObjects::FindFunction(
    std::string_view name, DiagnosisList* diagnoses) const {
  for (std::string_view spelling : {name, AfterPackage(name)}) {
    if (entries_.contains(spelling)) return Take(spelling, {}, diagnoses);
  }
  return nullptr;
}

void CustomObjects::ReportInvalid(DiagnosisList* diagnoses) const {
  for (const auto& [name, entry] : entries_) {
    if (entry.status.ok()) continue;
    const std::string prefix = fmt::format("custom_objects, {}: ", name);
    bool told = false;
    for (const Diagnosis& known : diagnoses->items()) told |= known.message.starts_with(prefix);
    if (told) continue;
    diagnoses->Add({Code::kCustomDefinitionInvalid,
                    Severity::kWarning,
                    prefix + std::string(entry.status.message()) + "; this model does not use it",
                    {},
                    {}});
  }
}

}  // namespace h5serve::model
