#include "config/values.h"

#include <fmt/format.h>

#include <charconv>
#include <cmath>
#include <limits>

namespace h5serve::config {
namespace {

absl::Status Expected(std::string_view what) {
  return absl::InvalidArgumentError(fmt::format("expected {}", what));
}

std::string_view Trim(std::string_view text) {
  const size_t begin = text.find_first_not_of(" \t\r\n");
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t\r\n") - begin + 1);
}

// Splits "10.5ms" into its number and its unit.
bool SplitUnit(std::string_view text, double* number, std::string_view* unit) {
  text = Trim(text);
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *number);
  if (error != std::errc() || !std::isfinite(*number)) return false;
  *unit = Trim(text.substr(end - text.data()));
  return true;
}

std::vector<std::string_view> Words(std::string_view text) {
  std::vector<std::string_view> words;
  size_t begin = 0;
  while (begin < text.size()) {
    const size_t end = std::min(text.find_first_of(" \t,", begin), text.size());
    if (end > begin) words.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return words;
}

}  // namespace

absl::StatusOr<bool> ParseBool(std::string_view text) {
  text = Trim(text);
  for (std::string_view yes : {"true", "1", "yes", "on"}) {
    if (text == yes) return true;
  }
  for (std::string_view no : {"false", "0", "no", "off"}) {
    if (text == no) return false;
  }
  return Expected("true or false");
}

absl::StatusOr<int64_t> ParseInt(std::string_view text) {
  text = Trim(text);
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return Expected("an integer");
  return value;
}

absl::StatusOr<double> ParseNumber(std::string_view text) {
  double value = 0;
  std::string_view unit;
  if (!SplitUnit(text, &value, &unit) || !unit.empty()) return Expected("a number");
  return value;
}

absl::StatusOr<std::chrono::microseconds> ParseDuration(std::string_view text) {
  constexpr std::string_view kForm = "a duration such as 250ms, 10s, 5m or 1h";
  double number = 0;
  std::string_view unit;
  if (!SplitUnit(text, &number, &unit) || number < 0) return Expected(kForm);
  double scale = 0;
  if (unit == "us") scale = 1;
  if (unit == "ms") scale = 1e3;
  if (unit == "s" || unit.empty()) scale = 1e6;
  if (unit == "m" || unit == "min") scale = 6e7;
  if (unit == "h") scale = 3.6e9;
  // A century: far from overflow in any unit.
  if (scale == 0 || number * scale > 3.2e15) return Expected(kForm);
  return std::chrono::microseconds(std::llround(number * scale));
}

absl::StatusOr<int64_t> ParseBytes(std::string_view text) {
  constexpr std::string_view kForm = "a size such as 512MiB, 2GiB or a number of bytes";
  double number = 0;
  std::string_view unit;
  if (!SplitUnit(text, &number, &unit) || number < 0) return Expected(kForm);
  double scale = 0;
  if (unit.empty() || unit == "B") scale = 1;
  constexpr std::string_view kPrefixes = "KMGT";
  for (size_t i = 0; i < kPrefixes.size(); ++i) {
    const std::string prefix(1, kPrefixes[i]);
    const double power = static_cast<double>(i + 1);
    if (unit == prefix + "iB" || unit == prefix + "i") scale = std::pow(1024.0, power);
    if (unit == prefix + "B" || unit == prefix) scale = std::pow(1000.0, power);
  }
  if (scale == 0 || number * scale > 9e18) return Expected(kForm);
  return std::llround(number * scale);
}

absl::StatusOr<VersionPolicy> ParseVersions(std::string_view text) {
  constexpr std::string_view kForm = "\"latest N\", \"all\" or \"specific N N …\"";
  const std::vector<std::string_view> words = Words(text);
  if (words.empty()) return Expected(kForm);
  VersionPolicy policy;
  if (words[0] == "all" && words.size() == 1) {
    policy.kind = VersionPolicy::Kind::kAll;
    return policy;
  }
  if (words[0] == "latest" && words.size() <= 2) {
    if (words.size() == 2) {
      const absl::StatusOr<int64_t> count = ParseInt(words[1]);
      if (!count.ok() || *count < 1 || *count > std::numeric_limits<int>::max()) {
        return Expected(kForm);
      }
      policy.latest = static_cast<int>(*count);
    }
    return policy;
  }
  if (words[0] == "specific" && words.size() > 1) {
    policy.kind = VersionPolicy::Kind::kSpecific;
    for (size_t i = 1; i < words.size(); ++i) {
      const absl::StatusOr<int64_t> version = ParseInt(words[i]);
      if (!version.ok() || *version < 0) return Expected(kForm);
      policy.specific.push_back(*version);
    }
    return policy;
  }
  return Expected(kForm);
}

std::vector<std::string> ParseList(std::string_view text) {
  std::vector<std::string> items;
  while (!text.empty()) {
    const size_t end = std::min(text.find(','), text.size());
    const std::string_view item = Trim(text.substr(0, end));
    if (!item.empty()) items.emplace_back(item);
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return items;
}

std::string FormatDuration(std::chrono::microseconds value) {
  const int64_t us = value.count();
  if (us == 0) return "0s";
  if (us % 3600000000 == 0) return fmt::format("{}h", us / 3600000000);
  if (us % 60000000 == 0) return fmt::format("{}m", us / 60000000);
  if (us % 1000000 == 0) return fmt::format("{}s", us / 1000000);
  if (us % 1000 == 0) return fmt::format("{}ms", us / 1000);
  return fmt::format("{}us", us);
}

std::string FormatBytes(int64_t value) {
  for (int power = 4; power > 0 && value != 0; --power) {
    const int64_t unit = int64_t{1} << (10 * power);
    if (value % unit == 0) return fmt::format("{}{}iB", value / unit, "?KMGT"[power]);
  }
  return fmt::format("{}", value);
}

std::string FormatNumber(double value) { return fmt::format("{:g}", value); }

std::string FormatVersions(const VersionPolicy& policy) {
  switch (policy.kind) {
    case VersionPolicy::Kind::kLatest:
      return fmt::format("latest {}", policy.latest);
    case VersionPolicy::Kind::kAll:
      return "all";
    case VersionPolicy::Kind::kSpecific:
      return fmt::format("specific {}", fmt::join(policy.specific, " "));
  }
  return "";
}

std::string FormatList(const std::vector<std::string>& items) {
  return fmt::format("{}", fmt::join(items, ","));
}

}  // namespace h5serve::config
