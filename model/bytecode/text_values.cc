#include "model/bytecode/text_values.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <optional>

#include "model/bytecode/operators.h"

namespace h5serve::model {
namespace {

constexpr size_t kMaxText = 1 << 16;
constexpr std::string_view kSpaces = " \t\n\r";

PythonValue Bounded(Interpretation& run, std::string text) {
  if (text.size() > kMaxText) return run.Fail("a text grows too long");
  return PythonValue::Constant(std::move(text));
}

// Appends str(value); false after a failure.
bool Append(Interpretation& run, const PythonValue& value, std::string* text) {
  const PythonValue part = TextOf(run, value);
  if (run.failed()) return false;
  if (!run.Work(text->size())) return false;
  *text += part.constant.as_string();
  return text->size() <= kMaxText || (run.Fail("a text grows too long"), false);
}

// What the braces of "{}", "{0}" and "{name}" stand for; null when nothing.
class BraceFields {
 public:
  BraceFields(const PythonItems& args, const PythonArguments& kwargs)
      : args_(args), kwargs_(kwargs) {}

  PythonValue Take(std::string_view field) {
    if (field.empty()) return next_ < args_.size() ? args_[next_++] : PythonValue();
    const bool digits = std::all_of(field.begin(), field.end(), [](char c) {
      return std::isdigit(static_cast<unsigned char>(c)) != 0;
    });
    if (digits && field.size() < 4) {
      const size_t place = static_cast<size_t>(std::stoi(std::string(field)));
      return place < args_.size() ? args_[place] : PythonValue();
    }
    const auto named = kwargs_.find(field);
    return named == kwargs_.end() ? PythonValue() : named->second;
  }

 private:
  const PythonItems& args_;
  const PythonArguments& kwargs_;
  size_t next_ = 0;
};

PythonValue FormatBraces(Interpretation& run, std::string_view text, const PythonItems& args,
                         const PythonArguments& kwargs) {
  std::string result;
  BraceFields fields(args, kwargs);
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '{' && text[i] != '}') {
      result += text[i];
      continue;
    }
    if (i + 1 < text.size() && text[i + 1] == text[i]) {
      result += text[i++];
      continue;
    }
    const size_t end = text.find('}', i);
    if (end == std::string_view::npos) return run.Fail("it formats text");
    const PythonValue value = fields.Take(text.substr(i + 1, end - i - 1));
    if (value.is_null()) return run.Fail("it formats text");
    if (!Append(run, value, &result)) return {};
    i = end;
  }
  return Bounded(run, std::move(result));
}

PythonValue Join(Interpretation& run, std::string_view separator, const PythonValue& list) {
  std::string result;
  bool first = true;
  for (const PythonValue& item : Items(run, list)) {
    if (!item.is_text()) return run.Fail(fmt::format("it joins {}", KindName(item)));
    if (!first) result += separator;
    first = false;
    if (!Append(run, item, &result)) return {};
  }
  return Bounded(run, std::move(result));
}

// At `separator`, or at runs of spaces.
PythonValue Split(Interpretation& run, std::string_view text,
                  std::optional<std::string_view> separator) {
  PythonItems parts;
  if (separator && separator->empty()) return run.Fail("it splits text at nothing");
  while (true) {
    if (!separator) {
      text.remove_prefix(std::min(text.find_first_not_of(kSpaces), text.size()));
      if (text.empty()) break;
    }
    const size_t at = separator ? text.find(*separator) : text.find_first_of(kSpaces);
    parts.push_back(PythonValue::Constant(std::string(text.substr(0, at))));
    if (at == std::string_view::npos) break;
    text.remove_prefix(at + (separator ? separator->size() : 1));
  }
  return run.List(std::move(parts));
}

PythonValue Replace(Interpretation& run, std::string_view text, std::string_view from,
                    std::string_view to) {
  if (from.empty()) return run.Fail("it replaces nothing in text");
  std::string result;
  for (size_t at = text.find(from); at != std::string_view::npos; at = text.find(from)) {
    result += text.substr(0, at);
    result += to;
    if (result.size() > kMaxText) return run.Fail("a text grows too long");
    text.remove_prefix(at + from.size());
  }
  return Bounded(run, result + std::string(text));
}

