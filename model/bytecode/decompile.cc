#include "model/bytecode/decompile.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "model/bytecode/decompiled_text.h"
#include "model/text_encoding.h"

namespace h5serve::model {
namespace {

constexpr size_t kMaxLines = 40;
constexpr int kMaxInstructions = 20000;  // inner functions' too
constexpr int kMaxDepth = 4;
// Stands for what a comprehension runs through until it is known.
constexpr char kSource = '\x01';

constexpr std::array<std::string_view, 14> kBinary = {"+", "&",  "//", "<<", "@", "*", "%",
                                                      "|", "**", ">>", "-",  "/", "^", "/"};
constexpr std::array<std::string_view, 11> kComparisons = {
    "<", "<=", "==", "!=", ">", ">=", "in", "not in", "is", "is not", "is a"};

// "ADD" of BINARY_ADD and INPLACE_ADD.
std::string_view SignOf(std::string_view name) {
  using Row = std::pair<std::string_view, std::string_view>;
  constexpr Row kSigns[] = {{"ADD", "+"},
                            {"AND", "&"},
                            {"FLOOR_DIVIDE", "//"},
                            {"LSHIFT", "<<"},
                            {"MATRIX_MULTIPLY", "@"},
                            {"MULTIPLY", "*"},
                            {"MODULO", "%"},
                            {"OR", "|"},
                            {"POWER", "**"},
                            {"RSHIFT", ">>"},
                            {"SUBTRACT", "-"},
                            {"TRUE_DIVIDE", "/"},
                            {"XOR", "^"},
                            {"DIVIDE", "/"}};
  const size_t at = name.find('_');
  if (name.substr(0, at) != "BINARY" && name.substr(0, at) != "INPLACE") return "";
  for (const auto& [written, sign] : kSigns) {
    if (name.substr(at + 1) == written) return sign;
  }
  return "";
}

class Decompiler {
 public:
  Decompiler(const PythonCode& code, PythonVersion version, int depth, int* budget)
      : code_(code), version_(version), depth_(depth), budget_(*budget), text_(code, version) {}

  DecompiledFunction Run() {
    absl::StatusOr<std::vector<Instruction>> read = ReadInstructions(code_, version_);
    if (!read.ok()) return {};
    instructions_ = *std::move(read);
    for (at_ = 0; at_ < static_cast<int>(instructions_.size()); ++at_) {
      if (--budget_ < 0) return {};
      text_.Arrive(at_);
      if (!Step(instructions_[static_cast<size_t>(at_)])) return {};
      if (text_.lines().size() > kMaxLines) return {};
    }
    const bool simple = simple_ && !text_.lines().empty();
    return {std::move(text_.lines()), simple};
  }

  // What a comprehension makes of its source, when the code is one.
  const std::string& comprehension() const { return comprehension_; }

 private:
  void Store(const std::string& name) {
    if (unpacking_ > 0) {
      targets_ += (targets_.empty() ? "" : ", ") + name;
      if (--unpacking_ == 0) text_.Emit(std::exchange(targets_, "") + " = " + unpacked_);
      return;
    }
    if (looping_) {
      looping_ = false;
      variable_ = name;
      text_.Pop();
      return;
    }
    const TextPart value = text_.Pop();
    if (value.text == name) return;  // a comprehension gives a variable back
    text_.Emit(name + " = " + value.text);
  }

  bool Step(const Instruction& i) {
    return Ignored(i) || Loads(i) || Stores(i) || Computes(i) || Builds(i) || Calls(i) || Jumps(i);
  }

  static bool Ignored(const Instruction& i) {
    switch (i.opcode) {
      case Opcode::NOP:
      case Opcode::RESUME:
      case Opcode::PRECALL:
      case Opcode::PUSH_NULL:
      case Opcode::MAKE_CELL:
      case Opcode::COPY_FREE_VARS:
      case Opcode::GET_ITER:
      case Opcode::TO_BOOL:
      case Opcode::END_FOR:
      case Opcode::SETUP_LOOP:
      case Opcode::SETUP_ANNOTATIONS:
      case Opcode::POP_BLOCK:
      case Opcode::JUMP_ABSOLUTE:
      case Opcode::JUMP_BACKWARD:
      case Opcode::LIST_TO_TUPLE:
      case Opcode::SWAP:
      case Opcode::GEN_START:
        return true;
      default:
        return false;
    }
  }

