// Python's operators on values that are known when a model loads.
#pragma once

#include <string_view>

#include "absl/status/statusor.h"
#include "model/config_value.h"

namespace h5serve::model {

// left OPERATOR right for numbers, strings, lists, dicts and None, as Python 3
// computes it. `op` is one of + - * / // % ** == != < <= > >= "is" "is not" "in"
// "not in". INVALID_ARGUMENT for types that do not go together, a division by
// zero, integers beyond 64 bits and results that would be very large.
absl::StatusOr<ConfigValue> StaticBinary(std::string_view op, const ConfigValue& left,
                                         const ConfigValue& right);

// "-", "+" or "not" of a value.
absl::StatusOr<ConfigValue> StaticUnary(std::string_view op, const ConfigValue& value);

// Whether Python takes the value for true.
bool IsTrue(const ConfigValue& value);

}  // namespace h5serve::model
