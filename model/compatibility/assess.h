// Which releases of Keras could load a file.
#pragma once

#include <string>
#include <vector>

#include "model/compatibility/obstacle.h"
#include "model/diagnosis.h"
#include "model/model_image.h"

namespace h5serve::model {

// A verdict for every release, in their order. `path` matters because Keras 3
// decides by the file's name how to read it. Takes time proportional to the
// size of model_config. Thread-safe.
std::vector<ReleaseVerdict> AssessReleases(const ModelImage& image, const std::string& path);

// For a file that could not be read, for the reason found: what is no HDF5
// file is none for Keras either. Empty when nothing can be said.
std::vector<ReleaseVerdict> AssessUnreadable(const DiagnosisList& diagnoses);

// Verdicts that are alike.
struct VerdictGroup {
  ReleaseRange releases;
  const ReleaseVerdict* verdict;  // of the first
};

// Neighbours of one line with the same verdict and first obstacle. The groups
// refer to `verdicts`.
std::vector<VerdictGroup> GroupVerdicts(const std::vector<ReleaseVerdict>& verdicts);

}  // namespace h5serve::model
