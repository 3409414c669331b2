// What to tell about a Python function that cannot be translated.
#pragma once

#include <string>

#include "model/bytecode/stored_function.h"

namespace h5serve::model {

// "Python 3.7 code of train.py, line 12: y = x * scale; return y", with the names
// that it needs and the file does not hold.
std::string DescribeFunction(const StoredFunction& function, PythonVersion version);

// An entry of `custom_objects` for `name`, to paste: the code's own expression
// where it is one, otherwise to be filled in.
std::string FunctionSkeleton(const StoredFunction& function, PythonVersion version,
                             const std::string& name, bool takes_list);

// The same for a function of which only the name is known.
std::string NamedFunctionSkeleton(const std::string& name);

}  // namespace h5serve::model
