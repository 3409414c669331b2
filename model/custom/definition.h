// What an entry of `custom_objects` says.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "model/config_value.h"
#include "model/custom/expression.h"

namespace h5serve::model {

// A weight that the class stores.
struct CustomWeight {
  std::string name;   // in the expression
  std::string saved;  // end of its name in the file; usually the same
  bool trainable = true;
  // When the class has it: an expression over the config; null for always.
  std::shared_ptr<const Expression> condition;
};

// A layer inside of the class, which the expression calls by its name.
struct CustomSublayer {
  std::string name;
  ConfigValue entry;  // {"class_name", "config"} with placeholders
  std::shared_ptr<const Expression> condition;
  // How often it is there; neighbours that share it are repeated together. Copy
  // number i reads i as a setting and is called NAME[i].
  std::shared_ptr<const Expression> repeat;
};

// The meaning of one class or function. Immutable.
//
// In `entry`, `config` and `graph`, a string "$NAME" stands for the setting NAME
// of the layer in the file, "= EXPRESSION" for an expression over the settings.
struct CustomDefinition {
  enum class Kind { kAlias, kExpression, kGraph, kPlugin };
  enum class Mask { kUnsaid, kPass, kStop, kExpression };

  Kind kind = Kind::kExpression;
  std::string name;       // the key
  std::string catalogue;  // the catalogue's entry it comes from, or ""

  std::string layer;  // kAlias: the class it stands for
  bool has_config = false;
  ConfigValue config;  // kAlias: its config
  std::shared_ptr<const Expression> expression;
  ConfigValue graph;   // kGraph: a model's entry
  std::string plugin;  // kPlugin: path of the library

  std::vector<std::string> inputs;  // names of the tensors, in order
  ConfigValue::Dict parameters;     // settings with their defaults
  bool has_parameters = false;
  std::optional<std::vector<CustomWeight>> weights;  // in the file's order
  std::vector<CustomSublayer> layers;
  std::vector<std::string> ignore;  // settings and weights without meaning
  Mask mask = Mask::kUnsaid;
  std::shared_ptr<const Expression> mask_expression;
  // Shapes of a whole model's inputs, by name.
  ConfigValue::Dict input_shapes;
};

// Parses the definition stored under `name`. INVALID_ARGUMENT says what is wrong,
// with a caret in expressions.
absl::StatusOr<std::shared_ptr<const CustomDefinition>> ParseDefinition(std::string_view name,
                                                                        const ConfigValue& json);

}  // namespace h5serve::model
