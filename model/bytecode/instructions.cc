#include "model/bytecode/instructions.h"

#include <fmt/format.h>

#include <array>
#include <optional>

namespace h5serve::model {
namespace {

constexpr std::array<std::string_view, kPythonVersions> kVersionNames = {
    "2.7", "3.4", "3.5", "3.6", "3.7", "3.8", "3.9", "3.10", "3.11", "3.12", "3.13"};

constexpr std::string_view kOpcodeNames[] = {
#define OP(name, ...) #name,
#define CACHES(...)
#include "model/bytecode/opcodes.def"
#undef OP
#undef CACHES
};

struct OpcodeRow {
  Opcode opcode;
  std::array<int16_t, kPythonVersions> codes;
};
constexpr OpcodeRow kOpcodes[] = {
#define OP(name, ...) {Opcode::name, {__VA_ARGS__}},
#define CACHES(...)
#include "model/bytecode/opcodes.def"
#undef OP
#undef CACHES
};

struct CacheRow {
  Opcode opcode;
  std::array<int8_t, 3> entries;
};
constexpr CacheRow kCaches[] = {
#define OP(...)
#define CACHES(name, ...) {Opcode::name, {__VA_ARGS__}},
#include "model/bytecode/opcodes.def"
#undef OP
#undef CACHES
};

// Without arguments below this, before 3.6.
constexpr int kHaveArgument = 90;
constexpr int kMaxArgument = 1 << 24;

int ExtendedArgument(PythonVersion version) {
  if (version == PythonVersion::k27) return 145;
  return version == PythonVersion::k313 ? 71 : 144;
}

std::optional<Opcode> FindOpcode(int code, PythonVersion version) {
  using Table = std::array<int16_t, 256>;
  static const auto* const tables = [] {
    auto* made = new std::array<Table, kPythonVersions>;
    for (int v = 0; v < kPythonVersions; ++v) {
      (*made)[v].fill(-1);
      for (const OpcodeRow& row : kOpcodes) {
        if (row.codes[v] >= 0) (*made)[v][row.codes[v]] = static_cast<int16_t>(row.opcode);
      }
    }
    return made;
  }();
  const int16_t opcode = (*tables)[static_cast<int>(version)][code];
  return opcode < 0 ? std::nullopt : std::optional<Opcode>(static_cast<Opcode>(opcode));
}

int CacheEntries(Opcode opcode, PythonVersion version) {
  if (version < PythonVersion::k311) return 0;
  const int column = static_cast<int>(version) - static_cast<int>(PythonVersion::k311);
  for (const CacheRow& row : kCaches) {
    if (row.opcode == opcode) return row.entries[column];
  }
  return 0;
}

enum class Jump { kNone, kForward, kBackward, kAbsolute };

Jump JumpOf(Opcode opcode, PythonVersion version) {
  switch (opcode) {
    case Opcode::JUMP_FORWARD:
    case Opcode::FOR_ITER:
    case Opcode::SETUP_LOOP:
    case Opcode::SETUP_EXCEPT:
    case Opcode::SETUP_FINALLY:
    case Opcode::SETUP_WITH:
    case Opcode::SETUP_ASYNC_WITH:
    case Opcode::CALL_FINALLY:
    case Opcode::SEND:
    case Opcode::POP_JUMP_FORWARD_IF_FALSE:
    case Opcode::POP_JUMP_FORWARD_IF_TRUE:
    case Opcode::POP_JUMP_FORWARD_IF_NONE:
    case Opcode::POP_JUMP_FORWARD_IF_NOT_NONE:
    case Opcode::POP_JUMP_IF_NONE:
    case Opcode::POP_JUMP_IF_NOT_NONE:
      return Jump::kForward;
    case Opcode::JUMP_BACKWARD:
    case Opcode::JUMP_BACKWARD_NO_INTERRUPT:
    case Opcode::POP_JUMP_BACKWARD_IF_FALSE:
    case Opcode::POP_JUMP_BACKWARD_IF_TRUE:
    case Opcode::POP_JUMP_BACKWARD_IF_NONE:
    case Opcode::POP_JUMP_BACKWARD_IF_NOT_NONE:
      return Jump::kBackward;
    case Opcode::POP_JUMP_IF_FALSE:
    case Opcode::POP_JUMP_IF_TRUE:
    case Opcode::JUMP_IF_FALSE_OR_POP:
    case Opcode::JUMP_IF_TRUE_OR_POP:
      return version >= PythonVersion::k311 ? Jump::kForward : Jump::kAbsolute;
    case Opcode::JUMP_ABSOLUTE:
    case Opcode::CONTINUE_LOOP:
    case Opcode::JUMP_IF_NOT_EXC_MATCH:
      return Jump::kAbsolute;
    default:
      return Jump::kNone;
  }
}

// Number of entries of the table that the argument points into; nullopt: none.
std::optional<size_t> TableSize(Opcode opcode, const PythonCode& code) {
  switch (opcode) {
    case Opcode::LOAD_CONST:
    case Opcode::RETURN_CONST:
    case Opcode::KW_NAMES:
      return code.constants.size();
    case Opcode::LOAD_METHOD:
    case Opcode::IMPORT_NAME:
    case Opcode::IMPORT_FROM:
    case Opcode::LOAD_NAME:
    case Opcode::STORE_NAME:
    case Opcode::STORE_ATTR:
    case Opcode::STORE_GLOBAL:
    case Opcode::LOAD_ATTR:
    case Opcode::LOAD_GLOBAL:
      return code.names.size();
    case Opcode::LOAD_FAST:
    case Opcode::STORE_FAST:
    case Opcode::DELETE_FAST:
    case Opcode::LOAD_FAST_CHECK:
    case Opcode::LOAD_FAST_AND_CLEAR:
    case Opcode::MAKE_CELL:
      return code.variables.size();
    case Opcode::LOAD_DEREF:
    case Opcode::STORE_DEREF:
    case Opcode::LOAD_CLOSURE:
    case Opcode::LOAD_CLASSDEREF:
      return code.layout == CodeLayout::k311 ? code.variables.size()
                                             : code.cells.size() + code.frees.size();
    default:
      return std::nullopt;
  }
}

// The part of the argument that is the index: versions put flags below it.
int TableIndex(const Instruction& instruction, PythonVersion version) {
  const bool global = instruction.opcode == Opcode::LOAD_GLOBAL && version >= PythonVersion::k311;
  const bool attribute = instruction.opcode == Opcode::LOAD_ATTR && version >= PythonVersion::k312;
  return global || attribute ? instruction.argument >> 1 : instruction.argument;
}

// From 3.10 on the line table covers all bytes of code; before, it is a list of
// steps to the start of each line.
bool LineTableFits(const PythonCode& code, PythonVersion version) {
  if (code.layout == CodeLayout::k311) return true;
  const std::string& table = code.line_table;
  if (table.size() % 2 != 0) return false;
  size_t covered = 0;
  for (size_t i = 0; i < table.size(); i += 2) covered += static_cast<unsigned char>(table[i]);
  if (version == PythonVersion::k310) return covered == code.bytecode.size();
  return covered < code.bytecode.size();
}

bool EndsFunction(Opcode opcode) {
  switch (opcode) {
    case Opcode::RETURN_VALUE:
    case Opcode::RETURN_CONST:
    case Opcode::RERAISE:
    case Opcode::RAISE_VARARGS:
    case Opcode::JUMP_ABSOLUTE:
    case Opcode::JUMP_FORWARD:
    case Opcode::JUMP_BACKWARD:
    case Opcode::JUMP_BACKWARD_NO_INTERRUPT:
    case Opcode::CLEANUP_THROW:
      return true;
    default:
      return false;
  }
}

class InstructionReader {
 public:
  InstructionReader(const PythonCode& code, PythonVersion version)
      : code_(code),
        version_(version),
        bytes_(reinterpret_cast<const unsigned char*>(code.bytecode.data())),
        size_(static_cast<int>(code.bytecode.size())),
        index_at_(code.bytecode.size() + 1, -1) {}

