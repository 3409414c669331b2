#include "model/settling.h"

#include <algorithm>
#include <string>
#include <string_view>

namespace h5serve::model {
namespace {

constexpr std::string_view kHdf5Signature("\x89HDF\r\n\x1a\n", 8);
constexpr std::string_view kZipSignature("PK\x03\x04", 4);
constexpr std::string_view kZipEndSignature("PK\x05\x06", 4);
// The end record is 22 bytes and a comment of at most 65,535.
constexpr int64_t kZipEndBytes = 22 + 65535;

uint64_t LittleEndian(std::string_view bytes) {
  uint64_t value = 0;
  for (size_t i = bytes.size(); i-- > 0;) value = value << 8 | static_cast<uint8_t>(bytes[i]);
  return value;
}

// Judges a file by its superblock, which begins `header` and lies at `offset`
// (HDF5 File Format Specification 3.0, section II.A).
Completeness JudgeSuperblock(std::string_view header, int64_t offset, int64_t size) {
  if (header.size() < 16) return Completeness::kIncomplete;
  const int version = static_cast<uint8_t>(header[8]);
  // An unknown version is for the reader to explain.
  if (version > 3) return Completeness::kComplete;
  const bool old = version < 2;
  const size_t width = static_cast<uint8_t>(header[old ? 13 : 9]);
  if (width != 2 && width != 4 && width != 8) return Completeness::kComplete;
  // Version 1 has four bytes more, for the indexed storage's B-tree.
  const size_t base = old ? (version == 0 ? 24 : 28) : 12;
  if (header.size() < base + 3 * width) return Completeness::kIncomplete;
  // Since version 3, bit 0 of the consistency flags says "open for writing".
  if (version == 3 && (static_cast<uint8_t>(header[11]) & 1) != 0) {
    return Completeness::kIncomplete;
  }
  // The library cuts a file to its end address on closing it; while it is open
  // for writing the address lags behind. It counts from byte 0, except where a
  // user block was put in front later.
  const uint64_t end = LittleEndian(header.substr(base + 2 * width, width));
  const auto file_end = static_cast<uint64_t>(size);
  const bool whole = end == file_end || end == file_end - static_cast<uint64_t>(offset);
  return whole ? Completeness::kComplete : Completeness::kIncomplete;
}

bool AllZero(std::string_view bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](char byte) { return byte == '\0'; });
}

}  // namespace

Completeness CheckCompleteness(const FileSystem& files, const std::string& path, int64_t size) {
  if (size == 0) return Completeness::kIncomplete;
  const absl::StatusOr<std::string> head = files.Read(path, 0, 512);
  if (!head.ok()) return Completeness::kComplete;
  if (head->starts_with(kZipSignature)) {
    const absl::StatusOr<std::string> tail =
        files.Read(path, std::max<int64_t>(0, size - kZipEndBytes), kZipEndBytes);
    const bool ended = !tail.ok() || tail->find(kZipEndSignature) != std::string::npos;
    return ended ? Completeness::kComplete : Completeness::kIncomplete;
  }
  if (head->starts_with(kHdf5Signature)) return JudgeSuperblock(*head, 0, size);
  // A user block moves the superblock to a power of two from 512 on.
  for (int64_t offset = 512; offset <= 65536 && offset < size; offset *= 2) {
    const absl::StatusOr<std::string> block = files.Read(path, offset, 64);
    if (!block.ok()) return Completeness::kComplete;
    if (block->starts_with(kHdf5Signature)) return JudgeSuperblock(*block, offset, size);
  }
  // The library writes the superblock last, until then there are zeros.
  return AllZero(*head) ? Completeness::kIncomplete : Completeness::kComplete;
}

bool Settling::Observe(const Sighting& sighting, absl::Duration now) {
  if (sighting_ && sighting_->SameFiles(sighting)) {
    sighting_->renamed |= sighting.renamed;
    return false;
  }
  sighting_ = sighting;
  // What last changed before it was first seen has stood still since then.
  unchanged_since_ = now - std::max(absl::ZeroDuration(), sighting.age);
  completeness_ = Completeness::kIncomplete;
  return true;
}

absl::Duration Settling::SettledAt(const SettlingRules& rules) const {
  if (completeness_ == Completeness::kIncomplete) {
    return unchanged_since_ + std::max(rules.incomplete, rules.settle);
  }
  if (sighting_ && sighting_->renamed) return unchanged_since_;
  return unchanged_since_ + rules.settle;
}

}  // namespace h5serve::model
