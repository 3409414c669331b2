// Layers around layers: both directions, every time step.
#include <fmt/format.h>

#include "compute/ops/elementwise.h"
#include "compute/ops/reduce.h"
#include "compute/ops/shape_ops.h"
#include "model/layers/layer_functions.h"
#include "model/layers/recurrent.h"

namespace h5serve::model {

namespace ops = compute::ops;

namespace {

CallArgument TensorArgument(const KerasTensor& tensor) {
  CallArgument argument;
  argument.kind = Argument::Kind::kTensor;
  argument.tensor = tensor;
  return argument;
}

// One direction's outputs: y, then the states.
std::vector<KerasTensor> ApplyDirection(const LayerScope& scope, const Layer& inner,
                                        const Sequence& sequence, size_t begin, size_t end,
                                        std::optional<bool> zero_output) {
  CallInputs call;
  call.args.push_back(TensorArgument({sequence.x, sequence.mask}));
  if (end > begin) {
    CallArgument states;
    states.kind = Argument::Kind::kList;
    for (size_t i = begin; i < end; ++i) {
      states.list.push_back(TensorArgument({sequence.states[i], std::nullopt}));
    }
    call.kwargs["initial_state"] = states;
  }
  if (zero_output) {
    CallArgument flag;
    flag.constant = *zero_output;
    call.kwargs["zero_output_for_mask"] = flag;
  }
  return scope.Apply(inner, call);
}

Value MergeDirections(const LayerScope& scope, const std::string& mode, Value forward,
                      Value backward) {
  Graph& graph = scope.graph();
  if (mode == "concat") return ops::Concat(graph, {forward, backward}, -1);
  if (mode == "mul") return ops::Multiply(graph, forward, backward);
  const Value sum = ops::Add(graph, forward, backward);
  return mode == "ave" ? ops::MultiplyScalar(graph, sum, 0.5f) : sum;
}

}  // namespace

std::vector<KerasTensor> LowerBidirectional(const LayerScope& scope, const CallInputs& inputs) {
  Graph& graph = scope.graph();
  if (scope.layer().inner.size() != 2) {
    scope.BadValue("layer", "a recurrent layer is expected");
    return {};
  }
  const Layer& forward = *scope.layer().inner[0];
  const Layer& backward = *scope.layer().inner[1];
  // An absent merge_mode is concat, null keeps both outputs.
  const bool separate = scope.config().Find("merge_mode") != nullptr && !scope.Has("merge_mode");
  const std::string mode = scope.Choice("merge_mode", "concat", {"concat", "sum", "mul", "ave"});
  Sequence sequence;
  if (!ReadSequence(scope, inputs, &sequence) || scope.failed()) return {};
  const bool return_sequences = ConfigBool(forward, "return_sequences", false);
  const bool return_state = ConfigBool(forward, "return_state", false);
  // tf.keras 2 and Keras 3 decide for the layer: zeros at masked steps of sequences.
  const bool modern = IsKeras3(scope) || (IsTfKeras(scope) && scope.writer().AtLeast(2, 2, 4));
  std::optional<bool> zero_output;
  if (modern) zero_output = return_sequences;
  if (sequence.states.size() % 2 != 0) {
    scope.Fail(Code::kGraphInvalid, fmt::format("layer {} is given {} states for two directions",
                                                scope.path(), sequence.states.size()));
    return {};
  }
  const size_t half = sequence.states.size() / 2;
  std::vector<KerasTensor> y = ApplyDirection(scope, forward, sequence, 0, half, zero_output);
  std::vector<KerasTensor> back =
      ApplyDirection(scope, backward, sequence, half, 2 * half, zero_output);
  if (y.empty() || back.empty() || scope.failed()) return {};
  if (return_sequences) back[0].value = ops::Reverse(graph, back[0].value, 1);
  const Mask mask = return_sequences ? sequence.mask : std::nullopt;
  std::vector<KerasTensor> outputs;
  if (separate) {
    outputs = {{y[0].value, mask}, {back[0].value, mask}};
  } else {
    outputs = {{MergeDirections(scope, mode, y[0].value, back[0].value), mask}};
  }
  if (return_state) {
    outputs.insert(outputs.end(), y.begin() + 1, y.end());
    outputs.insert(outputs.end(), back.begin() + 1, back.end());
  }
  return outputs;
}

// Applies a layer to each time step by giving it all steps as one batch.
std::vector<KerasTensor> LowerTimeDistributed(const LayerScope& scope, const CallInputs& inputs) {
  Graph& graph = scope.graph();
  if (scope.layer().inner.size() != 1) {
    scope.BadValue("layer", "one layer is expected");
    return {};
  }
  std::vector<KerasTensor> tensors = InputList(scope, inputs, 1);
  if (scope.failed()) return {};
  Mask mask = tensors[0].mask;
  if (const CallArgument* given = inputs.Keyword("mask"); given != nullptr) {
    if (given->is_tensor()) mask = AsBool(graph, given->tensor.value);
  }
  CallInputs call;
  for (const KerasTensor& tensor : tensors) {
    if (graph.rank(tensor.value) < 2) {
      graph.Fail(absl::InvalidArgumentError(
          fmt::format("a tensor of {} has no time steps", graph.shape(tensor.value).ToString())));
      return {};
    }
    KerasTensor step{ops::MergeAxes(graph, tensor.value, 0, 2), std::nullopt};
    // A mask of the steps themselves says nothing inside of a step.
    if (tensor.mask && graph.rank(*tensor.mask) > 2) {
      step.mask = ops::MergeAxes(graph, *tensor.mask, 0, 2);
    }
    call.args.push_back(TensorArgument(step));
  }
  if (call.args.size() > 1) {
    CallArgument list;
    list.kind = Argument::Kind::kList;
    list.list = std::move(call.args);
    call.args = {list};
  }
  const Value like = tensors[0].value;
  const std::vector<KerasTensor> results = scope.Apply(*scope.layer().inner[0], call);
  std::vector<KerasTensor> outputs;
  for (const KerasTensor& result : results) {
    KerasTensor output{ops::UnmergeLeading(graph, result.value, like, 2), mask};
    if (!IsKeras3(scope)) {
      // Keras 2 asks the layer; where it has no mask, a step counts when
      // anything in it does.
      if (result.mask) {
        output.mask = ops::UnmergeLeading(graph, *result.mask, like, 2);
      } else if (mask && graph.rank(*mask) > 2) {
        std::vector<int64_t> axes;
        for (int axis = 2; axis < graph.rank(*mask); ++axis) axes.push_back(axis);
        output.mask = ops::Reduce(graph, ops::ReduceKind::kAny, *mask, axes, false);
      }
    }
    outputs.push_back(output);
  }
  return outputs;
}

// The wrapped layer alone: SpectralNormalization's kernel is stored as training
// has normalised it, and serving uses it as it is.
std::vector<KerasTensor> LowerSpectralNormalization(const LayerScope& scope,
                                                    const CallInputs& inputs) {
  if (scope.layer().inner.size() != 1) {
    scope.BadValue("layer", "one layer is expected");
    return {};
  }
  return scope.Apply(*scope.layer().inner[0], inputs);
}

std::vector<WeightRole> SpectralNormalizationWeights(const Layer& layer, const Writer& writer) {
  return {{"vector_u", false}};
}

}  // namespace h5serve::model