  bool Loads(const Instruction& i) {
    switch (i.opcode) {
      case Opcode::LOAD_CONST: {
        const PythonObject& object = *code_.constants[static_cast<size_t>(i.argument)];
        if (object.kind == PythonObject::Kind::kCode) {
          inner_ = object.code;
          text_.Push({object.code->name});
        } else {
          text_.Push(Shortened(ConstantText(object)));
        }
        return true;
      }
      case Opcode::LOAD_FAST:
      case Opcode::LOAD_FAST_CHECK:
        text_.Push({text_.Variable(i.argument)});
        return true;
      case Opcode::LOAD_FAST_AND_CLEAR:
        return true;
      case Opcode::LOAD_FAST_LOAD_FAST:
        text_.Push({text_.Variable(i.argument >> 4)});
        text_.Push({text_.Variable(i.argument & 15)});
        return true;
      case Opcode::LOAD_DEREF:
      case Opcode::LOAD_CLOSURE:
      case Opcode::LOAD_CLASSDEREF:
        text_.Push({text_.Cell(i.argument)});
        return true;
      case Opcode::LOAD_GLOBAL:
        text_.Push({text_.Name(version_ >= PythonVersion::k311 ? i.argument >> 1 : i.argument)});
        return true;
      case Opcode::LOAD_NAME:
        text_.Push({text_.Name(i.argument)});
        return true;
      case Opcode::LOAD_ATTR:
      case Opcode::LOAD_METHOD: {
        const int index = version_ >= PythonVersion::k312 ? i.argument >> 1 : i.argument;
        text_.Push(Shortened(Bracketed(text_.Pop()) + "." + text_.Name(index)));
        return true;
      }
      case Opcode::KW_NAMES:
        names_ = code_.constants[static_cast<size_t>(i.argument)];
        return true;
      case Opcode::DUP_TOP: {
        TextPart top = text_.Pop();
        text_.Push(top);
        text_.Push(std::move(top));
        return true;
      }
      default:
        return false;
    }
  }

  bool Stores(const Instruction& i) {
    switch (i.opcode) {
      case Opcode::STORE_FAST:
        Store(text_.Variable(i.argument));
        return true;
      case Opcode::STORE_DEREF:
        Store(text_.Cell(i.argument));
        return true;
      case Opcode::STORE_FAST_STORE_FAST:
        Store(text_.Variable(i.argument >> 4));
        Store(text_.Variable(i.argument & 15));
        return true;
      case Opcode::STORE_FAST_LOAD_FAST:
        Store(text_.Variable(i.argument >> 4));
        text_.Push({text_.Variable(i.argument & 15)});
        return true;
      case Opcode::UNPACK_SEQUENCE:
        if (looping_) return false;
        unpacked_ = text_.Pop().text;
        unpacking_ = i.argument;
        return unpacking_ > 0;
      case Opcode::POP_TOP: {
        if (text_.stack().empty()) return true;  // of a loop's clean-up
        const std::string text = text_.Pop().text;
        if (text.find('(') != std::string::npos) text_.Emit(text);
        simple_ = false;
        return true;
      }
      case Opcode::RETURN_VALUE:
        text_.Emit("return " + text_.Pop().text);
        return true;
      case Opcode::RETURN_CONST:
        text_.Emit("return " + ConstantText(*code_.constants[static_cast<size_t>(i.argument)]));
        return true;
      default:
        return false;
    }
  }

  void Binary(std::string_view sign) {
    const TextPart b = text_.Pop(), a = text_.Pop();
    text_.Push(Shortened(fmt::format("{} {} {}", Bracketed(a), sign, Bracketed(b)), false));
  }

