#include "model/lower_model.h"

#include <fmt/format.h>

#include <functional>
#include <optional>

#include "compute/ops/elementwise.h"
#include "model/custom/lower_custom.h"
#include "model/functions/operation_layers.h"
#include "model/training_call.h"

namespace h5serve::model {

namespace {

using compute::Value;

// Nested models may share layers so that the number of calls explodes.
constexpr int64_t kMaxCalls = 200000;
constexpr int kMaxDepth = 64;

// The tensors of a call of a nested model, in the order of its inputs: those of a
// dict by their keys, all others by their places.
std::vector<KerasTensor> NestedInputs(const KerasModel& nested, const CallInputs& inputs) {
  if (inputs.args.size() != 1 || inputs.args[0].kind != Argument::Kind::kDict) {
    return inputs.Tensors();
  }
  std::vector<KerasTensor> ordered;
  for (const std::string& name : nested.input_names) {
    const auto member = inputs.args[0].dict.find(name);
    if (member == inputs.args[0].dict.end() || !member->second.is_tensor()) return inputs.Tensors();
    ordered.push_back(member->second.tensor);
  }
  return ordered;
}

// One call of one layer of a model.
struct CallKey {
  int layer;
  int call;
  friend auto operator<=>(const CallKey&, const CallKey&) = default;
};

void VisitTensors(const Argument& argument, const std::function<void(const TensorRef&)>& visit) {
  if (argument.kind == Argument::Kind::kTensor) visit(argument.tensor);
  for (const Argument& item : argument.list) VisitTensors(item, visit);
  for (const auto& [key, item] : argument.dict) VisitTensors(item, visit);
}

// Evaluates the calls of one model that its outputs need.
class ModelEvaluator {
 public:
  ModelEvaluator(Lowering& lowering, const KerasModel& model, std::string path)
      : lowering_(lowering), model_(model), path_(std::move(path)) {}

  std::vector<KerasTensor> Run(const std::vector<KerasTensor>& inputs) {
    if (inputs.size() != model_.inputs.size()) {
      Fail(Code::kGraphInvalid,
           fmt::format("model {} is called with {} tensors and has {} inputs", model_.name,
                       inputs.size(), model_.inputs.size()),
           nullptr);
      return {};
    }
    for (size_t i = 0; i < inputs.size(); ++i) {
      const TensorRef& ref = model_.inputs[i];
      results_[{ref.layer, ref.call}] = {inputs[i]};
      lowering_.RecordShapes(path_ + model_.layers[ref.layer]->name, {inputs[i]});
    }
    if (!Order()) return {};
    for (const CallKey& key : order_) Evaluate(key);
    std::vector<KerasTensor> outputs;
    for (const TensorRef& ref : model_.outputs) outputs.push_back(Resolve(ref));
    return outputs;
  }

 private:
  void Fail(Code code, std::string message, const Layer* layer) {
    Diagnosis diagnosis{code, Severity::kError, std::move(message), {}, {}};
    if (layer != nullptr) {
      diagnosis.where = {path_ + layer->name, layer->written_class, layer->json_pointer, ""};
    } else if (!path_.empty()) {
      // The nested model itself, without the slash before its layers.
      diagnosis.where.layer = path_.substr(0, path_.size() - 1);
    }
    lowering_.Report(std::move(diagnosis));
  }

  // The call a reference means, or null with a diagnosis.
  const Call* Find(const TensorRef& ref) {
    if (ref.layer < 0 || ref.layer >= static_cast<int>(model_.layers.size())) return nullptr;
    const Layer& layer = *model_.layers[ref.layer];
    if (ref.call < 0 || ref.call >= static_cast<int>(layer.calls.size())) {
      Fail(Code::kGraphInvalid,
           fmt::format("call {} of layer {} is used, but it is called {} times", ref.call,
                       layer.name, layer.calls.size()),
           &layer);
      return nullptr;
    }
    return &layer.calls[ref.call];
  }

