#include "model/memory_ledger.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>
#include <optional>
#include <string_view>
#include <vector>

namespace h5serve::model {
namespace {

constexpr int64_t kNoLimit = std::numeric_limits<int64_t>::max();

std::vector<std::string> Lines(const std::string& text) {
  std::vector<std::string> lines;
  size_t start = 0;
  while (start < text.size()) {
    const size_t end = std::min(text.find('\n', start), text.size());
    lines.push_back(text.substr(start, end - start));
    start = end + 1;
  }
  return lines;
}

std::string ReadOrEmpty(const FileSystem& files, const std::string& path) {
  absl::StatusOr<std::string> text = files.Read(path, 0, 64 * 1024);
  return text.ok() ? *std::move(text) : "";
}

// First number in `text`; "max" and anything else is none. The kernel writes
// numbers near 2^63 for "no limit".
std::optional<int64_t> FirstNumber(std::string_view text) {
  const size_t start = text.find_first_of("0123456789");
  if (start == std::string_view::npos) return std::nullopt;
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data() + start, text.data() + text.size(), value);
  if (error != std::errc()) return std::nullopt;
  return value;
}

// The smallest limit in `file` of the group `group` below `mount` and of its
// parents. Inside a container the group's path may not exist below the mount;
// then the mount itself is the group.
int64_t SmallestLimit(const FileSystem& files, const std::string& mount, std::string group,
                      std::string_view file) {
  int64_t smallest = kNoLimit;
  for (;;) {
    const std::string text = ReadOrEmpty(files, fmt::format("{}{}/{}", mount, group, file));
    smallest = std::min(smallest, FirstNumber(text).value_or(kNoLimit));
    if (group.empty()) return smallest;
    group.resize(group.rfind('/') == std::string::npos ? 0 : group.rfind('/'));
  }
}

}  // namespace

int64_t AllowedMemoryBytes(const FileSystem& files, const std::string& root) {
  const std::string base = root == "/" ? "" : root;
  int64_t limit = kNoLimit;
  for (const std::string& line : Lines(ReadOrEmpty(files, base + "/proc/self/cgroup"))) {
    // "4:memory:/path" in version 1, "0::/path" in version 2.
    const size_t first = line.find(':');
    const size_t second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    std::string group = line.substr(second + 1);
    if (group == "/") group.clear();
    if (controllers.empty()) {
      limit = std::min(limit, SmallestLimit(files, base + "/sys/fs/cgroup", group, "memory.max"));
      limit = std::min(limit,
                       SmallestLimit(files, base + "/sys/fs/cgroup/unified", group, "memory.max"));
    } else if (fmt::format(",{},", controllers).find(",memory,") != std::string::npos) {
      limit = std::min(limit, SmallestLimit(files, base + "/sys/fs/cgroup/memory", group,
                                            "memory.limit_in_bytes"));
    }
  }
  for (const std::string& line : Lines(ReadOrEmpty(files, base + "/proc/meminfo"))) {
    if (!line.starts_with("MemTotal:")) continue;
    limit = std::min(limit, FirstNumber(line).value_or(kNoLimit / 1024) * 1024);
  }
  return limit;
}

MemoryLedger::MemoryLedger(int64_t limit_bytes) : limit_bytes_(limit_bytes) {}

void MemoryLedger::SetLimit(int64_t limit_bytes) {
  absl::MutexLock lock(&mutex_);
  limit_bytes_ = limit_bytes;
}

int64_t MemoryLedger::limit_bytes() const {
  absl::MutexLock lock(&mutex_);
  return limit_bytes_;
}

int64_t MemoryLedger::used_bytes() const {
  absl::MutexLock lock(&mutex_);
  return used_bytes_;
}

int64_t MemoryLedger::free_bytes() const {
  absl::MutexLock lock(&mutex_);
  return limit_bytes_ - used_bytes_;
}

void MemoryLedger::Reserve(const std::string& model, int64_t bytes) { Add(model, 0, bytes); }
void MemoryLedger::Unreserve(const std::string& model, int64_t bytes) { Add(model, 0, -bytes); }
void MemoryLedger::Hold(const std::string& model, int64_t bytes) { Add(model, bytes, 0); }
void MemoryLedger::Release(const std::string& model, int64_t bytes) { Add(model, -bytes, 0); }

void MemoryLedger::Add(const std::string& model, int64_t held, int64_t reserved) {
  absl::MutexLock lock(&mutex_);
  Share& share = shares_[model];
  share.held += held;
  share.reserved += reserved;
  used_bytes_ += held + reserved;
  if (share.held == 0 && share.reserved == 0) shares_.erase(model);
}

std::string MemoryLedger::Describe() const {
  std::vector<std::pair<int64_t, std::string>> holders;
  {
    absl::MutexLock lock(&mutex_);
    for (const auto& [model, share] : shares_) {
      if (share.held + share.reserved > 0) holders.emplace_back(share.held + share.reserved, model);
    }
  }
  std::sort(holders.begin(), holders.end(), [](const auto& a, const auto& b) {
    return a.first != b.first ? a.first > b.first : a.second < b.second;
  });
  std::string text;
  for (size_t i = 0; i < std::min<size_t>(holders.size(), 5); ++i) {
    text += fmt::format("{}{} {}", i == 0 ? "" : ", ", holders[i].second,
                        FormatBytes(holders[i].first));
  }
  if (holders.size() > 5) text += fmt::format(" and {} more", holders.size() - 5);
  return text;
}

std::string FormatBytes(int64_t bytes) {
  constexpr std::array<std::string_view, 4> kUnits = {"KiB", "MiB", "GiB", "TiB"};
  if (bytes < 1024) return fmt::format("{} B", bytes);
  double value = static_cast<double>(bytes) / 1024;
  size_t unit = 0;
  while (value >= 1024 && unit + 1 < kUnits.size()) {
    value /= 1024;
    ++unit;
  }
  return fmt::format("{:.1f} {}", value, kUnits[unit]);
}

}  // namespace h5serve::model
