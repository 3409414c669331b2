#include "model/reader/keras_archive.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <zip.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <string_view>
#include <vector>

#include "model/config_value.h"
#include "model/reader/sniff.h"
#include "model/text_encoding.h"

namespace h5serve::model {
namespace {

constexpr zip_int64_t kMaxMembers = 100'000;
constexpr uint64_t kMaxConfigBytes = uint64_t{256} << 20;
constexpr uint64_t kMaxAssetsBytes = uint64_t{1} << 30;
constexpr uint64_t kMaxExpansion = 1100;  // deflate's best is 1032
constexpr uint64_t kAlwaysAllowedBytes = 1 << 20;
constexpr size_t kPieceBytes = 4 << 20;

struct CloseArchive {
  void operator()(zip_t* archive) const { zip_discard(archive); }
};
struct CloseMember {
  void operator()(zip_file_t* member) const { zip_fclose(member); }
};

class ArchiveReader {
 public:
  ArchiveReader(zip_t* archive, const std::string& path, const ReadOptions& options,
                DiagnosisList* diagnoses)
      : archive_(archive),
        path_(path),
        options_(options),
        deadline_(std::chrono::steady_clock::now() + options.timeout),
        diagnoses_(*diagnoses) {}

  std::optional<KerasArchive> Read() {
    const zip_int64_t count = zip_get_num_entries(archive_, 0);
    if (count > kMaxMembers) {
      Add(fmt::format("{} is an archive of {} members", path_, count));
      return std::nullopt;
    }
    const std::vector<std::string> names = Names(count);
    const auto config = std::ranges::find(names, "config.json");
    const auto weights = std::ranges::find_if(names, [](const std::string& name) {
      return name == "model.weights.h5" || name == "variables.h5";
    });
    if (config == names.end()) {
      if (weights != names.end()) {
        Add(fmt::format("{} is a .keras archive without config.json", path_));
      } else {
        DiagnoseForeignZip(names, path_, &diagnoses_);
      }
      return std::nullopt;
    }
    KerasArchive result;
    if (!ReadMember(config - names.begin(), kMaxConfigBytes, &result.config)) return std::nullopt;
    if (!LooksLikeKeras(result.config, names)) return std::nullopt;
    ReadVersion(names, &result);
    if (!ReadAssets(names, &result)) return std::nullopt;
    if (weights == names.end()) {
      return MayLackWeights(names) ? std::optional<KerasArchive>(std::move(result)) : std::nullopt;
    }
    if (!UnpackWeights(weights - names.begin(), &result)) return std::nullopt;
    return result;
  }

 private:
  void Add(std::string message) { diagnoses_.Add(Code::kKerasV3Zip, std::move(message)); }

  void AddCorrupt(std::string_view member, std::string_view reason) {
    diagnoses_.Add(Code::kHdf5Corrupt, fmt::format("cannot unpack {} of {}: {}", Printable(member),
                                                   path_, Printable(reason)));
  }

  std::vector<std::string> Names(zip_int64_t count) {
    std::vector<std::string> names;
    for (zip_int64_t i = 0; i < count; ++i) {
      const char* name = zip_get_name(archive_, i, ZIP_FL_ENC_RAW);
      names.emplace_back(name != nullptr ? name : "");
    }
    return names;
  }

  // Other programs write archives with a config.json as well.
  bool LooksLikeKeras(const std::string& config, const std::vector<std::string>& names) {
    const bool named = std::ranges::find(names, "metadata.json") != names.end();
    const bool is_config = config.find("\"class_name\"") != std::string::npos;
    if (named || is_config) return true;
    DiagnoseForeignZip(names, path_, &diagnoses_);
    return false;
  }

  // Whether there is nothing to unpack; weights in another form are not read.
  bool MayLackWeights(const std::vector<std::string>& names) {
    for (const std::string& name : names) {
      if (name.ends_with(".weights.h5") || name.ends_with(".weights.json") ||
          name.ends_with(".npz")) {
        Add(fmt::format("{} is a .keras archive whose weights are in {}, which is not read", path_,
                        Printable(name)));
        return false;
      }
    }
    Add(fmt::format("{} is a .keras archive without model.weights.h5", path_));
    return false;
  }

  // Size of a member, if it is one that may be unpacked.
  std::optional<uint64_t> SizeOf(zip_uint64_t index, uint64_t limit) {
    zip_stat_t info;
    zip_stat_init(&info);
    if (zip_stat_index(archive_, index, 0, &info) != 0 || (info.valid & ZIP_STAT_SIZE) == 0 ||
        (info.valid & ZIP_STAT_COMP_SIZE) == 0) {
      AddCorrupt(fmt::format("member {}", index), zip_strerror(archive_));
      return std::nullopt;
    }
    const char* name = info.name != nullptr ? info.name : "";
    if (info.size > limit) {
      diagnoses_.Add(Code::kResourceLimit, fmt::format("{} of {} has {} bytes, the limit is {}",
                                                       Printable(name), path_, info.size, limit));
      return std::nullopt;
    }
    if (info.size > info.comp_size * kMaxExpansion + kAlwaysAllowedBytes) {
      AddCorrupt(name, fmt::format("{} bytes are said to unpack to {}", info.comp_size, info.size));
      return std::nullopt;
    }
    return info.size;
  }

