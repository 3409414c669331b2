// The words of an expression.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "model/config_value.h"

namespace h5serve::model {

struct ExpressionToken {
  enum class Kind { kName, kNumber, kString, kOperator, kNewline, kEnd };
  Kind kind = Kind::kEnd;
  std::string text;
  ConfigValue number;
  size_t position = 0;
};

// Ends with a token kEnd. INVALID_ARGUMENT with a caret at what is no word.
absl::StatusOr<std::vector<ExpressionToken>> SplitExpression(std::string_view source);

}  // namespace h5serve::model
