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

// The same for a function that Keras, TensorFlow or NumPy define, by its symbol.
LoweredFunction LowerLibraryFunction(const LayerScope& scope, const std::string& symbol,
                                     const CallInputs& inputs, const ConfigValue& arguments);

// The symbol of the library function whose code was stored, as Lambda(K.square)
// does; "" for code of somebody else. `module` is what the config says of it.
std::string LibraryFunctionOf(const StoredFunction& function, std::string_view module);

}  // namespace h5serve::model
