// Option values as text, both ways.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "config/options.h"

namespace h5serve::config {

// Each parser takes the whole text or gives INVALID_ARGUMENT with what it expected.
absl::StatusOr<bool> ParseBool(std::string_view text);
absl::StatusOr<int64_t> ParseInt(std::string_view text);
absl::StatusOr<double> ParseNumber(std::string_view text);
// "250ms", "10s", "5m", "1h", "100us"; a bare number is seconds.
absl::StatusOr<std::chrono::microseconds> ParseDuration(std::string_view text);
// "512MiB", "2GiB", "1GB", or a number of bytes.
absl::StatusOr<int64_t> ParseBytes(std::string_view text);
// "latest", "latest 2", "all", "specific 3 5".
absl::StatusOr<VersionPolicy> ParseVersions(std::string_view text);
// Items between commas, without surrounding space; empty text is no item.
std::vector<std::string> ParseList(std::string_view text);

std::string FormatDuration(std::chrono::microseconds value);
std::string FormatBytes(int64_t value);
std::string FormatNumber(double value);
std::string FormatVersions(const VersionPolicy& policy);
std::string FormatList(const std::vector<std::string>& items);

// The options that are JSON objects: labels, names, custom objects.
absl::Status SetLabels(ModelOptions* options, std::string_view json);
absl::Status SetNames(ModelOptions* options, std::string_view json);
absl::Status SetCustomObjects(ModelOptions* options, std::string_view json);
std::string FormatLabels(const ModelOptions& options);
std::string FormatNames(const ModelOptions& options);
std::string FormatCustomObjects(const ModelOptions& options);

}  // namespace h5serve::config
