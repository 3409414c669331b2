// What the commands that look at one file share.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "config/load_options.h"
#include "model/load.h"

namespace h5serve::server {

// The settings that hold for a file: the given sources, and a model.json beside
// it (or one folder up for NAME/VERSION/FILE.h5).
absl::StatusOr<config::ModelOptions> OptionsFor(const std::string& file,
                                                const config::OptionSources& sources);

// The same pipeline as the daemon's. The folder's settings may be wrong as
// well: that is a diagnosis. `assess_releases` asks for LoadOutcome::releases.
model::LoadOutcome LoadFile(const std::string& file, const config::OptionSources& sources,
                            bool assess_releases = false);

}  // namespace h5serve::server
