// h5serve layers, metrics, options, --version: what this build can do.
#include <fmt/format.h>
#include <google/protobuf/stubs/common.h>
#include <grpcpp/grpcpp.h>
#include <openssl/crypto.h>

#include <nlohmann/json.hpp>

#include "absl/status/status.h"
#include "compute/kernels/dispatch.h"
#include "config/option_table.h"
#include "model/custom/catalogue.h"
#include "model/diagnosis.h"
#include "model/layer_overview.h"
#include "model/reader/read_model.h"
#include "server/commands/commands.h"
#include "server/commands/terminal.h"
#include "server/metrics.h"
#include "server/version.h"

namespace h5serve::server {
namespace {

using Json = nlohmann::ordered_json;

using Rows = std::vector<std::vector<std::string>>;

std::string Cell(std::string_view text) {
  std::string cell;
  for (char c : text) {
    if (c == '|') cell += '\\';
    cell += c;
  }
  return cell;
}

// Prints rows as a table for people or for documents, or as an array of objects.
int Print(const std::vector<std::string>& header, const Rows& rows, TableForm form) {
  if (form == TableForm::kText) {
    PrintTable(Terminal(), header, rows);
    return kOk;
  }
  if (form == TableForm::kMarkdown) {
    fmt::print("| {} |\n|", fmt::join(header, " | "));
    for (size_t i = 0; i < header.size(); ++i) fmt::print(" --- |");
    fmt::print("\n");
    for (const auto& row : rows) {
      fmt::print("|");
      for (const std::string& cell : row) fmt::print(" {} |", Cell(cell));
      fmt::print("\n");
    }
    return kOk;
  }
  Json list = Json::array();
  for (const auto& row : rows) {
    Json object;
    for (size_t i = 0; i < header.size(); ++i) object[header[i]] = row[i];
    list.push_back(std::move(object));
  }
  fmt::print("{}\n", list.dump(2, ' ', false, Json::error_handler_t::replace));
  return kOk;
}

// A heading and the arguments below it: as columns they would be too narrow to read.
void PrintLayer(const Terminal& terminal, const model::LayerOverview& layer) {
  fmt::print("{}  {}\n", terminal.Styled(Style::kBold, Fit(layer.name, 30)),
             fmt::join(layer.eras, ", "));
  if (!layer.computed) {
    terminal.Wrapped("    ", "known, and refused", Style::kBad);
    return;
  }
  if (!layer.aliases.empty()) {
    terminal.Wrapped("    ", fmt::format("also {}", fmt::join(layer.aliases, ", ")), Style::kDim);
  }
  if (layer.arguments.empty()) return;
  terminal.Wrapped("    ", fmt::format("{}", fmt::join(layer.arguments, ", ")));
}

void PrintLayersAsJson(const std::vector<model::LayerOverview>& layers) {
  Json list = Json::array();
  for (const model::LayerOverview& layer : layers) {
    list.push_back({{"layer", layer.name},
                    {"aliases", layer.aliases},
                    {"eras", layer.eras},
                    {"arguments", layer.arguments},
                    {"computed", layer.computed}});
  }
  fmt::print("{}\n", list.dump(2));
}

}  // namespace

int RunLayers(TableForm form) {
  const std::vector<model::LayerOverview> layers = model::DescribeLayers();
  if (form == TableForm::kJson) {
    PrintLayersAsJson(layers);
    return kOk;
  }
  if (form == TableForm::kText) {
    const Terminal terminal;
    for (const model::LayerOverview& layer : layers) PrintLayer(terminal, layer);
    return kOk;
  }
  Rows rows;
  for (const model::LayerOverview& layer : layers) {
    rows.push_back(
        {std::string(layer.name), fmt::format("{}", fmt::join(layer.eras, ", ")),
         layer.computed ? fmt::format("{}", fmt::join(layer.arguments, ", ")) : "(refused)"});
  }
  return Print({"layer", "eras", "arguments"}, rows, form);
}

int RunCatalogue(TableForm form) {
  Rows rows;
  for (const model::CatalogueRow* row : model::Catalogue()) {
    const bool always = row->use == model::CatalogueRow::Use::kAlways;
    rows.push_back({std::string(row->name), std::string(row->names),
                    always ? "always" : "when named", std::string(row->source)});
  }
  return Print({"entry", "names in files", "in force", "formula and source"}, rows, form);
}

int RunMetrics(TableForm form) {
  Rows rows;
  for (const MetricRow& row : AllMetrics()) {
    rows.push_back({std::string(row.name), std::string(row.kind), std::string(row.labels),
                    std::string(row.help)});
  }
  return Print({"metric", "kind", "labels", "help"}, rows, form);
}

int RunOptions(TableForm form) {
  const config::Options defaults;
  const bool all = form == TableForm::kJson;
  Rows rows;
  for (const config::OptionRow& row : config::AllOptions()) {
    std::vector<std::string> cells = {std::string(row.name), row.get(defaults), row.range};
    if (all) {
      cells.push_back(config::FlagName(row));
      cells.push_back(config::VariableName(row));
      cells.push_back(row.per_model ? "yes" : "no");
    }
    cells.emplace_back(row.per_model && !all ? std::string(row.help) + " (also in a model.json)"
                                             : std::string(row.help));
    rows.push_back(std::move(cells));
  }
  std::vector<std::string> header = {"option", "default", "values"};
  if (all) header.insert(header.end(), {"flag", "variable", "per_model"});
  header.emplace_back("help");
  return Print(header, rows, form);
}

int RunFailures(TableForm form) {
  Rows rows;
  for (const model::CodeInfo& info : model::AllCodes()) {
    rows.push_back({std::string(info.name), std::string(Name(info.severity)),
                    absl::StatusCodeToString(info.status), info.transient ? "yes" : "no",
                    std::string(info.meaning), std::string(info.remedy)});
  }
  return Print({"code", "severity", "status", "retried", "meaning", "remedy"}, rows, form);
}

int RunVersion() {
  fmt::print("h5serve {}\n", kVersion);
  fmt::print("  isa       {}\n", compute::kernels::IsaName());
  fmt::print("  grpc      {}\n", grpc::Version());
  fmt::print("  protobuf  {}\n",
             google::protobuf::internal::VersionString(GOOGLE_PROTOBUF_VERSION));
  fmt::print("  hdf5      {}\n", model::Hdf5Version());
  fmt::print("  openssl   {}\n", OpenSSL_version(OPENSSL_VERSION_STRING));
  fmt::print("  compiler  {}\n", __VERSION__);
  return kOk;
}

}  // namespace h5serve::server
