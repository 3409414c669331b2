// Where option values come from.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "config/options.h"

namespace h5serve::config {

// What the operator gave, weakest first: file, environment, flags.
struct OptionSources {
  std::string file;  // path of a JSON file; empty: none
  // Entries "NAME=value" as in environ; those starting with H5SERVE_ count.
  std::vector<std::string> environment;
  std::vector<std::pair<std::string, std::string>> flags;  // option name, value
};

// Defaults overlaid with every source. An unknown key is an error that names
// the nearest known one. Never throws.
absl::StatusOr<Options> LoadOptions(const OptionSources& sources);

// The settings of one model: `defaults` overlaid with the text of a model.json.
absl::StatusOr<ModelOptions> ParseModelOptions(std::string_view json, const ModelOptions& defaults);

// The environment of this process.
std::vector<std::string> Environment();

}  // namespace h5serve::config
