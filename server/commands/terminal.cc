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

// Length of the JSON object or array at the start of `text`, or 0.
size_t JsonLength(std::string_view text) {
  if (!text.starts_with('{') && !text.starts_with('[')) return 0;
  int depth = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      if (c == '"') in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '{' || c == '[') {
      ++depth;
    } else if ((c == '}' || c == ']') && --depth == 0) {
      return i + 1;
    }
  }
  return 0;
}

// What is not broken while it fits on a line.
struct Piece {
  std::string_view text;
  int blanks;    // before it
  bool is_json;  // not broken even where it does not fit
  int columns;   // that are to stay on a line if they can: of the whole object
};

// Length of what may not be broken at the start of JSON: up to a separator.
size_t JsonPieceLength(std::string_view json) {
  bool in_string = false;
  for (size_t i = 0; i < json.size(); ++i) {
    const char c = json[i];
    if (in_string) {
      if (c == '\\') ++i;
      if (c == '"') in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == ',' || c == ':') {
      return i + 1;
    }
  }
  return json.size();
}

std::vector<Piece> SplitPieces(std::string_view text) {
  std::vector<Piece> pieces;
  int blanks = 0;
  const auto take = [&](size_t length, bool is_json, int columns) {
    pieces.push_back({text.substr(0, length), blanks, is_json, columns});
    text.remove_prefix(length);
    blanks = 0;
  };
  while (!text.empty()) {
    if (text.front() == ' ') {
      text.remove_prefix(1);
      ++blanks;
      continue;
    }
    if (size_t left = JsonLength(text); left > 0) {
      int columns = DisplayWidth(text.substr(0, left));
      while (left > 0) {
        for (; text.front() == ' '; --left, ++blanks) text.remove_prefix(1);
        const size_t length = JsonPieceLength(text.substr(0, left));
        take(length, true, columns);
        columns = 0;
        left -= length;
      }
      continue;
    }
    size_t end = 1;
    while (end < text.size() && text[end] != ' ' && JsonLength(text.substr(end)) == 0) ++end;
    take(end, false, 0);
  }
  return pieces;
}

}  // namespace

std::vector<std::string> BreakLines(std::string_view text, int width) {
  std::vector<std::string> lines(1);
  int used = 0;
  const auto new_line = [&] {
    lines.emplace_back();
    used = 0;
  };
  for (Piece piece : SplitPieces(text)) {
    int columns = DisplayWidth(piece.text);
    if (piece.columns <= width) columns = std::max(columns, piece.columns);
    if (used > 0 && used + piece.blanks + columns > width) new_line();
    if (used > 0) {
      lines.back().append(piece.blanks, ' ');
      used += piece.blanks;
    }
    for (size_t length = 0; !piece.text.empty(); piece.text.remove_prefix(length)) {
      length = CodePointLength(piece.text);
      if (used >= width && !piece.is_json) new_line();
      lines.back() += piece.text.substr(0, length);
      used += DisplayWidth(piece.text.substr(0, length));
    }
  }
  return lines;
}

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
  for (const std::string& line : BreakLines(text, std::max(20, width_ - indent))) {
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
    for (const std::string& part : BreakLines(row.back(), std::max(20, terminal.width() - used))) {
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
    digits.insert(static_cast<size_t>(i), 1, ',');
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
