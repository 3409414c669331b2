// lambda_fuzz CODE.json SECONDS [SEED]
//
// Lowers Lambda layers with randomly damaged code until the time is over. Crashes
// speak for themselves; a round that takes longer than ten seconds ends the run,
// too. Build it with AddressSanitizer for a long run.
#include <fmt/format.h>

#include <chrono>
#include <cstdlib>

#include "model/bytecode/stored_function.h"
#include "tests/unit/model/lambda_samples.h"

int main(int argc, char** argv) {
  using Clock = std::chrono::steady_clock;
  using h5serve::model::ConfigValue;
  if (argc < 3) {
    fmt::print(stderr, "usage: lambda_fuzz CODE.json SECONDS [SEED]\n");
    return 2;
  }
  const auto samples = h5serve::model::ReadLambdaSamples(argv[1]);
  if (samples.empty()) {
    fmt::print(stderr, "{}: no samples\n", argv[1]);
    return 2;
  }
  const auto end = Clock::now() + std::chrono::seconds(std::atoi(argv[2]));
  const unsigned seed = argc > 3 ? static_cast<unsigned>(std::atoi(argv[3])) : 1;
  std::mt19937 random(seed);
  long rounds = 0, lowered = 0;
  double slowest = 0;
  while (Clock::now() < end) {
    const auto& sample = samples[random() % samples.size()];
    const auto bytes = h5serve::model::CodeBytes(sample.function.as_list()[0].as_string());
    ConfigValue function = sample.function;
    function.as_list()[0] =
        h5serve::model::EncodeBase64(h5serve::model::MutateBytes(*bytes, random));
    const auto start = Clock::now();
    lowered += h5serve::model::LowerLambdaSample(sample, function).outputs.empty() ? 0 : 1;
    const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
    slowest = std::max(slowest, seconds);
    ++rounds;
    if (seconds > 10) {
      fmt::print("round {} (seed {}, sample {} of {}) took {:.1f} s: {}\n", rounds, seed,
                 sample.name, sample.python, seconds, function.as_list()[0].as_string());
      return 1;
    }
  }
  fmt::print("{} rounds, {} translated, slowest {:.3f} s\n", rounds, lowered, slowest);
  return 0;
}
