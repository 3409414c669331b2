// h5serve bench: how fast a model computes, or a server answers.
#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "absl/time/clock.h"
#include "compute/worker_pool.h"
#include "server/commands/commands.h"
#include "server/commands/load_file.h"
#include "server/commands/load_test.h"
#include "server/log.h"

namespace h5serve::server {
namespace {

double Microseconds(absl::Duration duration) { return absl::ToDoubleMicroseconds(duration); }

absl::Duration Percentile(const std::vector<absl::Duration>& sorted, double fraction) {
  if (sorted.empty()) return absl::ZeroDuration();
  const auto index = static_cast<size_t>(fraction * static_cast<double>(sorted.size()));
  return sorted[std::min(index, sorted.size() - 1)];
}

// Inputs of zeros; open dimensions other than the batch are 1.
std::vector<compute::Tensor> Zeros(const model::Signature& signature, int64_t batch) {
  std::vector<compute::Tensor> inputs;
  for (const model::TensorSpec& spec : signature.inputs) {
    compute::Shape shape = spec.shape;
    for (int axis = 0; axis < shape.rank(); ++axis) {
      if (shape[axis] == compute::kUnknown) shape[axis] = axis == 0 ? batch : 1;
    }
    compute::Tensor tensor = compute::Tensor::Allocate(spec.dtype, shape);
    if (spec.dtype != compute::DType::kString && tensor.size_bytes() > 0) {
      std::memset(tensor.raw_mutable_data(), 0, static_cast<size_t>(tensor.size_bytes()));
    }
    inputs.push_back(std::move(tensor));
  }
  return inputs;
}

absl::Status Measure(const model::Servable& servable, int64_t batch, int64_t threads,
                     const BenchArguments& arguments) {
  const std::vector<compute::Tensor> inputs = Zeros(servable.signature(), batch);
  if (absl::Status status = servable.CheckInputs(inputs); !status.ok()) return status;
  const compute::WorkerPool pool(static_cast<int>(threads));
  pool.Enter();
  std::vector<absl::Duration> times;
  const absl::Time end = absl::Now() + absl::Seconds(arguments.seconds);
  // The first run makes the plan for this batch size and is not counted.
  for (int run = -1; run < 3 || absl::Now() < end; ++run) {
    std::vector<compute::Tensor> outputs;
    const absl::Time start = absl::Now();
    const absl::Status status = servable.Predict(inputs, threads > 1 ? &pool : nullptr, &outputs);
    if (!status.ok()) return status;
    if (run >= 0) times.push_back(absl::Now() - start);
  }
  pool.Leave();
  std::sort(times.begin(), times.end());
  std::vector<compute::Shape> shapes;
  for (const compute::Tensor& input : inputs) shapes.push_back(input.shape());
  const double flops = servable.program().Flops(shapes).value_or(0);
  const double gflops = flops / absl::ToDoubleNanoseconds(times[0]);
  if (arguments.json) {
    fmt::print(
        "{{\"batch\":{},\"threads\":{},\"runs\":{},\"min_us\":{:.2f},\"median_us\":{:.2f},"
        "\"p99_us\":{:.2f},\"gflops\":{:.2f}}}\n",
        batch, threads, times.size(), Microseconds(times[0]), Microseconds(Percentile(times, 0.5)),
        Microseconds(Percentile(times, 0.99)), gflops);
  } else {
    fmt::print("{:>8} {:>8} {:>9} {:>12.2f} {:>12.2f} {:>12.2f} {:>9.1f}\n", batch, threads,
               times.size(), Microseconds(times[0]), Microseconds(Percentile(times, 0.5)),
               Microseconds(Percentile(times, 0.99)), gflops);
  }
  std::fflush(stdout);
  return absl::OkStatus();
}

int Fail(const absl::Status& status, int code) {
  fmt::print(stderr, "h5serve bench: {}\n", std::string(status.message()));
  return code;
}

int BenchFile(const BenchArguments& arguments) {
  const model::LoadOutcome outcome = LoadFile(arguments.file, arguments.sources);
  if (outcome.servable == nullptr) return Fail(outcome.diagnoses.Summary(), kRefused);
  if (!arguments.json) {
    fmt::print("{:>8} {:>8} {:>9} {:>12} {:>12} {:>12} {:>9}\n", "batch", "threads", "runs",
               "min µs", "median µs", "p99 µs", "GFLOP/s");
  }
  const std::vector<int64_t> batches =
      arguments.batches.empty() ? std::vector<int64_t>{1, 8, 32} : arguments.batches;
  for (int64_t threads : arguments.threads) {
    for (int64_t batch : batches) {
      if (threads < 1 || threads > 4096 || batch < 1) {
        return Fail(absl::InvalidArgumentError("--threads and --batch are positive"), kUsage);
      }
      if (absl::Status status = Measure(*outcome.servable, batch, threads, arguments);
          !status.ok()) {
        return Fail(status, kRefused);
      }
    }
  }
  return kOk;
}

int BenchServer(const BenchArguments& arguments) {
  LoadTestOptions options;
  options.address = arguments.connect;
  options.model = arguments.model;
  options.concurrency = arguments.concurrency;
  options.rate = arguments.rate;
  options.rows = arguments.batches.empty() ? 1 : arguments.batches[0];
  options.duration = absl::Seconds(arguments.seconds);
  const absl::StatusOr<LoadTestResult> result = RunLoadTest(options);
  if (!result.ok()) return Fail(result.status(), kRefused);
  const double rate =
      static_cast<double>(result->answered) / absl::ToDoubleSeconds(result->elapsed);
  const auto& times = result->latencies;
  const char* const form =
      arguments.json ? "{{\"concurrency\":{},\"rows\":{},\"answered\":{},\"failed\":{},"
                       "\"requests_per_second\":{:.1f},\"p50_us\":{:.1f},\"p90_us\":{:.1f},"
                       "\"p99_us\":{:.1f}}}\n"
                     : "{} calls outstanding of {} rows: {} answered, {} failed\n"
                       "{:.0f} requests/s, p50 {:.1f} µs, p90 {:.1f} µs, p99 {:.1f} µs\n";
  fmt::print(fmt::runtime(form), options.concurrency, options.rows, result->answered,
             result->failed, rate, Microseconds(Percentile(times, 0.5)),
             Microseconds(Percentile(times, 0.9)), Microseconds(Percentile(times, 0.99)));
  if (result->failed == 0) return kOk;
  fmt::print(stderr, "first failure: {}\n", result->first_error);
  return kRefused;
}

}  // namespace

int RunBench(const BenchArguments& arguments) {
  if (arguments.connect.empty() == arguments.file.empty()) {
    return Fail(absl::InvalidArgumentError("give either a FILE or --connect ADDRESS"), kUsage);
  }
  if (!arguments.connect.empty() && arguments.model.empty()) {
    return Fail(absl::InvalidArgumentError("say which model: --model NAME"), kUsage);
  }
  return arguments.connect.empty() ? BenchFile(arguments) : BenchServer(arguments);
}

}  // namespace h5serve::server
