// The table of options: what the command line, the configuration file, the
// environment, `h5serve options` and the documentation are made of.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "config/options.h"

namespace h5serve::config {

// One option. Its name is the key of the file ("batching.max_batch_size" is
// the member max_batch_size of the object batching); `--batching-max-batch-size`
// and `H5SERVE_BATCHING_MAX_BATCH_SIZE` follow from it.
struct OptionRow {
  std::string_view name;
  std::string_view kind;  // what a value looks like: "integer", "duration", …
  std::string range;      // the values accepted, for people
  std::string_view help;
  bool per_model;  // may also stand in a model.json
  std::string (*get)(const Options& options);
  // INVALID_ARGUMENT, saying what was expected, when `text` is no legal value.
  absl::Status (*set)(Options* options, std::string_view text);
};

std::span<const OptionRow> AllOptions();

// The row, or null. Dashes count as underscores.
const OptionRow* FindOption(std::string_view name);

// FindOption(name)->set with the option's name in the error; NOT_FOUND naming
// the nearest option when there is none.
absl::Status SetOption(Options* options, std::string_view name, std::string_view text);

// "--batching-max-batch-size" and "H5SERVE_BATCHING_MAX_BATCH_SIZE".
std::string FlagName(const OptionRow& row);
std::string VariableName(const OptionRow& row);

// The candidate with the smallest edit distance, or "" when none is near.
std::string Nearest(std::string_view name, const std::vector<std::string>& candidates);

}  // namespace h5serve::config
