// The state of interpreting one Python function.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "model/bytecode/instructions.h"
#include "model/bytecode/python_value.h"
#include "model/functions/function_table.h"

namespace h5serve::model {

// What all parts of the interpreter share: where ops go, what was allocated, and
// the first thing that went wrong. After a failure values are nulls; callers
// look at failed() before they go on.
//
// Not thread-safe.
class Interpretation {
 public:
  Interpretation(FunctionContext functions, PythonVersion version)
      : functions_(std::move(functions)),
        version_(version),
        first_value_(functions_.graph->values().size()),
        checked_values_(first_value_) {}
  Interpretation(const Interpretation&) = delete;
  Interpretation& operator=(const Interpretation&) = delete;

  // Calls a function with arguments, whatever kind of function it is.
  PythonValue Call(const PythonValue& callee, PythonItems args, PythonArguments kwargs);

  const FunctionContext& functions() const { return functions_; }
  compute::Graph& graph() const { return *functions_.graph; }
  const Writer& writer() const { return functions_.writer; }
  PythonVersion version() const { return version_; }
  PythonHeap& heap() { return heap_; }

  // --- making values ---
  PythonValue List(PythonItems items) {
    return Sequence(PythonValue::Kind::kList, std::move(items));
  }
  PythonValue Tuple(PythonItems items) {
    return Sequence(PythonValue::Kind::kTuple, std::move(items));
  }
  PythonValue Sequence(PythonValue::Kind kind, PythonItems items);
  PythonValue Method(PythonValue self, std::string name);
  PythonValue Iterator(PythonItems items);
  // The shape of a tensor as a tuple of numbers and open dimensions.
  PythonValue ShapeOf(compute::Value tensor);

  // --- failing ---
  // The code is understood, but cannot be translated: `why` is for people.
  PythonValue Fail(std::string why);
  // The same for something that would come of random numbers.
  PythonValue FailRandom(const PythonValue& value);
  // No interpreter would run this: the bytecode is damaged, or another version's.
  PythonValue Malformed(std::string why);
  bool failed() const { return !error_.empty(); }
  bool malformed() const { return malformed_; }
  const std::string& error() const { return error_; }

  // The instructions of a code object; null, after a failure, when it has none.
  const std::vector<Instruction>* InstructionsOf(const PythonCode& code);

  // Counts a step; fails once there were too many.
  bool Step();
  // Counts items looked at or copied within a step; fails once there were too many.
  bool Work(size_t items);
  // Fails once the graph has grown too much: in values, or in constants.
  bool CheckGraph();
  // Counts nested calls; fails when they are too deep.
  bool Enter();
  void Leave() { --depth_; }

  // Remarks for the operator: what had to be assumed.
  void Assume(std::string what);
  const std::vector<std::string>& assumptions() const { return assumptions_; }

 private:
  FunctionContext functions_;
  PythonVersion version_;
  PythonHeap heap_;
  std::string error_;
  bool malformed_ = false;
  int steps_ = 0;
  size_t work_ = 0;
  int depth_ = 0;
  size_t first_value_ = 0, checked_values_ = 0;
  int64_t constant_elements_ = 0;
  std::map<const PythonCode*, std::vector<Instruction>> instructions_;
  std::vector<std::string> assumptions_;
};

// --- conversion ---
// As the function table takes it; fails for what it cannot take.
FunctionArgument ToArgument(Interpretation& run, const PythonValue& value);
PythonValue FromArgument(Interpretation& run, const FunctionArgument& argument);
// As configs write values: arrays as dicts with their type.
PythonValue FromConfig(Interpretation& run, const ConfigValue& value);
PythonValue FromObject(Interpretation& run, const PythonObject& object);
// The type that a value names ("float32"), "" when it names none.
std::string DTypeText(const PythonValue& value);

// A call of the function table; failures become failures of the run.
PythonValue CallTable(Interpretation& run, FunctionNamespace name_space, std::string_view symbol,
                      const PythonItems& args, const PythonArguments& kwargs = {});

}  // namespace h5serve::model
