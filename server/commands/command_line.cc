#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdlib>
#include <memory>

#include "config/option_table.h"
#include "server/commands/commands.h"

namespace h5serve::server {
namespace {

using Flags = std::vector<std::pair<std::string, std::string>>;

// "--log-format,--log.format,--log_format": people try all of them.
std::string Spellings(const config::OptionRow& row) {
  std::string names = config::FlagName(row);
  for (const std::string& name :
       {"--" + std::string(row.name),
        "--" + std::string(row.name == "http.listen" ? "http-listen" : row.name)}) {
    if (names.find(name + ",") == std::string::npos && !names.ends_with(name)) names += "," + name;
  }
  return names;
}

// Adds a flag for each option; what is given lands in `flags`.
void AddOptions(CLI::App* command, bool only_per_model, Flags* flags) {
  const config::Options defaults;
  for (const config::OptionRow& row : config::AllOptions()) {
    if (only_per_model && !row.per_model && row.name != "plugins") continue;
    const std::string name(row.name);
    CLI::Option* option = nullptr;
    if (row.kind == "boolean") {
      const std::string spellings =
          fmt::format("{},!--no-{}", Spellings(row), config::FlagName(row).substr(2));
      option = command->add_flag_function(spellings, [flags, name](std::int64_t count) {
        flags->emplace_back(name, count > 0 ? "true" : "false");
      });
    } else {
      option = command->add_option_function<std::string>(
          Spellings(row),
          [flags, name](const std::string& value) { flags->emplace_back(name, value); });
    }
    option->description(std::string(row.help) + " [" + row.get(defaults) + "]");
    option->group(row.per_model ? "Options of models" : "Options of the server");
  }
}

void AddSources(CLI::App* command, bool only_per_model, config::OptionSources* sources) {
  command->add_option("--config", sources->file, "JSON file with options")
      ->envname("H5SERVE_CONFIG");
  AddOptions(command, only_per_model, &sources->flags);
}

// The commands, what they were given, and which one it was.
struct CommandLine {
  config::OptionSources serve;
  CheckArguments check;
  SummaryArguments summary;
  PredictArguments predict;
  BenchArguments bench;
  bool json = false;
  bool markdown = false;
  bool custom = false;
  std::function<int()> run;
};

void AddFileCommands(CLI::App* app, CommandLine* line) {
  CLI::App* check =
      app->add_subcommand("check", "Say what files are and why they cannot be served");
  check->add_option("FILE", line->check.files, "model files")->required();
  check->add_flag("--json", line->check.json, "one JSON object per file and line");
  AddSources(check, true, &line->check.sources);
  check->callback([line] { line->run = [line] { return RunCheck(line->check); }; });

  CLI::App* summary = app->add_subcommand("summary", "Print the table of model.summary()");
  summary->add_option("FILE", line->summary.file, "model file")->required();
  AddSources(summary, true, &line->summary.sources);
  summary->callback([line] { line->run = [line] { return RunSummary(line->summary); }; });

  CLI::App* predict = app->add_subcommand("predict", "Make one prediction without a server");
  predict->add_option("FILE", line->predict.file, "model file")->required();
  predict
      ->add_option("INPUTS", line->predict.inputs,
                   ".npz (arrays by name, or i0, i1, … by position), .npy or .json")
      ->required();
  predict->add_option("-o,--output", line->predict.outputs,
                      ".npz to write; without it, JSON is printed");
  AddSources(predict, true, &line->predict.sources);
  predict->callback([line] { line->run = [line] { return RunPredict(line->predict); }; });
}

void AddBench(CLI::App* app, CommandLine* line) {
  BenchArguments* arguments = &line->bench;
  CLI::App* bench = app->add_subcommand("bench", "Measure a model, or a running server");
  bench->add_option("FILE", arguments->file, "model file: compute only");
  bench
      ->add_option("--batch", arguments->batches,
                   "batch sizes, between commas; of a server the first one, else 1")
      ->delimiter(',');
  bench->add_option("--threads", arguments->threads, "thread counts, between commas")
      ->delimiter(',');
  bench->add_option("--connect", arguments->connect, "address of a running server");
  bench->add_option("--model", arguments->model, "model of the server");
  bench->add_option("--concurrency", arguments->concurrency, "calls outstanding")
      ->check(CLI::Range(1, 100000));
  bench->add_option("--rate", arguments->rate, "calls started in a second; 0: as others end")
      ->check(CLI::NonNegativeNumber);
  bench->add_option("--seconds", arguments->seconds, "time for each measurement")
      ->check(CLI::Range(0.01, 86400.0));
  bench->add_flag("--json", arguments->json, "one JSON object per measurement and line");
  bench->callback([line] { line->run = [line] { return RunBench(line->bench); }; });
}

TableForm FormOf(const CommandLine& line) {
  if (line.json) return TableForm::kJson;
  return line.markdown ? TableForm::kMarkdown : TableForm::kText;
}

void AddTables(CLI::App* app, CommandLine* line) {
  const auto add = [&](const char* name, const char* help, int (*run)(TableForm)) {
    CLI::App* command = app->add_subcommand(name, help);
    command->add_flag("--json", line->json, "as JSON");
    command->add_flag("--markdown", line->markdown, "as a Markdown table");
    command->callback([line, run] { line->run = [line, run] { return run(FormOf(*line)); }; });
    return command;
  };
  CLI::App* layers = add("layers", "List the Keras layers supported", RunLayers);
  layers->add_flag("--custom", line->custom, "the custom layers and functions known instead");
  layers->callback([line] {
    line->run = [line] {
      return line->custom ? RunCatalogue(FormOf(*line)) : RunLayers(FormOf(*line));
    };
  });
  add("metrics", "List the metrics exported", RunMetrics);
  add("options", "List the options with their defaults", RunOptions);
  add("failures", "List why files are refused, and what to do", RunFailures);
}

}  // namespace

int RunCommandLine(int argc, char** argv) {
  CommandLine line;
  for (config::OptionSources* sources :
       {&line.serve, &line.check.sources, &line.summary.sources, &line.predict.sources}) {
    sources->environment = config::Environment();
  }
  CLI::App app("Serves Keras .h5 models over gRPC", "h5serve");
  app.require_subcommand(0, 1);
  bool version = false;
  app.add_flag("--version", version, "print the version and the libraries in use");

  CLI::App* serve = app.add_subcommand("serve", "Run the daemon");
  AddSources(serve, false, &line.serve);
  serve->callback([&line] { line.run = [&line] { return RunServe(line.serve); }; });
  AddFileCommands(&app, &line);
  AddBench(&app, &line);
  AddTables(&app, &line);

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    const int code = app.exit(error);
    return code == 0 ? kOk : kUsage;
  }
  if (version) return RunVersion();
  if (!line.run) {
    std::fputs(app.help().c_str(), stderr);
    return kUsage;
  }
  return line.run();
}

}  // namespace h5serve::server
