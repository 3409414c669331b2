// h5serve predict: one prediction without a server.
#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <optional>

#include "compute/worker_pool.h"
#include "config/cpu_quota.h"
#include "model/npz.h"
#include "server/commands/commands.h"
#include "server/commands/load_file.h"
#include "server/inference.h"
#include "server/json_tensor.h"
#include "server/log.h"

namespace h5serve::server {
namespace {

using compute::Tensor;
using model::NamedTensor;

constexpr int64_t kMaxInputBytes = int64_t{16} << 30;

// Values of a JSON file: {"input": nested lists}, or the lists alone when the
// model has one input. Types come from the signature.
absl::StatusOr<std::vector<NamedTensor>> ReadJson(const std::string& path,
                                                  const model::Signature& signature) {
  std::ifstream stream(path, std::ios::binary);
  if (!stream) return absl::NotFoundError(fmt::format("{}: cannot be read", path));
  const std::string text((std::istreambuf_iterator<char>(stream)), {});
  simdjson::dom::parser parser;
  const absl::StatusOr<simdjson::dom::element> document = ParseJsonDocument(text, &parser);
  if (!document.ok()) return document.status();
  std::vector<NamedTensor> tensors;
  const auto add = [&](const model::TensorSpec& spec, simdjson::dom::element value) {
    absl::StatusOr<Tensor> tensor = TensorFromJson(value, spec.dtype, kMaxInputBytes);
    if (!tensor.ok()) return AboutInput(spec.name, tensor.status());
    tensors.push_back({spec.name, *std::move(tensor)});
    return absl::OkStatus();
  };
  simdjson::dom::object object;
  if (document->get_object().get(object) != simdjson::SUCCESS) {
    if (signature.inputs.size() != 1) {
      return absl::InvalidArgumentError("expected an object with a member for each input");
    }
    if (absl::Status status = add(signature.inputs[0], *document); !status.ok()) return status;
    return tensors;
  }
  for (const auto& [key, value] : object) {
    const std::string_view name = key;
    const auto spec = std::find_if(signature.inputs.begin(), signature.inputs.end(),
                                   [name](const model::TensorSpec& one) {
                                     return one.name == name || one.keras_name == name;
                                   });
    if (spec == signature.inputs.end()) {
      return absl::InvalidArgumentError(fmt::format("the model has no input \"{}\"", name));
    }
    if (absl::Status status = add(*spec, value); !status.ok()) return status;
  }
  return tensors;
}

absl::StatusOr<std::vector<NamedTensor>> ReadInputs(const std::string& path,
                                                    const model::Signature& signature) {
  if (path.ends_with(".json")) return ReadJson(path, signature);
  if (path.ends_with(".npy")) {
    absl::StatusOr<Tensor> tensor = model::ReadNpy(path);
    if (!tensor.ok()) return tensor.status();
    return std::vector<NamedTensor>{{"", *std::move(tensor)}};
  }
  return model::ReadNpz(path);
}

// The array for an input: by its name, by "i" and its position, or the only one.
const Tensor* Find(const std::vector<NamedTensor>& tensors, const model::Signature& signature,
                   size_t position) {
  const model::TensorSpec& spec = signature.inputs[position];
  for (const std::string& name : {spec.name, spec.keras_name, fmt::format("i{}", position)}) {
    for (const NamedTensor& tensor : tensors) {
      if (tensor.name == name) return &tensor.tensor;
    }
  }
  if (tensors.size() == 1 && signature.inputs.size() == 1) return &tensors[0].tensor;
  return nullptr;
}

// Casts to the declared type, and adds or drops a last dimension of 1, as
// Keras' predict does.
absl::StatusOr<Tensor> Adapt(const Tensor& given, const model::TensorSpec& spec) {
  absl::StatusOr<Tensor> tensor =
      given.dtype() == spec.dtype ? given : compute::Cast(given, spec.dtype);
  if (!tensor.ok()) return tensor.status();
  compute::Shape shape = tensor->shape();
  if (shape.rank() == spec.shape.rank() - 1 && shape.rank() > 0 && spec.shape.back() == 1) {
    shape.push_back(1);
  } else if (shape.rank() == spec.shape.rank() + 1 && shape.back() == 1) {
    shape.Erase(shape.rank() - 1);
  }
  return tensor->Reshaped(shape);
}

absl::StatusOr<std::vector<Tensor>> OrderInputs(const std::vector<NamedTensor>& tensors,
                                                const model::Signature& signature) {
  std::vector<Tensor> ordered;
  for (size_t i = 0; i < signature.inputs.size(); ++i) {
    const model::TensorSpec& spec = signature.inputs[i];
    const Tensor* found = Find(tensors, signature, i);
    if (found == nullptr) {
      std::vector<std::string> names;
      for (const NamedTensor& tensor : tensors) names.push_back(tensor.name);
      return absl::InvalidArgumentError(
          fmt::format("no array for input \"{}\" (nor i{}); the file has: {}", spec.name, i,
                      fmt::join(names, ", ")));
    }
    absl::StatusOr<Tensor> tensor = Adapt(*found, spec);
    if (!tensor.ok()) return AboutInput(spec.name, tensor.status());
    ordered.push_back(*std::move(tensor));
  }
  return ordered;
}

int Fail(const absl::Status& status) {
  fmt::print(stderr, "h5serve predict: {}\n", std::string(status.message()));
  return kRefused;
}

}  // namespace

int RunPredict(const PredictArguments& arguments) {
  model::LoadOutcome outcome = LoadFile(arguments.file, arguments.sources);
  if (outcome.servable == nullptr) {
    outcome.diagnoses.Sort();
    for (const model::Diagnosis& diagnosis : outcome.diagnoses.items()) {
      if (diagnosis.severity != model::Severity::kError) continue;
      fmt::print(stderr, "{}: {}{}\n", Name(diagnosis.code),
                 diagnosis.where.layer.empty() ? "" : "layer " + diagnosis.where.layer + ": ",
                 diagnosis.message);
    }
    return kRefused;
  }
  const model::Servable& servable = *outcome.servable;
  const model::Signature& signature = servable.signature();
  const absl::StatusOr<std::vector<NamedTensor>> given = ReadInputs(arguments.inputs, signature);
  if (!given.ok()) return Fail(given.status());
  const absl::StatusOr<std::vector<Tensor>> inputs = OrderInputs(*given, signature);
  if (!inputs.ok()) return Fail(inputs.status());
  if (absl::Status status = servable.CheckInputs(*inputs); !status.ok()) return Fail(status);
  const compute::WorkerPool pool(config::AvailableCpus());
  std::vector<Tensor> outputs;
  pool.Enter();
  const absl::Status status = servable.Predict(*inputs, &pool, &outputs);
  pool.Leave();
  if (!status.ok()) return Fail(status);
  if (!arguments.outputs.empty()) {
    std::vector<NamedTensor> named;
    for (size_t i = 0; i < outputs.size(); ++i) {
      named.push_back({signature.outputs[i].name, outputs[i]});
    }
    const absl::Status written = model::WriteNpz(arguments.outputs, named);
    return written.ok() ? kOk : Fail(written);
  }
  std::string json = "{";
  for (size_t i = 0; i < outputs.size(); ++i) {
    json += fmt::format("{}{}: ", i > 0 ? ", " : "", JsonQuote(signature.outputs[i].name));
    AppendJson(outputs[i], outputs[i].shape(), 0, /*base64=*/false, &json);
  }
  fmt::print("{}}}\n", json);
  return kOk;
}

}  // namespace h5serve::server
