#include "model/digest.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <openssl/evp.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "model/reader/unique_fd.h"

namespace h5serve::model {
namespace {

constexpr size_t kPieceBytes = 1 << 20;

struct FreeContext {
  void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
};

}  // namespace

absl::StatusOr<std::string> Sha256File(const std::string& path) {
  struct stat info {};
  // A pipe is not opened: that alone may have effects.
  if (stat(path.c_str(), &info) == 0 && !S_ISREG(info.st_mode)) {
    return absl::UnavailableError(fmt::format("{} is no regular file", path));
  }
  const UniqueFd file(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (file.get() < 0) {
    const int error = errno;
    const std::string message = fmt::format("cannot read {}: {}", path, std::strerror(error));
    return error == ENOENT ? absl::NotFoundError(message) : absl::UnavailableError(message);
  }
  if (fstat(file.get(), &info) != 0) {
    return absl::UnavailableError(fmt::format("cannot read {}: {}", path, std::strerror(errno)));
  }
  return Sha256Descriptor(file.get(), info.st_size);
}

absl::StatusOr<std::string> Sha256Descriptor(int descriptor, int64_t bytes) {
  const std::unique_ptr<EVP_MD_CTX, FreeContext> context(EVP_MD_CTX_new());
  bool good = context != nullptr && EVP_DigestInit_ex(context.get(), EVP_sha256(), nullptr) == 1;
  std::vector<char> piece(kPieceBytes);
  off_t position = 0;
  while (good && position < bytes) {
    const size_t wanted = std::min<size_t>(piece.size(), static_cast<size_t>(bytes - position));
    const ssize_t got = pread(descriptor, piece.data(), wanted, position);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) {
      return absl::UnavailableError(fmt::format("cannot read the file: {}", std::strerror(errno)));
    }
    if (got == 0) break;
    good = EVP_DigestUpdate(context.get(), piece.data(), static_cast<size_t>(got)) == 1;
    position += got;
  }
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned size = 0;
  good = good && EVP_DigestFinal_ex(context.get(), digest, &size) == 1;
  if (!good) return absl::InternalError("SHA-256 failed");
  std::string hex;
  for (unsigned i = 0; i < size; ++i) hex += fmt::format("{:02x}", digest[i]);
  return hex;
}

}  // namespace h5serve::model
