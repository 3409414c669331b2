// What the reading child and its parent tell each other, through shared memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "compute/dtype.h"
#include "compute/shape.h"
#include "model/diagnosis.h"
#include "model/model_image.h"

namespace h5serve::model {

// The parent writes this at the start of the memory.
struct ReaderRequest {
  uint64_t file_bytes;
  uint64_t capacity_bytes;  // of the shared memory
  uint64_t heap_bytes;      // the child may allocate
  uint32_t cpu_seconds;
  uint32_t is_archive_member;  // weights of a .keras archive
  uint32_t has_budget;  // the capacity is what the operator allows, not what the file may need
};

// The child writes this at kReplyOffset, last of all.
struct ReaderReply {
  uint64_t magic;
  uint64_t records_offset;
  uint64_t records_bytes;
};

inline constexpr uint64_t kReplyMagic = 0x6835736572766531;
inline constexpr size_t kReplyOffset = 256;
// Arrays begin here, each at a multiple of 64.
inline constexpr size_t kArenaOffset = 4096;
inline constexpr size_t kArenaAlignment = 64;

// All that the child found.
struct ReaderRecords {
  struct Array {
    std::string path;
    compute::DType dtype = compute::DType::kFloat32;
    compute::Shape shape;
    // Of the elements: in the shared memory, or in the file, where they lie there
    // just as memory wants them. Unused for strings.
    uint64_t offset = 0;
    std::vector<std::string> strings;
    bool in_file = false;
  };
  struct Finding {
    Code code;
    std::string message;
    std::string hdf5_path;
  };

  // Content fields only; datasets stay empty until the parent makes views.
  ModelImage image;
  std::vector<Array> arrays;
  std::vector<Finding> findings;
};

std::string SerializeRecords(const ReaderRecords& records);

// Trusts nothing: nullopt unless all lengths, codes, types and shapes are sound
// and all arrays lie within [kArenaOffset, arena_end) or the file, of which they
// have no more than its size, but for those at the same place. Text comes out as
// UTF-8.
std::optional<ReaderRecords> ParseRecords(std::span<const std::byte> bytes, uint64_t arena_end,
                                          uint64_t file_bytes);

}  // namespace h5serve::model
