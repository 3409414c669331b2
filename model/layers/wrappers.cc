// Layers around layers: Bidirectional, TimeDistributed, SpectralNormalization.

#include <fmt/format.h>

#include "compute/ops/elementwise.h"
#include "compute/ops/reduce.h"
#include "compute/ops/shape_ops.h"
#include "model/layers/layer_functions.h"
#include "model/layers/recurrent_call.h"

namespace h5serve::model {

namespace ops = compute::ops;
using compute::Value;

Value ReverseTime(compute::Graph& graph, Value x, int axis) { return ops::Reverse(graph, x, axis); }

namespace {

CallArgument TensorArgument(const KerasTensor& tensor) {
  CallArgument argument;
  argument.kind = Argument::Kind::kTensor;
  argument.tensor = tensor;
  return argument;
}

// The call of one direction: the sequence and its half of the states.
CallInputs DirectionCall(const RecurrentCall& call, size_t begin, size_t end) {
  CallInputs inputs;
  inputs.args.push_back(TensorArgument({call.x, call.mask}));
  if (end > begin) {
    CallArgument states;
    states.kind = Argument::Kind::kList;
    for (size_t i = begin; i < end; ++i) {
      states.list.push_back(TensorArgument({call.states[i], std::nullopt}));
    }
    inputs.kwargs.emplace("initial_state", std::move(states));
  }
  return inputs;
}

bool ReturnsSequences(const Layer& layer) {
  const ConfigValue& value = layer.config["return_sequences"];
  return value.is_bool() && value.as_bool();
}

// tf.keras 2 and Keras 3 decide for the layers inside of a Bidirectional: zeros
// at masked steps of sequences.
void DecideMaskedOutput(const LayerScope& scope, bool sequences, CallInputs* call) {
  const Writer& writer = scope.writer();
  const bool decides = writer.dialect == Writer::Dialect::kKeras3 ||
                       (writer.dialect == Writer::Dialect::kTfKeras && writer.AtLeast(2, 2, 4));
  if (!decides) return;
  CallArgument flag;
  flag.constant = sequences;
  call->kwargs.insert_or_assign("zero_output_for_mask", flag);
}

std::optional<Value> Merge(const LayerScope& scope, const std::string& mode, Value a, Value b) {
  compute::Graph& graph = scope.graph();
  if (mode == "concat") return ops::Concat(graph, {a, b}, -1);
  if (mode == "sum") return ops::Add(graph, a, b);
  if (mode == "mul") return ops::Multiply(graph, a, b);
  if (mode == "ave") return ops::MultiplyScalar(graph, ops::Add(graph, a, b), 0.5f);
  return std::nullopt;
}

}  // namespace

std::vector<KerasTensor> LowerBidirectional(const LayerScope& scope, const CallInputs& inputs) {
  if (scope.layer().inner.size() != 2) {
    scope.BadValue("layer", "a recurrent layer is expected");
    return {};
  }
  const std::optional<RecurrentCall> call = ParseRecurrentCall(scope, inputs);
  if (!call) return {};
  const size_t half = call->states.size() / 2;
  if (call->states.size() % 2 != 0) {
    scope.Fail(Code::kGraphInvalid,
               fmt::format("layer {} needs states for both directions", scope.path()));
    return {};
  }
  const Layer& first = *scope.layer().inner[0];
  const Layer& second = *scope.layer().inner[1];
  const bool sequences = ReturnsSequences(first);
  CallInputs forth = DirectionCall(*call, 0, half);
  CallInputs back = DirectionCall(*call, half, call->states.size());
  DecideMaskedOutput(scope, sequences, &forth);
  DecideMaskedOutput(scope, sequences, &back);
  std::vector<KerasTensor> forward = scope.Apply(first, forth);
  std::vector<KerasTensor> backward = scope.Apply(second, back);
  if (forward.empty() || backward.empty()) return {};

  compute::Graph& graph = scope.graph();
  // The backward layer gives its steps in processing order.
  const ConfigValue& time_major = first.config["time_major"];
  const int time = time_major.is_bool() && time_major.as_bool() ? 0 : 1;
  if (sequences) backward[0].value = ReverseTime(graph, backward[0].value, time);
  const std::optional<Value> mask = sequences ? call->mask : std::nullopt;
  std::vector<KerasTensor> results;
  const ConfigValue* stored = scope.config().Find("merge_mode");
  if (stored != nullptr && stored->is_null()) {
    results = {{forward[0].value, mask}, {backward[0].value, mask}};
  } else {
    const std::string mode = scope.Choice("merge_mode", "concat", {"concat", "sum", "mul", "ave"});
    const std::optional<Value> merged = Merge(scope, mode, forward[0].value, backward[0].value);
    if (!merged) return {};
    results = {{*merged, mask}};
  }
  results.insert(results.end(), forward.begin() + 1, forward.end());
  results.insert(results.end(), backward.begin() + 1, backward.end());
  return results;
}

namespace {

// The mask of a TimeDistributed: Keras 2 asks the layer; where it has no mask, a
// step counts when anything in it does. Keras 3 passes the mask on.
std::optional<Value> StepMask(const LayerScope& scope, const KerasTensor& input,
                              const std::optional<Value>& inner) {
  compute::Graph& graph = scope.graph();
  if (scope.writer().dialect == Writer::Dialect::kKeras3) return input.mask;
  if (inner) return ops::UnmergeLeading(graph, *inner, input.value, 2);
  if (!input.mask || graph.rank(*input.mask) <= 2) return input.mask;
  std::vector<int64_t> axes;
  for (int axis = 2; axis < graph.rank(*input.mask); ++axis) axes.push_back(axis);
  return ops::Reduce(graph, ops::ReduceKind::kAny, *input.mask, axes, false);
}

}  // namespace

// Applies the inner layer to every step at once: steps are rows of a larger batch.
std::vector<KerasTensor> LowerTimeDistributed(const LayerScope& scope, const CallInputs& inputs) {
  const std::vector<KerasTensor> tensors = inputs.Tensors();
  if (scope.layer().inner.size() != 1 || tensors.empty()) {
    scope.BadValue("layer", "a layer is expected");
    return {};
  }
  compute::Graph& graph = scope.graph();
  CallInputs inner;
  CallArgument list;
  list.kind = Argument::Kind::kList;
  for (const KerasTensor& tensor : tensors) {
    if (graph.rank(tensor.value) < 3 && graph.rank(tensor.value) != 2) {
      scope.Fail(Code::kShapeInferenceFailed,
                 fmt::format("layer {} needs an input of rank 3 or more, got {}", scope.path(),
                             graph.shape(tensor.value).ToString()));
      return {};
    }
    KerasTensor steps{ops::MergeAxes(graph, tensor.value, 0, 2), std::nullopt};
    // A mask of the steps themselves says nothing inside of a step.
    if (tensor.mask && graph.rank(*tensor.mask) > 2) {
      steps.mask = ops::MergeAxes(graph, *tensor.mask, 0, 2);
    }
    list.list.push_back(TensorArgument(steps));
  }
  inner.args.push_back(list.list.size() == 1 ? list.list[0] : list);
  const std::vector<KerasTensor> outputs = scope.Apply(*scope.layer().inner[0], inner);
  if (outputs.empty()) return {};
  std::vector<KerasTensor> results;
  for (const KerasTensor& output : outputs) {
    results.push_back({ops::UnmergeLeading(graph, output.value, tensors[0].value, 2),
                       StepMask(scope, tensors[0], output.mask)});
  }
  return results;
}

// At inference the stored kernel of the wrapped layer is used as it is.
std::vector<KerasTensor> LowerSpectralNormalization(const LayerScope& scope,
                                                    const CallInputs& inputs) {
  if (scope.layer().inner.size() != 1) {
    scope.BadValue("layer", "a layer is expected");
    return {};
  }
  return scope.Apply(*scope.layer().inner[0], inputs);
}

std::vector<WeightRole> SpectralNormalizationWeights(const Layer&, const Writer&) {
  return {{"vector_u", false}};
}

}  // namespace h5serve::model
