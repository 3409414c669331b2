#include "model/bytecode/stored_function.h"

#include <fmt/format.h>

#include "model/bytecode/marshal.h"

namespace h5serve::model {
namespace {

constexpr size_t kMaxText = size_t{1} << 23;
constexpr char kCodeType = 'c';

int Base64Digit(char c) {
  if (c >= 'A' && c <= 'Z') return c - 'A';
  if (c >= 'a' && c <= 'z') return c - 'a' + 26;
  if (c >= '0' && c <= '9') return c - '0' + 52;
  if (c == '+') return 62;
  return c == '/' ? 63 : -1;
}

std::optional<std::string> DecodeBase64(std::string_view text) {
  std::string bytes;
  uint32_t bits = 0;
  int count = 0;
  bool padded = false;
  for (const char c : text) {
    if (c == '\n' || c == '\r' || c == ' ') continue;
    if (c == '=') {
      padded = true;
      continue;
    }
    const int digit = Base64Digit(c);
    if (digit < 0 || padded) return std::nullopt;
    bits = bits << 6 | static_cast<uint32_t>(digit);
    count += 6;
    if (count >= 8) {
      count -= 8;
      bytes += static_cast<char>(bits >> count & 0xFF);
    }
  }
  return bytes;
}

// Text in which each character is a byte, as raw_unicode_escape made it; other
// characters were "\uXXXX" in the bytes.
std::optional<std::string> DecodeEscaped(std::string_view text) {
  std::string bytes;
  for (size_t i = 0; i < text.size();) {
    const auto lead = static_cast<unsigned char>(text[i]);
    const size_t length = lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
    if (i + length > text.size() || (lead >= 0x80 && lead < 0xC2)) return std::nullopt;
    uint32_t code = length == 1 ? lead : lead & (0x7F >> length);
    for (size_t k = 1; k < length; ++k) {
      code = code << 6 | (static_cast<unsigned char>(text[i + k]) & 0x3F);
    }
    if (code < 0x100) {
      bytes += static_cast<char>(code);
    } else {
      bytes += code < 0x10000 ? fmt::format("\\u{:04x}", code) : fmt::format("\\U{:08x}", code);
    }
    i += length;
  }
  return bytes;
}

bool LooksLikeCode(std::string_view bytes) {
  return bytes.size() > 30 && (bytes[0] & 0x7F) == kCodeType;
}

}  // namespace

std::optional<std::string> CodeBytes(const std::string& text) {
  if (text.size() > kMaxText) return std::nullopt;
  // Keras 2.1.2 and later write base64, earlier ones text.
  for (auto decode : {DecodeBase64, DecodeEscaped}) {
    std::optional<std::string> bytes = decode(text);
    if (bytes && LooksLikeCode(*bytes)) return bytes;
  }
  return std::nullopt;
}

bool HoldsCode(const ConfigValue& value) {
  if (value.is_list()) {
    return !value.as_list().empty() && value.as_list().size() <= 3 &&
           value.as_list()[0].is_string();
  }
  if (value.is_string()) return CodeBytes(value.as_string()).has_value();
  if (!value.is_dict()) return false;
  return value.StringOr("class_name") == "__lambda__" && value["config"]["code"].is_string();
}

absl::StatusOr<StoredFunction> ReadStoredFunction(const ConfigValue& value) {
  if (!HoldsCode(value)) return absl::InvalidArgumentError("no stored function");
  StoredFunction function;
  const ConfigValue* code = &value;
  if (value.is_dict()) {
    code = &value["config"]["code"];
    function.defaults = value["config"]["defaults"];
    function.closure = value["config"]["closure"];
  } else if (value.is_list()) {
    const ConfigValue::List& parts = value.as_list();
    code = &parts[0];
    if (parts.size() > 1) function.defaults = parts[1];
    if (parts.size() > 2) function.closure = parts[2];
  }
  const std::optional<std::string> bytes = CodeBytes(code->as_string());
  if (!bytes) return absl::InvalidArgumentError("its code is neither base64 nor marshalled text");
  absl::Status first_error;
  for (int v = kPythonVersions - 1; v >= 0; --v) {
    const auto version = static_cast<PythonVersion>(v);
    if (function.code == nullptr || function.code->layout != LayoutOf(version)) {
      absl::StatusOr<std::shared_ptr<const PythonCode>> read =
          ReadMarshalledCode(*bytes, LayoutOf(version));
      if (!read.ok()) {
        if (first_error.ok()) first_error = read.status();
        continue;
      }
      if (!function.versions.empty()) break;  // one layout fits already
      function.code = *std::move(read);
    }
    if (FitsVersion(*function.code, version)) function.versions.push_back(version);
  }
  if (function.versions.empty()) {
    return absl::InvalidArgumentError(fmt::format(
        "its code was not written by Python 2.7 or 3.4 to 3.13{}",
        first_error.ok() ? "" : fmt::format(": {}", std::string(first_error.message()))));
  }
  return function;
}

}  // namespace h5serve::model
