// Definitions of well-known custom layers and functions, each with its source.
#pragma once

#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "model/config_value.h"
#include "model/custom/definition.h"
#include "model/keras_model.h"

namespace h5serve::model {

// One entry of the catalogue. <- add a well-known custom object in catalogue_*.cc
struct CatalogueRow {
  enum class Use {
    kAlways,    // wherever what the file stores identifies the class
    kOnDemand,  // only for {"catalogue": NAME}: the file does not tell whose class it is
  };

  std::string_view name;   // for people, and for {"catalogue": NAME}
  std::string_view names;  // as files write it, between spaces; of functions too
  Use use;
  // An expression over the stored settings and `dialect` ("keras2", …) that must
  // hold; a row with one counts even where Keras has a class of the name.
  std::string_view guard;
  std::string_view source;  // package and file whose formula it is
  std::string_view json;    // the definition
};

// The rows by family.
std::span<const CatalogueRow> CatalogueActivations();
std::span<const CatalogueRow> CatalogueNormalizations();
std::span<const CatalogueRow> CatalogueAttention();
std::span<const CatalogueRow> CatalogueImages();

// All rows, sorted by name.
const std::vector<const CatalogueRow*>& Catalogue();

// The definition of the row called `name`; NOT_FOUND names the nearest one.
absl::StatusOr<std::shared_ptr<const CustomDefinition>> CatalogueDefinition(std::string_view name);

// What is in force without being asked for, for a class of a file's entry and
// for a function; null when there is none. `known` says that Keras has a class
// of the name.
std::shared_ptr<const CustomDefinition> CatalogueDefinitionFor(const ConfigValue& entry,
                                                               const Writer& writer, bool known);
std::shared_ptr<const CustomDefinition> CatalogueFunction(std::string_view name);

// The row that must be asked for and could be meant, or null.
const CatalogueRow* CatalogueSuggestion(const ConfigValue& entry);

}  // namespace h5serve::model
