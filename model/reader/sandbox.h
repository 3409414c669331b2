// Starts the reading child, waits for it and takes over what it found.
#pragma once

#include <cstdint>
#include <optional>

#include "model/diagnosis.h"
#include "model/model_image.h"
#include "model/reader/read_model.h"

namespace h5serve::model {

// How the child ends when nothing crashes. Its messages go nowhere.
inline constexpr int kChildDone = 0;
inline constexpr int kChildBadCall = 2;
inline constexpr int kChildNoRoom = 3;

// Reads the HDF5 file of `file_bytes` open at `file_descriptor` in a child.
// Thread-safe.
std::optional<ModelImage> ReadInSandbox(int file_descriptor, int64_t file_bytes,
                                        bool is_archive_member, const ReadOptions& options,
                                        DiagnosisList* diagnoses);

}  // namespace h5serve::model