  absl::StatusOr<std::vector<Instruction>> Read() {
    if (LayoutOf(version_) != code_.layout) return Invalid("another layout");
    if (!LineTableFits(code_, version_)) return Invalid("another line table");
    while (at_ < size_) {
      if (absl::Status status = ReadOne(); !status.ok()) return status;
    }
    if (extended_ || instructions_.empty()) return Invalid("ends early");
    if (!EndsFunction(instructions_.back().opcode)) return Invalid("runs over its end");
    const auto resumes = [this](Opcode opcode) {
      for (const Instruction& i : instructions_) {
        if (i.opcode == opcode) return true;
      }
      return false;
    };
    if (version_ >= PythonVersion::k311 && !resumes(Opcode::RESUME)) return Invalid("no start");
    if (absl::Status status = ResolveJumps(); !status.ok()) return status;
    return std::move(instructions_);
  }

 private:
  absl::Status Invalid(std::string_view why) const {
    return absl::InvalidArgumentError(
        fmt::format("no bytecode of Python {}: {} (at byte {})", Name(version_), why, at_));
  }

  absl::Status ReadOne() {
    const int start = extended_ ? start_ : at_;
    const bool words = version_ >= PythonVersion::k36;
    const int code = bytes_[at_];
    int64_t argument = 0;
    int length = 2;
    if (words) {
      if (at_ + 2 > size_) return Invalid("ends early");
      argument = bytes_[at_ + 1] | int64_t{prefix_} << 8;
    } else if (code >= kHaveArgument) {
      length = 3;
      if (at_ + 3 > size_) return Invalid("ends early");
      argument = bytes_[at_ + 1] | bytes_[at_ + 2] << 8 | int64_t{prefix_} << 16;
    } else {
      length = 1;
    }
    if (argument > kMaxArgument) return Invalid("argument too large");
    if (code == ExtendedArgument(version_)) {
      start_ = start;
      extended_ = true;
      prefix_ = static_cast<int>(argument);
      at_ += length;
      return absl::OkStatus();
    }
    const std::optional<Opcode> opcode = FindOpcode(code, version_);
    if (!opcode) return Invalid(fmt::format("opcode {}", code));
    Instruction instruction{*opcode, static_cast<int32_t>(argument), -1};
    const std::optional<size_t> table = TableSize(*opcode, code_);
    if (table && static_cast<size_t>(TableIndex(instruction, version_)) >= *table) {
      return Invalid(fmt::format("{} beyond its table", Name(*opcode)));
    }
    at_ += length;
    const int caches = CacheEntries(*opcode, version_);
    for (int i = 0; i < 2 * caches; ++i) {
      if (at_ >= size_ || bytes_[at_] != 0) return Invalid("a cache that is not empty");
      ++at_;
    }
    // Jumps aim at the prefix of an instruction that has one.
    index_at_[static_cast<size_t>(start)] = static_cast<int>(instructions_.size());
    next_offset_.push_back(at_);
    instructions_.push_back(instruction);
    extended_ = false;
    prefix_ = 0;
    return absl::OkStatus();
  }

