// Bytecode as a list of instructions, with each version's numbers resolved.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "model/bytecode/python_code.h"

namespace h5serve::model {

// The versions of CPython whose bytecode is known, oldest first.
enum class PythonVersion { k27, k34, k35, k36, k37, k38, k39, k310, k311, k312, k313 };
inline constexpr int kPythonVersions = 11;

std::string_view Name(PythonVersion version);  // "3.11"
CodeLayout LayoutOf(PythonVersion version);

enum class Opcode : uint16_t {
#define OP(name, ...) name,
#define CACHES(...)
#include "model/bytecode/opcodes.def"
#undef OP
#undef CACHES
};

std::string_view Name(Opcode opcode);  // "LOAD_FAST"

struct Instruction {
  Opcode opcode;
  int32_t argument = 0;  // with EXTENDED_ARG; 0 without one
  int target = -1;       // index of the instruction it may jump to
};

// The instructions of `code` read as bytecode of `version`. INVALID_ARGUMENT
// when it cannot be: an unknown opcode, an argument beyond its table, a jump
// into an instruction, caches that are not empty, a line table that does not fit.
absl::StatusOr<std::vector<Instruction>> ReadInstructions(const PythonCode& code,
                                                          PythonVersion version);

// `code` and every code object within it can be read as `version`.
bool FitsVersion(const PythonCode& code, PythonVersion version);

}  // namespace h5serve::model
