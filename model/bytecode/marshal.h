// Reads what Python's marshal module wrote.
#pragma once

#include <memory>
#include <string_view>

#include "absl/status/statusor.h"
#include "model/bytecode/python_code.h"

namespace h5serve::model {

// The code object in `bytes`, which must end with it. Data only: nothing is
// executed. Bounded in size, depth and number of objects; INVALID_ARGUMENT for
// anything that is no code object of this layout.
absl::StatusOr<std::shared_ptr<const PythonCode>> ReadMarshalledCode(std::string_view bytes,
                                                                     CodeLayout layout);

}  // namespace h5serve::model
