// From an expression to ops: the interpreter of the custom objects' language.
#pragma once

#include <functional>
#include <optional>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "model/custom/expression.h"
#include "model/functions/function_table.h"

namespace h5serve::model {

// What the names in an expression stand for.
struct ExpressionScope {
  FunctionContext context;
  // The value of a free name; nullopt when it has none. An error is reported as
  // it is.
  std::function<absl::StatusOr<std::optional<FunctionArgument>>(std::string_view name)> variable;
  // Calls a layer of that name; nullopt when there is none. May be empty.
  std::function<absl::StatusOr<std::optional<FunctionArgument>>(
      std::string_view name, const std::vector<FunctionArgument>& args,
      const KeywordArguments& kwargs)>
      call_layer;
  // A weight of such a layer; nullopt when there is none. May be empty.
  std::function<absl::StatusOr<std::optional<FunctionArgument>>(std::string_view layer,
                                                                std::string_view weight)>
      layer_weight;
  // A note on a name nobody knows: which names there are.
  std::string known_names;
};

// Adds the expression's ops to the graph and gives its value; what is known
// already (config values, shapes) is computed at once. Bounded in steps and in
// the size of lists. Errors carry the line with a caret:
//   NOT_FOUND: an unknown name or function,
//   UNIMPLEMENTED: an argument value that is not supported,
//   INVALID_ARGUMENT: values that do not fit.
absl::StatusOr<FunctionArgument> EvaluateExpression(const Expression& expression,
                                                    const ExpressionScope& scope);

}  // namespace h5serve::model
