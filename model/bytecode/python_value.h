// What variables of interpreted Python code hold.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "compute/graph.h"
#include "model/bytecode/python_code.h"
#include "model/config_value.h"

namespace h5serve::model {

struct PythonFunction;
struct PythonValue;
using PythonItems = std::vector<PythonValue>;

// A value while Python code is interpreted for its effect on tensors. Lists,
// dicts, cells and iterators are shared as in Python; what is pointed to belongs
// to the interpreter's PythonHeap.
struct PythonValue {
  enum class Kind {
    kNull,       // an empty variable or stack slot
    kConstant,   // None, a bool, a number, text
    kTensor,     // of the graph
    kDimension,  // an open dimension of a shape: `tensor` holds it at run time
    kList,
    kTuple,
    kSet,
    kDict,   // keys and values in turn
    kSlice,  // start, stop, step
    kEllipsis,
    kSymbol,  // what a dotted name stands for: "tf.nn.relu"
    kMethod,  // method `text` of items->front()
    kFunction,
    kIterator,  // over the rest of `items`
    kCell,      // items->front()
    kContext,   // what `with` is given; has no effect
    kRandom,    // random numbers that `text` draws: fine as long as nothing comes of them
    kBytecode,  // a code object
  };

  Kind kind = Kind::kNull;
  ConfigValue constant;
  compute::Value tensor;
  std::string text;
  PythonItems* items = nullptr;
  const PythonFunction* function = nullptr;
  std::shared_ptr<const PythonCode> code;

  static PythonValue None() { return Constant(ConfigValue()); }
  static PythonValue Constant(ConfigValue value);
  static PythonValue Tensor(compute::Value value);
  static PythonValue Dimension(compute::Value value);
  static PythonValue Symbol(std::string path);
  static PythonValue Simple(Kind kind);

  bool is_null() const { return kind == Kind::kNull; }
  bool is_constant() const { return kind == Kind::kConstant; }
  bool is_none() const { return is_constant() && constant.is_null(); }
  bool is_text() const { return is_constant() && constant.is_string(); }
  // A bool, too.
  bool is_number() const { return is_constant() && (constant.is_number() || constant.is_bool()); }
  bool is_whole() const { return is_constant() && (constant.is_int() || constant.is_bool()); }
  int64_t whole() const { return constant.is_bool() ? constant.as_bool() : constant.as_int(); }
  double real() const { return constant.is_bool() ? constant.as_bool() : constant.as_float(); }
  // Of the graph, known before a request or not.
  bool is_tensor() const { return kind == Kind::kTensor || kind == Kind::kDimension; }
  bool is_sequence() const { return kind == Kind::kList || kind == Kind::kTuple; }
  bool is_symbol() const { return kind == Kind::kSymbol; }
};

using PythonArguments = std::map<std::string, PythonValue, std::less<>>;

// A function defined in Python: its code and what was bound to it.
struct PythonFunction {
  std::shared_ptr<const PythonCode> code;
  PythonItems defaults;              // of the last positional arguments
  PythonArguments keyword_defaults;  // of keyword-only arguments
  PythonItems closure;               // cells
};

// Owns what values point to, so that cycles among them do no harm, and bounds it.
//
// Not thread-safe.
class PythonHeap {
 public:
  // Nullptr once too much has been made.
  PythonItems* Make(PythonItems items);
  const PythonFunction* Make(PythonFunction function);
  // Accounts for items added to what Make() gave; false once there are too many.
  bool Charge(size_t items);

 private:
  std::vector<std::unique_ptr<PythonItems>> items_;
  std::vector<std::unique_ptr<PythonFunction>> functions_;
  size_t used_ = 0;
};

// "a list", "text", for messages.
std::string_view KindName(const PythonValue& value);

}  // namespace h5serve::model
