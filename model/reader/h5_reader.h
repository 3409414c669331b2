// Reads an HDF5 file that lies in memory. Only the child process does this.
#pragma once

#include <cstddef>
#include <cstdint>

#include "model/reader/exchange.h"

namespace h5serve::model {

// Prepares the HDF5 library; before any byte of a file is looked at.
void InitializeHdf5();

// Memory for arrays, filled from the front.
class Arena {
 public:
  // `has_budget` tells whose fault it is when there is no room.
  Arena(std::byte* base, uint64_t capacity_bytes, uint64_t file_bytes, bool has_budget)
      : base_(base),
        capacity_(capacity_bytes),
        used_(kArenaOffset),
        left_in_file_(file_bytes),
        has_budget_(has_budget) {}

  // Offset of `bytes` new bytes, aligned for arrays, or 0 when there is no room.
  uint64_t Allocate(uint64_t bytes);
  std::byte* at(uint64_t offset) const { return base_ + offset; }
  // Counts `bytes` of an array that the parent reads from the file itself. False
  // when there is no room, or when arrays claim more than the file holds.
  bool LeaveInFile(uint64_t bytes);
  bool has_budget() const { return has_budget_; }

 private:
  std::byte* base_;
  uint64_t capacity_;
  uint64_t used_;
  uint64_t left_in_file_;
  bool has_budget_;
};

// Reads everything that ModelImage describes. What cannot be read becomes a
// finding. `file` must be writable memory, though nothing writes to it.
// May crash or loop for ever on damaged files.
void ReadHdf5(void* file, size_t file_bytes, bool is_archive_member, Arena* arena,
              ReaderRecords* records);

}  // namespace h5serve::model
