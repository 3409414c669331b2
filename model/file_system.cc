#include "model/file_system.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <system_error>

namespace h5serve::model {
namespace {

absl::Status Error(int error, const std::string& path) {
  const std::string text = fmt::format("{}: {}", path, std::generic_category().message(error));
  switch (error) {
    case ENOENT:
    case ENOTDIR:
      return absl::NotFoundError(text);
    case EACCES:
    case EPERM:
      return absl::PermissionDeniedError(text);
    case ELOOP:
      return absl::FailedPreconditionError(text);
    default:
      return absl::UnavailableError(text);
  }
}

int64_t Nanoseconds(const timespec& time) {
  return static_cast<int64_t>(time.tv_sec) * 1'000'000'000 + time.tv_nsec;
}

class Descriptor {
 public:
  explicit Descriptor(int value) : value_(value) {}
  ~Descriptor() {
    if (value_ >= 0) close(value_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int value() const { return value_; }

 private:
  const int value_;
};

}  // namespace

absl::StatusOr<std::vector<DirectoryEntry>> PosixFileSystem::List(const std::string& path) const {
  const std::unique_ptr<DIR, int (*)(DIR*)> directory(opendir(path.c_str()), closedir);
  if (directory == nullptr) return Error(errno, path);
  std::vector<DirectoryEntry> entries;
  for (;;) {
    errno = 0;
    const dirent* const entry = readdir(directory.get());
    if (entry == nullptr) {
      // Half a listing would make the rest look deleted.
      if (errno != 0) return Error(errno, path);
      return entries;
    }
    std::string name = entry->d_name;
    if (name == "." || name == "..") continue;
    entries.push_back({std::move(name), entry->d_type == DT_LNK});
  }
}

absl::StatusOr<FileStat> PosixFileSystem::Stat(const std::string& path) const {
  struct stat status;
  if (stat(path.c_str(), &status) != 0) return Error(errno, path);
  FileStat result;
  result.kind = S_ISREG(status.st_mode)   ? FileKind::kRegular
                : S_ISDIR(status.st_mode) ? FileKind::kDirectory
                                          : FileKind::kOther;
  result.identity.device = status.st_dev;
  result.identity.inode = status.st_ino;
  result.identity.size = status.st_size;
  result.identity.mtime_ns = Nanoseconds(status.st_mtim);
  result.identity.ctime_ns = Nanoseconds(status.st_ctim);
  return result;
}

absl::StatusOr<std::string> PosixFileSystem::Read(const std::string& path, int64_t offset,
                                                  int64_t length) const {
  // Without O_NONBLOCK a FIFO that took the file's place would block the open.
  const Descriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (file.value() < 0) return Error(errno, path);
  struct stat status;
  if (fstat(file.value(), &status) != 0) return Error(errno, path);
  if (!S_ISREG(status.st_mode)) return Error(ENOENT, path);
  std::string bytes(static_cast<size_t>(length), '\0');
  size_t filled = 0;
  while (filled < bytes.size()) {
    const ssize_t count = pread(file.value(), bytes.data() + filled, bytes.size() - filled,
                                offset + static_cast<int64_t>(filled));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return Error(errno, path);
    if (count == 0) break;
    filled += static_cast<size_t>(count);
  }
  bytes.resize(filled);
  return bytes;
}

}  // namespace h5serve::model