  bool Computes(const Instruction& i) {
    if (const std::string_view sign = SignOf(h5serve::model::Name(i.opcode)); !sign.empty()) {
      Binary(sign);
      return true;
    }
    const auto unary = [this](std::string_view sign) {
      text_.Push(Shortened(fmt::format("{}{}", sign, Bracketed(text_.Pop())), false));
      return true;
    };
    switch (i.opcode) {
      case Opcode::BINARY_OP:
        Binary(kBinary[static_cast<size_t>(i.argument % 13)]);
        return true;
      case Opcode::COMPARE_OP: {
        const int shift = version_ >= PythonVersion::k313   ? 5
                          : version_ == PythonVersion::k312 ? 4
                                                            : 0;
        Binary(kComparisons[std::min<size_t>(static_cast<size_t>(i.argument >> shift), 10)]);
        return true;
      }
      case Opcode::IS_OP:
        Binary(i.argument != 0 ? "is not" : "is");
        return true;
      case Opcode::CONTAINS_OP:
        Binary(i.argument != 0 ? "not in" : "in");
        return true;
      case Opcode::UNARY_NEGATIVE:
        return unary("-");
      case Opcode::UNARY_NOT:
        return unary("not ");
      case Opcode::UNARY_INVERT:
        return unary("~");
      case Opcode::BINARY_SUBSCR: {
        std::string key = text_.Pop().text;
        const bool tuple = key.size() > 2 && key.front() == '(' && key.back() == ')' &&
                           key.find(')') == key.size() - 1;
        if (tuple) key = key.substr(1, key.size() - 2);
        text_.Push(Shortened(fmt::format("{}[{}]", Bracketed(text_.Pop()), key)));
        return true;
      }
      case Opcode::BINARY_SLICE: {
        const std::string stop = text_.Pop().text, start = text_.Pop().text;
        text_.Push(Shortened(fmt::format("{}[{}:{}]", Bracketed(text_.Pop()), start, stop)));
        return true;
      }
      default:
        return false;
    }
  }

  bool Builds(const Instruction& i) {
    const auto joined = [&](int count) {
      return fmt::format("{}", fmt::join(text_.PopTexts(count), ", "));
    };
    switch (i.opcode) {
      case Opcode::BUILD_TUPLE: {
        const std::string items = joined(i.argument);
        text_.Push(Shortened(fmt::format("({}{})", items, i.argument == 1 ? "," : "")));
        return true;
      }
      case Opcode::BUILD_LIST:
        text_.Push(Shortened("[" + joined(i.argument) + "]"));
        return true;
      case Opcode::LIST_EXTEND: {
        const std::string items = text_.Pop().text;
        text_.Pop();
        text_.Push(Shortened("[*" + items + "]"));
        return true;
      }
      case Opcode::BUILD_SLICE: {
        std::vector<std::string> parts = text_.PopTexts(i.argument);
        for (std::string& part : parts) {
          if (part == "None") part.clear();
        }
        text_.Push(Shortened(fmt::format("{}", fmt::join(parts, ":"))));
        return true;
      }
      case Opcode::LIST_APPEND: {
        const std::string element = text_.Pop().text;
        const auto place = static_cast<size_t>(i.argument);
        if (place < 2 || place > text_.stack().size()) return false;
        const std::string source = text_.stack()[text_.stack().size() - place + 1].text;
        text_.stack()[text_.stack().size() - place] =
            Shortened(fmt::format("[{} for {} in {}]", element, variable_, source));
        comprehension_ = text_.stack()[text_.stack().size() - place].text;
        return true;
      }
      default:
        return false;
    }
  }

  TextPart CallText(const std::string& function, const std::vector<std::string>& args) {
    const size_t source = function.find(kSource);
    if (source != std::string::npos && args.size() == 1) {
      return Shortened(function.substr(0, source) + args[0] + function.substr(source + 1));
    }
    return Shortened(fmt::format("{}({})", function, fmt::join(args, ", ")));
  }

