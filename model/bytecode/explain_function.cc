#include "model/bytecode/explain_function.h"

#include <fmt/format.h>

#include <algorithm>

#include "model/bytecode/decompile.h"
#include "model/bytecode/symbols.h"
#include "model/text_encoding.h"

namespace h5serve::model {
namespace {

constexpr size_t kMaxShown = 700;

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

}  // namespace

std::string DescribeFunction(const StoredFunction& function, PythonVersion version) {
  const PythonCode& code = *function.code;
  const DecompiledFunction text = Decompile(code, version);
  std::string described =
      fmt::format("Python {} code of {} ({}, line {})", VersionText(function, version),
                  Printable(code.name, 60), Printable(code.file_name, 80), code.first_line);
  if (!text.lines.empty()) {
    described += ": " + Printable(fmt::format("{}", fmt::join(text.lines, "; ")), kMaxShown);
  }
  std::vector<std::string> unknown;
  for (const std::string& name : GlobalNames(code, version)) {
    if (!IsKnownGlobal(name)) unknown.push_back(name);
  }
  if (!unknown.empty()) {
    described += fmt::format("; it needs {}, not in the file", fmt::join(unknown, ", "));
  }
  return described;
}

std::string FunctionSkeleton(const StoredFunction& function, PythonVersion version,
                             const std::string& name, bool takes_list) {
  const PythonCode& code = *function.code;
  DecompiledFunction text = Decompile(code, version);
  const std::string parameter =
      code.argument_count > 0 ? Printable(code.variables[0], 60) : std::string("x");
  ConfigValue::Dict definition;
  std::string expression;
  if (takes_list) expression = parameter + " = inputs; ";
  if (text.simple && !text.lines.empty() && text.lines.back().rfind("return ", 0) == 0) {
    text.lines.back() = text.lines.back().substr(7);
    expression += fmt::format("{}", fmt::join(text.lines, "; "));
  } else {
    expression += fmt::format("<what it computes from {}>", parameter);
  }
  if (!takes_list) definition["inputs"] = ConfigValue(ConfigValue::List{parameter});
  definition["expression"] = expression;
  return Entry(name, std::move(definition)).ToJson();
}

std::string NamedFunctionSkeleton(const std::string& name) {
  return Entry(name, {{"inputs", ConfigValue(ConfigValue::List{"x"})},
                      {"expression", fmt::format("<what {} computes from x>", name)}})
      .ToJson();
}

}  // namespace h5serve::model