PythonValue ChangeCase(std::string text, bool lower) {
  for (char& c : text) {
    const bool letter = lower ? c >= 'A' && c <= 'Z' : c >= 'a' && c <= 'z';
    if (letter) c = static_cast<char>(c ^ 0x20);
  }
  return PythonValue::Constant(std::move(text));
}

std::string_view Strip(std::string_view text) {
  const size_t begin = text.find_first_not_of(kSpaces);
  if (begin == std::string_view::npos) return "";
  return text.substr(begin, text.find_last_not_of(kSpaces) - begin + 1);
}

}  // namespace

PythonValue TextOf(Interpretation& run, const PythonValue& value) {
  if (value.is_text()) return value;
  if (value.is_none()) return PythonValue::Constant("None");
  if (value.is_constant() && value.constant.is_bool()) {
    return PythonValue::Constant(value.constant.as_bool() ? "True" : "False");
  }
  if (value.is_whole()) return PythonValue::Constant(std::to_string(value.whole()));
  return run.Fail(fmt::format("it makes text of {}", KindName(value)));
}

PythonValue FormatPercent(Interpretation& run, std::string_view text, const PythonValue& value) {
  const PythonItems values =
      value.kind == PythonValue::Kind::kTuple ? *value.items : PythonItems{value};
  std::string result;
  size_t next = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      result += text[i];
      continue;
    }
    const char kind = ++i < text.size() ? text[i] : '\0';
    if (kind == '%') {
      result += '%';
      continue;
    }
    const bool whole = kind == 'd' || kind == 'i';
    if ((!whole && kind != 's') || next == values.size() || (whole && !values[next].is_whole())) {
      return run.Fail("it formats text");
    }
    const PythonValue& item = values[next++];
    if (!Append(run, whole ? PythonValue::Constant(item.whole()) : item, &result)) return {};
  }
  if (next != values.size()) return run.Fail("it formats text");
  return Bounded(run, std::move(result));
}

bool IsTextMethod(std::string_view name) {
  constexpr std::array<std::string_view, 9> kNames = {
      "lower", "upper", "startswith", "endswith", "replace", "join", "format", "split", "strip"};
  return std::find(kNames.begin(), kNames.end(), name) != kNames.end();
}

PythonValue CallTextMethod(Interpretation& run, const PythonValue& self, std::string_view name,
                           const PythonItems& args, const PythonArguments& kwargs) {
  const std::string& text = self.constant.as_string();
  if (name == "format") return FormatBraces(run, text, args, kwargs);
  if (!kwargs.empty()) return run.Fail(fmt::format("it works on text with {}", name));
  if (args.empty()) {
    if (name == "lower" || name == "upper") return ChangeCase(text, name == "lower");
    if (name == "strip") return PythonValue::Constant(std::string(Strip(text)));
    if (name == "split") return Split(run, text, std::nullopt);
  }
  if (name == "join" && args.size() == 1) return Join(run, text, args[0]);
  const bool texts =
      std::all_of(args.begin(), args.end(), [](const PythonValue& arg) { return arg.is_text(); });
  if (texts && args.size() == 1) {
    const std::string& part = args[0].constant.as_string();
    const bool fits = part.size() <= text.size();
    if (name == "startswith") return PythonValue::Constant(text.substr(0, part.size()) == part);
    if (name == "endswith") {
      return PythonValue::Constant(fits && text.substr(text.size() - part.size()) == part);
    }
    if (name == "split") return Split(run, text, part);
  }
  if (texts && args.size() == 2 && name == "replace") {
    return Replace(run, text, args[0].constant.as_string(), args[1].constant.as_string());
  }
  return run.Fail(fmt::format("it works on text with {}", name));
}

}  // namespace h5serve::model
