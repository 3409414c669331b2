// Inputs made up for trial runs of a model.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "model/servable.h"

namespace h5serve::model {

// kOnesAndRandom: half of the rows ones, half as kRandom alone.
enum class Fill { kZeros, kOnes, kRandom, kOnesAndRandom };
std::string_view Name(Fill fill);  // "zeros", "ones", "random input"

// Inputs of `rows` rows, the other open dimensions `open` each. Random ones are
// the same every time. Null when they would be too large for a trial.
std::optional<std::vector<compute::Tensor>> MakeInputs(const Servable& servable, int64_t rows,
                                                       int64_t open, Fill fill);

// The first size of open dimensions that the model accepts, and what it makes of
// zeros of that size; else null, with the last failure.
std::optional<int64_t> FindOpenSize(const Servable& servable, std::vector<compute::Tensor>* outputs,
                                    absl::Status* failure);

}  // namespace h5serve::model
