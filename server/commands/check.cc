// h5serve check: what a file is, and why it cannot be served.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "server/commands/commands.h"
#include "server/commands/load_file.h"
#include "server/commands/releases_report.h"
#include "server/commands/terminal.h"

namespace h5serve::server {
namespace {

using Json = nlohmann::ordered_json;

Json TensorsJson(const std::vector<model::TensorSpec>& specs) {
  Json list = Json::array();
  for (const model::TensorSpec& spec : specs) {
    Json shape = Json::array();
    for (int64_t dim : spec.shape) shape.push_back(dim == compute::kUnknown ? Json() : Json(dim));
    list.push_back({{"name", spec.name}, {"dtype", compute::Name(spec.dtype)}, {"shape", shape}});
  }
  return list;
}

void PrintJson(const std::string& file, const model::LoadOutcome& outcome) {
  const model::ModelFacts& facts = outcome.facts;
  Json diagnoses = Json::array();
  for (const model::Diagnosis& diagnosis : outcome.diagnoses.items()) {
    diagnoses.push_back({{"code", Name(diagnosis.code)},
                         {"severity", Name(diagnosis.severity)},
                         {"message", diagnosis.message},
                         {"where",
                          {{"layer", diagnosis.where.layer},
                           {"class", diagnosis.where.class_name},
                           {"json_pointer", diagnosis.where.json_pointer},
                           {"hdf5_path", diagnosis.where.hdf5_path}}},
                         {"remedies", diagnosis.remedies}});
  }
  const Json object = {{"file", file},
                       {"servable", outcome.servable != nullptr},
                       {"keras_version", facts.keras_version},
                       {"backend", facts.backend},
                       {"dialect", facts.dialect},
                       {"layers", facts.layers},
                       {"parameters", facts.parameters},
                       {"memory_bytes", facts.memory_bytes},
                       {"inputs", TensorsJson(outcome.signature.inputs)},
                       {"outputs", TensorsJson(outcome.signature.outputs)},
                       {"diagnoses", diagnoses},
                       {"releases", ReleasesJson(outcome.releases)}};
  fmt::print("{}\n", object.dump(-1, ' ', false, Json::error_handler_t::replace));
}

void PrintTensors(const Terminal& terminal, const char* title,
                  const std::vector<model::TensorSpec>& specs) {
  bool first = true;
  for (const model::TensorSpec& spec : specs) {
    terminal.Wrapped(
        fmt::format("    {:<9}", first ? title : ""),
        fmt::format("{}  {} {}", spec.name, compute::Name(spec.dtype), spec.shape.ToString()));
    first = false;
  }
}

void PrintDiagnosis(const Terminal& terminal, const model::Diagnosis& diagnosis) {
  const Style style = diagnosis.severity == model::Severity::kError     ? Style::kBad
                      : diagnosis.severity == model::Severity::kWarning ? Style::kWarning
                                                                        : Style::kDim;
  terminal.Wrapped("  ", fmt::format("{} {}", Name(diagnosis.severity), Name(diagnosis.code)),
                   style);
  terminal.Wrapped("    ", diagnosis.message);
  const model::Place& where = diagnosis.where;
  std::vector<std::string> places;
  if (!where.layer.empty()) {
    places.push_back(where.class_name.empty()
                         ? fmt::format("layer {}", where.layer)
                         : fmt::format("layer {} ({})", where.layer, where.class_name));
  }
  if (!where.json_pointer.empty()) places.push_back("model_config" + where.json_pointer);
  if (!where.hdf5_path.empty()) places.push_back(where.hdf5_path);
  if (!places.empty()) {
    terminal.Wrapped("    where   ", fmt::format("{}", fmt::join(places, ", ")), Style::kDim);
  }
  const char* title = "    try     ";
  for (const std::string& remedy : diagnosis.remedies) {
    terminal.Wrapped(title, remedy);
    title = "    or      ";
  }
}

void PrintText(const Terminal& terminal, const std::string& file,
               const model::LoadOutcome& outcome) {
  const bool good = outcome.servable != nullptr;
  fmt::print("{} {}  {}\n", terminal.Styled(good ? Style::kGood : Style::kBad, good ? "✔" : "✘"),
             terminal.Styled(Style::kBold, file),
             terminal.Styled(good ? Style::kGood : Style::kBad, good ? "servable" : "refused"));
  const model::ModelFacts& facts = outcome.facts;
  std::vector<std::string> parts;
  if (!facts.keras_version.empty()) {
    parts.push_back(facts.backend.empty()
                        ? fmt::format("Keras {}", facts.keras_version)
                        : fmt::format("Keras {} ({})", facts.keras_version, facts.backend));
  }
  if (facts.layers > 0) parts.push_back(fmt::format("{} layers", Grouped(facts.layers)));
  if (facts.parameters > 0) {
    parts.push_back(fmt::format("{} parameters", Grouped(facts.parameters)));
  }
  if (facts.memory_bytes > 0) {
    parts.push_back(fmt::format("{} in memory", HumanBytes(facts.memory_bytes)));
  }
  if (!parts.empty()) {
    terminal.Wrapped("    ", fmt::format("{}", fmt::join(parts, ", ")), Style::kDim);
  }
  PrintTensors(terminal, "inputs", outcome.signature.inputs);
  PrintTensors(terminal, "outputs", outcome.signature.outputs);
  for (const model::Diagnosis& diagnosis : outcome.diagnoses.items()) {
    PrintDiagnosis(terminal, diagnosis);
  }
  PrintReleases(terminal, outcome.releases);
}

}  // namespace

int RunCheck(const CheckArguments& arguments) {
  // A mistake in the configuration is not the files' fault.
  if (const auto options = config::LoadOptions(arguments.sources); !options.ok()) {
    fmt::print(stderr, "h5serve check: {}\n", std::string(options.status().message()));
    return kUsage;
  }
  const Terminal terminal;
  int refused = 0;
  for (const std::string& file : arguments.files) {
    model::LoadOutcome outcome = LoadFile(file, arguments.sources, true);
    outcome.diagnoses.Sort();
    if (outcome.servable == nullptr) ++refused;
    if (arguments.json) {
      PrintJson(file, outcome);
    } else {
      PrintText(terminal, file, outcome);
    }
  }
  if (!arguments.json && arguments.files.size() > 1) {
    fmt::print("{} of {} files are servable\n", arguments.files.size() - refused,
               arguments.files.size());
  }
  return refused > 0 ? kRefused : kOk;
}

}  // namespace h5serve::server
