// Digests of files.
#pragma once

#include <string>

#include "absl/status/statusor.h"

namespace h5serve::model {

// SHA-256 of the file's contents as lower-case hex. Reads in pieces; blocks.
// NOT_FOUND or UNAVAILABLE when it cannot be read, or is no regular file.
absl::StatusOr<std::string> Sha256File(const std::string& path);

// The same for an open file, whose position is left alone. UNAVAILABLE when it
// cannot be read.
absl::StatusOr<std::string> Sha256Descriptor(int descriptor);

}  // namespace h5serve::model