  // Depth-first order of the calls that the outputs need, without recursion:
  // graphs of thousands of layers are ordinary.
  bool Order() {
    enum class Mark { kOpen, kDone };
    std::map<CallKey, Mark> marks;
    for (const auto& [key, tensors] : results_) marks[key] = Mark::kDone;
    std::vector<std::pair<CallKey, bool>> stack;
    bool valid = true;
    for (const TensorRef& ref : model_.outputs) stack.push_back({{ref.layer, ref.call}, false});
    while (!stack.empty()) {
      const CallKey key = stack.back().first;
      const bool leaving = stack.back().second;
      stack.pop_back();
      if (leaving) {
        marks[key] = Mark::kDone;
        order_.push_back(key);
        continue;
      }
      if (marks.contains(key)) continue;
      const Call* call = Find({key.layer, key.call, 0});
      if (call == nullptr) {
        marks[key] = Mark::kDone;
        valid = false;
        continue;
      }
      marks[key] = Mark::kOpen;
      stack.push_back({key, true});
      const auto visit = [&](const TensorRef& ref) {
        const CallKey next{ref.layer, ref.call};
        const auto at = marks.find(next);
        if (at == marks.end()) {
          stack.push_back({next, false});
        } else if (at->second == Mark::kOpen) {
          const Layer& layer = *model_.layers[key.layer];
          Fail(Code::kGraphInvalid,
               fmt::format("layer {} depends on its own output (a cycle)", layer.name), &layer);
          valid = false;
        }
      };
      for (const Argument& argument : call->args) VisitTensors(argument, visit);
      for (const auto& [name, argument] : call->kwargs) VisitTensors(argument, visit);
    }
    return valid;
  }

  KerasTensor Resolve(const TensorRef& ref) {
    const auto at = results_.find({ref.layer, ref.call});
    if (at == results_.end()) return {};
    if (ref.tensor >= 0 && ref.tensor < static_cast<int>(at->second.size())) {
      return at->second[ref.tensor];
    }
    const Layer& layer = *model_.layers[ref.layer];
    Fail(Code::kGraphInvalid,
         fmt::format("output {} of layer {} is used, but it has {}", ref.tensor, layer.name,
                     at->second.size()),
         &layer);
    return {};
  }

  // False when a tensor in it could not be computed.
  bool Fill(const Argument& argument, CallArgument* filled) {
    filled->kind = argument.kind;
    filled->constant = argument.constant;
    bool good = true;
    if (argument.kind == Argument::Kind::kTensor) {
      filled->tensor = Resolve(argument.tensor);
      good = filled->tensor.value.valid();
    }
    for (const Argument& item : argument.list) {
      good &= Fill(item, &filled->list.emplace_back());
    }
    for (const auto& [key, item] : argument.dict) good &= Fill(item, &filled->dict[key]);
    return good;
  }

  void Evaluate(const CallKey& key) {
    const Layer& layer = *model_.layers[key.layer];
    const Call& call = layer.calls[key.call];
    if (layer.class_name == "InputLayer") {
      Fail(Code::kGraphInvalid,
           fmt::format("input layer {} is not among the model's inputs", layer.name), &layer);
      return;
    }
    CallInputs inputs;
    bool good = true;
    for (const Argument& argument : call.args) {
      good &= Fill(argument, &inputs.args.emplace_back());
    }
    for (const auto& [name, argument] : call.kwargs) {
      good &= Fill(argument, &inputs.kwargs[name]);
    }
    // What failed before has been reported there.
    if (!good) return;
    std::vector<KerasTensor> outputs = lowering_.LowerCall(layer, inputs, path_ + layer.name);
    if (!outputs.empty()) results_[key] = std::move(outputs);
  }

