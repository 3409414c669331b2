// What to tell about a Python function that cannot be translated.
#pragma once

#include <string>

#include "model/bytecode/stored_function.h"

namespace h5serve::model {

// "Python 3.7 code of scale (train.py, line 12), which needs factor, not in the file:" and
// the code itself, line by line.
std::string DescribeFunction(const StoredFunction& function, PythonVersion version);

// An entry of `custom_objects` for `name`, to paste: the code's own expression where it is
// one, otherwise to be filled in. What is drawn at random is replaced by its mean; names
// that the file does not hold become parameters, null, those it holds have their values.
// `listed_inputs` says how many tensors the function takes as one list, 0: a tensor.
std::string FunctionSkeleton(const StoredFunction& function, PythonVersion version,
                             const std::string& name, size_t listed_inputs,
                             const ConfigValue& arguments);

// The same for a function of which only the name is known.
std::string NamedFunctionSkeleton(const std::string& name, size_t listed_inputs,
                                  const ConfigValue& arguments);

}  // namespace h5serve::model
