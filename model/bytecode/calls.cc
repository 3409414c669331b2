// Calling functions: binding arguments to parameters.
#include <fmt/format.h>

#include "model/bytecode/attributes.h"
#include "model/bytecode/frame.h"
#include "model/bytecode/symbols.h"

namespace h5serve::model {
namespace {

using Kind = PythonValue::Kind;

// Brings arguments into the order of the code's variables, as CPython does.
class ArgumentBinder {
 public:
  ArgumentBinder(Interpretation& run, const PythonFunction& function)
      : run_(run), function_(function), code_(*function.code) {}

  PythonItems Bind(PythonItems args, PythonArguments kwargs) {
    const size_t positional = static_cast<size_t>(code_.argument_count);
    named_ = positional + static_cast<size_t>(code_.keyword_only_count);
    bound_.resize(static_cast<size_t>(code_.total_argument_count()));
    size_t next = named_;
    PythonItems rest;
    for (size_t i = 0; i < args.size(); ++i) {
      (i < positional ? bound_[i] : rest.emplace_back()) = std::move(args[i]);
    }
    if ((code_.flags & PythonCode::kVariadic) != 0) {
      bound_[next++] = run_.Tuple(std::move(rest));
    } else if (!rest.empty()) {
      Fail(fmt::format("{} arguments for {}", positional + rest.size(), positional));
    }
    BindKeywords(std::move(kwargs), next);
    BindDefaults(positional);
    return std::move(bound_);
  }

 private:
  void Fail(const std::string& why) { run_.Fail(fmt::format("{}: {}", code_.name, why)); }

  void BindKeywords(PythonArguments kwargs, size_t rest_place) {
    const bool takes_all = (code_.flags & PythonCode::kKeywordVariadic) != 0;
    PythonItems others;
    for (auto& [name, value] : kwargs) {
      size_t place = static_cast<size_t>(code_.positional_only_count);
      while (place < named_ && code_.variables[place] != name) ++place;
      if (place < named_) {
        if (!bound_[place].is_null()) Fail(fmt::format("argument {} is given twice", name));
        bound_[place] = std::move(value);
      } else if (takes_all) {
        others.push_back(PythonValue::Constant(name));
        others.push_back(std::move(value));
      } else {
        Fail(fmt::format("unknown argument {}", name));
      }
    }
    if (takes_all) bound_[rest_place] = run_.Sequence(Kind::kDict, std::move(others));
  }

  void BindDefaults(size_t positional) {
    const size_t defaults = function_.defaults.size();
    for (size_t i = 0; i < named_; ++i) {
      if (!bound_[i].is_null()) continue;
      const std::string& name = code_.variables[i];
      const auto keyword = function_.keyword_defaults.find(name);
      if (i < positional && defaults <= positional && i >= positional - defaults) {
        bound_[i] = function_.defaults[i - (positional - defaults)];
      } else if (i >= positional && keyword != function_.keyword_defaults.end()) {
        bound_[i] = keyword->second;
      } else {
        Fail(fmt::format("argument {} is missing", name));
      }
    }
  }

  Interpretation& run_;
  const PythonFunction& function_;
  const PythonCode& code_;
  size_t named_ = 0;
  PythonItems bound_;
};

PythonValue CallFunctionValue(Interpretation& run, const PythonFunction& function, PythonItems args,
                              PythonArguments kwargs) {
  if ((function.code->flags & PythonCode::kCoroutines) != 0) {
    return run.Fail("it calls an asynchronous function");
  }
  PythonItems bound = ArgumentBinder(run, function).Bind(std::move(args), std::move(kwargs));
  if (run.failed() || !run.Enter()) return {};
  PythonItems closure = function.closure;
  Frame frame(run, *function.code, std::move(bound), std::move(closure));
  PythonValue result = run.failed() ? PythonValue() : frame.Run();
  run.Leave();
  return result;
}

// What a library computes from random numbers is random; what chooses between
// training and inference may leave them alone.
const PythonValue* RandomAmong(const PythonValue& callee, const PythonItems& args,
                               const PythonArguments& kwargs) {
  if (callee.kind == Kind::kRandom) return &callee;
  const bool passes = callee.kind == Kind::kFunction || callee.text == "K.in_train_phase" ||
                      callee.text == "K.in_test_phase";
  if (passes) return nullptr;
  for (const PythonValue& arg : args) {
    if (arg.kind == Kind::kRandom) return &arg;
  }
  for (const auto& [name, arg] : kwargs) {
    if (arg.kind == Kind::kRandom) return &arg;
  }
  return nullptr;
}

}  // namespace

PythonValue Interpretation::Call(const PythonValue& callee, PythonItems args,
                                 PythonArguments kwargs) {
  if (failed()) return {};
  if (const PythonValue* random = RandomAmong(callee, args, kwargs)) return *random;
  switch (callee.kind) {
    case Kind::kFunction:
      return CallFunctionValue(*this, *callee.function, std::move(args), std::move(kwargs));
    case Kind::kSymbol:
      return CallSymbol(*this, callee.text, std::move(args), std::move(kwargs));
    case Kind::kMethod:
      if (IsPartial(callee)) return CallPartial(*this, callee, args, std::move(kwargs));
      return CallMethod(*this, callee.items->front(), callee.text, std::move(args),
                        std::move(kwargs));
    case Kind::kContext:
      return PythonValue::None();
    case Kind::kNull:
      return Malformed("calls nothing");
    case Kind::kConstant:
      if (callee.is_text()) {
        return Fail(
            fmt::format("it calls {}, which the file does not hold", callee.constant.ToJson(60)));
      }
      break;
    default:
      break;
  }
  return Fail(fmt::format("it calls {}", KindName(callee)));
}

}  // namespace h5serve::model
