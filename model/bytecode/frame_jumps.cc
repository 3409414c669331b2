// Instructions that jump: the one path that is taken.
#include "model/bytecode/frame.h"
#include "model/bytecode/operators.h"

namespace h5serve::model {
namespace {

using Kind = PythonValue::Kind;

constexpr size_t kMaxBlocks = 64;

}  // namespace

bool Frame::RunJump(const Instruction& i) {
  switch (i.opcode) {
    case Opcode::JUMP_FORWARD:
    case Opcode::JUMP_ABSOLUTE:
    case Opcode::JUMP_BACKWARD:
    case Opcode::JUMP_BACKWARD_NO_INTERRUPT:
    case Opcode::CONTINUE_LOOP:
      JumpTo(i.target);
      return true;
    case Opcode::TO_BOOL: {
      const bool truth = Truth(run_, Top());
      if (!run_.failed()) Top() = PythonValue::Constant(truth);
      return true;
    }
    default:
      return false;
  }
}

void Frame::Branch(bool jump_if, bool keep, const Instruction& i) {
  const bool truth = Truth(run_, Top());
  if (run_.failed()) return;
  if (truth == jump_if) {
    JumpTo(i.target);
    if (!keep) Pop();
  } else {
    Pop();
  }
}

bool Frame::RunConditionalJump(const Instruction& i) {
  switch (i.opcode) {
    case Opcode::POP_JUMP_IF_TRUE:
    case Opcode::POP_JUMP_FORWARD_IF_TRUE:
    case Opcode::POP_JUMP_BACKWARD_IF_TRUE:
      Branch(true, false, i);
      return true;
    case Opcode::POP_JUMP_IF_FALSE:
    case Opcode::POP_JUMP_FORWARD_IF_FALSE:
    case Opcode::POP_JUMP_BACKWARD_IF_FALSE:
      Branch(false, false, i);
      return true;
    case Opcode::JUMP_IF_TRUE_OR_POP:
      Branch(true, true, i);
      return true;
    case Opcode::JUMP_IF_FALSE_OR_POP:
      Branch(false, true, i);
      return true;
    case Opcode::POP_JUMP_IF_NONE:
    case Opcode::POP_JUMP_FORWARD_IF_NONE:
    case Opcode::POP_JUMP_BACKWARD_IF_NONE:
    case Opcode::POP_JUMP_IF_NOT_NONE:
    case Opcode::POP_JUMP_FORWARD_IF_NOT_NONE:
    case Opcode::POP_JUMP_BACKWARD_IF_NOT_NONE: {
      const bool wanted = i.opcode == Opcode::POP_JUMP_IF_NONE ||
                          i.opcode == Opcode::POP_JUMP_FORWARD_IF_NONE ||
                          i.opcode == Opcode::POP_JUMP_BACKWARD_IF_NONE;
      const bool none = Identical(run_, Pop(), PythonValue::None());
      if (none == wanted) JumpTo(i.target);
      return true;
    }
    default:
      return false;
  }
}

bool Frame::RunLoop(const Instruction& i) {
  switch (i.opcode) {
    case Opcode::GET_ITER: {
      const PythonValue value = Pop();
      if (run_.failed()) return true;
      Push(value.kind == Kind::kIterator ? value : run_.Iterator(Items(run_, value)));
      return true;
    }
    case Opcode::FOR_ITER: {
      PythonValue& iterator = Top();
      if (run_.failed()) return true;
      if (iterator.kind != Kind::kIterator) {
        run_.Malformed("a loop over what is no iterator");
        return true;
      }
      if (!iterator.items->empty()) {
        PythonValue item = std::move(iterator.items->back());
        iterator.items->pop_back();
        Push(std::move(item));
        return true;
      }
      Pop();
      // The clean-up at the target is for generators that ended otherwise.
      const int skipped = version_ == PythonVersion::k312   ? 1
                          : version_ == PythonVersion::k313 ? 2
                                                            : 0;
      JumpTo(i.target + skipped);
      return true;
    }
    case Opcode::BREAK_LOOP:
      while (!blocks_.empty() && !blocks_.back().loop) blocks_.pop_back();
      if (blocks_.empty()) {
        run_.Malformed("leaves no loop");
        return true;
      }
      if (stack_.size() > blocks_.back().height) stack_.resize(blocks_.back().height);
      JumpTo(blocks_.back().end);
      blocks_.pop_back();
      return true;
    default:
      return false;
  }
}

// Blocks matter to loops alone: exceptions are never raised here.
bool Frame::RunBlock(const Instruction& i) {
  switch (i.opcode) {
    case Opcode::SETUP_LOOP:
    case Opcode::SETUP_EXCEPT:
    case Opcode::SETUP_FINALLY:
      if (blocks_.size() >= kMaxBlocks) {
        run_.Malformed("blocks nested too deeply");
        return true;
      }
      blocks_.push_back({i.opcode == Opcode::SETUP_LOOP, i.target, stack_.size()});
      return true;
    case Opcode::SETUP_WITH:
    case Opcode::BEFORE_WITH: {
      if (Pop().kind != Kind::kContext) {
        run_.Fail("unsupported with statement");
        return true;
      }
      Push(PythonValue::Simple(Kind::kContext));
      if (i.opcode == Opcode::SETUP_WITH) blocks_.push_back({false, i.target, stack_.size()});
      Push(PythonValue::Simple(Kind::kContext));
      if (blocks_.size() > kMaxBlocks) run_.Malformed("blocks nested too deeply");
      return true;
    }
    case Opcode::POP_BLOCK:
      if (!blocks_.empty()) blocks_.pop_back();
      return true;
    case Opcode::WITH_CLEANUP:
    case Opcode::WITH_CLEANUP_START: {
      PythonValue none = Pop();
      Pop();  // the function to leave with
      Push(std::move(none));
      return true;
    }
    case Opcode::WITH_CLEANUP_FINISH:
      return true;
    case Opcode::END_FINALLY:
    case Opcode::POP_FINALLY:
      Pop();
      return true;
    default:
      return false;
  }
}

}  // namespace h5serve::model
