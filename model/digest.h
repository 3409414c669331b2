// Digests of files.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"

namespace h5serve::model {

// SHA-256 of the file's contents as lower-case hex. Reads in pieces; blocks.
// NOT_FOUND or UNAVAILABLE when it cannot be read, or is no regular file.
absl::StatusOr<std::string> Sha256File(const std::string& path);

// The same for the first `bytes` of an open file, whose position is left alone: a
// file that grows meanwhile would have no end. UNAVAILABLE when it cannot be read.
absl::StatusOr<std::string> Sha256Descriptor(int descriptor, int64_t bytes);

}  // namespace h5serve::model
