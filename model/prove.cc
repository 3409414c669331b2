#include "model/prove.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <optional>

#include "compute/finite.h"
#include "model/npz.h"
#include "model/trial_inputs.h"

namespace h5serve::model {
namespace {

using compute::DType;
using compute::kUnknown;
using compute::Shape;
using compute::Tensor;

bool AllFinite(const Tensor& tensor) {
  const absl::StatusOr<Tensor> values = compute::Cast(tensor, DType::kFloat32);
  if (!values.ok()) return true;  // strings
  return compute::AllFinite(values->data<float>(), values->num_elements());
}

std::string FirstNonFinite(const Servable& servable, const std::vector<Tensor>& inputs) {
  std::vector<Tensor> converted;
  for (const Tensor& input : inputs) {
    absl::StatusOr<Tensor> cast = compute::Cast(input, compute::GraphDType(input.dtype()));
    if (!cast.ok()) return "";
    converted.push_back(*std::move(cast));
  }
  const absl::StatusOr<std::string> label = servable.program().FirstNonFinite(converted);
  return label.ok() ? *label : "";
}

bool Close(const Tensor& a, const Tensor& b, double absolute, double relative, double* worst) {
  if (!(a.shape() == b.shape())) return false;
  if (a.dtype() == DType::kString || b.dtype() == DType::kString) {
    if (a.dtype() != b.dtype()) return false;
    return std::equal(a.data<std::string>(), a.data<std::string>() + a.num_elements(),
                      b.data<std::string>());
  }
  const absl::StatusOr<Tensor> x = compute::Cast(a, DType::kFloat64);
  const absl::StatusOr<Tensor> y = compute::Cast(b, DType::kFloat64);
  if (!x.ok() || !y.ok()) return false;
  bool close = true;
  for (int64_t i = 0, n = a.num_elements(); i < n; ++i) {
    const double p = x->data<double>()[i], q = y->data<double>()[i];
    if (std::isnan(p) && std::isnan(q)) continue;
    const double difference = std::abs(p - q);
    *worst = std::max(*worst, difference);
    if (!(difference <= absolute + relative * std::abs(q))) close = false;
  }
  return close;
}

const Tensor* FindArray(const std::vector<NamedTensor>& arrays, const std::string& name) {
  for (const NamedTensor& array : arrays) {
    if (array.name == name) return &array.tensor;
  }
  return nullptr;
}

// Inputs of a golden file in signature order; a reason in *error otherwise.
std::vector<Tensor> GoldenInputs(const Servable& servable, const std::vector<NamedTensor>& arrays,
                                 std::string* error) {
  std::vector<Tensor> inputs;
  for (const TensorSpec& spec : servable.signature().inputs) {
    const Tensor* array = FindArray(arrays, "inputs/" + spec.name);
    if (array == nullptr) array = FindArray(arrays, "inputs/" + spec.keras_name);
    if (array == nullptr) {
      *error = fmt::format("it has no array inputs/{}", spec.name);
      return {};
    }
    absl::StatusOr<Tensor> cast = compute::Cast(*array, spec.dtype);
    if (!cast.ok()) {
      *error = std::string(cast.status().message());
      return {};
    }
    inputs.push_back(*std::move(cast));
  }
  const absl::Status status = servable.CheckInputs(inputs);
  if (!status.ok()) *error = std::string(status.message());
  return inputs;
}

bool HasRows(const std::vector<Tensor>& tensors, int64_t rows) {
  return std::all_of(tensors.begin(), tensors.end(), [rows](const Tensor& tensor) {
    return tensor.shape().rank() > 0 && tensor.shape()[0] == rows;
  });
}

bool AllClose(const std::vector<Tensor>& a, const std::vector<Tensor>& b) {
  double worst = 0;
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [&](const Tensor& x, const Tensor& y) {
    return Close(x, y, 1e-3, 1e-3, &worst);
  });
}

// The trials of one model; what they give is counted.
class Trials {
 public:
  Trials(const Servable& servable, int64_t open) : servable_(servable), open_(open) {}

  // What the model makes of one row; nothing when it does not run on such input.
  std::vector<Tensor> Run(Fill fill) {
    std::vector<Tensor> outputs = Predict(fill, 1);
    if (!outputs.empty()) Count(fill, outputs);
    return outputs;
  }

  void Count(Fill fill, const std::vector<Tensor>& outputs) {
    if (std::all_of(outputs.begin(), outputs.end(), AllFinite)) {
      ++finite_;
    } else if (message_.empty()) {
      message_ = fmt::format("a trial run on {} gives NaN or infinite values, first in layer {}",
                             Name(fill),
                             FirstNonFinite(servable_, *MakeInputs(servable_, 1, open_, fill)));
    }
  }

  void Report(DiagnosisList* diagnoses) const {
    if (message_.empty()) return;
    Diagnosis& diagnosis = diagnoses->Add(Code::kNonfiniteOutput, message_);
    if (finite_ > 0) diagnosis.severity = Severity::kWarning;
  }

