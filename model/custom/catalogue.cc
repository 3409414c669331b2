#include "model/custom/catalogue.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <string>

#include "config/option_table.h"
#include "model/custom/custom_config.h"

namespace h5serve::model {
namespace {

using Use = CatalogueRow::Use;

bool HasWord(std::string_view words, std::string_view word) {
  for (size_t at = 0; at < words.size();) {
    const size_t end = std::min(words.find(' ', at), words.size());
    if (words.substr(at, end - at) == word) return true;
    at = end + 1;
  }
  return false;
}

// Parsed once; null for what does not parse, which a test rules out.
std::shared_ptr<const CustomDefinition> Parse(const CatalogueRow& row) {
  const absl::StatusOr<ConfigValue> json = ParseJson(row.json);
  if (!json.ok()) return nullptr;
  const absl::StatusOr<std::shared_ptr<const CustomDefinition>> definition =
      ParseDefinition(row.name, *json);
  if (!definition.ok()) return nullptr;
  auto marked = std::make_shared<CustomDefinition>(**definition);
  marked->catalogue = std::string(row.name);
  return marked;
}

std::shared_ptr<const CustomDefinition> DefinitionOf(const CatalogueRow& row) {
  using Map = std::map<const CatalogueRow*, std::shared_ptr<const CustomDefinition>>;
  static const Map* const definitions = [] {
    auto* map = new Map;
    for (const CatalogueRow* each : Catalogue()) map->emplace(each, Parse(*each));
    return map;
  }();
  const auto at = definitions->find(&row);
  return at == definitions->end() ? nullptr : at->second;
}

bool GuardHolds(const CatalogueRow& row, const ConfigValue& config, const Writer& writer) {
  if (row.guard.empty()) return true;
  const auto expression = ParseExpression(row.guard);
  if (!expression.ok()) return false;
  CustomDefinition scope;
  scope.parameters.emplace("dialect", std::string(Name(writer.dialect)));
  const absl::StatusOr<ConfigValue> value = EvaluateSetting(**expression, scope, config);
  return value.ok() && *value == ConfigValue(true);
}

// The names of an entry's class: as registered, or as written.
std::vector<std::string_view> NamesOf(const ConfigValue& entry) {
  const std::string_view registered = entry.StringOr("registered_name");
  // A package that the row does not name is not the row's.
  if (registered.find('>') != std::string_view::npos && !registered.starts_with("Custom>")) {
    return {registered};
  }
  std::string_view name = entry.StringOr("class_name");
  if (name.starts_with("Custom>")) name.remove_prefix(7);
  return {name};
}

}  // namespace

const std::vector<const CatalogueRow*>& Catalogue() {
  static const std::vector<const CatalogueRow*>* const rows = [] {
    auto* all = new std::vector<const CatalogueRow*>;
    for (std::span<const CatalogueRow> family : {CatalogueActivations(), CatalogueNormalizations(),
                                                 CatalogueAttention(), CatalogueImages()}) {
      for (const CatalogueRow& row : family) all->push_back(&row);
    }
    std::sort(all->begin(), all->end(),
              [](const CatalogueRow* a, const CatalogueRow* b) { return a->name < b->name; });
    return all;
  }();
  return *rows;
}

absl::StatusOr<std::shared_ptr<const CustomDefinition>> CatalogueDefinition(std::string_view name) {
  std::vector<std::string> names;
  for (const CatalogueRow* row : Catalogue()) {
    if (row->name == name) return DefinitionOf(*row);
    names.emplace_back(row->name);
  }
  const std::string nearest = config::Nearest(name, names);
  return absl::NotFoundError(
      fmt::format("the catalogue has no entry {}{}", name.substr(0, 100),
                  nearest.empty() ? "" : fmt::format("; did you mean {}?", nearest)));
}

std::shared_ptr<const CustomDefinition> CatalogueDefinitionFor(const ConfigValue& entry,
                                                               const Writer& writer, bool known) {
  for (std::string_view name : NamesOf(entry)) {
    for (const CatalogueRow* row : Catalogue()) {
      if (row->use != Use::kAlways || (known && row->guard.empty())) continue;
      if (!HasWord(row->names, name) || !GuardHolds(*row, entry["config"], writer)) continue;
      return DefinitionOf(*row);
    }
  }
  return nullptr;
}

std::shared_ptr<const CustomDefinition> CatalogueFunction(std::string_view name) {
  for (const CatalogueRow* row : Catalogue()) {
    if (row->use == Use::kAlways && row->guard.empty() && HasWord(row->names, name)) {
      return DefinitionOf(*row);
    }
  }
  return nullptr;
}

const CatalogueRow* CatalogueSuggestion(const ConfigValue& entry) {
  for (std::string_view name : NamesOf(entry)) {
    for (const CatalogueRow* row : Catalogue()) {
      if (row->use == Use::kOnDemand && HasWord(row->names, name)) return row;
    }
  }
  return nullptr;
}

}  // namespace h5serve::model