  Lowering& lowering_;
  const KerasModel& model_;
  std::string path_;
  std::map<CallKey, std::vector<KerasTensor>> results_;
  std::vector<CallKey> order_;
};

}  // namespace

std::vector<KerasTensor> Lowering::LowerModel(const KerasModel& model,
                                              const std::vector<KerasTensor>& inputs,
                                              const std::string& path) {
  if (depth_ >= kMaxDepth) {
    Diagnosis diagnosis{Code::kGraphInvalid,
                        Severity::kError,
                        fmt::format("models are nested deeper than {}", kMaxDepth),
                        {},
                        {}};
    diagnosis.where.layer = path.substr(0, path.size() - 1);
    Report(std::move(diagnosis));
    return {};
  }
  ++depth_;
  std::vector<KerasTensor> outputs = ModelEvaluator(*this, model, path).Run(inputs);
  --depth_;
  return outputs;
}

std::optional<compute::DType> HalfPrecision(const Layer& layer) {
  const std::string_view policy = layer.config.StringOr("dtype");
  if (policy == "mixed_float16" || policy == "float16") return compute::DType::kFloat16;
  if (policy == "mixed_bfloat16" || policy == "bfloat16") return compute::DType::kBFloat16;
  return std::nullopt;
}

std::vector<KerasTensor> Lowering::LowerCall(const Layer& layer, const CallInputs& inputs,
                                             const std::string& path) {
  const LayerScope scope(this, &layer, path);
  if (++calls_ > kMaxCalls) {
    if (calls_ == kMaxCalls + 1) {
      scope.Fail(Code::kResourceLimit,
                 fmt::format("the model makes more than {} layer calls", kMaxCalls));
    }
    return {};
  }
  if (const std::string problem = TrainingCallProblem(layer, inputs, writer()); !problem.empty()) {
    scope.Fail(Code::kUnsupportedArgument,
               fmt::format("layer {} is called with training=True: {}", path, problem),
               {"build the model again without training=True in the call of the layer"});
    return {};
  }
  if (layer.nested)
    return LowerModel(*layer.nested, NestedInputs(*layer.nested, inputs), path + "/");
  const LowerFunction lower = LowerFunctionOf(layer);
  if (lower == nullptr) return {};  // reported once, before lowering
  const std::string label = graph_.label();
  graph_.set_label(path);
  graph_.ClearStatus();
  const int errors_before = errors_;
  std::vector<KerasTensor> outputs = lower(scope, inputs);
  const std::optional<compute::DType> half = HalfPrecision(layer);
  if (half) {
    for (KerasTensor& output : outputs) {
      if (graph_.dtype(output.value) != compute::DType::kFloat32) continue;
      output.value = compute::ops::RoundThrough(graph_, output.value, *half);
    }
  }
  graph_.set_label(label);
  if (!graph_.status().ok() && errors_ == errors_before) {
    scope.Fail(Code::kShapeInferenceFailed,
               fmt::format("layer {} ({}): {}", path, layer.written_class,
                           std::string(graph_.status().message())));
  }
  graph_.ClearStatus();
  if (errors_ != errors_before) return {};
  RecordShapes(path, outputs);
  return outputs;
}

void Lowering::RecordShapes(const std::string& path, const std::vector<KerasTensor>& outputs) {
  const auto [at, added] = output_shapes_.try_emplace(path);
  if (!added) return;
  for (const KerasTensor& tensor : outputs) {
    if (tensor.value.valid()) at->second.push_back(graph_.shape(tensor.value));
  }
}

LowerFunction Lowering::LowerFunctionOf(const Layer& layer) const {
  if (IsLoweredByDefinition(layer)) return LowerCustom;
  if (layer.is_operation) {
    if (const LowerFunction operation = FindOperationLowering(layer)) return operation;
  }
  const LayerClass* row = FindLayerClass(layer.class_name);
  return row == nullptr ? nullptr : row->lower;
}

const LayerWeights* Lowering::weights(const Layer& layer) const {
  const auto at = weights_.find(&layer);
  return at == weights_.end() ? nullptr : &at->second;
}

void Lowering::Report(Diagnosis diagnosis) {
  if (diagnosis.severity == Severity::kError) ++errors_;
  // A layer that is called often tells the same each time.
  for (const Diagnosis& known : diagnoses_.items()) {
    if (known.code == diagnosis.code && known.message == diagnosis.message) return;
  }
  diagnoses_.Add(std::move(diagnosis));
}

void Lowering::OverrideWeight(const Layer& layer, std::string_view role, Value value) {
  constants_[{&layer, std::string(role)}] = value;
}

Value Lowering::WeightConstant(const Layer& layer, std::string_view role,
                               const compute::Tensor& tensor) {
  const auto [at, fresh] = constants_.try_emplace({&layer, std::string(role)});
  if (!fresh) return at->second;
  at->second = graph_.Constant(tensor);
  const std::optional<compute::DType> half = HalfPrecision(layer);
  if (half && graph_.dtype(at->second) == compute::DType::kFloat32) {
    at->second = compute::ops::RoundThrough(graph_, at->second, *half);
  }
  return at->second;
}

}  // namespace h5serve::model
