// Which releases of Keras load a file, for `check`.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <vector>

#include "model/compatibility/obstacle.h"
#include "server/commands/terminal.h"

namespace h5serve::server {

// One entry for each range of releases that are alike: "line", "from", "to",
// "releases", "loads", "obstacles" in the order in which they are met, "notes".
nlohmann::ordered_json ReleasesJson(const std::vector<model::ReleaseVerdict>& verdicts);

// Who loads it, and the first obstacle of those who do not.
void PrintReleases(const Terminal& terminal, const std::vector<model::ReleaseVerdict>& verdicts);

}  // namespace h5serve::server
