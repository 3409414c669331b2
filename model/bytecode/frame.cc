#include "model/bytecode/frame.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

#include "model/bytecode/attributes.h"
#include "model/bytecode/operators.h"
#include "model/bytecode/symbols.h"

namespace h5serve::model {
namespace {

using Kind = PythonValue::Kind;

constexpr size_t kMaxStack = 4096;

const std::string kNoName;

}  // namespace

Frame::Frame(Interpretation& run, const PythonCode& code, PythonItems arguments,
             PythonItems closure)
    : run_(run), code_(code), version_(run.version()) {
  Start(std::move(arguments), std::move(closure));
}

void Frame::Start(PythonItems arguments, PythonItems closure) {
  instructions_ = run_.InstructionsOf(code_);
  if (instructions_ == nullptr) return;
  variables_ = std::move(arguments);
  variables_.resize(std::max(variables_.size(), code_.variables.size()));
  if (closure.size() != code_.frees.size()) {
    run_.Fail(fmt::format("{} needs values of its closure that the file does not hold: {}",
                          code_.name, fmt::join(code_.frees, ", ")));
    return;
  }
  closure_ = std::move(closure);
  if (version_ >= PythonVersion::k311) return;
  // Arguments that inner functions use live in cells.
  for (const std::string& name : code_.cells) {
    const auto at = std::find(code_.variables.begin(), code_.variables.end(), name);
    PythonItems content(1);
    if (at != code_.variables.end()) {
      content[0] = variables_[static_cast<size_t>(at - code_.variables.begin())];
    }
    cells_.push_back(run_.Sequence(Kind::kCell, std::move(content)));
  }
  cells_.insert(cells_.end(), closure_.begin(), closure_.end());
}

PythonValue Frame::Run() {
  while (!done_ && run_.Step()) {
    if (next_ < 0 || next_ >= static_cast<int>(instructions_->size())) {
      return run_.Malformed("runs out of the code");
    }
    const Instruction& i = (*instructions_)[static_cast<size_t>(next_++)];
    const bool known = RunStack(i) || RunVariable(i) || RunCell(i) || RunName(i) ||
                       RunOperator(i) || RunComparison(i) || RunSubscript(i) || RunBuild(i) ||
                       RunExtend(i) || RunUnpack(i) || RunText(i) || RunJump(i) ||
                       RunConditionalJump(i) || RunLoop(i) || RunBlock(i) || RunReturn(i) ||
                       RunCall(i) || RunFunction(i);
    if (!known) return run_.Fail(fmt::format("unsupported instruction: {}", Name(i.opcode)));
  }
  if (run_.failed()) return {};
  if ((code_.flags & PythonCode::kGenerator) != 0) return run_.Iterator(std::move(yielded_));
  return result_;
}

void Frame::Push(PythonValue value) {
  if (stack_.size() >= kMaxStack) {
    run_.Fail("it uses too many values at once");
    return;
  }
  stack_.push_back(std::move(value));
}

PythonValue Frame::Pop() {
  if (stack_.empty()) return run_.Malformed("takes from an empty stack");
  PythonValue value = std::move(stack_.back());
  stack_.pop_back();
  return value;
}

PythonItems Frame::PopItems(int64_t count) {
  if (count < 0 || static_cast<size_t>(count) > stack_.size()) {
    run_.Malformed("takes from an empty stack");
    return {};
  }
  const auto from = stack_.end() - static_cast<std::ptrdiff_t>(count);
  PythonItems items(std::make_move_iterator(from), std::make_move_iterator(stack_.end()));
  stack_.erase(from, stack_.end());
  return items;
}

PythonValue& Frame::Top(int64_t depth) {
  if (depth < 0 || static_cast<size_t>(depth) >= stack_.size()) {
    run_.Malformed("looks below the stack");
    return scratch_;
  }
  return stack_[stack_.size() - 1 - static_cast<size_t>(depth)];
}

PythonValue Frame::Constant(int index) {
  return FromObject(run_, *code_.constants[static_cast<size_t>(index)]);
}

const std::string& Frame::NameAt(int index) const {
  return index >= 0 && static_cast<size_t>(index) < code_.names.size()
             ? code_.names[static_cast<size_t>(index)]
             : kNoName;
}

PythonValue Frame::LoadGlobal(std::string_view name) {
  PythonValue value = FindGlobal(run_, name);
  if (value.is_null() && !run_.failed()) {
    return run_.Fail(fmt::format("it uses {}, which the file does not hold", name));
  }
  return value;
}

bool Frame::RunStack(const Instruction& i) {
  switch (i.opcode) {
    case Opcode::NOP:
    case Opcode::RESUME:
    case Opcode::PRECALL:
    case Opcode::GEN_START:
    case Opcode::SETUP_ANNOTATIONS:
      return true;
    case Opcode::POP_TOP:
      Pop();
      return true;
    case Opcode::PUSH_NULL:
    case Opcode::BEGIN_FINALLY:
      Push({});
      return true;
    case Opcode::ROT_TWO:
      std::swap(Top(0), Top(1));
      return true;
    case Opcode::ROT_THREE:
    case Opcode::ROT_FOUR:
    case Opcode::ROT_N: {
      // The top goes below the others.
      const int count = i.opcode == Opcode::ROT_THREE  ? 3
                        : i.opcode == Opcode::ROT_FOUR ? 4
                                                       : i.argument;
      PythonItems items = PopItems(count);
      if (items.empty()) return true;
      std::rotate(items.begin(), items.end() - 1, items.end());
      for (PythonValue& item : items) Push(std::move(item));
      return true;
    }
    case Opcode::DUP_TOP:
      Push(Top());
      return true;
    case Opcode::DUP_TOP_TWO:
    case Opcode::DUP_TOPX: {
      const int count = i.opcode == Opcode::DUP_TOP_TWO ? 2 : i.argument;
      for (int k = 0; k < count && !run_.failed(); ++k) Push(Top(count - 1));
      return true;
    }
    case Opcode::COPY:
      Push(Top(i.argument - 1));
      return true;
    case Opcode::SWAP:
      std::swap(Top(0), Top(i.argument - 1));
      return true;
    case Opcode::LOAD_CONST:
      Push(Constant(i.argument));
      return true;
    default:
      return false;
  }
}

bool Frame::RunVariable(const Instruction& i) {
  const auto load = [this](int index) {
    if (static_cast<size_t>(index) >= variables_.size() ||
        variables_[static_cast<size_t>(index)].is_null()) {
      run_.Malformed("a variable is used before it is set");
      return;
    }
    Push(variables_[static_cast<size_t>(index)]);
  };
  const auto store = [this](int index) {
    if (static_cast<size_t>(index) >= variables_.size()) {
      run_.Malformed("no such variable");
      return;
    }
    variables_[static_cast<size_t>(index)] = Pop();
  };
  switch (i.opcode) {
    case Opcode::LOAD_FAST:
    case Opcode::LOAD_FAST_CHECK:
      load(i.argument);
      return true;
    case Opcode::LOAD_FAST_AND_CLEAR:
      Push(std::exchange(variables_[static_cast<size_t>(i.argument)], {}));
      return true;
    case Opcode::STORE_FAST:
      store(i.argument);
      return true;
    case Opcode::DELETE_FAST:
      variables_[static_cast<size_t>(i.argument)] = {};
      return true;
    case Opcode::LOAD_FAST_LOAD_FAST:
      load(i.argument >> 4);
      if (!run_.failed()) load(i.argument & 15);
      return true;
    case Opcode::STORE_FAST_LOAD_FAST:
      store(i.argument >> 4);
      if (!run_.failed()) load(i.argument & 15);
      return true;
    case Opcode::STORE_FAST_STORE_FAST:
      store(i.argument >> 4);
      if (!run_.failed()) store(i.argument & 15);
      return true;
    default:
      return false;
  }
}

// Cells are variables from 3.11 on, and a table of their own before.
PythonValue* Frame::CellAt(int index) {
  PythonItems& cells = version_ >= PythonVersion::k311 ? variables_ : cells_;
  if (static_cast<size_t>(index) >= cells.size() ||
      cells[static_cast<size_t>(index)].kind != Kind::kCell) {
    run_.Malformed("no such cell");
    return &scratch_;
  }
  return &cells[static_cast<size_t>(index)];
}

bool Frame::RunCell(const Instruction& i) {
  switch (i.opcode) {
    case Opcode::MAKE_CELL: {
      PythonValue& variable = variables_[static_cast<size_t>(i.argument)];
      PythonItems content = {std::move(variable)};
      variable = run_.Sequence(Kind::kCell, std::move(content));
      return true;
    }
    case Opcode::COPY_FREE_VARS: {
      const size_t count = static_cast<size_t>(i.argument);
      if (count != closure_.size() || count > variables_.size()) {
        run_.Malformed("another number of free variables");
        return true;
      }
      std::copy(closure_.begin(), closure_.end(),
                variables_.end() - static_cast<std::ptrdiff_t>(count));
      return true;
    }
    case Opcode::LOAD_CLOSURE:
      Push(*CellAt(i.argument));
      return true;
    case Opcode::LOAD_DEREF:
    case Opcode::LOAD_CLASSDEREF: {
      const PythonValue* cell = CellAt(i.argument);
      if (run_.failed()) return true;
      if (cell->items->front().is_null()) {
        run_.Malformed("a variable is used before it is set");
        return true;
      }
      Push(cell->items->front());
      return true;
    }
    case Opcode::STORE_DEREF: {
      PythonValue* cell = CellAt(i.argument);
      if (!run_.failed()) cell->items->front() = Pop();
      return true;
    }
    default:
      return false;
  }
}

bool Frame::RunName(const Instruction& i) {
  switch (i.opcode) {
    case Opcode::LOAD_GLOBAL: {
      const bool flagged = version_ >= PythonVersion::k311;
      const bool null = flagged && (i.argument & 1) != 0;
      PythonValue value = LoadGlobal(NameAt(flagged ? i.argument >> 1 : i.argument));
      if (null && version_ < PythonVersion::k313) Push({});
      Push(std::move(value));
      if (null && version_ >= PythonVersion::k313) Push({});
      return true;
    }
    case Opcode::LOAD_NAME:
      Push(LoadGlobal(NameAt(i.argument)));
      return true;
    case Opcode::LOAD_ATTR:
    case Opcode::LOAD_METHOD: {
      const bool flagged = version_ >= PythonVersion::k312;
      const bool method = i.opcode == Opcode::LOAD_METHOD || (flagged && (i.argument & 1) != 0);
      const PythonValue object = Pop();
      if (run_.failed()) return true;
      PythonValue value =
          GetAttribute(run_, object, NameAt(flagged ? i.argument >> 1 : i.argument));
      if (method && version_ < PythonVersion::k313) Push({});
      Push(std::move(value));
      if (method && version_ >= PythonVersion::k313) Push({});
      return true;
    }
    case Opcode::IMPORT_NAME: {
      const PythonValue members = Pop();
      Pop();  // level
      const std::string& name = NameAt(i.argument);
      Push(ImportModule(run_, members.is_none() ? name.substr(0, name.find('.')) : name));
      return true;
    }
    case Opcode::IMPORT_FROM:
      Push(GetAttribute(run_, Top(), NameAt(i.argument)));
      return true;
    default:
      return false;
  }
}

bool Frame::RunReturn(const Instruction& i) {
  switch (i.opcode) {
    case Opcode::RETURN_VALUE:
      result_ = Pop();
      done_ = true;
      return true;
    case Opcode::RETURN_CONST:
      result_ = Constant(i.argument);
      done_ = true;
      return true;
    case Opcode::RETURN_GENERATOR:
      Push(PythonValue::None());
      return true;
    case Opcode::YIELD_VALUE:
      if (!run_.heap().Charge(1)) run_.Fail("it makes too many values");
      yielded_.push_back(Pop());
      Push(PythonValue::None());  // what is sent to it
      return true;
    case Opcode::RAISE_VARARGS:
    case Opcode::RERAISE:
      run_.Fail("it raises an exception");
      return true;
    default:
      return false;
  }
}

}  // namespace h5serve::model
