// Python functions as Keras stores them in configs.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "model/bytecode/instructions.h"
#include "model/config_value.h"

namespace h5serve::model {

// A function's code with what was bound to it when it was saved.
struct StoredFunction {
  std::shared_ptr<const PythonCode> code;
  // Versions of Python that may have written it, the likeliest first; one almost always.
  std::vector<PythonVersion> versions;
  ConfigValue defaults;  // a list, or null
  ConfigValue closure;   // a list, or null
};

// True for the forms that ReadStoredFunction() reads: [code, defaults, closure],
// bare code, and Keras 3's {"class_name": "__lambda__", …}.
bool HoldsCode(const ConfigValue& value);

// The function in a config. INVALID_ARGUMENT when it is none, or when no known
// version of Python could have written it.
absl::StatusOr<StoredFunction> ReadStoredFunction(const ConfigValue& value);

// The bytes of code that is stored as base64 or as escaped text; nullopt for neither.
std::optional<std::string> CodeBytes(const std::string& text);

}  // namespace h5serve::model
