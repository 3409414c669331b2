// Recurrent layers, cells and stacks of cells.
#include "model/layers/recurrent.h"

#include <fmt/format.h>

#include <algorithm>

#include "compute/ops/elementwise.h"
#include "compute/ops/recurrent.h"
#include "compute/ops/shape_ops.h"
#include "model/layers/layer_functions.h"

namespace h5serve::model {

namespace ops = compute::ops;
using ops::CellKind;

bool ReadSequence(const LayerScope& scope, const CallInputs& inputs, Sequence* sequence) {
  Graph& graph = scope.graph();
  std::vector<KerasTensor> tensors;
  CallInputs positional;
  positional.args = inputs.args;
  // Keras 3 calls (sequences, initial_state, mask).
  if (IsKeras3(scope) && positional.args.size() >= 3) {
    if (positional.args[2].is_tensor()) sequence->mask = positional.args[2].tensor.value;
    positional.args.resize(2);
  }
  tensors = positional.Tensors();
  for (std::string_view name : {"inputs", "sequences"}) {
    const CallArgument* argument = inputs.Keyword(name);
    if (tensors.empty() && argument != nullptr && argument->is_tensor()) {
      tensors.push_back(argument->tensor);
    }
  }
  if (tensors.empty()) {
    scope.Fail(Code::kGraphInvalid,
               fmt::format("layer {} is called without a tensor", scope.path()));
    return false;
  }
  sequence->x = AsFloat(graph, tensors[0].value);
  if (!sequence->mask) sequence->mask = tensors[0].mask;
  if (const CallArgument* mask = inputs.Keyword("mask"); mask != nullptr) {
    CallInputs one;
    one.args.push_back(*mask);
    const std::vector<KerasTensor> masks = one.Tensors();
    if (!masks.empty()) sequence->mask = AsBool(graph, masks[0].value);
  }
  const int64_t constants = scope.Int("num_constants", 0);
  if (constants > 0 || inputs.Keyword("constants") != nullptr) {
    scope.Fail(Code::kUnsupportedArgument,
               fmt::format("layer {}: recurrent layers with constants", scope.path()));
    return false;
  }
  for (size_t i = 1; i < tensors.size(); ++i) {
    sequence->states.push_back(AsFloat(graph, tensors[i].value));
  }
  if (const CallArgument* states = inputs.Keyword("initial_state"); states != nullptr) {
    CallInputs one;
    one.args.push_back(*states);
    for (const KerasTensor& state : one.Tensors()) {
      sequence->states.push_back(AsFloat(graph, state.value));
    }
  }
  sequence->zero_output_for_mask = BoolArgument(scope, inputs, "zero_output_for_mask",
                                                scope.Bool("zero_output_for_mask", false));
  return !scope.failed();
}

namespace {

// What a recurrent layer does with its cell's outputs.
struct Flags {
  bool return_sequences = false;
  bool return_state = false;
  bool go_backwards = false;
  bool time_major = false;
};

Flags ReadFlags(const LayerScope& scope) {
  Flags flags;
  flags.return_sequences = scope.Bool("return_sequences", false);
  flags.return_state = scope.Bool("return_state", false);
  flags.go_backwards = scope.Bool("go_backwards", false);
  flags.time_major = scope.Bool("time_major", false);
  WarnStateful(scope);
  return flags;
}

int64_t Gates(CellKind kind) {
  switch (kind) {
    case CellKind::kSimple:
      return 1;
    case CellKind::kLstm:
      return 4;
    case CellKind::kGru:
      return 3;
  }
  return 1;
}

size_t StateCount(CellKind kind) { return kind == CellKind::kLstm ? 2 : 1; }

std::optional<CellKind> KindOfCell(std::string_view class_name) {
  if (class_name == "SimpleRNNCell") return CellKind::kSimple;
  if (class_name == "LSTMCell") return CellKind::kLstm;
  if (class_name == "GRUCell") return CellKind::kGru;
  return std::nullopt;
}

// Runs a cell over a sequence; `cell` holds the cell's config and weights.
std::vector<Value> RunCell(const LayerScope& cell, CellKind kind, const Sequence& sequence,
                           bool go_backwards, bool return_sequences) {
  Graph& graph = cell.graph();
  ops::RecurrentAttributes attributes;
  attributes.cell = kind;
  attributes.units = cell.PositiveInt("units");
  attributes.activation = CellActivationOf(cell, "activation", "tanh");
  if (kind != CellKind::kSimple) {
    attributes.recurrent_activation =
        CellActivationOf(cell, "recurrent_activation", "hard_sigmoid");
  }
  attributes.reset_after = kind == CellKind::kGru && cell.Bool("reset_after", false);
  attributes.go_backwards = go_backwards;
  attributes.return_sequences = return_sequences;
  attributes.zero_output_for_mask = sequence.zero_output_for_mask;
  if (cell.failed()) return {};
  ops::RecurrentInputs inputs;
  inputs.x = sequence.x;
  const int64_t width = Gates(kind) * attributes.units;
  inputs.kernel = cell.Weight("kernel", Shape{graph.shape(sequence.x).dim(2), width});
  inputs.recurrent_kernel = cell.Weight("recurrent_kernel", Shape{attributes.units, width});
  if (cell.Bool("use_bias", true)) {
    inputs.bias = cell.Weight("bias", attributes.reset_after ? Shape{2, width} : Shape{width});
  }
  if (cell.failed()) return {};
  if (sequence.mask) inputs.mask = *sequence.mask;
  inputs.initial_states = sequence.states;
  return ops::Recurrent(graph, inputs, attributes);
}

Value SwapBatchAndTime(Graph& graph, Value x) {
  std::vector<int> order{1, 0};
  for (int i = 2; i < graph.rank(x); ++i) order.push_back(i);
  return ops::Transpose(graph, x, order);
}

bool CheckStates(const LayerScope& scope, size_t expected, const Sequence& sequence) {
  if (sequence.states.empty() || sequence.states.size() == expected) return true;
  scope.Fail(Code::kGraphInvalid, fmt::format("layer {} has {} states and is given {}",
                                              scope.path(), expected, sequence.states.size()));
  return false;
}

std::vector<KerasTensor> Outputs(const Flags& flags, const std::vector<Value>& values,
                                 const Mask& mask) {
  std::vector<KerasTensor> outputs;
  if (values.empty()) return outputs;
  outputs.push_back({values[0], flags.return_sequences ? mask : std::nullopt});
  for (size_t i = 1; flags.return_state && i < values.size(); ++i) {
    outputs.push_back({values[i], std::nullopt});
  }
  return outputs;
}

// Layers with time first: the same around a transposition.
bool EnterTimeMajor(const LayerScope& scope, Sequence* sequence) {
  if (sequence->mask) {
    scope.Fail(Code::kUnsupportedArgument,
               fmt::format("layer {}: time_major with a mask", scope.path()));
    return false;
  }
  scope.Warn(Code::kBatchDependent,
             fmt::format("layer {} has time before the batch (time_major)", scope.path()));
  sequence->x = SwapBatchAndTime(scope.graph(), sequence->x);
  return true;
}

std::vector<KerasTensor> Recurrent(const LayerScope& scope, const CallInputs& inputs,
                                   CellKind kind) {
  Sequence sequence;
  if (!ReadSequence(scope, inputs, &sequence)) return {};
  const Flags flags = ReadFlags(scope);
  if (scope.failed() || !RequireRank(scope, sequence.x, 3)) return {};
  if (!CheckStates(scope, StateCount(kind), sequence)) return {};
  if (flags.time_major && !EnterTimeMajor(scope, &sequence)) return {};
  std::vector<Value> values =
      RunCell(scope, kind, sequence, flags.go_backwards, flags.return_sequences);
  if (flags.time_major && flags.return_sequences && !values.empty()) {
    values[0] = SwapBatchAndTime(scope.graph(), values[0]);
  }
  return Outputs(flags, values, sequence.mask);
}

// One cell of a stack with what surrounds it.
struct StackedCell {
  const Layer* layer = nullptr;
  CellKind kind = CellKind::kSimple;
  int residuals = 0;  // how many ResidualWrappers are around it
};

// A wrapper that changes nothing at inference, or fails.
bool IsHarmlessDropout(const Layer& wrapper) {
  for (const char* key : {"input_keep_prob", "output_keep_prob", "state_keep_prob"}) {
    const ConfigValue& value = wrapper.config[key];
    if (!value.is_null() && (!value.is_number() || value.as_float() != 1.0)) return false;
  }
  return true;
}

// Lists the cells inside `layer`, stacks within stacks flattened.
bool CollectCells(const LayerScope& scope, const Layer& layer, int residuals, int depth,
                  std::vector<StackedCell>* cells) {
  const std::string& name = layer.class_name;
  if (const auto kind = KindOfCell(name)) {
    cells->push_back({&layer, *kind, residuals});
    return true;
  }
  const bool residual = name == "ResidualWrapper";
  const bool wrapper =
      residual || name == "DeviceWrapper" || (name == "DropoutWrapper" && IsHarmlessDropout(layer));
  const bool stack = name == "StackedRNNCells" && residuals == 0;
  if ((wrapper && layer.inner.size() == 1) || (stack && !layer.inner.empty())) {
    if (depth > 32) return false;
    if (residual && !layer.config["residual_fn"].is_null()) {
      scope.Fail(Code::kUnsupportedArgument,
                 fmt::format("layer {}: a ResidualWrapper with its own function", scope.path()));
      return false;
    }
    return std::all_of(layer.inner.begin(), layer.inner.end(), [&](const auto& inner) {
      return CollectCells(scope, *inner, residuals + residual, depth + 1, cells);
    });
  }
  const bool known = FindLayerClass(name) != nullptr;
  scope.Fail(known ? Code::kUnsupportedLayer : Code::kUnknownLayer,
             fmt::format("layer {} runs the cell {} ({}), which is not supported", scope.path(),
                         layer.name, layer.written_class));
  return false;
}

// Up to Keras 2.2 the states of a stack were listed from the last cell.
bool ReversedStates(const LayerScope& scope) {
  const auto& inner = scope.layer().inner;
  if (inner.size() == 1 && ConfigBool(*inner[0], "reverse_state_order", false)) return true;
  return scope.writer().dialect == Writer::Dialect::kKeras2 && !scope.writer().AtLeast(2, 3);
}

// The states of each cell, in the order of the cells.
std::vector<std::vector<Value>> DealStates(const std::vector<StackedCell>& cells,
                                           const std::vector<Value>& states, bool reversed) {
  std::vector<std::vector<Value>> dealt(cells.size());
  size_t next = 0;
  for (size_t i = 0; i < cells.size(); ++i) {
    const size_t at = reversed ? cells.size() - 1 - i : i;
    for (size_t k = 0; k < StateCount(cells[at].kind) && next < states.size(); ++k) {
      dealt[at].push_back(states[next++]);
    }
  }
  return dealt;
}

// A stack of cells under one mask is the same as layers one after the other:
// where the mask is off, each keeps its state and what it gives is not used.
std::vector<Value> RunStack(const LayerScope& scope, const std::vector<StackedCell>& cells,
                            Sequence sequence, const Flags& flags) {
  Graph& graph = scope.graph();
  const bool reversed = ReversedStates(scope);
  const std::vector<std::vector<Value>> states = DealStates(cells, sequence.states, reversed);
  const bool zero_output = sequence.zero_output_for_mask;
  bool backwards = flags.go_backwards;
  if (backwards && cells.size() > 1) {
    sequence.x = ops::Reverse(graph, sequence.x, 1);
    if (sequence.mask) sequence.mask = ops::Reverse(graph, *sequence.mask, 1);
    backwards = false;
  }
  std::vector<std::vector<Value>> last_states(cells.size());
  for (size_t i = 0; i < cells.size(); ++i) {
    const bool last = i + 1 == cells.size();
    const LayerScope cell(&scope.lowering(), cells[i].layer,
                          scope.path() + "/" + cells[i].layer->name);
    sequence.states = states[i];
    sequence.zero_output_for_mask = last && zero_output;
    const bool whole = !last || flags.return_sequences;
    std::vector<Value> values = RunCell(cell, cells[i].kind, sequence, backwards, whole);
    if (values.empty()) return {};
    if (cells[i].residuals > 0) {
      if (sequence.mask || !whole) {
        scope.Fail(Code::kUnsupportedArgument,
                   fmt::format("layer {}: a ResidualWrapper under a mask or without sequences",
                               scope.path()));
        return {};
      }
      Value x = backwards ? ops::Reverse(graph, sequence.x, 1) : sequence.x;
      for (int k = 0; k < cells[i].residuals; ++k) values[0] = ops::Add(graph, values[0], x);
    }
    sequence.x = values[0];
    last_states[i].assign(values.begin() + 1, values.end());
  }
  std::vector<Value> outputs{sequence.x};
  if (reversed) std::reverse(last_states.begin(), last_states.end());
  for (const auto& cell : last_states) outputs.insert(outputs.end(), cell.begin(), cell.end());
  return outputs;
}

}  // namespace

void WarnStateful(const LayerScope& scope) {
  if (!scope.Bool("stateful", false)) return;
  scope.Warn(Code::kStatefulRnn,
             fmt::format("layer {} is stateful; its state is zero for each request", scope.path()));
}

std::vector<KerasTensor> LowerRecurrent(const LayerScope& scope, const CallInputs& inputs) {
  const std::string& name = scope.layer().class_name;
  return Recurrent(scope, inputs,
                   name == "LSTM"  ? CellKind::kLstm
                   : name == "GRU" ? CellKind::kGru
                                   : CellKind::kSimple);
}

std::vector<KerasTensor> LowerRnn(const LayerScope& scope, const CallInputs& inputs) {
  std::vector<StackedCell> cells;
  for (const auto& inner : scope.layer().inner) {
    if (!CollectCells(scope, *inner, 0, 0, &cells)) return {};
  }
  if (cells.empty()) {
    scope.BadValue("cell", "a cell is expected");
    return {};
  }
  Sequence sequence;
  if (!ReadSequence(scope, inputs, &sequence)) return {};
  const Flags flags = ReadFlags(scope);
  if (scope.failed() || !RequireRank(scope, sequence.x, 3)) return {};
  size_t expected = 0;
  for (const StackedCell& cell : cells) expected += StateCount(cell.kind);
  if (!CheckStates(scope, expected, sequence)) return {};
  if (flags.time_major && !EnterTimeMajor(scope, &sequence)) return {};
  std::vector<Value> values = RunStack(scope, cells, sequence, flags);
  if (flags.time_major && flags.return_sequences && !values.empty()) {
    values[0] = SwapBatchAndTime(scope.graph(), values[0]);
  }
  return Outputs(flags, values, sequence.mask);
}

std::vector<WeightRole> RecurrentWeights(const Layer& layer, const Writer& writer) {
  std::vector<WeightRole> roles{{"kernel"}, {"recurrent_kernel"}};
  if (ConfigBool(layer, "use_bias", true)) roles.push_back({"bias"});
  return roles;
}

}  // namespace h5serve::model
