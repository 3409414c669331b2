#include "server/log.h"

#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <chrono>
#include <cmath>
#include <ctime>

namespace h5serve::server {
namespace {

spdlog::level::level_enum ParseLevel(const std::string& level) {
  if (level == "debug") return spdlog::level::debug;
  if (level == "warning") return spdlog::level::warn;
  if (level == "error") return spdlog::level::err;
  return spdlog::level::info;
}

std::string_view LevelName(spdlog::level::level_enum level) {
  switch (level) {
    case spdlog::level::debug:
      return "debug";
    case spdlog::level::warn:
      return "warning";
    case spdlog::level::err:
      return "error";
    default:
      return "info";
  }
}

std::string FormatNumber(double number) {
  return std::isfinite(number) ? fmt::format("{:.6g}", number) : "null";
}

// A word that needs no quotes is written without.
std::string TextValue(const LogField& field) {
  if (const auto* text = std::get_if<std::string>(&field.value)) {
    const bool plain = !text->empty() && text->find_first_of(" \"\\=\n\r\t") == std::string::npos;
    return plain ? *text : JsonQuote(*text);
  }
  if (const auto* number = std::get_if<int64_t>(&field.value)) return fmt::format("{}", *number);
  if (const auto* number = std::get_if<double>(&field.value)) return FormatNumber(*number);
  return std::get<bool>(field.value) ? "true" : "false";
}

std::string JsonValue(const LogField& field) {
  if (const auto* text = std::get_if<std::string>(&field.value)) return JsonQuote(*text);
  return TextValue(field);
}

std::string Timestamp() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  const int64_t us = std::chrono::duration_cast<std::chrono::microseconds>(now).count();
  const std::time_t seconds = us / 1000000;
  std::tm utc{};
  gmtime_r(&seconds, &utc);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:06}Z", utc.tm_year + 1900,
                     utc.tm_mon + 1, utc.tm_mday, utc.tm_hour, utc.tm_min, utc.tm_sec,
                     us % 1000000);
}

}  // namespace

struct Log::State {
  bool json = false;
  std::shared_ptr<spdlog::logger> logger;

  void Write(spdlog::level::level_enum level, std::string_view message, const LogFields& fields) {
    if (!logger->should_log(level)) return;
    std::string line;
    if (json) {
      line = fmt::format("{{\"time\":\"{}\",\"level\":\"{}\",\"message\":{}", Timestamp(),
                         LevelName(level), JsonQuote(message));
      for (const LogField& field : fields) {
        line += fmt::format(",{}:{}", JsonQuote(field.name), JsonValue(field));
      }
      line += '}';
    } else {
      line = std::string(message);
      for (const LogField& field : fields) {
        line += fmt::format("  {}={}", field.name, TextValue(field));
      }
    }
    logger->log(level, spdlog::string_view_t(line));
  }
};

Log::Log(const std::string& level, const std::string& format) : state_(std::make_unique<State>()) {
  state_->json = format == "json" || (format != "text" && isatty(STDERR_FILENO) == 0);
  state_->logger = std::make_shared<spdlog::logger>(
      "h5serve", std::make_shared<spdlog::sinks::stderr_color_sink_mt>());
  state_->logger->set_pattern(state_->json ? "%v" : "%H:%M:%S.%e %^%-7l%$ %v");
  state_->logger->set_level(ParseLevel(level));
  state_->logger->flush_on(spdlog::level::debug);
}

Log::~Log() = default;

void Log::Debug(std::string_view message, const LogFields& fields) {
  state_->Write(spdlog::level::debug, message, fields);
}

void Log::Info(std::string_view message, const LogFields& fields) {
  state_->Write(spdlog::level::info, message, fields);
}

void Log::Warning(std::string_view message, const LogFields& fields) {
  state_->Write(spdlog::level::warn, message, fields);
}

void Log::Error(std::string_view message, const LogFields& fields) {
  state_->Write(spdlog::level::err, message, fields);
}

void Log::SetLevel(const std::string& level) { state_->logger->set_level(ParseLevel(level)); }

std::string Log::level() const { return std::string(LevelName(state_->logger->level())); }

}  // namespace h5serve::server