  absl::Status ResolveJumps() {
    const int64_t unit = version_ >= PythonVersion::k310 ? 2 : 1;
    for (size_t i = 0; i < instructions_.size(); ++i) {
      Instruction& instruction = instructions_[i];
      const Jump jump = JumpOf(instruction.opcode, version_);
      if (jump == Jump::kNone) continue;
      const int64_t distance = unit * instruction.argument;
      const int64_t next = next_offset_[i];
      const int64_t offset = jump == Jump::kAbsolute  ? distance
                             : jump == Jump::kForward ? next + distance
                                                      : next - distance;
      if (offset < 0 || offset >= size_ || index_at_[offset] < 0) {
        return Invalid("a jump into nowhere");
      }
      instruction.target = index_at_[offset];
    }
    return absl::OkStatus();
  }

  const PythonCode& code_;
  PythonVersion version_;
  const unsigned char* bytes_;
  int size_;
  std::vector<int> index_at_;
  std::vector<int> next_offset_;
  std::vector<Instruction> instructions_;
  int at_ = 0;
  int start_ = 0;
  bool extended_ = false;
  int prefix_ = 0;
};

}  // namespace

std::string_view Name(PythonVersion version) { return kVersionNames[static_cast<int>(version)]; }

std::string_view Name(Opcode opcode) { return kOpcodeNames[static_cast<int>(opcode)]; }

CodeLayout LayoutOf(PythonVersion version) {
  if (version == PythonVersion::k27) return CodeLayout::k27;
  if (version <= PythonVersion::k37) return CodeLayout::k34;
  return version <= PythonVersion::k310 ? CodeLayout::k38 : CodeLayout::k311;
}

absl::StatusOr<std::vector<Instruction>> ReadInstructions(const PythonCode& code,
                                                          PythonVersion version) {
  return InstructionReader(code, version).Read();
}

bool FitsVersion(const PythonCode& code, PythonVersion version) {
  if (!ReadInstructions(code, version).ok()) return false;
  for (const auto& constant : code.constants) {
    if (constant->kind == PythonObject::Kind::kCode && !FitsVersion(*constant->code, version)) {
      return false;
    }
  }
  return true;
}

}  // namespace h5serve::model
