// What Python itself knows in an expression: its functions and its lists.
#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "model/functions/function_table.h"

namespace h5serve::model {

// What a list or tuple holds; nullopt for other values.
std::optional<std::vector<FunctionArgument>> ListItems(const FunctionArgument& value);

// Calls len, range, int, float, bool, round, list, tuple, reversed, refuse,
// quantizer or is_quantizer, where they differ from keras.ops' function of the
// same name; nullopt for other names.
absl::StatusOr<std::optional<FunctionArgument>> CallPythonFunction(
    const compute::Graph& graph, std::string_view name, const std::vector<FunctionArgument>& args,
    const KeywordArguments& kwargs);

// An item or a slice of a Python list.
absl::StatusOr<FunctionArgument> IndexList(const compute::Graph& graph,
                                           const std::vector<FunctionArgument>& items,
                                           const std::vector<FunctionArgument>& keys);

// The value as a constant: numbers, lists of them, text, None; also tensors that
// are known and have one element. nullopt for what depends on a request.
std::optional<ConfigValue> StaticValue(const compute::Graph& graph,
                                       const FunctionArgument& argument);

}  // namespace h5serve::model
