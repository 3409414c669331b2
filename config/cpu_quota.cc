#include "config/cpu_quota.h"

#include <fmt/format.h>
#include <sched.h>

#include <algorithm>
#include <charconv>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string_view>
#include <thread>
#include <vector>

namespace h5serve::config {
namespace {

std::optional<std::string> ReadFile(const std::string& path) {
  std::ifstream stream(path);
  if (!stream) return std::nullopt;
  return std::string((std::istreambuf_iterator<char>(stream)), {});
}

std::optional<double> ReadNumber(std::string_view text) {
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc()) return std::nullopt;
  return value;
}

// The directories of this process' cgroup for one controller, own one first,
// then its parents up to the mount: the tightest limit counts. In a container
// the path of /proc/self/cgroup may not exist below the mount; the mount is
// then the container's own group.
std::vector<std::string> GroupDirectories(const std::string& root, std::string_view controller) {
  std::string path = "/";
  std::string mount = root + "/sys/fs/cgroup";
  const std::optional<std::string> groups = ReadFile(root + "/proc/self/cgroup");
  std::istringstream lines(groups.value_or(""));
  for (std::string line; std::getline(lines, line);) {
    const size_t first = line.find(':');
    const size_t second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string list = "," + line.substr(first + 1, second - first - 1) + ",";
    const bool named = list.find(fmt::format(",{},", controller)) != std::string::npos;
    if (named || (list == ",," && controller.empty())) path = line.substr(second + 1);
  }
  if (!controller.empty()) mount += fmt::format("/{}", controller);
  std::vector<std::string> directories;
  while (path.size() > 1) {
    directories.push_back(mount + path);
    path.resize(path.rfind('/'));
  }
  directories.push_back(mount);
  return directories;
}

std::optional<double> QuotaCpus(const std::string& root) {
  std::optional<double> best;
  const auto tighten = [&best](double cpus) {
    if (cpus > 0) best = std::min(best.value_or(cpus), cpus);
  };
  for (const std::string& directory : GroupDirectories(root, "")) {
    const std::optional<std::string> text = ReadFile(directory + "/cpu.max");
    if (!text || text->starts_with("max")) continue;
    const size_t space = text->find(' ');
    const std::optional<double> quota = ReadNumber(*text);
    const std::optional<double> period =
        space == std::string::npos ? std::nullopt
                                   : ReadNumber(std::string_view(*text).substr(space + 1));
    if (quota && period.value_or(0) > 0) tighten(*quota / *period);
  }
  for (const std::string& directory : GroupDirectories(root, "cpu")) {
    const std::optional<double> quota =
        ReadNumber(ReadFile(directory + "/cpu.cfs_quota_us").value_or(""));
    const std::optional<double> period =
        ReadNumber(ReadFile(directory + "/cpu.cfs_period_us").value_or(""));
    if (quota.value_or(-1) > 0 && period.value_or(0) > 0) tighten(*quota / *period);
  }
  return best;
}

}  // namespace

int AvailableCpus(const std::string& root) {
  int cpus = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) cpus = std::max(1, CPU_COUNT(&set));
  if (const std::optional<double> quota = QuotaCpus(root)) {
    cpus = std::min(cpus, std::max(1, static_cast<int>(*quota)));
  }
  return cpus;
}

std::optional<int64_t> MemoryLimitBytes(const std::string& root) {
  // cgroup v1 writes a number near 2^63 when there is no limit.
  constexpr double kNoLimit = 4e18;
  std::optional<int64_t> best;
  const auto tighten = [&](const std::string& path) {
    const std::optional<double> value = ReadNumber(ReadFile(path).value_or(""));
    if (value && *value > 0 && *value < kNoLimit) {
      const int64_t bytes = static_cast<int64_t>(*value);
      best = std::min(best.value_or(bytes), bytes);
    }
  };
  for (const std::string& directory : GroupDirectories(root, "")) {
    tighten(directory + "/memory.max");
  }
  for (const std::string& directory : GroupDirectories(root, "memory")) {
    tighten(directory + "/memory.limit_in_bytes");
  }
  return best;
}

std::optional<double> CpuThrottledSeconds(const std::string& root) {
  const auto find = [](const std::string& path, std::string_view key) -> std::optional<double> {
    const std::string text = ReadFile(path).value_or("");
    const size_t at = text.find(key);
    if (at == std::string::npos) return std::nullopt;
    return ReadNumber(std::string_view(text).substr(at + key.size()));
  };
  for (const std::string& directory : GroupDirectories(root, "")) {
    if (const auto us = find(directory + "/cpu.stat", "throttled_usec ")) return *us / 1e6;
  }
  for (const std::string& directory : GroupDirectories(root, "cpu")) {
    if (const auto ns = find(directory + "/cpu.stat", "throttled_time ")) return *ns / 1e9;
  }
  return std::nullopt;
}

}  // namespace h5serve::config
