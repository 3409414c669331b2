// Recurrent networks over a whole sequence.
#pragma once

#include <vector>

#include "compute/graph.h"
#include "compute/ops/elementwise.h"

namespace h5serve::compute::ops {

enum class CellKind { kSimple, kLstm, kGru };

// An activation with its parameters, as for Unary. kSoftmax activations are
// element functions over the units, so they get their own flag.
struct CellActivation {
  UnaryKind kind = UnaryKind::kTanh;
  float p = 0, q = 0;
  bool softmax = false;  // over the units instead of `kind`
};

struct RecurrentAttributes {
  CellKind cell = CellKind::kLstm;
  int64_t units = 0;
  CellActivation activation;
  CellActivation recurrent_activation;
  bool reset_after = false;   // GRU
  bool go_backwards = false;  // process from the last step; outputs in processing order
  bool return_sequences = false;
  // Masked steps output zeros instead of repeating the last output.
  bool zero_output_for_mask = false;
  // Masked steps before the first valid one output the initial state h, not zeros.
  bool masked_start_is_state = false;
};

// Keras' layout: kernel (in, gates·units), recurrent_kernel (units, gates·units),
// bias (gates·units), or (2, gates·units) for reset_after, or invalid. Gates:
// LSTM i f c o; GRU z r h. x is (batch, time, in).
struct RecurrentInputs {
  Value x;
  Value kernel, recurrent_kernel, bias;
  Value mask;                         // bool (batch, time) or invalid
  std::vector<Value> initial_states;  // empty: zeros; LSTM h, c
};
// Outputs: y (batch, time, units) or (batch, units), then the states (h; LSTM h, c).
std::vector<Value> Recurrent(Graph& graph, const RecurrentInputs& inputs,
                             const RecurrentAttributes& attributes);

// ConvLSTM: x (batch, time, spatial…, in), kernel (spatial…, in, 4·filters),
// recurrent_kernel (spatial…, filters, 4·filters), bias (4·filters) or invalid.
// The recurrent convolution is "same" with stride 1.
struct ConvLstmAttributes {
  int64_t filters = 0;
  std::vector<int64_t> strides;
  std::vector<int64_t> dilations;
  bool same = false;
  CellActivation activation;
  CellActivation recurrent_activation;
  bool go_backwards = false;
  bool return_sequences = false;
  // Theano pads even kernels on the other side (floor(k/2) before).
  bool theano_same = false;
};
// Outputs: y, then h and c.
std::vector<Value> ConvLstm(Graph& graph, const RecurrentInputs& inputs,
                            const ConvLstmAttributes& attributes);

}  // namespace h5serve::compute::ops
