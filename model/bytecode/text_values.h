// Text: what code makes names, keys and labels of.
#pragma once

#include <string_view>

#include "model/bytecode/interpretation.h"

namespace h5serve::model {

// str(value); fails for what is written in ways that differ (real numbers, tensors).
PythonValue TextOf(Interpretation& run, const PythonValue& value);
// text % value
PythonValue FormatPercent(Interpretation& run, std::string_view text, const PythonValue& value);
// A method of text; `name` is one of IsTextMethod().
bool IsTextMethod(std::string_view name);
PythonValue CallTextMethod(Interpretation& run, const PythonValue& self, std::string_view name,
                           const PythonItems& args, const PythonArguments& kwargs);

}  // namespace h5serve::model
