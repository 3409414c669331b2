// h5serve summary: the table of model.summary().
#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "server/commands/commands.h"
#include "server/commands/load_file.h"
#include "server/commands/terminal.h"

namespace h5serve::server {
namespace {

// The layers whose outputs a layer takes, as "name" or "name[call][tensor]".
void CollectSources(const model::KerasModel& model, const model::Argument& argument,
                    std::vector<std::string>* sources) {
  if (argument.kind == model::Argument::Kind::kTensor) {
    const model::TensorRef& ref = argument.tensor;
    if (ref.layer < 0 || ref.layer >= static_cast<int>(model.layers.size())) return;
    sources->push_back(
        fmt::format("{}[{}][{}]", model.layers[ref.layer]->name, ref.call, ref.tensor));
  }
  for (const model::Argument& item : argument.list) CollectSources(model, item, sources);
  for (const auto& [name, item] : argument.dict) CollectSources(model, item, sources);
}

std::string Sources(const model::KerasModel& model, const model::Layer& layer) {
  std::vector<std::string> sources;
  for (const model::Call& call : layer.calls) {
    for (const model::Argument& argument : call.args) CollectSources(model, argument, &sources);
    for (const auto& [name, argument] : call.kwargs) CollectSources(model, argument, &sources);
  }
  return sources.empty() ? "-" : fmt::format("{}", fmt::join(sources, ", "));
}

std::string Shapes(const model::LoadOutcome& outcome, const std::string& path) {
  const auto found = outcome.output_shapes.find(path);
  if (found == outcome.output_shapes.end() || found->second.empty()) return "?";
  std::vector<std::string> shapes;
  for (const compute::Shape& shape : found->second) shapes.push_back(shape.ToString());
  return shapes.size() == 1 ? shapes[0] : fmt::format("[{}]", fmt::join(shapes, ", "));
}

int64_t Parameters(const model::LoadOutcome& outcome, const model::Layer& layer) {
  const auto found = outcome.layer_parameters.find(layer.name);
  if (found != outcome.layer_parameters.end()) return found->second;
  int64_t sum = 0;
  if (layer.nested != nullptr) {
    for (const auto& inner : layer.nested->layers) sum += Parameters(outcome, *inner);
  }
  return sum;
}

void PrintModel(const Terminal& terminal, const model::LoadOutcome& outcome,
                const model::KerasModel& model, const std::string& prefix) {
  const bool wired =
      std::any_of(model.layers.begin(), model.layers.end(),
                  [](const auto& layer) {
                    return layer->calls.size() > 1 ||
                           (!layer->calls.empty() && layer->calls[0].args.size() > 1);
                  }) ||
      model.class_name != "Sequential";
  std::vector<std::string> header = {"Layer (type)", "Output Shape", "Param #"};
  if (wired) header.emplace_back("Connected to");
  std::vector<std::vector<std::string>> rows;
  for (const auto& layer : model.layers) {
    std::vector<std::string> row = {fmt::format("{} ({})", layer->name, layer->class_name),
                                    Shapes(outcome, prefix + layer->name),
                                    Grouped(Parameters(outcome, *layer))};
    if (wired) row.push_back(Sources(model, *layer));
    rows.push_back(std::move(row));
  }
  fmt::print("Model: {}\n", terminal.Styled(Style::kBold, "\"" + model.name + "\""));
  PrintTable(terminal, header, rows);
  for (const auto& layer : model.layers) {
    if (layer->nested == nullptr) continue;
    fmt::print("\n");
    PrintModel(terminal, outcome, *layer->nested, prefix + layer->name + "/");
  }
}

}  // namespace

int RunSummary(const SummaryArguments& arguments) {
  const Terminal terminal;
  model::LoadOutcome outcome = LoadFile(arguments.file, arguments.sources);
  outcome.diagnoses.Sort();
  if (outcome.model != nullptr) {
    PrintModel(terminal, outcome, *outcome.model, "");
    fmt::print("Total params: {} ({} as float32)\n", Grouped(outcome.facts.parameters),
               HumanBytes(outcome.facts.parameters * 4));
  }
  if (outcome.servable != nullptr) {
    fmt::print("Memory: {}\n", HumanBytes(outcome.facts.memory_bytes));
    return kOk;
  }
  std::fflush(stdout);
  for (const model::Diagnosis& diagnosis : outcome.diagnoses.items()) {
    if (diagnosis.severity != model::Severity::kError) continue;
    fmt::print(stderr, "{}{}: {}\n",
               diagnosis.where.layer.empty() ? "" : diagnosis.where.layer + ": ",
               Name(diagnosis.code), diagnosis.message);
  }
  return kRefused;
}

}  // namespace h5serve::server
