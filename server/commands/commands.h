// The commands of the binary. Each returns the exit status of the process.
#pragma once

#include <string>
#include <vector>

#include "config/load_options.h"

namespace h5serve::server {

inline constexpr int kOk = 0;
inline constexpr int kRefused = 1;  // a file is refused, a server did not answer
inline constexpr int kUsage = 2;

// Parses the arguments and runs the command they name.
int RunCommandLine(int argc, char** argv);

int RunServe(const config::OptionSources& sources);

struct CheckArguments {
  std::vector<std::string> files;
  bool json = false;
  config::OptionSources sources;
};
int RunCheck(const CheckArguments& arguments);

struct SummaryArguments {
  std::string file;
  config::OptionSources sources;
};
int RunSummary(const SummaryArguments& arguments);

struct PredictArguments {
  std::string file;
  std::string inputs;   // .npz, .npy or .json
  std::string outputs;  // .npz; empty: JSON to the standard output
  config::OptionSources sources;
};
int RunPredict(const PredictArguments& arguments);

struct BenchArguments {
  std::string file;     // compute only, or
  std::string connect;  // ADDRESS of a running server
  std::string model;
  std::vector<int64_t> batches;  // empty: 1, 8 and 32, of a server 1
  std::vector<int64_t> threads = {1};
  int concurrency = 16;
  double rate = 0;  // calls in a second; 0: `concurrency` outstanding
  double seconds = 2;
  bool json = false;
  config::OptionSources sources;
};
int RunBench(const BenchArguments& arguments);

// How a table is printed.
enum class TableForm { kText, kMarkdown, kJson };
int RunLayers(TableForm form);
int RunCatalogue(TableForm form);
int RunMetrics(TableForm form);
int RunOptions(TableForm form);
int RunFailures(TableForm form);
int RunVersion();

}  // namespace h5serve::server
