// What this process may use of the machine.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace h5serve::config {

// CPUs' worth of time from the cgroup (v1 or v2) and the affinity mask, rounded
// down, at least 1. `root` is where /proc and /sys are; tests give another.
int AvailableCpus(const std::string& root = "");

// The cgroup's memory limit in bytes, or nullopt when there is none.
std::optional<int64_t> MemoryLimitBytes(const std::string& root = "");

// Seconds for which the cgroup was denied CPU time, or nullopt when unknown.
std::optional<double> CpuThrottledSeconds(const std::string& root = "");

}  // namespace h5serve::config
