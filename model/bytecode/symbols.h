// Names that Python code uses without defining them: modules, library functions
// and builtins.
#pragma once

#include <string>
#include <string_view>

#include "model/bytecode/interpretation.h"

namespace h5serve::model {

// What a global name conventionally stands for ("K" is keras.backend); null
// when it is nothing known.
PythonValue FindGlobal(Interpretation& run, std::string_view name);
// True when FindGlobal() knows the name.
bool IsKnownGlobal(std::string_view name);
// The module that an import statement names.
PythonValue ImportModule(Interpretation& run, std::string_view name);
// A member of a module: a constant where it is one ("math.pi").
PythonValue SymbolMember(Interpretation& run, const PythonValue& symbol, std::string_view name);
// The symbol of `name` in the module of this name; "" when the module is no
// library's.
std::string LibrarySymbol(std::string_view module, std::string_view name);
PythonValue CallSymbol(Interpretation& run, const std::string& path, PythonItems args,
                       PythonArguments kwargs);

// Python's own functions, `name` without "builtins.".
bool IsBuiltin(std::string_view name);
PythonValue CallBuiltin(Interpretation& run, std::string_view name, PythonItems args,
                        PythonArguments kwargs);
// Functions of functools and itertools, by their dotted names.
PythonValue CallFunctionTool(Interpretation& run, std::string_view path, PythonItems args,
                             PythonArguments kwargs);
// What functools.partial() made.
bool IsPartial(const PythonValue& value);
PythonValue CallPartial(Interpretation& run, const PythonValue& partial, const PythonItems& args,
                        PythonArguments kwargs);
// Functions of the math module.
PythonValue CallMath(Interpretation& run, std::string_view name, const PythonItems& args);

}  // namespace h5serve::model
