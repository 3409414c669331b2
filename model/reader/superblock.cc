#include "model/reader/superblock.h"

#include <fmt/format.h>

#include <string_view>

namespace h5serve::model {
namespace {

using std::string_view_literals::operator""sv;

constexpr std::string_view kSignature = "\x89HDF\r\n\x1A\n"sv;
// Longest superblock before what is of interest: version 1 with 8-byte offsets.
constexpr size_t kSuperblockBytes = 128;

uint64_t LittleEndian(std::string_view bytes) {
  uint64_t value = 0;
  for (size_t i = bytes.size(); i > 0; --i) value = value << 8 | static_cast<uint8_t>(bytes[i - 1]);
  return value;
}

// Layouts: HDF5 File Format Specification 3.0, section II.A.
Superblock Parse(std::string_view bytes, int64_t offset) {
  Superblock superblock;
  superblock.offset = offset;
  if (bytes.size() < 16) return superblock;
  superblock.version = static_cast<uint8_t>(bytes[8]);
  size_t addresses = 0;
  size_t address_bytes = 0;
  if (superblock.version <= 1) {
    address_bytes = static_cast<uint8_t>(bytes[13]);
    addresses = superblock.version == 0 ? 24 : 28;
  } else if (superblock.version <= 3) {
    address_bytes = static_cast<uint8_t>(bytes[9]);
    addresses = 12;
    // Bits 0 and 2: open for writing, in the usual or the single-writer mode.
    superblock.open_for_writing = superblock.version == 3 && (bytes[11] & 0x05) != 0;
  } else {
    return superblock;
  }
  const bool known_size = address_bytes == 2 || address_bytes == 4 || address_bytes == 8;
  // Base address, an address that differs by version, end of file.
  if (!known_size || bytes.size() < addresses + 3 * address_bytes) return superblock;
  const uint64_t base = LittleEndian(bytes.substr(addresses, address_bytes));
  const uint64_t end = LittleEndian(bytes.substr(addresses + 2 * address_bytes, address_bytes));
  superblock.readable = true;
  // Bytes may have been put before the file after it was written.
  superblock.end_of_file = end - base + static_cast<uint64_t>(offset);
  return superblock;
}

}  // namespace

std::optional<Superblock> FindSuperblock(int64_t file_size, const ReadBytes& read) {
  for (int64_t offset = 0; offset < file_size; offset = offset == 0 ? 512 : offset * 2) {
    const std::string bytes = read(offset, kSuperblockBytes);
    if (bytes.starts_with(kSignature)) return Parse(bytes, offset);
  }
  return std::nullopt;
}

bool CheckSuperblock(const Superblock& superblock, int64_t file_size, const std::string& path,
                     DiagnosisList* diagnoses) {
  if (!superblock.readable && superblock.version > 3) {
    diagnoses->Add(
        Code::kHdf5UnsupportedFeature,
        fmt::format("{} has an HDF5 superblock of version {}", path, superblock.version));
    return false;
  }
  if (!superblock.readable) {
    diagnoses->Add(
        Code::kTruncated,
        fmt::format("{} ends after {} bytes, within the HDF5 superblock", path, file_size));
    return false;
  }
  if (static_cast<uint64_t>(file_size) < superblock.end_of_file) {
    const double percent =
        100.0 * static_cast<double>(file_size) / static_cast<double>(superblock.end_of_file);
    diagnoses->Add(Code::kTruncated,
                   fmt::format("{} is {} bytes, its header says {} ({:.1f}% present)", path,
                               file_size, superblock.end_of_file, percent));
    return false;
  }
  if (superblock.open_for_writing) {
    diagnoses->Add(Code::kBeingWritten, fmt::format("{} is marked as open for writing", path), {},
                   {"close the program that writes the file; if it crashed, run `h5clear -s`"});
    return false;
  }
  return true;
}

}  // namespace h5serve::model
