// Predicts every golden case of a folder and compares with what Keras computed.
//
// golden_test FOLDER EXCEPTIONS [--only TEXT] [--record]

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <map>
#include <optional>
#include <span>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "compute/dtype.h"
#include "compute/tensor.h"
#include "model/load.h"
#include "model/npz.h"
#include "model/reader/read_model.h"
#include "model/servable.h"

namespace h5serve {
namespace {

constexpr double kTolerance = 1e-4;

using NamedTensors = std::vector<model::NamedTensor>;

// What exceptions.txt says of a case.
struct Expectation {
  double tolerance = kTolerance;
  std::optional<std::string> refused;  // code that must be among the errors
};

// What came of a case.
struct Outcome {
  std::string failure;               // empty: served and right
  std::optional<std::string> codes;  // set when refused: codes of the errors
  bool right() const { return failure.empty() && !codes.has_value(); }
};

// Lines "FOLDER/CASE tolerance NUMBER" and "FOLDER/CASE refused CODE" of one folder,
// or nullopt when a line is none of them.
std::optional<std::map<std::string, Expectation>> ReadExceptions(const std::string& path,
                                                                 const std::string& folder) {
  std::ifstream file(path);
  if (!file) return std::nullopt;
  std::map<std::string, Expectation> expectations;
  std::string line;
  while (std::getline(file, line)) {
    if (line.empty() || line[0] == '#') continue;
    std::istringstream words(line);
    std::string name;
    std::string kind;
    std::string value;
    words >> name >> kind >> value;
    const size_t slash = name.find('/');
    if (slash == std::string::npos || value.empty()) return std::nullopt;
    Expectation expectation;
    if (kind == "tolerance") {
      expectation.tolerance = std::strtod(value.c_str(), nullptr);
    } else if (kind == "refused") {
      expectation.refused = value;
    } else {
      return std::nullopt;
    }
    if (name.substr(0, slash) == folder) expectations[name.substr(slash + 1)] = expectation;
  }
  return expectations;
}

// Why the tensors differ; empty when they agree.
std::string Compare(std::string_view name, const compute::Tensor& got,
                    const compute::Tensor& expected, double tolerance) {
  if (!(got.shape() == expected.shape())) {
    return fmt::format("{} has shape {}, expected {}", name, got.shape().ToString(),
                       expected.shape().ToString());
  }
  if (expected.dtype() == compute::DType::kString || got.dtype() == compute::DType::kString) {
    if (got.dtype() != expected.dtype()) return fmt::format("{} is not text on both sides", name);
    const std::string* a = got.data<std::string>();
    const std::string* b = expected.data<std::string>();
    return std::equal(a, a + got.num_elements(), b) ? "" : fmt::format("{} is other text", name);
  }
  const auto a = compute::Cast(got, compute::DType::kFloat64);
  const auto b = compute::Cast(expected, compute::DType::kFloat64);
  if (!a.ok() || !b.ok()) return fmt::format("{} is not numeric", name);
  double largest = 1;
  double difference = 0;
  for (int64_t i = 0; i < expected.num_elements(); ++i) {
    const double x = a->data<double>()[i];
    const double y = b->data<double>()[i];
    if (!std::isfinite(x) || !std::isfinite(y)) return fmt::format("{} is not finite", name);
    largest = std::max(largest, std::abs(y));
    difference = std::max(difference, std::abs(x - y));
  }
  if (difference / largest <= tolerance) return "";
  return fmt::format("{} differs by {:.3g}, tolerance {:g}", name, difference / largest, tolerance);
}

// The inputs as the signature declares them; the .npz holds them in its order,
// sometimes in a wider type.
absl::StatusOr<std::vector<compute::Tensor>> InputsOf(const NamedTensors& arrays,
                                                      const model::Signature& signature) {
  if (arrays.size() != signature.inputs.size()) {
    return absl::InvalidArgumentError(fmt::format("the model has {} inputs, the case {}",
                                                  signature.inputs.size(), arrays.size()));
  }
  std::vector<compute::Tensor> inputs;
  for (size_t i = 0; i < arrays.size(); ++i) {
    const compute::DType dtype = signature.inputs[i].dtype;
    if (arrays[i].tensor.dtype() == dtype) {
      inputs.push_back(arrays[i].tensor);
      continue;
    }
    auto cast = compute::Cast(arrays[i].tensor, dtype);
    if (!cast.ok()) return cast.status();
    inputs.push_back(*std::move(cast));
  }
  return inputs;
}

Outcome RunCase(const std::filesystem::path& model_path, double tolerance) {
  model::LoadRequest request;
  request.path = model_path.string();
  const model::LoadOutcome loaded = model::LoadModel(request);
  if (loaded.servable == nullptr) {
    std::string codes;
    for (const model::Diagnosis& item : loaded.diagnoses.items()) {
      if (item.severity == model::Severity::kError) codes += fmt::format("{} ", Name(item.code));
    }
    return {std::string(loaded.diagnoses.Summary().message()), codes};
  }
  const std::filesystem::path stem = model_path.parent_path() / model_path.stem();
  const auto arrays = model::ReadNpz(stem.string() + ".in.npz");
  const auto expected = model::ReadNpz(stem.string() + ".out.npz");
  if (!arrays.ok()) return {std::string(arrays.status().message()), {}};
  if (!expected.ok()) return {std::string(expected.status().message()), {}};
  const auto inputs = InputsOf(*arrays, loaded.servable->signature());
  if (!inputs.ok()) return {std::string(inputs.status().message()), {}};
  const absl::Status check = loaded.servable->CheckInputs(*inputs);
  if (!check.ok()) return {std::string(check.message()), {}};
  std::vector<compute::Tensor> outputs;
  const absl::Status status = loaded.servable->Predict(*inputs, nullptr, &outputs);
  if (!status.ok()) return {std::string(status.message()), {}};
  if (outputs.size() != expected->size()) {
    return {fmt::format("{} outputs, expected {}", outputs.size(), expected->size()), {}};
  }
  for (size_t i = 0; i < outputs.size(); ++i) {
    std::string why = Compare((*expected)[i].name, outputs[i], (*expected)[i].tensor, tolerance);
    if (!why.empty()) return {std::move(why), {}};
  }
  return {};
}

// Why the outcome is not the expected one; empty when it is.
std::string Judge(const Outcome& outcome, const Expectation& expectation) {
  if (!expectation.refused.has_value()) {
    if (outcome.codes.has_value()) return fmt::format("refused: {}", outcome.failure);
    return outcome.failure;
  }
  if (outcome.right()) return "is served now: take it out of the exceptions";
  if (!outcome.codes.has_value()) return outcome.failure;
  // A space after each code keeps one code from matching the start of another.
  if (outcome.codes->find(*expectation.refused + " ") == std::string::npos) {
    return fmt::format("refused, but not with {}: {}", *expectation.refused, outcome.failure);
  }
  return "";
}

std::vector<std::filesystem::path> FindModels(const std::filesystem::path& folder) {
  std::vector<std::filesystem::path> models;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    const std::string ending = entry.path().extension().string();
    if (ending == ".h5" || ending == ".keras") models.push_back(entry.path());
  }
  std::sort(models.begin(), models.end());
  return models;
}

struct Arguments {
  std::filesystem::path folder;
  std::string exceptions;
  std::string only;
  bool record = false;
};

std::optional<Arguments> ParseArguments(std::span<char*> words) {
  if (words.size() < 3) return std::nullopt;
  Arguments arguments{words[1], words[2], "", false};
  for (size_t i = 3; i < words.size(); ++i) {
    const std::string_view word = words[i];
    if (word == "--record") {
      arguments.record = true;
    } else if (word == "--only" && i + 1 < words.size()) {
      arguments.only = words[++i];
    } else {
      return std::nullopt;
    }
  }
  return arguments;
}

int Run(const Arguments& arguments) {
  const std::string group = arguments.folder.filename().string();
  const auto expectations = ReadExceptions(arguments.exceptions, group);
  if (!expectations.has_value()) {
    fmt::print(stderr, "cannot understand {}\n", arguments.exceptions);
    return 2;
  }
  int served = 0;
  int refused = 0;
  int failed = 0;
  for (const std::filesystem::path& path : FindModels(arguments.folder)) {
    const std::string name = path.stem().string();
    if (name.find(arguments.only) == std::string::npos) continue;
    const auto found = expectations->find(name);
    const Expectation expectation = found == expectations->end() ? Expectation{} : found->second;
    const Outcome outcome = RunCase(path, expectation.tolerance);
    if (arguments.record && outcome.codes.has_value()) {
      fmt::print("{}/{} refused {}\n", group, name,
                 outcome.codes->substr(0, outcome.codes->find(' ')));
    }
    const std::string why = Judge(outcome, expectation);
    if (!why.empty()) {
      ++failed;
      if (!arguments.record) fmt::print("FAIL {}/{}: {}\n", group, name, why);
    } else {
      ++(outcome.right() ? served : refused);
    }
  }
  fmt::print(stderr, "{}: {} served and right, {} refused as expected, {} failed\n", group, served,
             refused, failed);
  return failed > 0 || served + refused == 0 ? 1 : 0;
}

}  // namespace
}  // namespace h5serve

int main(int argc, char** argv) {
  if (h5serve::model::IsReaderChild(argc, argv)) return h5serve::model::RunReaderChild(argc, argv);
  const auto arguments = h5serve::ParseArguments(std::span<char*>(argv, static_cast<size_t>(argc)));
  if (!arguments.has_value()) {
    fmt::print(stderr, "usage: golden_test FOLDER EXCEPTIONS [--only TEXT] [--record]\n");
    return 2;
  }
  return h5serve::Run(*arguments);
}
