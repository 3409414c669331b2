#include "server/process_metrics.h"

#include <dirent.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <ctime>
#include <fstream>
#include <iterator>
#include <optional>
#include <sstream>
#include <string>

#include "config/cpu_quota.h"

namespace h5serve::server {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;

MetricFamily Make(const char* name, const char* help, MetricType type, double value) {
  ClientMetric metric;
  if (type == MetricType::Counter) {
    metric.counter.value = value;
  } else {
    metric.gauge.value = value;
  }
  return {name, help, type, {metric}};
}

std::optional<int> CountOpenFiles() {
  DIR* directory = opendir("/proc/self/fd");
  if (directory == nullptr) return std::nullopt;
  // ".", ".." and the directory's own descriptor do not count.
  int count = -3;
  while (readdir(directory) != nullptr) ++count;
  closedir(directory);
  return count;
}

}  // namespace

ProcessMetrics::ProcessMetrics() : start_time_seconds_(static_cast<double>(std::time(nullptr))) {}

std::vector<MetricFamily> ProcessMetrics::Collect() const {
  std::vector<MetricFamily> families;
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
  };
  families.push_back(Make("process_cpu_seconds_total", "User and system CPU time spent",
                          MetricType::Counter, seconds(usage.ru_utime) + seconds(usage.ru_stime)));
  families.push_back(Make("process_start_time_seconds", "Start of the process since the epoch",
                          MetricType::Gauge, start_time_seconds_));
  std::ifstream statm("/proc/self/statm");
  double pages = 0, resident = 0;
  if (statm >> pages >> resident) {
    const double page = static_cast<double>(sysconf(_SC_PAGESIZE));
    families.push_back(Make("process_virtual_memory_bytes", "Virtual memory size",
                            MetricType::Gauge, pages * page));
    families.push_back(Make("process_resident_memory_bytes", "Resident memory size",
                            MetricType::Gauge, resident * page));
  }
  if (const std::optional<int> files = CountOpenFiles()) {
    families.push_back(
        Make("process_open_fds", "Open file descriptors", MetricType::Gauge, *files));
  }
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
    families.push_back(Make("process_max_fds", "Most file descriptors allowed", MetricType::Gauge,
                            static_cast<double>(limit.rlim_cur)));
  }
  if (const std::optional<double> throttled = config::CpuThrottledSeconds()) {
    families.push_back(Make("h5serve_cpu_throttled_seconds_total",
                            "Time the control group was denied the CPU", MetricType::Counter,
                            *throttled));
  }
  return families;
}

}  // namespace h5serve::server