  // Unpacks exactly `size` bytes.
  bool Unpack(zip_uint64_t index, char* destination, uint64_t size) {
    const std::unique_ptr<zip_file_t, CloseMember> member(zip_fopen_index(archive_, index, 0));
    const char* name = zip_get_name(archive_, index, ZIP_FL_ENC_RAW);
    if (member == nullptr) {
      AddCorrupt(name != nullptr ? name : "", zip_strerror(archive_));
      return false;
    }
    uint64_t done = 0;
    while (true) {
      if (std::chrono::steady_clock::now() > deadline_) {
        diagnoses_.Add(Code::kReaderTimeout,
                       fmt::format("unpacking did not end within {} ms", options_.timeout.count()));
        return false;
      }
      // One byte more than the size: the end, where the checksum is compared,
      // is only seen by reading on.
      char beyond;
      char* to = done < size ? destination + done : &beyond;
      const uint64_t wanted = done < size ? std::min<uint64_t>(kPieceBytes, size - done) : 1;
      const zip_int64_t got = zip_fread(member.get(), to, wanted);
      if (got < 0 || (got > 0 && done == size)) {
        AddCorrupt(name, got < 0 ? zip_file_strerror(member.get()) : "more bytes than announced");
        return false;
      }
      if (got == 0) break;
      done += static_cast<uint64_t>(got);
    }
    if (done == size) return true;
    AddCorrupt(name, "fewer bytes than announced");
    return false;
  }

  bool ReadMember(zip_uint64_t index, uint64_t limit, std::string* text) {
    const std::optional<uint64_t> size = SizeOf(index, limit);
    if (!size) return false;
    text->resize(*size);
    return Unpack(index, text->data(), *size);
  }

  void ReadVersion(const std::vector<std::string>& names, KerasArchive* result) {
    const auto metadata = std::ranges::find(names, "metadata.json");
    if (metadata == names.end()) return;
    std::string text;
    if (!ReadMember(metadata - names.begin(), kAlwaysAllowedBytes, &text)) return;
    const absl::StatusOr<ConfigValue> value = ParseJson(text);
    if (!value.ok()) return;
    const std::string_view version = value->StringOr("keras_version");
    if (!version.empty()) result->keras_version = Printable(version, 100);
  }

  bool ReadAssets(const std::vector<std::string>& names, KerasArchive* result) {
    uint64_t left = kMaxAssetsBytes;
    for (size_t i = 0; i < names.size(); ++i) {
      if (!names[i].starts_with("assets/") || names[i].ends_with('/')) continue;
      std::string text;
      if (!ReadMember(i, left, &text)) return false;
      left -= text.size();
      result->assets.insert_or_assign(ToUtf8(names[i]), std::move(text));
    }
    return true;
  }

  bool UnpackWeights(zip_uint64_t index, KerasArchive* result) {
    const auto limit = static_cast<uint64_t>(options_.max_file_bytes);
    const std::optional<uint64_t> size = SizeOf(index, limit);
    if (!size) return false;
    if (*size == 0) {
      AddCorrupt("the weights", "they have 0 bytes");
      return false;
    }
    UniqueFd memory(memfd_create("h5serve-weights", MFD_CLOEXEC));
    void* base = MAP_FAILED;
    if (memory.get() >= 0 && ftruncate(memory.get(), static_cast<off_t>(*size)) == 0) {
      base = mmap(nullptr, *size, PROT_READ | PROT_WRITE, MAP_SHARED, memory.get(), 0);
    }
    if (base == MAP_FAILED) {
      diagnoses_.Add(Code::kResourceLimit,
                     fmt::format("cannot hold the {} bytes of weights of {}: {}", *size, path_,
                                 std::strerror(errno)));
      return false;
    }
    const bool unpacked = Unpack(index, static_cast<char*>(base), *size);
    munmap(base, *size);
    if (!unpacked) return false;
    result->weights = std::move(memory);
    result->weights_bytes = static_cast<int64_t>(*size);
    return true;
  }

  zip_t* archive_;
  const std::string& path_;
  const ReadOptions& options_;
  const std::chrono::steady_clock::time_point deadline_;
  DiagnosisList& diagnoses_;
};

}  // namespace

std::optional<KerasArchive> ReadKerasArchive(int descriptor, const std::string& path,
                                             const ReadOptions& options, DiagnosisList* diagnoses) {
  int error = 0;
  UniqueFd copy(fcntl(descriptor, F_DUPFD_CLOEXEC, 0));
  zip_t* opened = copy.get() < 0 ? nullptr : zip_fdopen(copy.get(), 0, &error);
  if (opened == nullptr) {
    zip_error_t reason;
    zip_error_init_with_code(&reason, error);
    diagnoses->Add(Code::kTruncated,
                   fmt::format("{} begins as a zip archive but cannot be read as one: {}", path,
                               Printable(zip_error_strerror(&reason))));
    zip_error_fini(&reason);
    return std::nullopt;
  }
  copy.release();  // it belongs to the archive now
  const std::unique_ptr<zip_t, CloseArchive> archive(opened);
  return ArchiveReader(archive.get(), path, options, diagnoses).Read();
}

}  // namespace h5serve::model
