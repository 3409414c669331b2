// One call of a Python function while it is interpreted.
#pragma once

#include <vector>

#include "model/bytecode/instructions.h"
#include "model/bytecode/interpretation.h"

namespace h5serve::model {

// Variables, stack and position in the code. Follows the one path that is taken:
// every condition must be known.
//
// Not thread-safe.
class Frame {
 public:
  // `arguments` are the first variables, as the function's signature orders them.
  Frame(Interpretation& run, const PythonCode& code, PythonItems arguments, PythonItems closure);

  // Runs to the end. What the function returns; of a generator, an iterator over
  // what it yields. Null after a failure.
  PythonValue Run();

 private:
  struct Block {
    bool loop;
    int end;  // instruction after the loop
    size_t height;
  };

  void Start(PythonItems arguments, PythonItems closure);

  // Each handles some instructions; false: not this one.
  bool RunStack(const Instruction& i);
  bool RunVariable(const Instruction& i);
  bool RunCell(const Instruction& i);
  bool RunName(const Instruction& i);
  bool RunOperator(const Instruction& i);
  bool RunComparison(const Instruction& i);
  bool RunSubscript(const Instruction& i);
  bool RunBuild(const Instruction& i);
  bool RunExtend(const Instruction& i);
  bool RunUnpack(const Instruction& i);
  bool RunText(const Instruction& i);
  bool RunJump(const Instruction& i);
  bool RunConditionalJump(const Instruction& i);
  bool RunLoop(const Instruction& i);
  bool RunBlock(const Instruction& i);
  bool RunReturn(const Instruction& i);
  bool RunCall(const Instruction& i);
  bool RunFunction(const Instruction& i);

  void Push(PythonValue value);
  PythonValue Pop();
  PythonItems PopItems(int64_t count);
  PythonValue& Top(int64_t depth = 0);  // a scratch value after a failure
  void JumpTo(int target) { next_ = target; }
  PythonValue Constant(int index);
  const std::string& NameAt(int index) const;
  PythonValue LoadGlobal(std::string_view name);
  PythonValue* CellAt(int index);
  void Branch(bool jump_if, bool keep, const Instruction& i);
  void AddTo(PythonValue& container, PythonItems added);

  void CallWith(PythonItems args, PythonArguments kwargs, bool with_null);
  void CallOld(const Instruction& i);
  void CallSpread(const Instruction& i);
  PythonArguments PopNamed(const PythonValue& names, PythonItems* args);
  PythonArguments ToKeywords(const PythonValue& dict);
  void MakeFunctionOld(const Instruction& i);
  void MakeFunction(const Instruction& i);
  void SetFunctionPart(int flag, const PythonValue& part, PythonFunction* function);

  Interpretation& run_;
  const PythonCode& code_;
  PythonVersion version_;
  const std::vector<Instruction>* instructions_ = nullptr;
  int next_ = 0;
  PythonItems variables_;
  PythonItems cells_;  // before 3.11: cells, then free variables
  PythonItems closure_;
  PythonItems stack_;
  std::vector<Block> blocks_;
  PythonValue keyword_names_;
  PythonItems yielded_;
  PythonValue scratch_;
  bool done_ = false;
  PythonValue result_;
};

}  // namespace h5serve::model
