// Attributes and methods of tensors, shapes, lists, dicts and text.
#pragma once

#include <string_view>

#include "model/bytecode/interpretation.h"

namespace h5serve::model {

// value.name; methods become values that can be called.
PythonValue GetAttribute(Interpretation& run, const PythonValue& value, std::string_view name);
PythonValue CallMethod(Interpretation& run, const PythonValue& self, std::string_view name,
                       PythonItems args, PythonArguments kwargs);

}  // namespace h5serve::model
