#include "model/lowering.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "model/lower_model.h"

namespace h5serve::model {
namespace {

using compute::kUnknown;
using compute::Shape;
using compute::Value;

constexpr int64_t kMaxSize = int64_t{1} << 31;

void CollectTensors(const CallArgument& argument, std::vector<KerasTensor>* tensors) {
  if (argument.is_tensor()) tensors->push_back(argument.tensor);
  for (const CallArgument& item : argument.list) CollectTensors(item, tensors);
  for (const auto& [key, item] : argument.dict) CollectTensors(item, tensors);
}

}  // namespace

std::vector<KerasTensor> CallInputs::Tensors() const {
  std::vector<KerasTensor> tensors;
  for (const CallArgument& argument : args) CollectTensors(argument, &tensors);
  return tensors;
}

const CallArgument* CallInputs::Keyword(std::string_view name) const {
  const auto at = kwargs.find(name);
  return at == kwargs.end() || at->second.is_null() ? nullptr : &at->second;
}

std::vector<KerasTensor> One(Value value, std::optional<Value> mask) {
  return {KerasTensor{value, mask}};
}

const Writer& LayerScope::writer() const { return lowering_->writer(); }
compute::Graph& LayerScope::graph() const { return lowering_->graph(); }

bool LayerScope::Has(std::string_view key) const { return !config()[key].is_null(); }

bool LayerScope::Bool(std::string_view key, bool otherwise) const {
  const ConfigValue& value = config()[key];
  if (value.is_null()) return otherwise;
  if (value.is_bool()) return value.as_bool();
  if (value.ToInt() && (*value.ToInt() == 0 || *value.ToInt() == 1)) return *value.ToInt() == 1;
  BadValue(key, "a bool is expected");
  return otherwise;
}

int64_t LayerScope::Int(std::string_view key, int64_t otherwise) const {
  const ConfigValue& value = config()[key];
  if (value.is_null()) return otherwise;
  if (const auto number = value.ToInt(); number && std::abs(*number) <= kMaxSize) return *number;
  // A list of one, as tf.keras writes axis.
  if (value.is_list() && value.as_list().size() == 1 && value.as_list()[0].ToInt()) {
    return *value.as_list()[0].ToInt();
  }
  BadValue(key, "an integer is expected");
  return otherwise;
}

int64_t LayerScope::PositiveInt(std::string_view key) const {
  const std::optional<int64_t> value = config()[key].ToInt();
  if (value && *value >= 1 && *value <= kMaxSize) return *value;
  BadValue(key, fmt::format("an integer from 1 to {} is expected", kMaxSize));
  return 1;
}

float LayerScope::Float(std::string_view key, float otherwise) const {
  const ConfigValue* value = &config()[key];
  if (value->is_null()) return otherwise;
  // NumPy scalars come as lists of one.
  while (value->is_list() && value->as_list().size() == 1) value = &value->as_list()[0];
  if (value->is_number() && !std::isnan(value->as_float())) {
    return static_cast<float>(value->as_float());
  }
  BadValue(key, "a number is expected");
  return otherwise;
}

std::string LayerScope::String(std::string_view key, std::string_view otherwise) const {
  const ConfigValue& value = config()[key];
  if (value.is_null()) return std::string(otherwise);
  if (value.is_string()) return value.as_string();
  BadValue(key, "a string is expected");
  return std::string(otherwise);
}

std::string LayerScope::Choice(std::string_view key, std::string_view otherwise,
                               std::initializer_list<std::string_view> choices) const {
  const std::string value = String(key, otherwise);
  std::string names;
  for (std::string_view choice : choices) {
    if (value == choice) return value;
    names += (names.empty() ? "" : ", ") + std::string(choice);
  }
  BadValue(key, "one of " + names + " is expected");
  return std::string(otherwise);
}

std::vector<int64_t> LayerScope::Ints(std::string_view key, std::vector<int64_t> otherwise) const {
  const ConfigValue& value = config()[key];
  if (value.is_null()) return otherwise;
  if (const auto number = value.ToInt()) return {*number};
  std::vector<int64_t> numbers;
  if (value.is_list()) {
    for (const ConfigValue& item : value.as_list()) {
      const std::optional<int64_t> number = item.ToInt();
      if (!number || std::abs(*number) > kMaxSize) {
        BadValue(key, "a list of integers is expected");
        return otherwise;
      }
      numbers.push_back(*number);
    }
    return numbers;
  }
  BadValue(key, "an integer or a list of integers is expected");
  return otherwise;
}

std::vector<int64_t> LayerScope::Sizes(std::string_view key, int rank, int64_t otherwise) const {
  std::vector<int64_t> sizes = Ints(key, std::vector<int64_t>(rank, otherwise));
  if (sizes.size() == 1) sizes.resize(rank, sizes[0]);
  bool good = static_cast<int>(sizes.size()) == rank;
  for (int64_t size : sizes) good &= size >= 1 && size <= kMaxSize;
  if (good) return sizes;
  BadValue(key, fmt::format("{} positive integers are expected", rank));
  return std::vector<int64_t>(rank, 1);
}

bool LayerScope::ChannelsFirst() const {
  // keras.json of the training machine decides where null stands; nearly everywhere
  // it says channels_last.
  return Choice("data_format", "channels_last", {"channels_last", "channels_first"}) ==
         "channels_first";
}

bool LayerScope::HasWeight(std::string_view role) const { return WeightTensor(role) != nullptr; }

const compute::Tensor* LayerScope::WeightTensor(std::string_view role) const {
  const LayerWeights* weights = lowering_->weights(*layer_);
  if (weights == nullptr) return nullptr;
  const auto at = weights->find(role);
  return at == weights->end() ? nullptr : &at->second;
}

Value LayerScope::Weight(std::string_view role, const Shape& shape) const {
  const compute::Tensor* tensor = WeightTensor(role);
  if (tensor == nullptr) {
    const std::vector<Diagnosis>& known = lowering_->diagnoses().items();
    // Errors of binding have said it with more detail.
    const bool said = std::ranges::any_of(known, [&](const Diagnosis& item) {
      const std::string& owner = item.where.layer;
      return item.severity == Severity::kError && !item.where.hdf5_path.empty() &&
             (owner == layer_->name || path_.starts_with(owner + "/"));
    });
    if (said) return graph().Fail(absl::CancelledError("reported"));
    Fail(Code::kWeightMissing, fmt::format("layer {} has no weight {}", path_, role));
    return {};
  }
  if (!compute::Compatible(tensor->shape(), shape)) {
    Fail(Code::kWeightShapeMismatch,
         fmt::format("layer {}, {}: expected {}, stored {}", path_, role, shape.ToString(),
                     tensor->shape().ToString()));
    return {};
  }
  return lowering_->WeightConstant(*layer_, role, *tensor);
}

void LayerScope::Fail(Code code, std::string message, std::vector<std::string> remedies) const {
  lowering_->Report({code,
                     Severity::kError,
                     std::move(message),
                     {path_, layer_->written_class, layer_->json_pointer, ""},
                     std::move(remedies)});
  if (graph().status().ok()) graph().Fail(absl::CancelledError("reported"));
}

void LayerScope::BadValue(std::string_view key, std::string_view why) const {
  const ConfigValue* value = config().Find(key);
  Fail(Code::kInvalidConfigValue,
       fmt::format("{}.{} = {}: {}", path_, key, value == nullptr ? "(absent)" : value->ToJson(80),
                   why));
}

void LayerScope::Warn(Code code, std::string message) const {
  lowering_->Report({code,
                     Severity::kWarning,
                     std::move(message),
                     {path_, layer_->written_class, layer_->json_pointer, ""},
                     {}});
}

bool LayerScope::failed() const { return !graph().status().ok(); }

std::vector<KerasTensor> LayerScope::Apply(const Layer& inner, const CallInputs& inputs) const {
  const absl::Status before = graph().status();
  if (!before.ok()) return {};
  std::vector<KerasTensor> outputs = lowering_->LowerCall(inner, inputs, path_ + "/" + inner.name);
  if (outputs.empty()) graph().Fail(absl::CancelledError("reported"));
  return outputs;
}

}  // namespace h5serve::model
