// SimpleRNN, LSTM, GRU and RNN of their cells.

#include "compute/ops/recurrent.h"

#include <fmt/format.h>

#include <algorithm>

#include "compute/ops/elementwise.h"
#include "compute/ops/shape_ops.h"
#include "model/layers/activation.h"
#include "model/layers/layer_functions.h"
#include "model/layers/recurrent_call.h"

namespace h5serve::model {

namespace ops = compute::ops;
using compute::Value;

namespace {

std::optional<ops::CellKind> KindOf(std::string_view class_name) {
  if (class_name == "LSTM" || class_name == "LSTMCell") return ops::CellKind::kLstm;
  if (class_name == "GRU" || class_name == "GRUCell") return ops::CellKind::kGru;
  if (class_name == "SimpleRNN" || class_name == "SimpleRNNCell") return ops::CellKind::kSimple;
  return std::nullopt;
}

int64_t GatesOf(ops::CellKind kind) {
  return kind == ops::CellKind::kLstm ? 4 : kind == ops::CellKind::kGru ? 3 : 1;
}

// How a sequence is walked: from the layer, while the rest is the cell's.
struct Walk {
  bool go_backwards = false;
  bool return_sequences = false;
  bool zero_output_for_mask = false;
  bool masked_output_is_state = false;
};

// TensorFlow's K.rnn of Keras 1 and 2 (and of the first tf.keras) gives the first state at
// a masked step, where others give the output before: zeros at the start. Source:
// tensorflow_backend.py of 1.2.2 to 2.3.1.
bool MaskedOutputIsState(const LayerScope& scope) {
  const Writer& writer = scope.writer();
  if (writer.theano || scope.Bool("unroll", false)) return false;
  if (writer.dialect == Writer::Dialect::kTfKeras) return !writer.AtLeast(2, 2);
  return writer.dialect != Writer::Dialect::kKeras3;
}

// Runs one cell over a sequence. Outputs y, then the states.
std::vector<Value> RunCell(const LayerScope& cell, Value x, std::optional<Value> mask,
                           std::vector<Value> states, const Walk& walk) {
  compute::Graph& graph = cell.graph();
  const std::optional<ops::CellKind> kind = KindOf(cell.layer().class_name);
  if (!kind) {
    cell.Fail(Code::kUnsupportedLayer,
              fmt::format("cell {} is of class {}, which no recurrent layer can run", cell.path(),
                          cell.layer().written_class));
    return {};
  }
  ops::RecurrentAttributes attributes;
  attributes.cell = *kind;
  attributes.units = cell.PositiveInt("units");
  attributes.activation = CellActivationOf(cell, "activation", "tanh");
  attributes.recurrent_activation = CellActivationOf(cell, "recurrent_activation", "sigmoid");
  attributes.reset_after = *kind == ops::CellKind::kGru && cell.Bool("reset_after", false);
  attributes.go_backwards = walk.go_backwards;
  attributes.return_sequences = walk.return_sequences;
  attributes.zero_output_for_mask = walk.zero_output_for_mask;
  attributes.masked_start_is_state = walk.masked_output_is_state;
  if (cell.failed()) return {};
  const int64_t width = GatesOf(*kind) * attributes.units;
  ops::RecurrentInputs inputs;
  inputs.x = x;
  inputs.kernel = cell.Weight("kernel", {graph.shape(x).dim(-1), width});
  inputs.recurrent_kernel = cell.Weight("recurrent_kernel", {attributes.units, width});
  if (cell.Bool("use_bias", true)) {
    inputs.bias = cell.Weight(
        "bias", attributes.reset_after ? compute::Shape{2, width} : compute::Shape{width});
  }
  if (cell.failed()) return {};
  if (mask) inputs.mask = *mask;
  inputs.initial_states = std::move(states);
  return ops::Recurrent(graph, inputs, attributes);
}

size_t StatesOf(std::string_view cell_class) {
  return cell_class == "LSTM" || cell_class == "LSTMCell" ? 2 : 1;
}

Walk WalkOf(const LayerScope& scope, const RecurrentCall& call) {
  Walk walk;
  walk.go_backwards = scope.Bool("go_backwards", false);
  walk.return_sequences = scope.Bool("return_sequences", false);
  walk.zero_output_for_mask = call.zero_output_for_mask;
  walk.masked_output_is_state = MaskedOutputIsState(scope);
  return walk;
}

// Exchanges batch and time.
Value SwapTime(compute::Graph& graph, Value x) { return ops::MoveAxis(graph, x, 0, 1); }

// What Keras gives back: the output, its mask, and the states when asked for.
std::vector<KerasTensor> Results(const LayerScope& scope, const Walk& walk, Value y,
                                 const RecurrentCall& call, const std::vector<Value>& states) {
  std::optional<Value> mask = walk.return_sequences ? call.mask : std::nullopt;
  if (call.time_major && walk.return_sequences) {
    y = SwapTime(scope.graph(), y);
    if (mask) mask = SwapTime(scope.graph(), *mask);
  }
  std::vector<KerasTensor> results{{y, mask}};
  if (scope.Bool("return_state", false)) {
    for (Value state : states) results.push_back({state, std::nullopt});
  }
  return results;
}

bool CheckStates(const LayerScope& scope, size_t wanted, const RecurrentCall& call) {
  if (call.states.empty() || call.states.size() == wanted) return true;
  scope.Fail(Code::kGraphInvalid, fmt::format("layer {} has {} states and is called with {}",
                                              scope.path(), wanted, call.states.size()));
  return false;
}

// The cells of a stack in order. A stack under one mask is a chain of layers under
// that mask: at a masked step every cell keeps its state, so no cell sees the
// step's input.
bool CollectCells(const LayerScope& scope, const Layer& layer, int depth,
                  std::vector<const Layer*>* cells) {
  const bool stack = layer.class_name == "StackedRNNCells";
  // Only where these do something is it unknown what they would do.
  const bool plain = layer.class_name == "DeviceWrapper";
  if (!stack && !plain) {
    cells->push_back(&layer);
    return true;
  }
  if (depth > 32 || layer.inner.empty()) {
    scope.BadValue("cell", "a cell is expected");
    return false;
  }
  return std::all_of(layer.inner.begin(), layer.inner.end(), [&](const auto& inner) {
    return CollectCells(scope, *inner, depth + 1, cells);
  });
}

// Old Keras listed the states of a stack from the last cell on. When 2.2.x
// changed that is not known well enough to compute with.
bool ReversedStates(const LayerScope& scope, const RecurrentCall& call, size_t cells) {
  const auto& inner = scope.layer().inner;
  if (inner.size() == 1) {
    const ConfigValue& order = inner[0]->config["reverse_state_order"];
    if (order.is_bool()) return order.as_bool();
  }
  const Writer& writer = scope.writer();
  if (writer.dialect != Writer::Dialect::kKeras2 || writer.AtLeast(2, 3) || cells < 2) return false;
  if (writer.AtLeast(2, 2) && (!call.states.empty() || scope.Bool("return_state", false))) {
    scope.Fail(
        Code::kUnsupportedArgument,
        fmt::format("layer {}: states of stacked cells in Keras {}", scope.path(), writer.version));
  }
  return true;
}

// Where masked steps give the first state: that of the first cell (`first`: its
// sequence, or its last h), although the output is the last cell's.
Value FirstStateAtMasked(const LayerScope& scope, const Walk& walk, Value y, Value first,
                         Value mask) {
  compute::Graph& graph = scope.graph();
  if (graph.shape(first).dim(-1) != graph.shape(y).dim(-1)) {
    scope.Fail(Code::kUnsupportedArgument,
               fmt::format("layer {}: cells of different sizes under a mask are an error of Keras "
                           "{}",
                           scope.path(), scope.writer().version));
    return {};
  }
  // Outputs are in processing order, the mask is in the order of time.
  if (walk.go_backwards) mask = ReverseTime(graph, mask);
  if (!walk.return_sequences) {
    mask = ops::Squeeze(graph, ops::SliceAxis(graph, mask, 1, -1, std::nullopt), {1});
  }
  return ops::Where(graph, ops::ExpandDims(graph, mask, -1), y, first);
}

// The states of each cell, in the order of the cells.
std::vector<std::vector<Value>> DealStates(const std::vector<const Layer*>& cells,
                                           const std::vector<Value>& states, bool reversed) {
  std::vector<std::vector<Value>> dealt(cells.size());
  size_t next = 0;
  for (size_t i = 0; i < cells.size(); ++i) {
    const size_t at = reversed ? cells.size() - 1 - i : i;
    for (size_t k = 0; k < StatesOf(cells[at]->class_name) && next < states.size(); ++k) {
      dealt[at].push_back(states[next++]);
    }
  }
  return dealt;
}

}  // namespace

std::optional<RecurrentCall> ParseRecurrentCall(const LayerScope& scope, const CallInputs& inputs) {
  RecurrentCall call;
  CallInputs positional;
  positional.args = inputs.args;
  // Keras 3 calls (sequences, initial_state, mask).
  if (scope.writer().dialect == Writer::Dialect::kKeras3 && positional.args.size() > 2) {
    if (positional.args[2].is_tensor()) call.mask = positional.args[2].tensor.value;
    positional.args.resize(2);
  }
  const std::vector<KerasTensor> tensors = positional.Tensors();
  if (tensors.empty()) {
    scope.Fail(Code::kGraphInvalid,
               fmt::format("layer {} is called without a tensor", scope.path()));
    return std::nullopt;
  }
  if (scope.Int("num_constants", 0) != 0 || inputs.Keyword("constants") != nullptr) {
    scope.Fail(Code::kUnsupportedArgument,
               fmt::format("layer {}: constants are not supported", scope.path()));
    return std::nullopt;
  }
  call.time_major = scope.Bool("time_major", false);
  call.x = tensors[0].value;
  if (!call.mask) call.mask = tensors[0].mask;
  for (size_t i = 1; i < tensors.size(); ++i) call.states.push_back(tensors[i].value);
  if (const CallArgument* state = inputs.Keyword("initial_state")) {
    CallInputs wrapped;
    wrapped.args.push_back(*state);
    for (const KerasTensor& tensor : wrapped.Tensors()) call.states.push_back(tensor.value);
  }
  if (const CallArgument* mask = inputs.Keyword("mask"); mask != nullptr && mask->is_tensor()) {
    call.mask = mask->tensor.value;
  }
  if (call.mask) call.mask = ops::Cast(scope.graph(), *call.mask, compute::DType::kBool);
  if (call.time_major) {
    call.x = SwapTime(scope.graph(), call.x);
    if (call.mask) call.mask = SwapTime(scope.graph(), *call.mask);
  }
  const CallArgument* zero_output = inputs.Keyword("zero_output_for_mask");
  const bool decided = zero_output != nullptr && zero_output->constant.is_bool();
  call.zero_output_for_mask =
      decided ? zero_output->constant.as_bool() : scope.Bool("zero_output_for_mask", false);
  if (scope.Bool("stateful", false)) {
    scope.Warn(
        Code::kStatefulRnn,
        fmt::format("layer {} is stateful; each request starts from zero states", scope.path()));
  }
  return call;
}

std::vector<KerasTensor> LowerRecurrent(const LayerScope& scope, const CallInputs& inputs) {
  const std::optional<RecurrentCall> call = ParseRecurrentCall(scope, inputs);
  if (!call || !CheckStates(scope, StatesOf(scope.layer().class_name), *call)) return {};
  const Walk walk = WalkOf(scope, *call);
  const std::vector<Value> out = RunCell(scope, call->x, call->mask, call->states, walk);
  if (scope.failed() || out.empty()) return {};
  return Results(scope, walk, out[0], *call, {out.begin() + 1, out.end()});
}

std::vector<KerasTensor> LowerRnn(const LayerScope& scope, const CallInputs& inputs) {
  const std::optional<RecurrentCall> call = ParseRecurrentCall(scope, inputs);
  if (!call) return {};
  std::vector<const Layer*> cells;
  for (const auto& inner : scope.layer().inner) {
    if (!CollectCells(scope, *inner, 0, &cells)) return {};
  }
  if (cells.empty()) {
    scope.BadValue("cell", "a cell is expected");
    return {};
  }
  size_t wanted = 0;
  for (const Layer* cell : cells) wanted += StatesOf(cell->class_name);
  if (!CheckStates(scope, wanted, *call)) return {};
  const bool reversed = ReversedStates(scope, *call, cells.size());
  if (scope.failed()) return {};
  const std::vector<std::vector<Value>> initial = DealStates(cells, call->states, reversed);
  std::vector<std::vector<Value>> last(cells.size());
  const Walk walk = WalkOf(scope, *call);
  Value y = call->x, first;
  for (size_t i = 0; i < cells.size(); ++i) {
    const LayerScope cell(&scope.lowering(), cells[i], scope.path() + "/" + cells[i]->name);
    Walk step = walk;
    step.go_backwards = walk.go_backwards && i == 0;
    step.return_sequences = walk.return_sequences || i + 1 < cells.size();
    step.zero_output_for_mask = walk.zero_output_for_mask && i + 1 == cells.size();
    // Between cells the steps are in processing order, and so must the mask be.
    std::optional<Value> mask = call->mask;
    if (mask && walk.go_backwards && i > 0) mask = ReverseTime(scope.graph(), *mask);
    const std::vector<Value> out = RunCell(cell, y, mask, initial[i], step);
    if (scope.failed() || out.empty()) return {};
    y = out[0];
    last[i].assign(out.begin() + 1, out.end());
    if (i == 0) first = walk.return_sequences ? out[0] : out[1];
  }
  if (call->mask && cells.size() > 1 && !reversed && walk.masked_output_is_state) {
    y = FirstStateAtMasked(scope, walk, y, first, *call->mask);
    if (scope.failed()) return {};
  }
  if (reversed) std::reverse(last.begin(), last.end());
  std::vector<Value> states;
  for (const auto& of_cell : last) states.insert(states.end(), of_cell.begin(), of_cell.end());
  return Results(scope, walk, y, *call, states);
}

std::vector<WeightRole> RecurrentWeights(const Layer& layer, const Writer&) {
  std::vector<WeightRole> roles{{"kernel"}, {"recurrent_kernel"}};
  const ConfigValue& use_bias = layer.config["use_bias"];
  if (!use_bias.is_bool() || use_bias.as_bool()) roles.push_back({"bias"});
  return roles;
}

}  // namespace h5serve::model
