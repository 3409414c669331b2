// Nodes of TensorFlow graphs, as Keras writes them into configs.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "model/config_value.h"

namespace h5serve::model {

struct NodeDef {
  std::string name;
  std::string op;  // "AddV2"
  std::vector<std::string> inputs;
  // Numbers, bools, text, lists of them; types as "DT_FLOAT". Shapes and
  // tensors are null.
  std::map<std::string, ConfigValue> attributes;
};

// From protobuf's JSON form (a dict) or from a string that holds the serialised
// message, decoded as Latin-1, as UTF-8 or as base64. INVALID_ARGUMENT otherwise.
absl::StatusOr<NodeDef> ParseNodeDef(const ConfigValue& value);

}  // namespace h5serve::model
