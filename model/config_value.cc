#include "model/config_value.h"

#include <fmt/format.h>

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "absl/status/status.h"
#include "model/text_encoding.h"

namespace h5serve::model {
namespace {

// A value takes some 60 bytes, whatever its text takes ("0," is two).
constexpr size_t kMaxTextBytes = size_t{512} << 20;
constexpr size_t kMaxValues = 12'000'000;

const ConfigValue kNull;

// Value of the \uXXXX escape at `position`, or -1.
int EscapedUnit(std::string_view text, size_t position) {
  if (position + 6 > text.size() || text[position] != '\\' || text[position + 1] != 'u') return -1;
  int unit = 0;
  for (size_t i = position + 2; i < position + 6; ++i) {
    const char c = text[i];
    const int digit = c >= '0' && c <= '9'   ? c - '0'
                      : c >= 'a' && c <= 'f' ? c - 'a' + 10
                      : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                             : -1;
    if (digit < 0) return -1;
    unit = unit * 16 + digit;
  }
  return unit;
}

// Python writes what JSON does not have: the tokens NaN, Infinity, -Infinity,
// and halves of surrogate pairs. They become strings and U+FFFD of the same
// length, so that positions in error messages stay right. `tokens` receives the
// ordinals of those strings among all strings of the text.
class PythonJson {
 public:
  explicit PythonJson(std::string text) : text_(std::move(text)) { Rewrite(); }

  const std::string& text() const { return text_; }
  // Whether string number `ordinal` stands for a token; ask in ascending order.
  bool IsToken(size_t ordinal) {
    if (next_ == tokens_.size() || tokens_[next_] != ordinal) return false;
    ++next_;
    return true;
  }

 private:
  void Rewrite() {
    size_t strings = 0;
    for (size_t i = 0; i < text_.size(); ++i) {
      if (text_[i] == '"') {
        ++strings;
        i = SkipString(i + 1);
      } else if (Replace(i, "-Infinity", "\"-INFINI\"") || Replace(i, "Infinity", "\"INFINI\"") ||
                 Replace(i, "NaN", "\"N\"")) {
        tokens_.push_back(strings++);
        i = text_.find('"', i + 1);
      }
    }
  }

  bool Replace(size_t position, std::string_view token, std::string_view by) {
    if (text_.compare(position, token.size(), token) != 0) return false;
    text_.replace(position, token.size(), by);
    return true;
  }

  // Position of the closing quote, or the end.
  size_t SkipString(size_t i) {
    for (; i < text_.size() && text_[i] != '"'; ++i) {
      if (text_[i] != '\\') continue;
      const int unit = EscapedUnit(text_, i);
      if (unit >= 0xD800 && unit < 0xE000) {
        const int low = unit < 0xDC00 ? EscapedUnit(text_, i + 6) : -1;
        if (low >= 0xDC00 && low < 0xE000) {
          i += 11;
          continue;
        }
        text_.replace(i, 6, "\\ufffd");
      }
      ++i;
    }
    return i;
  }

  std::string text_;
  std::vector<size_t> tokens_;
  size_t next_ = 0;
};

class Builder {
 public:
  Builder(PythonJson& source, int max_depth) : source_(source), max_depth_(max_depth) {}

  bool null() { return Add(ConfigValue()); }
  bool boolean(bool value) { return Add(value); }
  bool number_integer(int64_t value) { return Add(value); }
  bool number_unsigned(uint64_t value) {
    if (value <= static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
      return Add(static_cast<int64_t>(value));
    }
    return Add(static_cast<double>(value));
  }
  bool number_float(double value, const std::string&) { return Add(value); }
  bool string(std::string& value) {
    if (!source_.IsToken(strings_++)) return Add(std::move(value));
    if (value == "N") return Add(std::numeric_limits<double>::quiet_NaN());
    const double infinity = std::numeric_limits<double>::infinity();
    return Add(value[0] == '-' ? -infinity : infinity);
  }
  bool binary(std::vector<uint8_t>&) { return false; }
  bool start_object(size_t) { return Open(ConfigValue(ConfigValue::Dict())); }
  bool key(std::string& key) {
    if (source_.IsToken(strings_++)) return Fail("a key must be a string");
    open_.back().key = std::move(key);
    return true;
  }
  bool end_object() { return Close(); }
  bool start_array(size_t) { return Open(ConfigValue(ConfigValue::List())); }
  bool end_array() { return Close(); }
  bool parse_error(size_t position, const std::string& last_token,
                   const nlohmann::detail::exception& error) {
    std::string what = error.what();
    if (const size_t colon = what.rfind("; expected"); colon != std::string::npos) {
      what.resize(colon);
    }
    if (const size_t colon = what.find("] "); colon != std::string::npos) what.erase(0, colon + 2);
    error_ = fmt::format("not valid JSON at character {}: {}", position, what);
    if (error_.size() > 300) error_.resize(300);
    return false;
  }

  const std::string& error() const { return error_; }
  ConfigValue Take() { return std::move(root_); }

 private:
  struct Container {
    ConfigValue value;
    std::string key;  // of the member being read
  };

  bool Fail(std::string message) {
    error_ = std::move(message);
    return false;
  }

