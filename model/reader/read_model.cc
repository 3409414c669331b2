#include "model/reader/read_model.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <cerrno>
#include <future>
#include <new>

#include "model/digest.h"
#include "model/reader/keras_archive.h"
#include "model/reader/missing_path.h"
#include "model/reader/sandbox.h"
#include "model/reader/sniff.h"
#include "model/reader/unique_fd.h"
#include "model/text_encoding.h"

namespace h5serve::model {
namespace {

bool IsUnchanged(const struct stat& before, const struct stat& after) {
  return before.st_size == after.st_size && before.st_mtim.tv_sec == after.st_mtim.tv_sec &&
         before.st_mtim.tv_nsec == after.st_mtim.tv_nsec;
}

// Opens a regular file; anything else is explained. A pipe or device is not
// opened at all, for that alone may have effects.
UniqueFd OpenRegular(const std::string& path, struct stat* info, DiagnosisList* diagnoses) {
  if (stat(path.c_str(), info) != 0) {
    DiagnoseOpenError(path, errno, diagnoses);
    return UniqueFd();
  }
  if (S_ISDIR(info->st_mode)) {
    DiagnoseDirectory(path, diagnoses);
    return UniqueFd();
  }
  UniqueFd file;
  if (S_ISREG(info->st_mode)) {
    file = UniqueFd(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
    if (file.get() < 0 || fstat(file.get(), info) != 0) {
      DiagnoseOpenError(path, errno, diagnoses);
      return UniqueFd();
    }
  }
  if (!S_ISREG(info->st_mode)) {
    diagnoses->Add(
        Code::kFileUnreadable,
        fmt::format("{} is no regular file but a pipe, socket or device", Printable(path)), {},
        {"put the model itself there; pipes and devices are never read"});
    return UniqueFd();
  }
  return file;
}

// Whether somebody holds the lock that HDF5 takes for writing.
bool IsLockedForWriting(int descriptor) {
  if (flock(descriptor, LOCK_SH | LOCK_NB) != 0) return errno == EWOULDBLOCK;
  flock(descriptor, LOCK_UN);
  return false;
}

// The thread has a descriptor of its own. Where the system gives no thread, whoever
// asks for the digest makes it.
FileDigest StartDigest(const UniqueFd& file, int64_t bytes) {
  return std::async(std::launch::async | std::launch::deferred,
                    [own = UniqueFd(fcntl(file.get(), F_DUPFD_CLOEXEC, 0)), bytes] {
                      return Sha256Descriptor(own.get(), bytes).value_or("");
                    });
}

std::optional<ModelImage> ReadArchive(int descriptor, const std::string& path,
                                      const ReadOptions& options, DiagnosisList* diagnoses) {
  std::optional<KerasArchive> archive = ReadKerasArchive(descriptor, path, options, diagnoses);
  if (!archive) return std::nullopt;
  const ContentKind weights = SniffContent(archive->weights.get(), archive->weights_bytes,
                                           path + ": the member of weights", diagnoses);
  if (weights != ContentKind::kHdf5) return std::nullopt;
  std::optional<ModelImage> image = ReadInSandbox(archive->weights.get(), archive->weights_bytes,
                                                  /*is_archive_member=*/true, options, diagnoses);
  if (!image) return std::nullopt;
  image->container = ModelImage::Container::kKerasZip;
  image->model_config = ToUtf8(archive->config);
  image->keras_version = archive->keras_version;
  image->assets = std::move(archive->assets);
  return image;
}

std::optional<ModelImage> ReadContent(int descriptor, int64_t size, const std::string& path,
                                      const ReadOptions& options, DiagnosisList* diagnoses) {
  switch (SniffContent(descriptor, size, path, diagnoses)) {
    case ContentKind::kHdf5:
      return ReadInSandbox(descriptor, size, /*is_archive_member=*/false, options, diagnoses);
    case ContentKind::kZip:
      return ReadArchive(descriptor, path, options, diagnoses);
    case ContentKind::kOther:
      break;
  }
  return std::nullopt;
}

std::optional<ModelImage> ReadOpenFile(int descriptor, const struct stat& before,
                                       const std::string& path, const ReadOptions& options,
                                       DiagnosisList* diagnoses) {
  if (before.st_size > options.max_file_bytes) {
    diagnoses->Add(Code::kResourceLimit, fmt::format("{} has {} bytes, the limit is {}", path,
                                                     before.st_size, options.max_file_bytes));
    return std::nullopt;
  }
  DiagnosisList found;
  std::optional<ModelImage> image = ReadContent(descriptor, before.st_size, path, options, &found);
  struct stat after {};
  if (fstat(descriptor, &after) == 0 && !IsUnchanged(before, after)) {
    // Whatever seems wrong with a file of changing contents need not be.
    diagnoses->Add(Code::kBeingWritten, fmt::format("{} changed while it was read", path));
    return std::nullopt;
  }
  if (image) image->file_bytes = before.st_size;
  if (found.has_errors() && IsLockedForWriting(descriptor)) {
    diagnoses->Add(Code::kFileLocked,
                   fmt::format("another process holds a write lock on {}", path));
    image.reset();
  }
  for (Diagnosis& diagnosis : found.items()) diagnoses->Add(std::move(diagnosis));
  return image;
}

}  // namespace

std::optional<ModelImage> ReadModelFile(const std::string& path, const ReadOptions& options,
                                        DiagnosisList* diagnoses, FileDigest* digest) {
  try {
    struct stat info {};
    const UniqueFd file = OpenRegular(path, &info, diagnoses);
    if (file.get() < 0) return std::nullopt;
    if (digest != nullptr && info.st_size <= options.max_file_bytes)
      *digest = StartDigest(file, info.st_size);
    return ReadOpenFile(file.get(), info, Printable(path, 1000), options, diagnoses);
  } catch (const std::bad_alloc&) {
    diagnoses->Add(Code::kResourceLimit, "not enough memory to read the file");
  } catch (const std::exception& error) {
    diagnoses->Add(Code::kInternalError, fmt::format("reading failed: {}", error.what()));
  }
  return std::nullopt;
}

}  // namespace h5serve::model
