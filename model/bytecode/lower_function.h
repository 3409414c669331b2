// Stored Python functions become ops.
#pragma once

#include <string>
#include <vector>

#include "model/bytecode/stored_function.h"
#include "model/lowering.h"

namespace h5serve::model {

// What came of a function.
struct LoweredFunction {
  std::vector<KerasTensor> outputs;             // empty after a failure
  std::string error;                            // why it cannot be translated
  PythonVersion version = PythonVersion::k311;  // which wrote it
  std::vector<std::string> assumptions;
  bool mixes_rows = false;  // a row's result may depend on the other rows
};

// Calls `function` with the layer's inputs, and with `arguments` by name, while
// the graph is built. Never executes Python: the bytecode is interpreted for its
// effect on tensors, and what cannot be computed exactly is refused.
LoweredFunction LowerStoredFunction(const LayerScope& scope, const StoredFunction& function,
                                    const CallInputs& inputs, const ConfigValue& arguments);

}  // namespace h5serve::model
