// Explains paths that lead to no readable file.
#pragma once

#include <string>

#include "model/diagnosis.h"

namespace h5serve::model {

// The path does not exist: similar names, or the files of a checkpoint beside it.
void DiagnoseMissing(const std::string& path, DiagnosisList* diagnoses);

// The path is a directory.
void DiagnoseDirectory(const std::string& path, DiagnosisList* diagnoses);

// stat() or open() failed with `error`.
void DiagnoseOpenError(const std::string& path, int error, DiagnosisList* diagnoses);

}  // namespace h5serve::model
