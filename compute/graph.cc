#include "compute/graph.h"

#include <fmt/format.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "compute/evaluate_op.h"

namespace h5serve::compute {
namespace {

// More work than this is not done while a graph is built.
constexpr double kFoldFlops = 1e10;

const Graph::ValueInfo& InvalidInfo() {
  static const Graph::ValueInfo* info = new Graph::ValueInfo();
  return *info;
}

}  // namespace

Value Graph::NewValue(ValueInfo info) {
  values_.push_back(std::move(info));
  return Value{static_cast<int>(values_.size()) - 1};
}

Value Graph::Input(DType dtype, const Shape& shape) {
  const Value value = NewValue({{GraphDType(dtype), shape}, std::nullopt, -1});
  inputs_.push_back(value);
  return value;
}

Value Graph::Constant(const Tensor& tensor) {
  if (tensor.empty()) return Fail(absl::InvalidArgumentError("a constant has no value"));
  absl::StatusOr<Tensor> converted = Cast(tensor, GraphDType(tensor.dtype()));
  if (!converted.ok()) return Fail(converted.status());
  const ValueType type{converted->dtype(), converted->shape()};
  return NewValue({type, *std::move(converted), -1});
}

std::vector<Value> Graph::Add(std::shared_ptr<const Op> op, std::vector<Value> inputs) {
  // The number of outputs of a refused op is not known: give one invalid value
  // more often than anybody asks.
  constexpr size_t kInvalidOutputs = 8;
  const bool valid =
      std::all_of(inputs.begin(), inputs.end(), [](Value value) { return value.valid(); });
  if (!valid) {
    if (status_.ok()) status_ = absl::InternalError("an op was given an invalid value");
    return std::vector<Value>(kInvalidOutputs);
  }
  std::vector<ValueType> input_types;
  std::vector<const Tensor*> constants;
  for (Value input : inputs) {
    input_types.push_back(values_[input.index].type);
    constants.push_back(constant(input));
  }
  absl::StatusOr<std::vector<ValueType>> types =
      InferChecked(*op, InferContext(input_types, constants));
  if (!types.ok()) {
    Fail(types.status());
    return std::vector<Value>(kInvalidOutputs);
  }
  std::vector<Value> outputs;
  if (Fold(*op, inputs, *types, &outputs)) return outputs;
  const int node = static_cast<int>(nodes_.size());
  for (ValueType& type : *types) outputs.push_back(NewValue({std::move(type), std::nullopt, node}));
  nodes_.push_back({std::move(op), std::move(inputs), outputs, label_});
  return outputs;
}

bool Graph::Fold(const Op& op, const std::vector<Value>& inputs,
                 const std::vector<ValueType>& types, std::vector<Value>* outputs) {
  std::vector<Tensor> tensors;
  std::vector<ValueType> input_types;
  int64_t largest_input = 0;
  for (size_t i = 0; i < inputs.size(); ++i) {
    const ValueInfo& info = values_[inputs[i].index];
    if (info.constant) {
      tensors.push_back(*info.constant);
      largest_input = std::max(largest_input, info.constant->num_elements());
    } else if (op.ReadsOnlyShape(static_cast<int>(i)) && info.type.shape.known()) {
      tensors.emplace_back();
    } else {
      return false;
    }
    input_types.push_back(info.type);
  }
  if (op.Flops(input_types) > kFoldFlops) return false;
  for (const ValueType& type : types) {
    const std::optional<int64_t> count = CheckedElementCount(type.shape);
    if (!count || (*count > fold_limit_ && !(op.IsView() && *count == largest_input))) return false;
  }
  absl::StatusOr<std::vector<Tensor>> results = EvaluateOp(op, tensors, input_types, types);
  if (!results.ok()) {
    Fail(results.status());
    outputs->assign(types.size(), Value());
    return true;
  }
  for (Tensor& result : *results) {
    const ValueType type{result.dtype(), result.shape()};
    outputs->push_back(NewValue({type, std::move(result), -1}));
  }
  return true;
}

Value Graph::Add1(std::shared_ptr<const Op> op, std::vector<Value> inputs) {
  return Add(std::move(op), std::move(inputs)).at(0);
}

const Shape& Graph::shape(Value value) const {
  return value.valid() ? values_[value.index].type.shape : InvalidInfo().type.shape;
}

DType Graph::dtype(Value value) const {
  return value.valid() ? values_[value.index].type.dtype : DType::kFloat32;
}

const Tensor* Graph::constant(Value value) const {
  if (!value.valid()) return nullptr;
  const std::optional<Tensor>& tensor = values_[value.index].constant;
  return tensor ? &*tensor : nullptr;
}

Value Graph::Fail(absl::Status status) {
  if (status_.ok()) status_ = std::move(status);
  return Value();
}

}  // namespace h5serve::compute
