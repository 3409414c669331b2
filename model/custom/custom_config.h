// Settings of a custom layer: what the file stores and what a definition makes
// of it.
#pragma once

#include <map>
#include <set>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "model/config_value.h"
#include "model/custom/definition.h"

namespace h5serve::model {

// The setting `name`: as stored in `saved`, else the definition's default, else
// null. The arguments of a Lambda count as settings.
const ConfigValue* FindSetting(const CustomDefinition& definition, const ConfigValue& saved,
                               std::string_view name);

// An expression over the settings alone. INVALID_ARGUMENT with a caret when it
// is wrong or does not give a value that is known when the model loads.
absl::StatusOr<ConfigValue> EvaluateSetting(const Expression& expression,
                                            const CustomDefinition& definition,
                                            const ConfigValue& saved);

// `value` with its placeholders filled in. FAILED_PRECONDITION names a setting
// that neither the file nor the definition has.
absl::StatusOr<ConfigValue> Substitute(const ConfigValue& value, const CustomDefinition& definition,
                                       const ConfigValue& saved);

// Names that the definition reads or declares, besides `ignore`.
std::set<std::string> MentionedNames(const CustomDefinition& definition);

// A setting that every layer may have, or that has no meaning for predictions.
bool IsNeutralSetting(std::string_view key, const ConfigValue& value);

// Names that never stand for a weight or a setting: inputs, constants, modules.
bool IsReservedName(const CustomDefinition& definition, std::string_view name);

}  // namespace h5serve::model