  void NameLast(const PythonObject& names, std::vector<std::string>* args) {
    const size_t count = std::min(names.items.size(), args->size());
    for (size_t k = 0; k < count; ++k) {
      std::string& arg = (*args)[args->size() - count + k];
      arg = fmt::format("{}={}", names.items[k]->text, arg);
    }
  }

  bool Calls(const Instruction& i) {
    switch (i.opcode) {
      case Opcode::CALL_FUNCTION: {
        std::vector<std::string> args;
        if (version_ < PythonVersion::k36) {
          for (int k = i.argument >> 8 & 0xFF; k > 0; --k) {
            const std::string value = text_.Pop().text;
            std::string name = text_.Pop().text;
            if (name.size() > 2) name = name.substr(1, name.size() - 2);
            args.insert(args.begin(), name + "=" + value);
          }
        }
        const int count = version_ < PythonVersion::k36 ? i.argument & 0xFF : i.argument;
        const std::vector<std::string> positional = text_.PopTexts(count);
        args.insert(args.begin(), positional.begin(), positional.end());
        text_.Push(CallText(Bracketed(text_.Pop()), args));
        return true;
      }
      case Opcode::CALL_KW:
      case Opcode::CALL_FUNCTION_KW: {
        if (version_ < PythonVersion::k36) return false;
        text_.Pop();  // the names, which the constant before has
        std::vector<std::string> args = text_.PopTexts(i.argument);
        if (at_ > 0) {
          const Instruction& load = instructions_[static_cast<size_t>(at_ - 1)];
          if (load.opcode == Opcode::LOAD_CONST) {
            NameLast(*code_.constants[static_cast<size_t>(load.argument)], &args);
          }
        }
        text_.Push(CallText(Bracketed(text_.Pop()), args));
        return true;
      }
      case Opcode::CALL_METHOD:
      case Opcode::CALL: {
        std::vector<std::string> args = text_.PopTexts(i.argument);
        if (names_ != nullptr) NameLast(*std::exchange(names_, nullptr), &args);
        // A comprehension's function stands where a method would, its source behind it.
        if (args.empty() && text_.stack().size() > 1 &&
            text_.stack()[text_.stack().size() - 2].text.find(kSource) != std::string::npos) {
          args.push_back(text_.Pop().text);
        }
        text_.Push(CallText(Bracketed(text_.Pop()), args));
        return true;
      }
      case Opcode::MAKE_FUNCTION:
      case Opcode::MAKE_CLOSURE:
        return MakesFunction(i);
      case Opcode::SET_FUNCTION_ATTRIBUTE: {
        const TextPart function = text_.Pop();
        text_.Pop();
        text_.Push(function);
        return true;
      }
      default:
        return false;
    }
  }

  bool MakesFunction(const Instruction& i) {
    const bool qualified = version_ != PythonVersion::k27 && version_ < PythonVersion::k311;
    if (qualified) text_.Pop();
    text_.Pop();
    if (i.opcode == Opcode::MAKE_CLOSURE) text_.Pop();
    if (version_ >= PythonVersion::k36) {
      for (int flag = 1; flag <= 8 && version_ < PythonVersion::k313; flag *= 2) {
        if ((i.argument & flag) != 0) text_.Pop();
      }
    } else {
      text_.PopTexts(i.argument & 0xFF);
    }
    if (inner_ == nullptr || depth_ >= kMaxDepth || budget_ <= 0) return false;
    const std::shared_ptr<const PythonCode> code = std::exchange(inner_, nullptr);
    Decompiler inner(*code, version_, depth_ + 1, &budget_);
    const DecompiledFunction text = inner.Run();
    std::string whole = fmt::format("<function {}>", Printable(code->name, 60));
    if (code->name == "<listcomp>" && !inner.comprehension().empty()) {
      whole = inner.comprehension();
      const size_t source = whole.find(".0");
      if (source != std::string::npos) whole.replace(source, 2, 1, kSource);
    } else if (text.simple && text.lines.size() == 1 && text.lines[0].rfind("return ", 0) == 0) {
      std::vector<std::string> parameters(code->variables.begin(),
                                          code->variables.begin() + code->total_argument_count());
      whole = fmt::format("lambda {}: {}", fmt::join(parameters, ", "), text.lines[0].substr(7));
      text_.Push(Shortened(std::move(whole), false));
      return true;
    }
    text_.Push(Shortened(std::move(whole)));
    return true;
  }

