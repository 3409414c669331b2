// Instructions that call and make functions.
#include <fmt/format.h>

#include <utility>

#include "model/bytecode/frame.h"
#include "model/bytecode/operators.h"

namespace h5serve::model {
namespace {

using Kind = PythonValue::Kind;

enum FunctionPart { kDefaults = 1, kKeywordDefaults = 2, kAnnotations = 4, kClosure = 8 };

}  // namespace

// Pops what is called. From 3.11 on there are two places for it: function and
// nothing, nothing and function, or function and its first argument.
void Frame::CallWith(PythonItems args, PythonArguments kwargs, bool with_null) {
  PythonValue callee = Pop();
  if (with_null) {
    PythonValue deeper = Pop();
    if (!deeper.is_null()) {
      if (!callee.is_null()) args.insert(args.begin(), std::move(callee));
      callee = std::move(deeper);
    }
  }
  if (run_.failed()) return;
  Push(run_.Call(callee, std::move(args), std::move(kwargs)));
}

// The last of `args` belong to `names`.
PythonArguments Frame::PopNamed(const PythonValue& names, PythonItems* args) {
  PythonArguments kwargs;
  if (names.is_null()) return kwargs;
  if (names.kind != Kind::kTuple || names.items->size() > args->size()) {
    run_.Malformed("names do not fit the arguments");
    return kwargs;
  }
  const size_t first = args->size() - names.items->size();
  for (size_t k = 0; k < names.items->size(); ++k) {
    const PythonValue& name = (*names.items)[k];
    if (!name.is_text()) {
      run_.Malformed("an argument without a name");
      return kwargs;
    }
    kwargs[name.constant.as_string()] = std::move((*args)[first + k]);
  }
  args->resize(first);
  return kwargs;
}

PythonArguments Frame::ToKeywords(const PythonValue& dict) {
  PythonArguments kwargs;
  if (dict.kind != Kind::kDict) {
    run_.Fail("** of what is no dict");
    return kwargs;
  }
  if (!run_.Work(dict.items->size())) return kwargs;
  for (size_t k = 0; k + 1 < dict.items->size(); k += 2) {
    if (!(*dict.items)[k].is_text()) {
      run_.Fail("** of a dict with other keys than text");
      return kwargs;
    }
    kwargs[(*dict.items)[k].constant.as_string()] = (*dict.items)[k + 1];
  }
  return kwargs;
}

// Until 3.5: counts of both kinds of arguments in one number, and *args or
// **kwargs above them; in 3.5 *args stand below the named ones.
void Frame::CallOld(const Instruction& i) {
  const bool var =
      i.opcode == Opcode::CALL_FUNCTION_VAR || i.opcode == Opcode::CALL_FUNCTION_VAR_KW;
  const bool keywords =
      i.opcode == Opcode::CALL_FUNCTION_KW || i.opcode == Opcode::CALL_FUNCTION_VAR_KW;
  PythonArguments kwargs;
  PythonItems rest;
  if (keywords) kwargs = ToKeywords(Pop());
  const auto take_rest = [&] {
    const PythonValue more = Pop();
    if (!run_.failed()) rest = Items(run_, more);
  };
  if (var && version_ != PythonVersion::k35) take_rest();
  PythonItems pairs = PopItems(int64_t{2} * (i.argument >> 8 & 0xFF));
  if (var && version_ == PythonVersion::k35) take_rest();
  PythonItems args = PopItems(i.argument & 0xFF);
  for (size_t k = 0; k + 1 < pairs.size(); k += 2) {
    if (!pairs[k].is_text()) {
      run_.Malformed("an argument without a name");
      return;
    }
    kwargs[pairs[k].constant.as_string()] = std::move(pairs[k + 1]);
  }
  args.insert(args.end(), rest.begin(), rest.end());
  CallWith(std::move(args), std::move(kwargs), false);
}

// f(*args, **kwargs) from 3.6 on.
void Frame::CallSpread(const Instruction& i) {
  PythonArguments kwargs;
  if ((i.argument & 1) != 0) kwargs = ToKeywords(Pop());
  const PythonValue more = Pop();
  if (run_.failed()) return;
  PythonItems args = Items(run_, more);
  CallWith(std::move(args), std::move(kwargs), version_ >= PythonVersion::k311);
}

bool Frame::RunCall(const Instruction& i) {
  switch (i.opcode) {
    case Opcode::CALL_FUNCTION_VAR:
    case Opcode::CALL_FUNCTION_VAR_KW:
      CallOld(i);
      return true;
    case Opcode::CALL_FUNCTION:
      if (version_ < PythonVersion::k36) {
        CallOld(i);
      } else {
        CallWith(PopItems(i.argument), {}, false);
      }
      return true;
    case Opcode::CALL_FUNCTION_KW: {
      if (version_ < PythonVersion::k36) {
        CallOld(i);
        return true;
      }
      const PythonValue names = Pop();
      PythonItems args = PopItems(i.argument);
      PythonArguments kwargs = PopNamed(names, &args);
      CallWith(std::move(args), std::move(kwargs), false);
      return true;
    }
    case Opcode::CALL_METHOD:
      CallWith(PopItems(i.argument), {}, true);
      return true;
    case Opcode::KW_NAMES:
      keyword_names_ = Constant(i.argument);
      return true;
    case Opcode::CALL:
    case Opcode::CALL_KW: {
      const PythonValue names =
          i.opcode == Opcode::CALL_KW ? Pop() : std::exchange(keyword_names_, {});
      PythonItems args = PopItems(i.argument);
      PythonArguments kwargs = PopNamed(names, &args);
      CallWith(std::move(args), std::move(kwargs), true);
      return true;
    }
    case Opcode::CALL_FUNCTION_EX:
      CallSpread(i);
      return true;
    default:
      return false;
  }
}

void Frame::SetFunctionPart(int flag, const PythonValue& part, PythonFunction* function) {
  if (run_.failed()) return;
  if (flag == kKeywordDefaults) {
    function->keyword_defaults = ToKeywords(part);
    return;
  }
  if (flag == kAnnotations) return;
  if (!part.is_sequence()) {
    run_.Malformed("a function of wrong parts");
    return;
  }
  (flag == kDefaults ? function->defaults : function->closure) = *part.items;
}

// Until 3.5: defaults lie on the stack one by one.
void Frame::MakeFunctionOld(const Instruction& i) {
  PythonFunction function;
  if (version_ != PythonVersion::k27) Pop();  // qualified name
  function.code = Pop().code;
  if (i.opcode == Opcode::MAKE_CLOSURE) SetFunctionPart(kClosure, Pop(), &function);
  if (version_ != PythonVersion::k27) {
    const int annotations = i.argument >> 16 & 0x7FFF;
    if (annotations > 0) PopItems(annotations);
    PythonItems pairs = PopItems(int64_t{2} * (i.argument >> 8 & 0xFF));
    for (size_t k = 0; k + 1 < pairs.size(); k += 2) {
      if (pairs[k].is_text()) {
        function.keyword_defaults[pairs[k].constant.as_string()] = pairs[k + 1];
      }
    }
  }
  function.defaults = PopItems(version_ == PythonVersion::k27 ? i.argument : i.argument & 0xFF);
  PythonValue value = PythonValue::Simple(Kind::kFunction);
  if (function.code == nullptr) run_.Malformed("a function without code");
  value.function = run_.heap().Make(std::move(function));
  if (value.function == nullptr) run_.Fail("it makes too many values");
  Push(std::move(value));
}

void Frame::MakeFunction(const Instruction& i) {
  PythonFunction function;
  if (version_ < PythonVersion::k311) Pop();  // qualified name
  function.code = Pop().code;
  for (const int flag : {kClosure, kAnnotations, kKeywordDefaults, kDefaults}) {
    if (version_ < PythonVersion::k313 && (i.argument & flag) != 0) {
      SetFunctionPart(flag, Pop(), &function);
    }
  }
  if (function.code == nullptr) run_.Malformed("a function without code");
  PythonValue value = PythonValue::Simple(Kind::kFunction);
  value.function = run_.heap().Make(std::move(function));
  if (value.function == nullptr) run_.Fail("it makes too many values");
  Push(std::move(value));
}

bool Frame::RunFunction(const Instruction& i) {
  switch (i.opcode) {
    case Opcode::MAKE_FUNCTION:
    case Opcode::MAKE_CLOSURE:
      if (version_ < PythonVersion::k36) {
        MakeFunctionOld(i);
      } else {
        MakeFunction(i);
      }
      return true;
    case Opcode::SET_FUNCTION_ATTRIBUTE: {
      PythonValue value = Pop();
      const PythonValue part = Pop();
      if (run_.failed()) return true;
      if (value.kind != Kind::kFunction) {
        run_.Malformed("a part for what is no function");
        return true;
      }
      PythonFunction function = *value.function;
      SetFunctionPart(i.argument, part, &function);
      value.function = run_.heap().Make(std::move(function));
      if (value.function == nullptr) run_.Fail("it makes too many values");
      Push(std::move(value));
      return true;
    }
    default:
      return false;
  }
}

}  // namespace h5serve::model
