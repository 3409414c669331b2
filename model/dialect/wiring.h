// How layers are connected: inbound nodes of every dialect.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "model/config_value.h"
#include "model/dialect/layer_entries.h"
#include "model/keras_model.h"

namespace h5serve::model {

// Names of the layers of one model.
using LayerIndex = std::map<std::string, int, std::less<>>;

// Parses the `inbound_nodes` of a layer into calls. References to unknown layers
// are GRAPH_INVALID.
std::vector<Call> ParseInboundNodes(const ConfigValue& inbound_nodes, const Layer& layer,
                                    const LayerIndex& index, Translation& translation);

// A list of tensors as in input_layers and output_layers: a flat triple, a list
// of triples, deeper lists, or a dict. `keys` gets a dict's key for each tensor,
// or "". False when something in it is no reference to a known layer.
bool ParseTensorList(const ConfigValue& value, const LayerIndex& index,
                     std::vector<TensorRef>* refs, std::vector<std::string>* keys);

// Brings the call numbers of references to nested models to a start of 0: Keras 1
// and 2 count their calls from 1, Keras 3 from 0 except in `outputs`.
void RebaseNestedCalls(KerasModel* model, const Writer& writer);

// Calls `visit` for every tensor reference of a call.
void VisitRefs(Call& call, const std::function<void(TensorRef&)>& visit);

}  // namespace h5serve::model
