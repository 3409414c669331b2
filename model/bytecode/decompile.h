// Bytecode as text that people can read.
#pragma once

#include <string>
#include <vector>

#include "model/bytecode/instructions.h"

namespace h5serve::model {

struct DecompiledFunction {
  // Python-like lines: assignments, "if …:", "for … in …:", and "return …" last.
  // Shortened where it is long; "" when nothing sensible can be said.
  std::vector<std::string> lines;
  // The lines are assignments and one return: together an expression.
  bool simple = false;
};

// For messages only: nothing is computed from it.
DecompiledFunction Decompile(const PythonCode& code, PythonVersion version);

// Names that the code reads without defining them, in order, inner functions' too.
std::vector<std::string> GlobalNames(const PythonCode& code, PythonVersion version);

}  // namespace h5serve::model
