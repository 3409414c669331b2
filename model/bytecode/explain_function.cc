#include "model/bytecode/explain_function.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <optional>

#include "model/bytecode/decompile.h"
#include "model/bytecode/symbols.h"
#include "model/custom/expression.h"
#include "model/text_encoding.h"

namespace h5serve::model {
namespace {

constexpr size_t kMaxShown = 1200;

ConfigValue Entry(const std::string& name, ConfigValue::Dict definition) {
  return ConfigValue(ConfigValue::Dict{
      {"custom_objects",
       ConfigValue(ConfigValue::Dict{{name, ConfigValue(std::move(definition))}})}});
}

// Neighbours may share all that a function uses.
std::string VersionText(const StoredFunction& function, PythonVersion version) {
  if (function.versions.size() < 2) return std::string(Name(version));
  return fmt::format("{} or {}", Name(function.versions.back()), Name(function.versions.front()));
}

bool IsWord(char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_'; }

// Where `word` stands in `text` as a name of its own, from `from` on.
size_t FindWord(std::string_view text, std::string_view word, size_t from) {
  for (size_t at = text.find(word, from); at != std::string_view::npos;
       at = text.find(word, at + 1)) {
    const bool begins = at == 0 || (!IsWord(text[at - 1]) && text[at - 1] != '.');
    const size_t end = at + word.size();
    if (begins && (end == text.size() || !IsWord(text[end]))) return at;
  }
  return std::string_view::npos;
}

// One past the bracket that closes the one at `open`; npos when none does.
size_t AfterBrackets(std::string_view text, size_t open) {
  int depth = 0;
  for (size_t i = open; i < text.size(); ++i) {
    if (text[i] == '(' || text[i] == '[') ++depth;
    if ((text[i] == ')' || text[i] == ']') && --depth == 0) return i + 1;
  }
  return std::string_view::npos;
}

// The arguments between brackets, as text.
std::vector<std::string> ArgumentTexts(std::string_view inside) {
  std::vector<std::string> texts;
  int depth = 0;
  std::string text;
  for (const char c : inside) {
    if (c == '(' || c == '[') ++depth;
    if (c == ')' || c == ']') --depth;
    if (c == ',' && depth == 0) {
      texts.push_back(std::exchange(text, ""));
    } else if (c != ' ' || !text.empty()) {
      text += c;
    }
  }
  if (!text.empty()) texts.push_back(text);
  return texts;
}

// What a random function gives on average: the mean of a normal distribution, the input of
// dropout; nullopt for others.
std::optional<std::string> MeanOfDraw(std::string_view function,
                                      const std::vector<std::string>& arguments) {
  const std::string_view name = function.substr(function.rfind('.') + 1);
  if (name == "dropout") {
    if (arguments.empty() || arguments[0].find('=') != std::string::npos) return std::nullopt;
    return arguments[0];
  }
  if (name != "random_normal" && name != "normal" && name != "truncated_normal") {
    return std::nullopt;
  }
  for (const std::string& argument : arguments) {
    if (argument.rfind("mean=", 0) == 0) return argument.substr(5);
  }
  const bool positional = arguments.size() > 1 && arguments[1].find('=') == std::string::npos;
  return positional ? arguments[1] : "0.0";
}

// The expression with what is drawn at random replaced by its mean.
std::string WithoutDraws(std::string text) {
  constexpr std::string_view kFunctions[] = {"K.random_normal",
                                             "K.truncated_normal",
                                             "K.dropout",
                                             "tf.random_normal",
                                             "tf.random.normal",
                                             "tf.truncated_normal",
                                             "tf.nn.dropout",
                                             "keras.random.normal",
                                             "np.random.normal",
                                             "backend.random_normal",
                                             "tf.keras.backend.random_normal",
                                             "keras.backend.random_normal"};
  for (const std::string_view function : kFunctions) {
    for (size_t at = FindWord(text, function, 0); at != std::string::npos;
         at = FindWord(text, function, at + 1)) {
      const size_t open = at + function.size();
      if (open >= text.size() || text[open] != '(') continue;
      const size_t end = AfterBrackets(text, open);
      if (end == std::string::npos) continue;
      const std::string inside = text.substr(open + 1, end - open - 2);
      const std::optional<std::string> mean = MeanOfDraw(function, ArgumentTexts(inside));
      if (mean) text.replace(at, end - at, *mean);
    }
  }
  return text;
}

// "self.size" of an object that the file does not hold becomes "size", a setting.
std::string WithSettings(std::string text, const std::vector<std::string>& unknown) {
  for (const std::string& name : unknown) {
    for (size_t at = FindWord(text, name, 0); at != std::string::npos;
         at = FindWord(text, name, at + 1)) {
      const size_t dot = at + name.size();
      if (dot < text.size() && text[dot] == '.') text.erase(at, dot + 1 - at);
    }
  }
  return text;
}

std::vector<std::string> UnknownNames(const PythonCode& code, PythonVersion version) {
  std::vector<std::string> unknown;
  for (const std::string& name : GlobalNames(code, version)) {
    if (!IsKnownGlobal(name)) unknown.push_back(name);
  }
  return unknown;
}

// Values of names that were stored with the function: defaults, closure, the layer's arguments.
ConfigValue::Dict BoundValues(const StoredFunction& function, const ConfigValue& arguments) {
  const PythonCode& code = *function.code;
  ConfigValue::Dict bound;
  if (function.defaults.is_list()) {
    const ConfigValue::List& defaults = function.defaults.as_list();
    const size_t count =
        std::min(static_cast<size_t>(std::max(code.argument_count, 0)), code.variables.size());
    for (size_t i = 0; i < defaults.size() && defaults.size() <= count; ++i) {
      bound[code.variables[count - defaults.size() + i]] = defaults[i];
    }
  }
  if (function.closure.is_list()) {
    const ConfigValue::List& cells = function.closure.as_list();
    for (size_t i = 0; i < cells.size() && i < code.frees.size(); ++i) {
      bound[code.frees[i]] = cells[i];
    }
  }
  if (arguments.is_dict()) {
    for (const auto& [name, value] : arguments.as_dict()) bound[name] = value;
  }
  return bound;
}

// A function with several inputs takes them apart first: "a, b = inputs" names them.
std::optional<std::vector<std::string>> UnpackedNames(const std::string& line,
                                                      const std::string& parameter) {
  const size_t equals = line.find(" = ");
  if (equals == std::string::npos || line.substr(equals + 3) != parameter) return std::nullopt;
  std::vector<std::string> names = ArgumentTexts(line.substr(0, equals));
  const bool words = std::all_of(names.begin(), names.end(), [](const std::string& name) {
    return !name.empty() && std::all_of(name.begin(), name.end(), IsWord);
  });
  if (!words || names.size() < 2) return std::nullopt;
  return names;
}

ConfigValue::List Names(const std::vector<std::string>& names) {
  return ConfigValue::List(names.begin(), names.end());
}

// Names that the expression reads and nobody gives; settings with the values that are known.
ConfigValue::Dict Parameters(const std::string& expression, const std::vector<std::string>& given,
                             const ConfigValue::Dict& bound) {
  ConfigValue::Dict parameters;
  const auto parsed = ParseExpression(expression);
  if (!parsed.ok()) return parameters;
  for (const std::string& name : FreeNames(**parsed)) {
    if (std::find(given.begin(), given.end(), name) != given.end()) continue;
    if (name == "mask" || name == "training" || IsKnownGlobal(name)) continue;
    const auto value = bound.find(name);
    parameters.emplace(name, value == bound.end() ? ConfigValue() : value->second);
  }
  return parameters;
}

}  // namespace

std::string DescribeFunction(const StoredFunction& function, PythonVersion version) {
  const PythonCode& code = *function.code;
  const DecompiledFunction text = Decompile(code, version);
  std::string described =
      fmt::format("Python {} code of {} ({}, line {})", VersionText(function, version),
                  Printable(code.name, 60), Printable(code.file_name, 80), code.first_line);
  const std::vector<std::string> unknown = UnknownNames(code, version);
  if (!unknown.empty()) {
    described += fmt::format(", which needs {}, not in the file", fmt::join(unknown, ", "));
  }
  if (text.lines.empty()) return described;
  std::vector<std::string> names;
  const size_t count = static_cast<size_t>(std::max(code.total_argument_count(), 0));
  for (size_t i = 0; i < std::min(count, code.variables.size()); ++i) {
    names.push_back(Printable(code.variables[i], 60));
  }
  const bool named = !code.name.empty() && code.name.front() != '<';
  std::string shown = fmt::format("  def {}({}):", named ? Printable(code.name, 60) : "function",
                                  fmt::join(names, ", "));
  size_t lines = 0;
  for (const std::string& line : text.lines) {
    if (shown.size() > kMaxShown) break;
    shown += "\n      " + Printable(line, 300);
    ++lines;
  }
  if (lines < text.lines.size()) shown += "\n      …";
  return described + ":\n" + shown;
}

std::string FunctionSkeleton(const StoredFunction& function, PythonVersion version,
                             const std::string& name, size_t listed_inputs,
                             const ConfigValue& arguments) {
  const PythonCode& code = *function.code;
  DecompiledFunction text = Decompile(code, version);
  const std::string parameter = code.argument_count > 0 && !code.variables.empty()
                                    ? Printable(code.variables[0], 60)
                                    : std::string("x");
  std::vector<std::string> inputs = {parameter};
  std::string expression = fmt::format("<what it computes from {}>", parameter);
  if (text.simple && !text.lines.empty() && text.lines.back().rfind("return ", 0) == 0) {
    text.lines.back() = text.lines.back().substr(7);
    if (listed_inputs > 0) {
      const auto unpacked = UnpackedNames(text.lines.front(), parameter);
      if (unpacked && unpacked->size() == listed_inputs && text.lines.size() > 1) {
        inputs = *unpacked;
        text.lines.erase(text.lines.begin());
      } else {
        inputs.clear();
        text.lines.front() = parameter + " = inputs; " + text.lines.front();
      }
    }
    const std::string written = WithSettings(
        WithoutDraws(fmt::format("{}", fmt::join(text.lines, "; "))), UnknownNames(code, version));
    if (ParseExpression(written).ok()) expression = written;
  } else if (listed_inputs > 0) {
    inputs.clear();
  }
  ConfigValue::Dict definition;
  if (!inputs.empty()) definition["inputs"] = ConfigValue(Names(inputs));
  inputs.emplace_back("inputs");
  ConfigValue::Dict parameters = Parameters(expression, inputs, BoundValues(function, arguments));
  if (!parameters.empty()) definition["parameters"] = ConfigValue(std::move(parameters));
  definition["expression"] = expression;
  return Entry(name, std::move(definition)).ToJson();
}

std::string NamedFunctionSkeleton(const std::string& name, size_t listed_inputs,
                                  const ConfigValue& arguments) {
  std::vector<std::string> inputs = {"x"};
  for (size_t i = 0; i < std::min<size_t>(listed_inputs, 64); ++i) {
    if (i == 0) inputs.clear();
    inputs.push_back(fmt::format("x{}", i));
  }
  ConfigValue::Dict definition;
  definition["inputs"] = ConfigValue(Names(inputs));
  definition["expression"] =
      fmt::format("<what {} computes from {}>", name, fmt::join(inputs, ", "));
  if (arguments.is_dict() && !arguments.as_dict().empty()) definition["parameters"] = arguments;
  return Entry(name, std::move(definition)).ToJson();
}

}  // namespace h5serve::model
