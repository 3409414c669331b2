// JSON-like values: what the configs in a Keras file are made of.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"

namespace h5serve::model {

// null, a bool, an integer, a float, a string, a list or a dict. A plain value
// type: copies are deep, and equality ignores the position. JSON's NaN and Infinity tokens (Python
// writes them) are floats here.
class ConfigValue {
 public:
  using List = std::vector<ConfigValue>;
  using Dict = std::map<std::string, ConfigValue, std::less<>>;

  ConfigValue() = default;
  ConfigValue(bool value) : value_(value) {}                       // NOLINT: implicit on purpose
  ConfigValue(int value) : value_(static_cast<int64_t>(value)) {}  // NOLINT
  ConfigValue(int64_t value) : value_(value) {}                    // NOLINT
  ConfigValue(double value) : value_(value) {}                     // NOLINT
  ConfigValue(const char* value) : value_(std::string(value)) {}   // NOLINT
  ConfigValue(std::string value) : value_(std::move(value)) {}     // NOLINT
  ConfigValue(List value) : value_(std::move(value)) {}            // NOLINT
  ConfigValue(Dict value) : value_(std::move(value)) {}            // NOLINT

  bool is_null() const { return std::holds_alternative<std::monostate>(value_); }
  bool is_bool() const { return std::holds_alternative<bool>(value_); }
  bool is_int() const { return std::holds_alternative<int64_t>(value_); }
  bool is_float() const { return std::holds_alternative<double>(value_); }
  bool is_number() const { return is_int() || is_float(); }
  bool is_string() const { return std::holds_alternative<std::string>(value_); }
  bool is_list() const { return std::holds_alternative<List>(value_); }
  bool is_dict() const { return std::holds_alternative<Dict>(value_); }

  // REQUIRES: the matching is_…().
  bool as_bool() const { return std::get<bool>(value_); }
  int64_t as_int() const { return std::get<int64_t>(value_); }
  // Integers count as floats.
  double as_float() const {
    return is_int() ? static_cast<double>(as_int()) : std::get<double>(value_);
  }
  const std::string& as_string() const { return std::get<std::string>(value_); }
  const List& as_list() const { return std::get<List>(value_); }
  const Dict& as_dict() const { return std::get<Dict>(value_); }
  List& as_list() { return std::get<List>(value_); }
  Dict& as_dict() { return std::get<Dict>(value_); }

  // The member of a dict, or null when there is none or this is no dict.
  const ConfigValue* Find(std::string_view key) const;
  // The member, or a null value.
  const ConfigValue& operator[](std::string_view key) const;
  // The string member `key`, or "".
  std::string_view StringOr(std::string_view key, std::string_view otherwise = "") const;

  // An integer, also where the file holds an integral float (R writes 64.0).
  std::optional<int64_t> ToInt() const;

  // Of a dict's member that was parsed: how many came before it. Dicts are sorted
  // by key; Keras sometimes means the order of the text.
  int position() const { return position_; }
  void set_position(int position) { position_ = position; }

  // Compact JSON, dict keys sorted; cut with "…" beyond `max_chars` (0: never).
  std::string ToJson(size_t max_chars = 0) const;

  friend bool operator==(const ConfigValue& a, const ConfigValue& b) {
    return a.value_ == b.value_;
  }

 private:
  std::variant<std::monostate, bool, int64_t, double, std::string, List, Dict> value_;
  int position_ = 0;
};

// Parses JSON as Python writes it (NaN, Infinity and -Infinity allowed).
// INVALID_ARGUMENT with the character position for anything else, and for
// nesting deeper than `max_depth`. Never throws, never recurses without bound.
absl::StatusOr<ConfigValue> ParseJson(std::string_view text, int max_depth = 256);

}  // namespace h5serve::model
