#include "server/commands/load_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>

namespace h5serve::server {
namespace {

bool IsNumber(const std::string& text) {
  return !text.empty() &&
         std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

// The model.json of a file in one of the versioned layouts, or "".
std::string SettingsBeside(const std::string& file) {
  namespace fs = std::filesystem;
  std::error_code error;
  const fs::path folder = fs::absolute(file, error).parent_path();
  const fs::path own = folder / "model.json";
  if (fs::is_regular_file(own, error)) return own.string();
  const fs::path above = folder.parent_path() / "model.json";
  if (IsNumber(folder.filename().string()) && fs::is_regular_file(above, error)) {
    return above.string();
  }
  return "";
}

}  // namespace

absl::StatusOr<config::ModelOptions> OptionsFor(const std::string& file,
                                                const config::OptionSources& sources) {
  const absl::StatusOr<config::Options> options = config::LoadOptions(sources);
  if (!options.ok()) return options.status();
  const std::string settings = SettingsBeside(file);
  if (settings.empty()) return options->model;
  std::ifstream stream(settings, std::ios::binary);
  const std::string text((std::istreambuf_iterator<char>(stream)), {});
  absl::StatusOr<config::ModelOptions> model = config::ParseModelOptions(text, options->model);
  if (model.ok()) return model;
  return absl::InvalidArgumentError(
      fmt::format("{}: {}", settings, std::string(model.status().message())));
}

model::LoadOutcome LoadFile(const std::string& file, const config::OptionSources& sources,
                            bool assess_releases) {
  const absl::StatusOr<config::ModelOptions> options = OptionsFor(file, sources);
  if (options.ok()) {
    model::LoadRequest request;
    request.path = file;
    request.options = *options;
    request.assess_releases = assess_releases;
    return model::LoadModel(request);
  }
  model::LoadOutcome outcome;
  outcome.diagnoses.Add(model::Code::kSettingsInvalid, std::string(options.status().message()));
  return outcome;
}

}  // namespace h5serve::server