  // Whether two rows give together what they gave alone.
  bool RowsAreIndependent(const std::vector<Tensor>& ones, const std::vector<Tensor>& random) {
    if (!HasRows(ones, 1) || !HasRows(random, 1)) return false;
    const std::vector<Tensor> both = Predict(Fill::kOnesAndRandom, 2);
    if (both.empty() || !HasRows(both, 2)) return false;
    std::vector<Tensor> first, second;
    for (const Tensor& output : both) {
      first.push_back(output.Rows(0, 1));
      second.push_back(output.Rows(1, 2));
    }
    return AllClose(first, ones) && AllClose(second, random);
  }

 private:
  std::vector<Tensor> Predict(Fill fill, int64_t rows) {
    const std::optional<std::vector<Tensor>> inputs = MakeInputs(servable_, rows, open_, fill);
    std::vector<Tensor> outputs;
    if (!inputs || (rows > 1 && !HasRows(*inputs, rows))) return {};
    if (!servable_.Predict(*inputs, nullptr, &outputs).ok()) return {};
    return outputs;
  }

  const Servable& servable_;
  const int64_t open_;
  int finite_ = 0;
  std::string message_;
};

}  // namespace

bool RunTrials(const Servable& servable, DiagnosisList* diagnoses) {
  absl::Status failure;
  std::vector<Tensor> zeros;
  const std::optional<int64_t> open = FindOpenSize(servable, &zeros, &failure);
  if (!open) {
    bool has_open = false;
    for (const TensorSpec& spec : servable.signature().inputs) {
      for (int i = 1; i < spec.shape.rank(); ++i) has_open |= spec.shape[i] == kUnknown;
    }
    // With open dimensions the right sizes may just not be among those tried; a
    // preprocessing model may refuse arbitrary data.
    if (!has_open && failure.code() != absl::StatusCode::kInvalidArgument) {
      const bool memory = failure.code() == absl::StatusCode::kResourceExhausted;
      diagnoses->Add(memory ? Code::kResourceLimit : Code::kInternalError,
                     fmt::format("the trial run failed: {}", std::string(failure.message())));
    }
    return false;
  }
  Trials trials(servable, *open);
  trials.Count(Fill::kZeros, zeros);
  const std::vector<Tensor> ones = trials.Run(Fill::kOnes);
  const std::vector<Tensor> random = trials.Run(Fill::kRandom);
  trials.Report(diagnoses);
  return trials.RowsAreIndependent(ones, random);
}

void CheckGolden(const Servable& servable, const std::string& path,
                 const config::CompatibilityOptions& options, DiagnosisList* diagnoses) {
  if (options.golden == "ignore") return;
  const std::string golden = path + ".golden.npz";
  if (!std::ifstream(golden).good()) {
    if (options.golden == "require") {
      diagnoses->Add(
          Code::kGoldenMissing,
          fmt::format("the policy requires golden samples and {} does not exist", golden));
    }
    return;
  }
  const absl::StatusOr<std::vector<NamedTensor>> arrays = ReadNpz(golden);
  std::string error;
  std::vector<Tensor> inputs, outputs;
  if (!arrays.ok()) {
    error = std::string(arrays.status().message());
  } else {
    inputs = GoldenInputs(servable, *arrays, &error);
  }
  if (error.empty()) {
    const absl::Status status = servable.Predict(inputs, nullptr, &outputs);
    if (!status.ok()) error = std::string(status.message());
  }
  if (!error.empty()) {
    if (error.starts_with(golden + ": ")) error.erase(0, golden.size() + 2);
    diagnoses->Add(Code::kGoldenInvalid, fmt::format("{} cannot be used: {}", golden, error));
    return;
  }
  int compared = 0;
  for (size_t i = 0; i < outputs.size(); ++i) {
    const TensorSpec& spec = servable.signature().outputs[i];
    const Tensor* want = FindArray(*arrays, "outputs/" + spec.name);
    if (want == nullptr) want = FindArray(*arrays, "outputs/" + spec.keras_name);
    if (want == nullptr) continue;
    ++compared;
    double worst = 0;
    if (!Close(outputs[i], *want, options.golden_absolute_tolerance,
               options.golden_relative_tolerance, &worst)) {
      diagnoses->Add(
          Code::kGoldenMismatch,
          fmt::format("output {} {} differs from golden {} by up to {:.3g} (tolerance {:g} + {:g} "
                      "relative)",
                      spec.name, outputs[i].shape().ToString(), want->shape().ToString(), worst,
                      options.golden_absolute_tolerance, options.golden_relative_tolerance));
    }
  }
  if (compared == 0) {
    diagnoses->Add(Code::kGoldenInvalid,
                   fmt::format("{} has no array outputs/NAME for any output", golden));
  }
}

void CheckDigest(const std::string& path, const std::string& sha256, DiagnosisList* diagnoses) {
  std::ifstream file(path + ".sha256");
  std::string want;
  if (!file.good() || !(file >> want)) return;
  std::transform(want.begin(), want.end(), want.begin(),
                 [](unsigned char c) { return std::tolower(c); });
  if (want == sha256) return;
  diagnoses->Add(Code::kDigestMismatch, fmt::format("the file's SHA-256 is {}, {}.sha256 says {}",
                                                    sha256, path, want.substr(0, 80)));
}

}  // namespace h5serve::model
