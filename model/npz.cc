#include "model/npz.h"

#include <fmt/format.h>
#include <zip.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <memory>
#include <new>

#include "model/npy.h"
#include "model/text_encoding.h"

namespace h5serve::model {
namespace {

using compute::Tensor;

constexpr zip_int64_t kMaxMembers = 100'000;
constexpr uint64_t kMaxExpansion = 1100;  // deflate's best is 1032
constexpr uint64_t kAlwaysAllowedBytes = 1 << 20;

absl::Status About(const std::string& what, const absl::Status& status) {
  return absl::Status(status.code(),
                      fmt::format("{}: {}", Printable(what), std::string(status.message())));
}

struct DiscardArchive {
  void operator()(zip_t* archive) const { zip_discard(archive); }
};
struct CloseMember {
  void operator()(zip_file_t* member) const { zip_fclose(member); }
};
using Archive = std::unique_ptr<zip_t, DiscardArchive>;

absl::StatusOr<Archive> OpenArchive(const std::string& path, int flags) {
  int code = 0;
  Archive archive(zip_open(path.c_str(), flags, &code));
  if (archive != nullptr) return archive;
  zip_error_t error;
  zip_error_init_with_code(&error, code);
  const std::string reason = zip_error_strerror(&error);
  zip_error_fini(&error);
  if (code == ZIP_ER_NOENT) return absl::NotFoundError("the file does not exist");
  return absl::InvalidArgumentError(fmt::format("not a .npz archive: {}", reason));
}

absl::StatusOr<Tensor> ReadArchiveMember(zip_t* archive, zip_int64_t index) {
  zip_stat_t info;
  zip_stat_init(&info);
  constexpr zip_uint64_t kNeeded = ZIP_STAT_SIZE | ZIP_STAT_COMP_SIZE;
  if (zip_stat_index(archive, index, 0, &info) != 0 || (info.valid & kNeeded) != kNeeded) {
    return absl::InvalidArgumentError("no size is known");
  }
  if (info.size > info.comp_size * kMaxExpansion + kAlwaysAllowedBytes) {
    return absl::InvalidArgumentError(
        fmt::format("{} bytes are said to unpack to {}", info.comp_size, info.size));
  }
  const std::unique_ptr<zip_file_t, CloseMember> member(zip_fopen_index(archive, index, 0));
  if (member == nullptr) return absl::InvalidArgumentError(zip_strerror(archive));
  const auto read = [&member](char* destination, uint64_t size) {
    while (size > 0) {
      const zip_int64_t got = zip_fread(member.get(), destination, size);
      if (got <= 0) return false;
      destination += got;
      size -= static_cast<uint64_t>(got);
    }
    return true;
  };
  absl::StatusOr<Tensor> tensor = DecodeNpy(info.size, read);
  if (!tensor.ok()) return tensor;
  // The checksum is compared when the end is read.
  char beyond;
  if (zip_fread(member.get(), &beyond, 1) < 0) {
    return absl::InvalidArgumentError(zip_file_strerror(member.get()));
  }
  return tensor;
}

absl::StatusOr<std::vector<NamedTensor>> ReadArchive(const std::string& path) {
  absl::StatusOr<Archive> archive = OpenArchive(path, ZIP_RDONLY);
  if (!archive.ok()) return archive.status();
  const zip_int64_t count = zip_get_num_entries(archive->get(), 0);
  if (count > kMaxMembers) return absl::InvalidArgumentError(fmt::format("{} members", count));
  std::vector<NamedTensor> tensors;
  for (zip_int64_t i = 0; i < count; ++i) {
    const char* raw_name = zip_get_name(archive->get(), i, 0);
    std::string name = ToUtf8(raw_name != nullptr ? raw_name : "");
    if (!name.ends_with(".npy")) continue;
    absl::StatusOr<Tensor> tensor = ReadArchiveMember(archive->get(), i);
    if (!tensor.ok()) return About("member " + name, tensor.status());
    name.resize(name.size() - 4);
    tensors.push_back({std::move(name), *std::move(tensor)});
  }
  return tensors;
}

absl::StatusOr<Tensor> ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  const std::streamoff size = file ? static_cast<std::streamoff>(file.tellg()) : -1;
  if (size < 0) return absl::NotFoundError("the file cannot be opened");
  file.seekg(0);
  return DecodeNpy(static_cast<uint64_t>(size), [&file](char* destination, uint64_t bytes) {
    return static_cast<bool>(file.read(destination, static_cast<std::streamsize>(bytes)));
  });
}

// Calls `function`, which returns a Status or StatusOr, and names the file.
template <typename Function>
auto Guarded(const std::string& path, const Function& function) -> decltype(function()) {
  try {
    auto result = function();
    if (result.ok()) return result;
    if constexpr (std::is_same_v<decltype(result), absl::Status>) {
      return About(path, result);
    } else {
      return About(path, result.status());
    }
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError(fmt::format("{}: not enough memory", Printable(path)));
  } catch (const std::exception& error) {
    return absl::InternalError(fmt::format("{}: {}", Printable(path), error.what()));
  }
}

absl::Status WriteArchive(const std::string& path, std::span<const NamedTensor> tensors) {
  absl::StatusOr<Archive> archive = OpenArchive(path, ZIP_CREATE | ZIP_TRUNCATE);
  if (!archive.ok()) return archive.status();
  std::vector<std::string> contents;  // until the archive is closed
  contents.reserve(tensors.size());
  for (const NamedTensor& named : tensors) {
    absl::StatusOr<std::string> bytes = EncodeNpy(named.tensor);
    if (!bytes.ok()) return About("array " + named.name, bytes.status());
    contents.push_back(*std::move(bytes));
    zip_source_t* source =
        zip_source_buffer(archive->get(), contents.back().data(), contents.back().size(), 0);
    const std::string name = named.name + ".npy";
    const zip_int64_t index =
        source == nullptr ? -1
                          : zip_file_add(archive->get(), name.c_str(), source, ZIP_FL_ENC_UTF_8);
    if (index < 0) {
      const std::string reason = zip_strerror(archive->get());
      zip_source_free(source);
      return absl::InvalidArgumentError(fmt::format("array {}: {}", Printable(named.name), reason));
    }
    zip_set_file_compression(archive->get(), index, ZIP_CM_STORE, 0);
  }
  if (zip_close(archive->get()) != 0) {
    return absl::UnavailableError(fmt::format("cannot write: {}", zip_strerror(archive->get())));
  }
  archive->release();
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Tensor> ReadNpy(const std::string& path) {
  return Guarded(path, [&] { return ReadFile(path); });
}

absl::StatusOr<std::vector<NamedTensor>> ReadNpz(const std::string& path) {
  return Guarded(path, [&] { return ReadArchive(path); });
}

absl::Status WriteNpy(const std::string& path, const Tensor& tensor) {
  return Guarded(path, [&]() -> absl::Status {
    const absl::StatusOr<std::string> bytes = EncodeNpy(tensor);
    if (!bytes.ok()) return bytes.status();
    std::ofstream file(path, std::ios::binary | std::ios::trunc);
    file.write(bytes->data(), static_cast<std::streamsize>(bytes->size()));
    file.close();
    return file ? absl::OkStatus() : absl::UnavailableError("cannot write");
  });
}

absl::Status WriteNpz(const std::string& path, std::span<const NamedTensor> tensors) {
  return Guarded(path, [&] { return WriteArchive(path, tensors); });
}

}  // namespace h5serve::model
