#include "model/reader/lzf_filter.h"

#include <hdf5.h>

#include <algorithm>
#include <cstring>
#include <new>

namespace h5serve::model {
namespace {

// Registered with the HDF Group.
constexpr H5Z_filter_t kLzfNumber = 32000;
// A back reference of three bytes stands for at most 264.
constexpr size_t kMaxExpansion = 90;

// Called by HDF5 for each chunk: replaces *buffer, returns the new length or 0.
size_t FilterLzf(unsigned flags, size_t values_count, const unsigned values[], size_t bytes,
                 size_t* buffer_bytes, void** buffer) {
  if ((flags & H5Z_FLAG_REVERSE) == 0) return 0;  // files are only read
  // h5py stores the size of a chunk as the third value.
  size_t max_bytes = values_count >= 3 ? values[2] : 0;
  if (max_bytes == 0) max_bytes = bytes * kMaxExpansion;
  std::optional<std::vector<uint8_t>> unpacked;
  try {
    unpacked = UnpackLzf({static_cast<const uint8_t*>(*buffer), bytes}, max_bytes);
  } catch (const std::bad_alloc&) {
    return 0;
  }
  if (!unpacked || unpacked->empty()) return 0;
  void* replacement = H5allocate_memory(unpacked->size(), false);
  if (replacement == nullptr) return 0;
  std::memcpy(replacement, unpacked->data(), unpacked->size());
  H5free_memory(*buffer);
  *buffer = replacement;
  *buffer_bytes = unpacked->size();
  return unpacked->size();
}

}  // namespace

// A control byte below 32 announces as many literal bytes plus one. Any other
// holds a length in its upper three bits (7: one more byte is added) and, with
// the byte after, the distance of an earlier sequence to repeat.
std::optional<std::vector<uint8_t>> UnpackLzf(std::span<const uint8_t> packed, size_t max_bytes) {
  std::vector<uint8_t> bytes;
  bytes.reserve(std::min(max_bytes, packed.size() * kMaxExpansion));
  size_t at = 0;
  while (at < packed.size()) {
    const size_t control = packed[at++];
    if (control < 32) {
      const size_t count = control + 1;
      if (count > packed.size() - at || count > max_bytes - bytes.size()) return std::nullopt;
      bytes.insert(bytes.end(), packed.begin() + at, packed.begin() + at + count);
      at += count;
      continue;
    }
    size_t length = control >> 5;
    if (length == 7) {
      if (at == packed.size()) return std::nullopt;
      length += packed[at++];
    }
    length += 2;
    if (at == packed.size()) return std::nullopt;
    const size_t distance = ((control & 31) << 8 | packed[at++]) + 1;
    if (distance > bytes.size() || length > max_bytes - bytes.size()) return std::nullopt;
    // Source and destination may overlap: repeating is how runs are packed.
    for (size_t i = 0; i < length; ++i) bytes.push_back(bytes[bytes.size() - distance]);
  }
  return bytes;
}

void RegisterLzfFilter() {
  static const H5Z_class2_t kFilter = {H5Z_CLASS_T_VERS, kLzfNumber, 0,        1, "lzf",
                                       nullptr,          nullptr,    FilterLzf};
  H5Zregister(&kFilter);
}

}  // namespace h5serve::model
