// Text for people: colours, widths, tables.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace h5serve::server {

enum class Style { kPlain, kBold, kDim, kGood, kBad, kWarning };

// The standard output as a place to read.
//
// Not thread-safe.
class Terminal {
 public:
  // Colours only on a terminal, and not when NO_COLOR is set.
  Terminal();

  int width() const { return width_; }
  std::string Styled(Style style, std::string_view text) const;
  // Prints `text` after `prefix`, broken between words, further lines indented
  // as wide as `prefix` is.
  void Wrapped(std::string_view prefix, std::string_view text, Style style = Style::kPlain) const;

 private:
  bool colours_ = false;
  int width_ = 100;
};

// `text` as lines of at most `width` columns, broken between words where possible.
// JSON objects in it stay what they are when the lines are pasted: they are broken
// after separators alone, never within a string.
std::vector<std::string> BreakLines(std::string_view text, int width);

// Columns a text takes: code points, those of double width counted twice.
int DisplayWidth(std::string_view text);
// `text` cut to `width` columns with "…", and filled up with blanks.
std::string Fit(std::string_view text, int width);
// Prints rows under a header, columns as wide as needed, the last one wrapped
// to the terminal.
void PrintTable(const Terminal& terminal, const std::vector<std::string>& header,
                const std::vector<std::vector<std::string>>& rows);

// "1,234,567" and "1.2 MiB".
std::string Grouped(int64_t number);
std::string HumanBytes(int64_t bytes);

}  // namespace h5serve::server
