// Arithmetic on Python's numbers, done while a graph is built.
#pragma once

#include <optional>

#include "compute/ops/element_kinds.h"
#include "model/config_value.h"

namespace h5serve::model {

// The result that Python gives for numbers or bools; nullopt where it raises an
// error, where 64 bits do not hold it, or where the kind has no such meaning.
std::optional<ConfigValue> FoldNumbers(compute::ops::BinaryKind kind, const ConfigValue& a,
                                       const ConfigValue& b);
std::optional<ConfigValue> FoldNumber(compute::ops::UnaryKind kind, const ConfigValue& x);

}  // namespace h5serve::model