  bool Jumps(const Instruction& i) {
    switch (i.opcode) {
      case Opcode::JUMP_IF_FALSE_OR_POP:
      case Opcode::JUMP_IF_TRUE_OR_POP: {
        const bool both = i.opcode == Opcode::JUMP_IF_FALSE_OR_POP;
        return text_.Await(i.target, Bracketed(text_.Pop()) + (both ? " and " : " or "));
      }
      case Opcode::POP_JUMP_IF_FALSE:
      case Opcode::POP_JUMP_FORWARD_IF_FALSE:
      case Opcode::POP_JUMP_IF_TRUE:
      case Opcode::POP_JUMP_FORWARD_IF_TRUE:
      case Opcode::POP_JUMP_IF_NONE:
      case Opcode::POP_JUMP_IF_NOT_NONE:
      case Opcode::POP_JUMP_FORWARD_IF_NONE:
      case Opcode::POP_JUMP_FORWARD_IF_NOT_NONE: {
        const std::string_view name = h5serve::model::Name(i.opcode);
        const bool none = name.find("NONE") != std::string_view::npos;
        const bool not_none = name.find("NOT_NONE") != std::string_view::npos;
        const bool if_true = name.find("TRUE") != std::string_view::npos;
        const TextPart condition = text_.Pop();
        std::string text = if_true ? "not " + Bracketed(condition) : condition.text;
        if (none) text = Bracketed(condition) + (not_none ? " is None" : " is not None");
        simple_ = false;
        text_.Emit("if " + text + ":");
        if (i.target <= at_) return true;
        return text_.Indent(i.target);
      }
      case Opcode::JUMP_FORWARD:
        // The other branch, unless a value is carried over.
        if (!text_.EndBlock(at_ + 1)) return false;
        text_.Emit("else:");
        return text_.Indent(i.target);
      case Opcode::FOR_ITER: {
        const Instruction& next =
            instructions_[std::min<size_t>(static_cast<size_t>(at_ + 1), instructions_.size() - 1)];
        const std::string source = text_.stack().empty() ? "?" : text_.stack().back().text;
        if (!text_.EnterLoop(i.target)) return false;
        looping_ = next.opcode == Opcode::STORE_FAST || next.opcode == Opcode::STORE_DEREF;
        if (!looping_) return false;
        const bool list =
            text_.stack().size() > 1 && text_.stack()[text_.stack().size() - 2].text == "[]";
        if (!list) {
          simple_ = false;
          text_.Emit(fmt::format("for {} in {}:",
                                 next.opcode == Opcode::STORE_FAST ? text_.Variable(next.argument)
                                                                   : text_.Cell(next.argument),
                                 source));
          if (!text_.Indent(i.target)) return false;
        }
        text_.Push({"item"});
        return true;
      }
      default:
        return false;
    }
  }

  const PythonCode& code_;
  PythonVersion version_;
  int depth_;
  int& budget_;
  std::vector<Instruction> instructions_;
  int at_ = 0;
  std::shared_ptr<const PythonCode> inner_;
  std::shared_ptr<const PythonObject> names_;
  int unpacking_ = 0;
  std::string unpacked_, targets_;
  bool looping_ = false;
  std::string variable_, comprehension_;
  bool simple_ = true;
  DecompiledText text_;
};

}  // namespace

DecompiledFunction Decompile(const PythonCode& code, PythonVersion version) {
  int budget = kMaxInstructions;
  return Decompiler(code, version, 0, &budget).Run();
}

}  // namespace h5serve::model
