#include "model/load.h"

#include <fmt/format.h>

#include <exception>

#include "model/batch_costs.h"
#include "model/compatibility/assess.h"
#include "model/compile_model.h"
#include "model/policy.h"
#include "model/prove.h"
#include "model/reader/read_model.h"
#include "model/reader/reader_process.h"

namespace h5serve::model {
namespace {

using Clock = std::chrono::steady_clock;

// A load is not to take noticeably longer for it.
constexpr absl::Duration kMeasuringBudget = absl::Milliseconds(50);

// Runs the phases of one load and keeps what each of them found.
class Loader {
 public:
  explicit Loader(const LoadRequest& request) : request_(request) {}

  LoadOutcome Run() {
    Guarded([this] { Steps(); });
    Guarded([this] { TakeDigest(); });
    EndPhase();
    if (outcome_.diagnoses.has_errors()) outcome_.servable = nullptr;
    outcome_.diagnoses.Sort();
    if (request_.spare != nullptr) request_.spare->Prepare();
    return std::move(outcome_);
  }

 private:
  // Whatever `step` throws becomes a diagnosis.
  template <typename Step>
  void Guarded(Step step) {
    try {
      step();
    } catch (const std::bad_alloc&) {
      outcome_.diagnoses.Add(Code::kResourceLimit, "not enough memory to load the model");
    } catch (const std::exception& error) {
      outcome_.diagnoses.Add(Code::kInternalError,
                             fmt::format("the load failed unexpectedly: {}", error.what()));
    }
  }

  void Begin(LoadPhase phase) {
    EndPhase();
    phase_ = phase;
    phase_start_ = Clock::now();
    if (request_.on_phase) request_.on_phase(phase);
  }

  void EndPhase() {
    if (!phase_) return;
    outcome_.phase_times.emplace_back(
        *phase_,
        std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - phase_start_));
    phase_.reset();
  }

  bool failed() const { return outcome_.diagnoses.has_errors(); }

  void Steps() {
    Begin(LoadPhase::kReading);
    std::optional<ModelImage> image = Read();
    if (!image) {
      if (request_.assess_releases) outcome_.releases = AssessUnreadable(outcome_.diagnoses);
      return;
    }
    if (request_.assess_releases) outcome_.releases = AssessReleases(*image, request_.path);
    Begin(LoadPhase::kChecking);
    UnderstoodModel understood = UnderstandModel(*image, request_.options, &outcome_.diagnoses);
    image.reset();
    Describe(understood);
    ApplySeverities(request_.options.compatibility, &outcome_.diagnoses);
    if (failed()) return;
    if (request_.in_service != nullptr) {
      CheckSignature(*request_.in_service, understood.signature, request_.options.compatibility,
                     &outcome_.diagnoses);
      if (failed()) return;
    }
    Begin(LoadPhase::kCompiling);
    std::shared_ptr<const compute::Program> program = Compile(understood);
    if (!program || !AdmitMemory(program->constant_bytes())) return;
    Begin(LoadPhase::kProving);
    Prove(std::move(program), understood.batch_dependent);
  }

  std::optional<ModelImage> Read() {
    ReadOptions options;
    options.timeout = request_.options.read_timeout;
    options.max_file_bytes = request_.options.max_file_bytes;
    options.spare = request_.spare;
    std::optional<ModelImage> image =
        ReadModelFile(request_.path, options, &outcome_.diagnoses, &digest_);
    if (!image) return std::nullopt;
    outcome_.facts.file_bytes = image->file_bytes;
    if (!image->model_config) {
      DiagnoseContents(*image, &outcome_.diagnoses);
      if (!failed()) {
        outcome_.diagnoses.Add(Code::kNotAKerasFile, "the file holds no model_config");
      }
    }
    if (failed()) return std::nullopt;
    return image;
  }

  void Describe(UnderstoodModel& understood) {
    outcome_.facts.keras_version = understood.writer.version;
    outcome_.facts.backend = understood.writer.backend;
    outcome_.facts.dialect = std::string(Name(understood.writer.dialect));
    outcome_.facts.layers = understood.layers;
    outcome_.facts.parameters = understood.parameters;
    outcome_.facts.memory_bytes = understood.parameters * static_cast<int64_t>(sizeof(float));
    outcome_.signature = understood.signature;
    outcome_.output_shapes = std::move(understood.output_shapes);
    outcome_.layer_parameters = std::move(understood.layer_parameters);
    outcome_.model = std::move(understood.model);
  }

  std::shared_ptr<const compute::Program> Compile(UnderstoodModel& understood) {
    absl::StatusOr<std::shared_ptr<const compute::Program>> program =
        compute::Program::Compile(std::move(understood.graph), understood.outputs, {});
    if (program.ok()) return *std::move(program);
    const bool memory = program.status().code() == absl::StatusCode::kResourceExhausted;
    outcome_.diagnoses.Add(memory ? Code::kResourceLimit : Code::kShapeInferenceFailed,
                           std::string(program.status().message()));
    return nullptr;
  }

  bool AdmitMemory(int64_t bytes) {
    outcome_.facts.memory_bytes = bytes;
    for (int64_t limit : {request_.memory_budget_bytes, request_.options.memory_limit_bytes}) {
      if (limit <= 0 || bytes <= limit) continue;
      outcome_.diagnoses.Add(Code::kResourceLimit,
                             fmt::format("the model needs {:.1f} MiB, the limit is {:.1f} MiB",
                                         bytes / 1048576.0, limit / 1048576.0));
      return false;
    }
    return true;
  }

  void Prove(std::shared_ptr<const compute::Program> program, bool batch_dependent) {
    const Servable trial(outcome_.signature, outcome_.facts, program, true);
    const bool independent_rows = RunTrials(trial, &outcome_.diagnoses);
    if (failed()) return;
    CheckGolden(trial, request_.path, request_.options.compatibility, &outcome_.diagnoses);
    if (failed()) return;
    const bool batchable = !batch_dependent && independent_rows;
    Servable::BatchCosts costs;
    if (request_.measure_batches) {
      const int64_t most = batchable ? request_.options.batching.max_batch_size : 1;
      costs = MeasureBatches(trial, most, kMeasuringBudget);
    }
    TakeDigest();
    if (failed()) return;
    outcome_.servable = std::make_shared<const Servable>(
        outcome_.signature, outcome_.facts, std::move(program), batchable, std::move(costs));
  }

  // Waits for the digest, which was computed beside all the rest.
  void TakeDigest() {
    if (!digest_.valid()) return;
    outcome_.facts.sha256 = digest_.get();
    if (outcome_.facts.sha256.empty()) return;
    CheckDigest(request_.path, outcome_.facts.sha256, &outcome_.diagnoses);
  }

  const LoadRequest& request_;
  LoadOutcome outcome_;
  FileDigest digest_;
  std::optional<LoadPhase> phase_;
  Clock::time_point phase_start_;
};

}  // namespace

std::string_view Name(LoadPhase phase) {
  switch (phase) {
    case LoadPhase::kReading:
      return "reading";
    case LoadPhase::kChecking:
      return "checking";
    case LoadPhase::kCompiling:
      return "compiling";
    case LoadPhase::kProving:
      return "proving";
  }
  return "";
}

LoadOutcome LoadModel(const LoadRequest& request) { return Loader(request).Run(); }

}  // namespace h5serve::model
