// The digest by which files are told apart.
#pragma once

#include <string>

#include "absl/status/statusor.h"

namespace h5serve::server {

// Lower-case hex SHA-256 of a file's bytes. NOT_FOUND or UNAVAILABLE when it
// cannot be read.
absl::StatusOr<std::string> FileDigest(const std::string& path);

}  // namespace h5serve::server
