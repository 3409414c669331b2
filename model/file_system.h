// The few things the model manager asks of a file system.
#pragma once

#include <compare>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace h5serve::model {

// Two sightings of a path with equal identities saw the same bytes, as far as
// a file system can tell.
struct FileIdentity {
  uint64_t device = 0;
  uint64_t inode = 0;
  int64_t size = 0;
  int64_t mtime_ns = 0;
  int64_t ctime_ns = 0;

  auto operator<=>(const FileIdentity&) const = default;
};

enum class FileKind { kRegular, kDirectory, kOther };

struct FileStat {
  FileKind kind = FileKind::kRegular;
  FileIdentity identity;
};

struct DirectoryEntry {
  std::string name;
  bool is_link = false;
};

// The seam at which tests put their own files. Thread-safe.
//
// Errors: NOT_FOUND (ENOENT, ENOTDIR), PERMISSION_DENIED (EACCES, EPERM),
// FAILED_PRECONDITION (ELOOP), UNAVAILABLE for everything else.
class FileSystem {
 public:
  virtual ~FileSystem() = default;
  // Entries without "." and "..", in any order.
  virtual absl::StatusOr<std::vector<DirectoryEntry>> List(const std::string& path) const = 0;
  // Follows symbolic links.
  virtual absl::StatusOr<FileStat> Stat(const std::string& path) const = 0;
  // Up to `length` bytes from `offset` of a regular file; fewer at its end.
  virtual absl::StatusOr<std::string> Read(const std::string& path, int64_t offset,
                                           int64_t length) const = 0;
};

// The machine's files.
class PosixFileSystem : public FileSystem {
 public:
  absl::StatusOr<std::vector<DirectoryEntry>> List(const std::string& path) const override;
  absl::StatusOr<FileStat> Stat(const std::string& path) const override;
  absl::StatusOr<std::string> Read(const std::string& path, int64_t offset,
                                   int64_t length) const override;
};

}  // namespace h5serve::model
