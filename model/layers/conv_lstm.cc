// LSTMs whose products are convolutions.
#include <fmt/format.h>

#include "compute/ops/elementwise.h"
#include "compute/ops/recurrent.h"
#include "compute/ops/shape_ops.h"
#include "model/layers/layer_functions.h"
#include "model/layers/recurrent.h"

namespace h5serve::model {

namespace ops = compute::ops;

namespace {

// (batch, time, channels, spatial…) <-> (batch, time, spatial…, channels).
Value MoveChannels(Graph& graph, Value x, int first, bool to_last) {
  return to_last ? ops::MoveAxis(graph, x, first, -1) : ops::MoveAxis(graph, x, -1, first);
}

std::vector<KerasTensor> ConvLstm(const LayerScope& scope, const CallInputs& inputs, int rank) {
  Graph& graph = scope.graph();
  Sequence sequence;
  if (!ReadSequence(scope, inputs, &sequence)) return {};
  ops::ConvLstmAttributes attributes;
  attributes.filters = scope.PositiveInt("filters");
  if (!scope.Has("kernel_size")) scope.BadValue("kernel_size", "positive integers are expected");
  const std::vector<int64_t> kernel_size = scope.Sizes("kernel_size", rank, 1);
  attributes.strides = scope.Sizes("strides", rank, 1);
  attributes.dilations = scope.Sizes("dilation_rate", rank, 1);
  attributes.same = PaddingOf(scope, false) == Padding::kSame;
  attributes.activation = CellActivationOf(scope, "activation", "tanh");
  attributes.recurrent_activation =
      CellActivationOf(scope, "recurrent_activation", IsKeras3(scope) ? "sigmoid" : "hard_sigmoid");
  attributes.go_backwards = scope.Bool("go_backwards", false);
  attributes.return_sequences = scope.Bool("return_sequences", false);
  attributes.theano_same = scope.writer().theano;
  const bool return_state = scope.Bool("return_state", false);
  const bool first = scope.ChannelsFirst();
  WarnStateful(scope);
  if (scope.failed() || !RequireRank(scope, sequence.x, rank + 3)) return {};
  if (!sequence.states.empty() && sequence.states.size() != 2) {
    scope.Fail(Code::kGraphInvalid, fmt::format("layer {} has 2 states and is given {}",
                                                scope.path(), sequence.states.size()));
    return {};
  }
  ops::RecurrentInputs recurrent;
  recurrent.x = first ? MoveChannels(graph, sequence.x, 2, true) : sequence.x;
  Shape kernel(kernel_size), recurrent_kernel(kernel_size);
  kernel.push_back(graph.shape(recurrent.x).back());
  kernel.push_back(4 * attributes.filters);
  recurrent_kernel.push_back(attributes.filters);
  recurrent_kernel.push_back(4 * attributes.filters);
  recurrent.kernel = scope.Weight("kernel", kernel);
  recurrent.recurrent_kernel = scope.Weight("recurrent_kernel", recurrent_kernel);
  recurrent.bias = OptionalBias(scope, 4 * attributes.filters);
  if (scope.failed()) return {};
  if (sequence.mask) recurrent.mask = *sequence.mask;
  for (Value state : sequence.states) {
    recurrent.initial_states.push_back(first ? MoveChannels(graph, state, 1, true) : state);
  }
  std::vector<Value> values = ops::ConvLstm(graph, recurrent, attributes);
  if (values.empty()) return {};
  if (sequence.mask && sequence.zero_output_for_mask) {
    if (!attributes.return_sequences) {
      scope.Fail(Code::kUnsupportedArgument,
                 fmt::format("layer {}: zero_output_for_mask without sequences", scope.path()));
      return {};
    }
    Value mask = *sequence.mask;
    if (attributes.go_backwards) mask = ops::Reverse(graph, mask, 1);
    Value column = AsFloat(graph, mask);
    while (graph.rank(column) < rank + 3) column = ops::ExpandDims(graph, column, -1);
    values[0] = ops::Multiply(graph, values[0], column);
  }
  if (first) {
    values[0] = MoveChannels(graph, values[0], attributes.return_sequences ? 2 : 1, false);
    for (size_t i = 1; i < values.size(); ++i) values[i] = MoveChannels(graph, values[i], 1, false);
  }
  std::vector<KerasTensor> outputs{
      {values[0], attributes.return_sequences ? sequence.mask : std::nullopt}};
  for (size_t i = 1; return_state && i < values.size(); ++i) {
    outputs.push_back({values[i], std::nullopt});
  }
  return outputs;
}

}  // namespace

std::vector<KerasTensor> LowerConvLstm(const LayerScope& scope, const CallInputs& inputs) {
  return ConvLstm(scope, inputs, SpatialRank(scope.layer()));
}

}  // namespace h5serve::model
