// Times the networks of networks.h: one tab-separated line for each network,
// batch size and number of threads.
//
//   networks_bench [--batches=1,8,32] [--threads=1,2] [--seconds=0.5] [NAME…]
//
// Minima count: on a machine that others use, everything else is noise. The CPU
// times are those of the calling thread.
#include <fmt/format.h>
#include <time.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "compute/kernels/dispatch.h"
#include "compute/program.h"
#include "compute/worker_pool.h"
#include "networks.h"

namespace h5serve::bench {
namespace {

struct Options {
  std::vector<int64_t> batches = {1, 8, 32};
  std::vector<int64_t> threads = {1};
  double seconds = 0.5;
  bool print = false;  // the optimised program, instead of times
  std::vector<std::string> names;
};

std::vector<int64_t> Numbers(std::string_view text) {
  std::vector<int64_t> numbers;
  for (std::string rest(text); !rest.empty();) {
    numbers.push_back(std::max(1L, std::atol(rest.c_str())));
    const size_t comma = rest.find(',');
    rest = comma == std::string::npos ? "" : rest.substr(comma + 1);
  }
  return numbers;
}

Options Parse(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    const std::string_view value =
        argument.substr(std::min(argument.find('='), argument.size() - 1) + 1);
    if (argument.starts_with("--batches=")) {
      options.batches = Numbers(value);
    } else if (argument.starts_with("--threads=")) {
      options.threads = Numbers(value);
    } else if (argument.starts_with("--seconds=")) {
      options.seconds = std::atof(value.data());
    } else if (argument == "--print") {
      options.print = true;
    } else {
      options.names.emplace_back(argument);
    }
  }
  if (options.names.empty()) options.names = NetworkNames();
  return options;
}

double Wall() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

double Cpu() {
  timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

compute::Tensor MakeInput(const compute::ValueType& type, int64_t batch, int64_t vocabulary) {
  compute::Shape shape = type.shape;
  shape[0] = batch;
  compute::Tensor tensor = compute::Tensor::Allocate(type.dtype, shape);
  for (int64_t i = 0; i < tensor.num_elements(); ++i) {
    if (vocabulary > 0) {
      tensor.mutable_data<int64_t>()[i] = i * 7919 % vocabulary;
    } else {
      tensor.mutable_data<float>()[i] = static_cast<float>(i * 7919 % 1000) / 1000.0f;
    }
  }
  return tensor;
}

bool Time(const compute::Program& program, const Network& network, int64_t batch, int64_t threads,
          double seconds) {
  const std::vector<compute::Tensor> inputs = {
      MakeInput(program.input_types()[0], batch, network.vocabulary)};
  const compute::WorkerPool pool(static_cast<int>(threads));
  std::vector<double> wall, cpu;
  std::vector<compute::Tensor> outputs;
  // The first runs make the plan and warm the caches.
  const double end = Wall() + seconds;
  for (int run = -2; run < 5 || Wall() < end; ++run) {
    const double wall_start = Wall(), cpu_start = Cpu();
    const absl::Status status = program.Run(inputs, threads > 1 ? &pool : nullptr, &outputs);
    const double cpu_end = Cpu(), wall_end = Wall();
    if (!status.ok()) {
      fmt::print(stderr, "{}: {}\n", network.name, status.ToString());
      return false;
    }
    if (run < 0) continue;
    wall.push_back(wall_end - wall_start);
    cpu.push_back(cpu_end - cpu_start);
  }
  std::sort(wall.begin(), wall.end());
  std::sort(cpu.begin(), cpu.end());
  fmt::print("{}\t{}\t{}\t{:.1f}\t{:.1f}\t{:.1f}\t{:.1f}\t{:.1f}\n", network.name, batch, threads,
             1e6 * wall[0], 1e6 * wall[wall.size() / 2], 1e6 * cpu[0], 1e6 * cpu[cpu.size() / 2],
             network.flops * static_cast<double>(batch) / cpu[0] / 1e9);
  std::fflush(stdout);
  return true;
}

int Main(int argc, char** argv) {
  const Options options = Parse(argc, argv);
  fmt::print(
      "# h5serve {}\nmodel\tbatch\tthreads\tmin_us\tmedian_us\tcpu_min_us\tcpu_median_us\t"
      "gflops\n",
      compute::kernels::IsaName());
  for (const std::string& name : options.names) {
    const Network network = MakeNetwork(name);
    const auto program = compute::Program::Compile(network.graph, {network.output}, {});
    if (!program.ok()) {
      fmt::print(stderr, "{}: {}\n", name, program.status().ToString());
      return 1;
    }
    if (options.print) {
      fmt::print("{}", (*program)->ToString());
      continue;
    }
    for (int64_t threads : options.threads) {
      for (int64_t batch : options.batches) {
        if (!Time(**program, network, batch, threads, options.seconds)) return 1;
      }
    }
  }
  return 0;
}

}  // namespace
}  // namespace h5serve::bench

int main(int argc, char** argv) { return h5serve::bench::Main(argc, argv); }
