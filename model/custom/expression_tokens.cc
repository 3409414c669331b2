#include "model/custom/expression_tokens.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <utility>

#include "model/custom/expression.h"

namespace h5serve::model {
namespace {

using Token = ExpressionToken;

bool IsNameStart(char c) { return std::isalpha(static_cast<unsigned char>(c)) != 0 || c == '_'; }
bool IsDigit(char c) { return c >= '0' && c <= '9'; }
bool IsNamePart(char c) { return IsNameStart(c) || IsDigit(c); }

// Splits the source into tokens; the first error stops it.
class Lexer {
 public:
  explicit Lexer(std::string_view source) : source_(source) {}

  absl::StatusOr<std::vector<Token>> Run() {
    while (at_ < source_.size()) {
      if (!Next()) {
        return absl::InvalidArgumentError(WithCaret(error_, source_, at_));
      }
    }
    tokens_.push_back({Token::Kind::kEnd, "", {}, source_.size()});
    return std::move(tokens_);
  }

 private:
  void Add(Token::Kind kind, std::string text, size_t length, ConfigValue number = {}) {
    tokens_.push_back({kind, std::move(text), std::move(number), at_});
    at_ += length;
  }

  bool Next() {
    const char c = source_[at_];
    if (c == '#') {
      at_ = std::min(source_.find('\n', at_), source_.size());
      return true;
    }
    if (c == '\n' || c == ';') {
      if (brackets_ == 0) {
        Add(Token::Kind::kNewline, ";", 1);
      } else {
        ++at_;
      }
      return true;
    }
    if (c == ' ' || c == '\t' || c == '\r') {
      ++at_;
      return true;
    }
    if (IsNameStart(c)) return Name();
    if (IsDigit(c) || (c == '.' && at_ + 1 < source_.size() && IsDigit(source_[at_ + 1]))) {
      return Number();
    }
    if (c == '\'' || c == '"') return String(c);
    return Operator();
  }

  bool Name() {
    size_t end = at_;
    while (end < source_.size() && IsNamePart(source_[end])) ++end;
    Add(Token::Kind::kName, std::string(source_.substr(at_, end - at_)), end - at_);
    return true;
  }

  bool Number() {
    size_t end = at_;
    bool real = false;
    while (end < source_.size()) {
      const char c = source_[end];
      const bool sign = (c == '+' || c == '-') && end > at_ &&
                        (source_[end - 1] == 'e' || source_[end - 1] == 'E');
      if (!IsDigit(c) && c != '.' && c != 'e' && c != 'E' && !sign) break;
      real = real || !IsDigit(c);
      ++end;
    }
    const std::string_view text = source_.substr(at_, end - at_);
    if (real) {
      double value = 0;
      const auto result = std::from_chars(text.data(), text.data() + text.size(), value);
      if (result.ec == std::errc() && result.ptr == text.data() + text.size()) {
        Add(Token::Kind::kNumber, std::string(text), text.size(), value);
        return true;
      }
    } else {
      int64_t value = 0;
      const auto result = std::from_chars(text.data(), text.data() + text.size(), value);
      if (result.ec == std::errc() && result.ptr == text.data() + text.size()) {
        Add(Token::Kind::kNumber, std::string(text), text.size(), value);
        return true;
      }
    }
    error_ = "not a number";
    return false;
  }

  bool String(char quote) {
    const size_t end = source_.find(quote, at_ + 1);
    const size_t line = source_.find('\n', at_);
    const std::string_view text =
        end == std::string_view::npos ? "" : source_.substr(at_ + 1, end - at_ - 1);
    if (end == std::string_view::npos || line < end || text.find('\\') != std::string_view::npos) {
      error_ = "a string that does not end on its line, or has a backslash";
      return false;
    }
    Add(Token::Kind::kString, std::string(text), end + 1 - at_);
    return true;
  }

  bool Operator() {
    constexpr auto kOperators = std::to_array<std::string_view>(
        {"...", "**", "//", "<=", ">=", "==", "!=", ":=", "(", ")", "[", "]",
         "+",   "-",  "*",  "/",  "%",  "@",  "<",  ">",  "=", ",", ":", "."});
    const std::string_view rest = source_.substr(at_);
    for (std::string_view text : kOperators) {
      if (!rest.starts_with(text)) continue;
      if (text == "(" || text == "[") ++brackets_;
      if ((text == ")" || text == "]") && brackets_ > 0) --brackets_;
      Add(Token::Kind::kOperator, std::string(text), text.size());
      return true;
    }
    error_ = "unexpected character";
    return false;
  }

  std::string_view source_;
  size_t at_ = 0;
  int brackets_ = 0;
  std::string_view error_;
  std::vector<Token> tokens_;
};

}  // namespace

absl::StatusOr<std::vector<ExpressionToken>> SplitExpression(std::string_view source) {
  return Lexer(source).Run();
}

}  // namespace h5serve::model
