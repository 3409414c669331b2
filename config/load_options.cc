#include "config/load_options.h"

#include <fmt/format.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "config/option_table.h"
#include "config/values.h"

namespace h5serve::config {
namespace {

using Json = nlohmann::json;

constexpr int64_t kMaxFileBytes = int64_t{16} << 20;

// `scope` says which rows may be set: all of them, or those of a model.json.
struct Scope {
  bool per_model;
};

std::string Join(std::string_view prefix, std::string_view key) {
  return prefix.empty() ? std::string(key) : fmt::format("{}.{}", prefix, key);
}

const OptionRow* FindRow(const Scope& scope, const std::string& name) {
  if (scope.per_model) {
    const OptionRow* row = FindOption("model." + name);
    if (row != nullptr) return row;
  }
  const OptionRow* row = FindOption(name);
  return row != nullptr && scope.per_model && !row->per_model ? nullptr : row;
}

bool IsSection(const Scope& scope, const std::string& name) {
  for (const OptionRow& row : AllOptions()) {
    if (scope.per_model && !row.per_model) continue;
    if (row.name.starts_with(name + ".")) return true;
  }
  return false;
}

absl::Status UnknownKey(const Scope& scope, const std::string& name) {
  std::vector<std::string> names;
  for (const OptionRow& row : AllOptions()) {
    if (scope.per_model && !row.per_model) continue;
    const bool short_name = scope.per_model && row.name.starts_with("model.");
    names.emplace_back(short_name ? row.name.substr(6) : row.name);
  }
  const std::string nearest = Nearest(name, names);
  return absl::InvalidArgumentError(fmt::format(
      "unknown key {}{}", name, nearest.empty() ? "" : fmt::format("; did you mean {}?", nearest)));
}

// What a row's set() takes: scalars as they are written, lists with commas
// between their items, the version policy as words, other objects as JSON.
absl::StatusOr<std::string> AsText(const Json& value, const OptionRow& row) {
  if (row.kind == "object") {
    // Only the operator's command line names files.
    if (value.is_object()) return value.dump();
    return absl::InvalidArgumentError(fmt::format("expected an object ({})", row.range));
  }
  if (value.is_string()) return value.get<std::string>();
  if (row.kind == "versions" && value.is_object() && value.size() == 1) {
    std::string text = value.begin().key();
    const Json& numbers = value.begin().value();
    for (const Json& number : numbers.is_array() ? numbers : Json::array({numbers})) {
      if (!number.is_object()) text += " " + number.dump();
    }
    return text;
  }
  if (value.is_array() && row.kind == "list") {
    std::vector<std::string> items;
    for (const Json& item : value) {
      if (!item.is_string()) return absl::InvalidArgumentError("expected a list of strings");
      items.push_back(item.get<std::string>());
    }
    return FormatList(items);
  }
  if (value.is_boolean() || value.is_number()) return value.dump();
  return absl::InvalidArgumentError(
      fmt::format("expected {} ({}), not {}", row.kind, row.range, value.type_name()));
}

absl::Status SetRow(Options* options, const OptionRow& row, const std::string& name,
                    const Json& value) {
  const absl::StatusOr<std::string> text = AsText(value, row);
  const absl::Status status = text.ok() ? row.set(options, *text) : text.status();
  if (status.ok()) return status;
  return absl::InvalidArgumentError(fmt::format(
      "{}: {}, not {}", name, std::string(status.message()), value.dump().substr(0, 200)));
}

absl::Status Apply(const Json& object, const Scope& scope, const std::string& prefix,
                   Options* options) {
  for (const auto& [key, value] : object.items()) {
    const std::string name = Join(prefix, key);
    absl::Status status;
    if (name == "golden_tolerance" && value.is_number()) {
      for (const char* part : {"golden_tolerance.absolute", "golden_tolerance.relative"}) {
        if (status.ok()) status = SetRow(options, *FindOption(part), name, value);
      }
    } else if (value.is_object() && IsSection(scope, name)) {
      status = Apply(value, scope, name, options);
    } else if (const OptionRow* row = FindRow(scope, name); row != nullptr) {
      status = SetRow(options, *row, name, value);
    } else {
      status = UnknownKey(scope, name);
    }
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status ApplyText(std::string_view text, const Scope& scope, Options* options) {
  try {
    const Json json = Json::parse(text, nullptr, true, /*ignore_comments=*/true);
    if (!json.is_object()) return absl::InvalidArgumentError("expected a JSON object");
    return Apply(json, scope, "", options);
  } catch (const Json::exception& error) {
    return absl::InvalidArgumentError(fmt::format("not valid JSON: {}", error.what()));
  }
}

absl::StatusOr<std::string> ReadFile(const std::string& path) {
  std::error_code error;
  const uintmax_t size = std::filesystem::file_size(path, error);
  if (error) return absl::NotFoundError(fmt::format("{}: {}", path, error.message()));
  if (size > static_cast<uintmax_t>(kMaxFileBytes)) {
    return absl::InvalidArgumentError(fmt::format("{}: larger than 16 MiB", path));
  }
  std::ifstream stream(path, std::ios::binary);
  std::string text((std::istreambuf_iterator<char>(stream)), {});
  if (!stream.good() && !stream.eof()) {
    return absl::UnavailableError(fmt::format("{}: cannot be read", path));
  }
  return text;
}

absl::Status ApplyFile(const std::string& path, Options* options) {
  const absl::StatusOr<std::string> text = ReadFile(path);
  if (!text.ok()) {
    return absl::Status(text.status().code(),
                        fmt::format("configuration {}", std::string(text.status().message())));
  }
  const absl::Status status = ApplyText(*text, Scope{.per_model = false}, options);
  if (status.ok()) return status;
  return absl::InvalidArgumentError(
      fmt::format("configuration {}: {}", path, std::string(status.message())));
}

absl::Status ApplyEnvironment(const std::vector<std::string>& environment, Options* options) {
  constexpr std::string_view kPrefix = "H5SERVE_";
  // Read by others: the kernels' instruction set, the configuration's place.
  const std::vector<std::string> foreign = {"H5SERVE_ISA", "H5SERVE_CONFIG"};
  std::vector<std::string> names;
  for (const OptionRow& row : AllOptions()) names.push_back(VariableName(row));
  for (const std::string& entry : environment) {
    if (!entry.starts_with(kPrefix)) continue;
    const size_t equals = std::min(entry.find('='), entry.size());
    std::string name = entry.substr(0, equals);
    const std::string value = entry.substr(std::min(equals + 1, entry.size()));
    if (std::find(foreign.begin(), foreign.end(), name) != foreign.end()) continue;
    // Kubernetes adds H5SERVE_PORT_… and H5SERVE_SERVICE_… for a Service of this name.
    if (name.starts_with("H5SERVE_PORT") || name.starts_with("H5SERVE_SERVICE_")) continue;
    if (name == "H5SERVE_HTTP") name = "H5SERVE_HTTP_LISTEN";
    const auto found = std::find(names.begin(), names.end(), name);
    if (found == names.end()) {
      const std::string nearest = Nearest(name, names);
      return absl::InvalidArgumentError(
          fmt::format("unknown variable {}{}", name,
                      nearest.empty() ? "" : fmt::format("; did you mean {}?", nearest)));
    }
    const OptionRow& row = AllOptions()[found - names.begin()];
    const absl::Status status = row.set(options, value);
    if (!status.ok()) {
      return absl::InvalidArgumentError(
          fmt::format("{}: {}, not \"{}\"", name, std::string(status.message()), value));
    }
  }
  return absl::OkStatus();
}

// Parses the text of an object option into `visit(key, value)`.
template <typename Visit>
absl::Status ForEachMember(std::string_view text, Visit visit) {
  try {
    const Json json = Json::parse(text);
    if (!json.is_object()) return absl::InvalidArgumentError("expected a JSON object");
    for (const auto& [key, value] : json.items()) {
      if (absl::Status status = visit(key, value); !status.ok()) return status;
    }
    return absl::OkStatus();
  } catch (const Json::exception& error) {
    return absl::InvalidArgumentError(fmt::format("expected a JSON object: {}", error.what()));
  }
}

}  // namespace

absl::Status SetLabels(ModelOptions* options, std::string_view json) {
  std::map<std::string, int64_t> labels;
  absl::Status status =
      ForEachMember(json, [&](const std::string& key, const Json& value) -> absl::Status {
        if (!value.is_number_integer()) {
          return absl::InvalidArgumentError(fmt::format("label {}: expected a version", key));
        }
        labels[key] = value.get<int64_t>();
        return absl::OkStatus();
      });
  if (status.ok()) options->labels = std::move(labels);
  return status;
}

absl::Status SetNames(ModelOptions* options, std::string_view json) {
  std::map<std::string, std::string> names;
  absl::Status status =
      ForEachMember(json, [&](const std::string& key, const Json& value) -> absl::Status {
        if (!value.is_string() || value.get_ref<const std::string&>().empty()) {
          return absl::InvalidArgumentError(fmt::format("name {}: expected a string", key));
        }
        names[key] = value.get<std::string>();
        return absl::OkStatus();
      });
  if (status.ok()) options->names = std::move(names);
  return status;
}

absl::Status SetCustomObjects(ModelOptions* options, std::string_view json) {
  // On the command line, the name of a file that holds them.
  std::string file;
  const size_t start = json.find_first_not_of(" \t\r\n");
  if (start != std::string_view::npos && json[start] != '{') {
    absl::StatusOr<std::string> text = ReadFile(std::string(json));
    if (!text.ok()) return text.status();
    file = *std::move(text);
    json = file;
  }
  // A model's own definitions add to the server's and win over them.
  std::map<std::string, std::string> objects = options->custom_objects;
  absl::Status status =
      ForEachMember(json, [&](const std::string& key, const Json& value) -> absl::Status {
        // As people paste it: with the option's own name around.
        if (key == "custom_objects" && value.is_object()) {
          for (const auto& [name, definition] : value.items()) objects[name] = definition.dump();
        } else {
          objects[key] = value.dump();
        }
        return absl::OkStatus();
      });
  if (status.ok()) options->custom_objects = std::move(objects);
  return status;
}

std::string FormatLabels(const ModelOptions& options) { return Json(options.labels).dump(); }

std::string FormatNames(const ModelOptions& options) {
  return options.names.empty() ? "{}" : Json(options.names).dump();
}

std::string FormatCustomObjects(const ModelOptions& options) {
  Json objects = Json::object();
  for (const auto& [name, definition] : options.custom_objects) {
    objects[name] = Json::parse(definition, nullptr, /*allow_exceptions=*/false);
  }
  return objects.dump(-1, ' ', false, Json::error_handler_t::replace);
}

absl::StatusOr<Options> LoadOptions(const OptionSources& sources) {
  Options options;
  if (!sources.file.empty()) {
    if (absl::Status status = ApplyFile(sources.file, &options); !status.ok()) return status;
  }
  if (absl::Status status = ApplyEnvironment(sources.environment, &options); !status.ok()) {
    return status;
  }
  for (const auto& [name, value] : sources.flags) {
    if (absl::Status status = SetOption(&options, name, value); !status.ok()) return status;
  }
  return options;
}

absl::StatusOr<ModelOptions> ParseModelOptions(std::string_view json,
                                               const ModelOptions& defaults) {
  Options options;
  options.model = defaults;
  absl::Status status = ApplyText(json, Scope{.per_model = true}, &options);
  if (!status.ok()) return status;
  return std::move(options.model);
}

std::vector<std::string> Environment() {
  std::vector<std::string> entries;
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
    entries.emplace_back(*entry);
  }
  return entries;
}

}  // namespace h5serve::config
