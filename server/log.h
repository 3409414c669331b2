// The daemon's log: lines for people on a terminal, JSON objects otherwise.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace h5serve::server {

// A named value of a log line.
struct LogField {
  std::string name;
  std::variant<std::string, int64_t, double, bool> value;

  LogField(std::string field, std::string text) : name(std::move(field)), value(std::move(text)) {}
  LogField(std::string field, std::string_view text)
      : name(std::move(field)), value(std::string(text)) {}
  LogField(std::string field, const char* text)
      : name(std::move(field)), value(std::string(text)) {}
  LogField(std::string field, int64_t number) : name(std::move(field)), value(number) {}
  LogField(std::string field, int number)
      : name(std::move(field)), value(static_cast<int64_t>(number)) {}
  LogField(std::string field, double number) : name(std::move(field)), value(number) {}
  LogField(std::string field, bool flag) : name(std::move(field)), value(flag) {}
};
using LogFields = std::vector<LogField>;

// Thread-safe. One call is one line, written to stderr as a whole.
class Log {
 public:
  // `level`: debug, info, warning, error; `format`: auto, text, json.
  Log(const std::string& level, const std::string& format);
  ~Log();
  Log(const Log&) = delete;
  Log& operator=(const Log&) = delete;

  void Debug(std::string_view message, const LogFields& fields = {});
  void Info(std::string_view message, const LogFields& fields = {});
  void Warning(std::string_view message, const LogFields& fields = {});
  void Error(std::string_view message, const LogFields& fields = {});

  // Changes the least severity logged.
  void SetLevel(const std::string& level);
  std::string level() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// `text` between quotes, escaped; bytes that are not UTF-8 become U+FFFD.
std::string JsonQuote(std::string_view text);

}  // namespace h5serve::server
