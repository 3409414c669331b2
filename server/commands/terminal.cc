#include "server/commands/terminal.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>

namespace h5serve::server {
namespace {

// Length in bytes of the code point at the start of `text`, at least 1.
size_t CodePointLength(std::string_view text) {
  size_t length = 1;
  while (length < text.size() && (static_cast<unsigned char>(text[length]) & 0xC0) == 0x80) {
    ++length;
  }
  return length;
}

const char* Code(Style style) {
  switch (style) {
    case Style::kPlain:
      return "";
    case Style::kBold:
      return "\033[1m";
    case Style::kDim:
      return "\033[2m";
    case Style::kGood:
      return "\033[32m";
    case Style::kBad:
      return "\033[31m";
    case Style::kWarning:
      return "\033[33m";
  }
  return "";
}

// Splits into lines of at most `width` columns, between words where possible.
std::vector<std::string> Break(std::string_view text, int width) {
  std::vector<std::string> lines(1);
  int used = 0;
  while (!text.empty()) {
    size_t end = text.find(' ');
    end = end == std::string_view::npos ? text.size() : end;
    std::string_view word = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (used > 0 && used + 1 + DisplayWidth(word) > width) {
      lines.emplace_back();
      used = 0;
    }
    if (used > 0) {
      lines.back() += ' ';
      ++used;
    }
    for (size_t length = 0; !word.empty(); word.remove_prefix(length)) {
      length = CodePointLength(word);
      if (used >= width) {
        lines.emplace_back();
        used = 0;
      }
      lines.back() += word.substr(0, length);
      used += DisplayWidth(word.substr(0, length));
    }
  }
  return lines;
}

}  // namespace

Terminal::Terminal() {
  const bool terminal = isatty(STDOUT_FILENO) == 1;
  colours_ = terminal && std::getenv("NO_COLOR") == nullptr;
  winsize size{};
  if (terminal && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) {
    width_ = size.ws_col;
  } else if (const char* columns = std::getenv("COLUMNS")) {
    width_ = std::atoi(columns);
  }
  width_ = std::clamp(width_, 40, 200);
}

std::string Terminal::Styled(Style style, std::string_view text) const {
  if (!colours_ || style == Style::kPlain) return std::string(text);
  return fmt::format("{}{}\033[0m", Code(style), text);
}

void Terminal::Wrapped(std::string_view prefix, std::string_view text, Style style) const {
  const int indent = DisplayWidth(prefix);
  bool first = true;
  // Further lines of the text, such as a formula and the place in it, stay as they are.
  std::string_view rest;
  if (const size_t end = text.find('\n'); end != std::string_view::npos) {
    rest = text.substr(end + 1);
    text = text.substr(0, end);
  }
  for (const std::string& line : Break(text, std::max(20, width_ - indent))) {
    fmt::print("{}{}\n", first ? std::string(prefix) : std::string(indent, ' '),
               Styled(style, line));
    first = false;
  }
  while (!rest.empty()) {
    const size_t end = std::min(rest.find('\n'), rest.size());
    fmt::print("{}{}\n", std::string(indent, ' '), Styled(style, rest.substr(0, end)));
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
}

int DisplayWidth(std::string_view text) {
  int width = 0;
  while (!text.empty()) {
    const size_t length = CodePointLength(text);
    const auto first = static_cast<unsigned char>(text[0]);
    // CJK and most symbols beyond the basic plane take two columns.
    const bool wide = first >= 0xF0 || (first >= 0xE3 && first <= 0xED && length == 3);
    width += wide ? 2 : 1;
    text.remove_prefix(length);
  }
  return width;
}

std::string Fit(std::string_view text, int width) {
  const int full = DisplayWidth(text);
  if (full <= width) return std::string(text) + std::string(width - full, ' ');
  std::string cut;
  int used = 0;
  while (!text.empty()) {
    const size_t length = CodePointLength(text);
    const int columns = DisplayWidth(text.substr(0, length));
    if (used + columns > width - 1) break;
    cut += text.substr(0, length);
    used += columns;
    text.remove_prefix(length);
  }
  return cut + "…" + std::string(std::max(0, width - used - 1), ' ');
}

void PrintTable(const Terminal& terminal, const std::vector<std::string>& header,
                const std::vector<std::vector<std::string>>& rows) {
  std::vector<int> widths;
  for (size_t column = 0; column < header.size(); ++column) {
    int width = DisplayWidth(header[column]);
    for (const auto& row : rows) width = std::max(width, DisplayWidth(row[column]));
    widths.push_back(width);
  }
  const auto print = [&](const std::vector<std::string>& row, Style style) {
    std::string line;
    for (size_t column = 0; column + 1 < row.size(); ++column) {
      line += terminal.Styled(style, Fit(row[column], widths[column])) + "  ";
    }
    int used = 0;
    for (size_t column = 0; column + 1 < row.size(); ++column) used += widths[column] + 2;
    bool first = true;
    for (const std::string& part : Break(row.back(), std::max(20, terminal.width() - used))) {
      fmt::print("{}{}\n", first ? line : std::string(used, ' '), terminal.Styled(style, part));
      first = false;
    }
  };
  print(header, Style::kBold);
  for (const auto& row : rows) print(row, Style::kPlain);
}

std::string Grouped(int64_t number) {
  std::string digits = fmt::format("{}", number);
  for (int i = static_cast<int>(digits.size()) - 3; i > (number < 0 ? 1 : 0); i -= 3) {
    digits.insert(static_cast<size_t>(i), ",");
  }
  return digits;
}

std::string HumanBytes(int64_t bytes) {
  double value = static_cast<double>(bytes);
  const char* const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  size_t unit = 0;
  while (value >= 1024 && unit + 1 < std::size(units)) {
    value /= 1024;
    ++unit;
  }
  return unit == 0 ? fmt::format("{} B", bytes) : fmt::format("{:.1f} {}", value, units[unit]);
}

}  // namespace h5serve::server