  bool Add(ConfigValue value) {
    if (++values_ > kMaxValues) return Fail(fmt::format("more than {} values", kMaxValues));
    if (open_.empty()) {
      root_ = std::move(value);
    } else if (Container& parent = open_.back(); parent.value.is_list()) {
      parent.value.as_list().push_back(std::move(value));
    } else {
      // The last of equal keys counts, as in Python.
      ConfigValue::Dict& dict = parent.value.as_dict();
      value.set_position(static_cast<int>(dict.size()));
      dict.insert_or_assign(std::move(parent.key), std::move(value));
    }
    return true;
  }

  bool Open(ConfigValue value) {
    if (static_cast<int>(open_.size()) >= max_depth_) {
      return Fail(fmt::format("nested deeper than {} levels", max_depth_));
    }
    open_.push_back({std::move(value), {}});
    return true;
  }

  bool Close() {
    ConfigValue value = std::move(open_.back().value);
    open_.pop_back();
    return Add(std::move(value));
  }

  PythonJson& source_;
  const int max_depth_;
  size_t strings_ = 0;
  size_t values_ = 0;
  std::vector<Container> open_;
  ConfigValue root_;
  std::string error_;
};

class Writer {
 public:
  explicit Writer(size_t max_chars) : max_chars_(max_chars) {}

  void Write(const ConfigValue& value) {
    if (full()) return;
    if (value.is_null()) {
      text_ += "null";
    } else if (value.is_bool()) {
      text_ += value.as_bool() ? "true" : "false";
    } else if (value.is_int()) {
      text_ += fmt::format("{}", value.as_int());
    } else if (value.is_float()) {
      WriteFloat(value.as_float());
    } else if (value.is_string()) {
      WriteString(value.as_string());
    } else if (value.is_list()) {
      WriteList(value.as_list());
    } else {
      WriteDict(value.as_dict());
    }
  }

  std::string Take() {
    if (full()) {
      size_t end = max_chars_;
      while (end > 0 && (text_[end] & 0xC0) == 0x80) --end;  // not within a character
      text_.resize(end);
      text_ += "…";
    }
    return std::move(text_);
  }

 private:
  bool full() const { return max_chars_ != 0 && text_.size() > max_chars_; }

  void WriteFloat(double value) {
    if (std::isnan(value)) {
      text_ += "NaN";
    } else if (std::isinf(value)) {
      text_ += value < 0 ? "-Infinity" : "Infinity";
    } else {
      const std::string digits = fmt::format("{}", value);
      text_ += digits;
      if (digits.find_first_of(".e") == std::string::npos) text_ += ".0";
    }
  }

  void WriteString(std::string_view value) {
    text_ += '"';
    for (const char c : value) {
      if (full()) return;
      switch (c) {
        case '"':
          text_ += "\\\"";
          break;
        case '\\':
          text_ += "\\\\";
          break;
        case '\n':
          text_ += "\\n";
          break;
        case '\r':
          text_ += "\\r";
          break;
        case '\t':
          text_ += "\\t";
          break;
        default:
          if (static_cast<unsigned char>(c) < 0x20) {
            text_ += fmt::format("\\u{:04x}", static_cast<int>(c));
          } else {
            text_ += c;
          }
      }
    }
    text_ += '"';
  }

  void WriteList(const ConfigValue::List& list) {
    text_ += '[';
    for (size_t i = 0; i < list.size() && !full(); ++i) {
      if (i > 0) text_ += ',';
      Write(list[i]);
    }
    text_ += ']';
  }

  void WriteDict(const ConfigValue::Dict& dict) {
    text_ += '{';
    bool first = true;
    for (const auto& [key, value] : dict) {
      if (full()) break;
      if (!first) text_ += ',';
      first = false;
      WriteString(key);
      text_ += ':';
      Write(value);
    }
    text_ += '}';
  }

  const size_t max_chars_;
  std::string text_;
};

}  // namespace

const ConfigValue* ConfigValue::Find(std::string_view key) const {
  if (!is_dict()) return nullptr;
  const auto found = as_dict().find(key);
  return found == as_dict().end() ? nullptr : &found->second;
}

const ConfigValue& ConfigValue::operator[](std::string_view key) const {
  const ConfigValue* found = Find(key);
  return found != nullptr ? *found : kNull;
}

std::string_view ConfigValue::StringOr(std::string_view key, std::string_view otherwise) const {
  const ConfigValue* found = Find(key);
  return found != nullptr && found->is_string() ? std::string_view(found->as_string()) : otherwise;
}

std::optional<int64_t> ConfigValue::ToInt() const {
  if (is_int()) return as_int();
  if (!is_float()) return std::nullopt;
  const double value = as_float();
  // 2^63 itself does not fit; every double below it does.
  if (!(value >= -0x1p63 && value < 0x1p63) || value != std::trunc(value)) return std::nullopt;
  return static_cast<int64_t>(value);
}

std::string ConfigValue::ToJson(size_t max_chars) const {
  Writer writer(max_chars);
  writer.Write(*this);
  return writer.Take();
}

absl::StatusOr<ConfigValue> ParseJson(std::string_view text, int max_depth) {
  if (text.size() > kMaxTextBytes) {
    return absl::InvalidArgumentError(fmt::format("JSON text of {} bytes", text.size()));
  }
  try {
    PythonJson source(ToUtf8(text));
    Builder builder(source, max_depth);
    if (!nlohmann::json::sax_parse(source.text(), &builder)) {
      return absl::InvalidArgumentError(builder.error());
    }
    return builder.Take();
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError("not enough memory for JSON text");
  } catch (const std::exception& error) {
    return absl::InvalidArgumentError(fmt::format("not valid JSON: {}", error.what()));
  }
}

}  // namespace h5serve::model
