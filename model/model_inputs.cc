#include "model/model_inputs.h"

#include <fmt/format.h>

#include <optional>

namespace h5serve::model {
namespace {

using compute::DType;
using compute::kUnknown;
using compute::Shape;

std::optional<Shape> ParseShape(const ConfigValue& value) {
  if (!value.is_list() || value.as_list().empty() ||
      value.as_list().size() > static_cast<size_t>(compute::kMaxRank)) {
    return std::nullopt;
  }
  Shape shape;
  for (const ConfigValue& item : value.as_list()) {
    if (item.is_null()) {
      shape.push_back(kUnknown);
      continue;
    }
    const std::optional<int64_t> dim = item.ToInt();
    if (!dim || *dim < -1 || *dim > (int64_t{1} << 31)) return std::nullopt;
    shape.push_back(*dim == -1 ? kUnknown : *dim);
  }
  // A fixed batch size matters to training and stateful layers, not to serving.
  shape[0] = kUnknown;
  return shape;
}

const ConfigValue& StoredShape(const Layer& input) {
  for (std::string_view key : {"batch_input_shape", "batch_shape"}) {
    if (const ConfigValue* shape = input.config.Find(key)) return *shape;
  }
  return input.config["shape"];
}

// Unknown dimensions with `last` in the end.
Shape OpenShape(int rank, int64_t last) {
  Shape shape;
  for (int i = 0; i + 1 < rank; ++i) shape.push_back(kUnknown);
  shape.push_back(last);
  return shape;
}

struct Inferred {
  Shape shape;
  std::string from;
};

std::optional<Inferred> FromLayer(const Layer& layer, const ModelWeights& weights);

std::optional<Inferred> FromModel(const KerasModel& model, const ModelWeights& weights) {
  for (const auto& layer : model.layers) {
    if (std::optional<Inferred> found = FromLayer(*layer, weights)) return found;
  }
  return std::nullopt;
}

std::optional<Inferred> FromLayer(const Layer& layer, const ModelWeights& weights) {
  if (layer.nested) return FromModel(*layer.nested, weights);
  if (!layer.inner.empty()) {
    std::optional<Inferred> inner = FromLayer(*layer.inner[0], weights);
    if (inner && layer.class_name == "TimeDistributed") inner->shape.Insert(1, kUnknown);
    return inner;
  }
  const auto at = weights.find(&layer);
  if (at == weights.end()) return std::nullopt;
  const std::string& name = layer.class_name;
  const auto dim_of = [&](std::string_view role, int axis) -> int64_t {
    const auto weight = at->second.find(role);
    return weight == at->second.end() ? kUnknown : weight->second.shape().dim(axis);
  };
  if (name == "Embedding") return Inferred{Shape{kUnknown, kUnknown}, layer.name};
  if (name == "Dense") return Inferred{Shape{kUnknown, dim_of("kernel", 0)}, layer.name};
  if (name == "LSTM" || name == "GRU" || name == "SimpleRNN" || name == "RNN") {
    return Inferred{OpenShape(3, dim_of("kernel", 0)), layer.name};
  }
  const size_t digit = name.find_first_of("123");
  if (digit != std::string::npos && name.find("Conv") != std::string::npos &&
      digit + 1 < name.size() && name[digit + 1] == 'D') {
    const int rank = name[digit] - '0' + 2;
    const bool depthwise = name.starts_with("Depthwise") || name.starts_with("Separable");
    const int64_t channels =
        depthwise && name.starts_with("Separable")
            ? dim_of("depthwise_kernel", -2)
            : dim_of(at->second.contains("kernel") ? "kernel" : "depthwise_kernel", -2);
    Shape shape = OpenShape(rank, channels);
    if (layer.config.StringOr("data_format") == "channels_first") {
      shape.back() = kUnknown;
      shape[1] = channels;
    }
    return Inferred{shape, layer.name};
  }
  return std::nullopt;
}

DType InputDType(const Layer& input, DiagnosisList* diagnoses) {
  const ConfigValue& dtype = input.config["dtype"];
  if (!dtype.is_string()) return DType::kFloat32;
  std::string_view name = dtype.as_string();
  // A policy's inputs are of its variables' type.
  if (name == "mixed_float16" || name == "mixed_bfloat16" || name.find("_from_") != name.npos ||
      name == "infer" || name == "_infer") {
    return DType::kFloat32;
  }
  if (const std::optional<DType> parsed = compute::ParseDType(name)) return *parsed;
  diagnoses->Add(Code::kInvalidConfigValue,
                 fmt::format("input {} has dtype {}, which is unknown", input.name, name),
                 {input.name, input.written_class, input.json_pointer, ""});
  return DType::kFloat32;
}

}  // namespace

bool DescribeInputs(const KerasModel& model, const ModelWeights& weights,
                    const config::ModelOptions& options, DiagnosisList* diagnoses,
                    Signature* signature) {
  bool good = true;
  for (size_t i = 0; i < model.inputs.size(); ++i) {
    const Layer& input = *model.layers[model.inputs[i].layer];
    const Place place{input.name, input.written_class, input.json_pointer, ""};
    const ConfigValue& stored = StoredShape(input);
    std::optional<Shape> shape = ParseShape(stored);
    if (!shape && !stored.is_null()) {
      diagnoses->Add(
          Code::kInvalidConfigValue,
          fmt::format("input {} has shape {}: 1 to {} dimensions below 2^31 are expected",
                      input.name, stored.ToJson(80), compute::kMaxRank),
          place);
      good = false;
      continue;
    }
    if (!shape) {
      const std::optional<Inferred> inferred = FromModel(model, weights);
      if (!inferred) {
        diagnoses->Add(Code::kShapeInferenceFailed,
                       fmt::format("the file does not store the shape of input {} and no layer "
                                   "with weights tells it",
                                   input.name),
                       place, {"give the first layer an input_shape and save the model again"});
        good = false;
        continue;
      }
      shape = inferred->shape;
      diagnoses->Add(Code::kInferredInputShape,
                     fmt::format("the file does not store the shape of input {}; inferred {} from "
                                 "the weights of {}",
                                 input.name, shape->ToString(), inferred->from),
                     place);
    }
    const std::string& name = model.input_names[i];
    const auto renamed = options.names.find(name);
    signature->inputs.push_back({renamed == options.names.end() ? name : renamed->second, name,
                                 InputDType(input, diagnoses), *shape});
  }
  return good;
}

}  // namespace h5serve::model
