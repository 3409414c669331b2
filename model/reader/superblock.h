// The first structure of an HDF5 file, of which only the size is of interest.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "model/diagnosis.h"

namespace h5serve::model {

struct Superblock {
  int64_t offset = 0;  // of the signature: the size of the user block
  int version = 0;
  // Fields cut off, or a version nobody has defined.
  bool readable = false;
  bool open_for_writing = false;
  uint64_t end_of_file = 0;  // where the file should end
};

// Bytes at an offset, as many as there are.
using ReadBytes = std::function<std::string(int64_t offset, size_t size)>;

// Looks for the signature where it may be: at 0, 512, 1024, 2048, …
std::optional<Superblock> FindSuperblock(int64_t file_size, const ReadBytes& read);

// False with a diagnosis when the file is cut short or still being written.
bool CheckSuperblock(const Superblock& superblock, int64_t file_size, const std::string& path,
                     DiagnosisList* diagnoses);

}  // namespace h5serve::model
