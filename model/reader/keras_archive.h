// .keras archives: zip files of a configuration and an HDF5 file of weights.
#pragma once

#include <chrono>
#include <map>
#include <optional>
#include <string>

#include "model/diagnosis.h"
#include "model/reader/read_model.h"
#include "model/reader/unique_fd.h"

namespace h5serve::model {

struct KerasArchive {
  std::string config;  // JSON of the model
  std::optional<std::string> keras_version;
  std::map<std::string, std::string, std::less<>> assets;  // by path in the archive
  // The HDF5 file of weights, unpacked into memory; none for a model without weights.
  UniqueFd weights;
  int64_t weights_bytes = 0;
};

// Unpacks the zip archive open at `descriptor`. Sizes are bounded before they
// are believed. nullopt with diagnoses when it is no complete .keras archive.
std::optional<KerasArchive> ReadKerasArchive(int descriptor, const std::string& path,
                                             const ReadOptions& options, DiagnosisList* diagnoses);

}  // namespace h5serve::model
