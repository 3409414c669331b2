// Reading a model file, whatever it turns out to be.
#pragma once

#include <chrono>
#include <cstdint>
#include <future>
#include <optional>
#include <string>

#include "model/diagnosis.h"
#include "model/model_image.h"

namespace h5serve::model {

class SpareReader;

struct ReadOptions {
  std::chrono::milliseconds timeout{60000};
  int64_t max_file_bytes = int64_t{16} << 30;
  // Of all arrays together; 0: bounded by the size of the file alone.
  int64_t max_array_bytes = 0;
  // Where a child may be waiting; null: one is started.
  SpareReader* spare = nullptr;
};

// SHA-256 of a file, lower-case hex; "" when that failed. Computed meanwhile:
// takes as long as reading and compiling do.
using FileDigest = std::future<std::string>;

// Reads `path`, an HDF5 file or a .keras archive under any name. The HDF5
// library runs in a child process with neither privileges nor the right to open
// anything: it crashes, hangs and exhausts memory on damaged files.
//
// Appends to `diagnoses` what is wrong. Returns nullopt when nothing of the file
// can be used; an image with errors beside it lacks what the errors name.
// `digest` may be null; else it is set unless the file cannot be opened or is too
// large, and is of the very bytes that are read.
//
// Blocks, at most little longer than the timeout. Thread-safe. Never throws.
// REQUIRES: main() begins with RunReaderChild (below).
std::optional<ModelImage> ReadModelFile(const std::string& path, const ReadOptions& options,
                                        DiagnosisList* diagnoses, FileDigest* digest = nullptr);

// Finds what `image` lacks to be a whole model: an architecture (WEIGHTS_ONLY,
// NOT_A_KERAS_FILE, with what is there instead) or listed layers (INCOMPLETE_SAVE).
void DiagnoseContents(const ModelImage& image, DiagnosisList* diagnoses);

// Of the HDF5 library in use: "1.10.8".
std::string Hdf5Version();

// Whether this process was started by ReadModelFile to be its child. Every
// program that calls ReadModelFile begins its main() with
//   if (IsReaderChild(argc, argv)) return RunReaderChild(argc, argv);
// and does nothing before.
bool IsReaderChild(int argc, char** argv);
int RunReaderChild(int argc, char** argv);

}  // namespace h5serve::model
