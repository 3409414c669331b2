// Python's code objects and the constants in them, as marshal stores them.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace h5serve::model {

struct PythonCode;

// A constant. Immutable; objects that a file refers to twice are shared, never
// in a cycle.
struct PythonObject {
  enum class Kind {
    kNone,
    kBool,
    kInt,
    kBigInt,  // does not fit 64 bits
    kFloat,
    kComplex,
    kBytes,
    kText,  // UTF-8
    kTuple,
    kList,
    kSet,
    kDict,  // keys and values in turn
    kEllipsis,
    kCode,
    kOther,  // StopIteration, an absent value
  };

  Kind kind = Kind::kNone;
  int64_t integer = 0;  // kBool, kInt
  double number = 0;    // kFloat
  std::string text;     // kText, kBytes
  std::vector<std::shared_ptr<const PythonObject>> items;
  std::shared_ptr<const PythonCode> code;
  int64_t weight = 1;  // objects in it, shared ones counted each time
};

// How the fields of a code object follow each other.
enum class CodeLayout {
  k27,   // 2.7
  k34,   // 3.4 to 3.7
  k38,   // 3.8 to 3.10
  k311,  // 3.11 to 3.13
};

struct PythonCode {
  CodeLayout layout = CodeLayout::k34;
  int argument_count = 0;  // positional ones, positional-only included
  int positional_only_count = 0;
  int keyword_only_count = 0;
  int stack_size = 0;
  int flags = 0;
  std::string bytecode;
  std::vector<std::shared_ptr<const PythonObject>> constants;
  std::vector<std::string> names;
  // Arguments first. From 3.11 on all variables, cells and free ones too.
  std::vector<std::string> variables;
  std::vector<uint8_t> kinds;  // from 3.11 on: of each variable, kLocal, kCell, kFree
  std::vector<std::string> cells, frees;
  std::string file_name;
  std::string name;
  int first_line = 0;
  std::string line_table;

  static constexpr uint8_t kLocal = 0x20, kCell = 0x40, kFree = 0x80;
  static constexpr int kVariadic = 0x04, kKeywordVariadic = 0x08, kGenerator = 0x20;
  static constexpr int kCoroutines = 0x80 | 0x200;  // coroutine, asynchronous generator

  // All arguments, *args and **kwargs included.
  int total_argument_count() const {
    return argument_count + keyword_only_count + ((flags & kVariadic) != 0) +
           ((flags & kKeywordVariadic) != 0);
  }
};

}  // namespace h5serve::model
