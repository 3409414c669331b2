// What attention layers share.
#pragma once

#include "model/layers/layer_support.h"

namespace h5serve::model {

// True where a query (second to last axis of scores) may see a key (last axis).
Value CausalMask(Graph& graph, Value scores);
// Logical and, where an invalid value stands for "no mask".
Value And(Graph& graph, Value a, Value b);
// scores - penalty where the mask is off.
Value Penalize(Graph& graph, Value scores, Value mask, float penalty);

}  // namespace h5serve::model
