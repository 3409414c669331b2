// What a file really is, by its first bytes.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "model/diagnosis.h"

namespace h5serve::model {

enum class ContentKind {
  kHdf5,   // signature found, and the file is as long as it should be
  kZip,    // an archive of some kind
  kOther,  // nothing to read; `diagnoses` says what it is
};

// Looks at the file of `size` bytes open at `descriptor`; `path` is for messages
// and never opened. Blocks for a few small reads.
ContentKind SniffContent(int descriptor, int64_t size, const std::string& path,
                         DiagnosisList* diagnoses);

// Explains a zip archive that is no .keras archive, by names of its members.
void DiagnoseForeignZip(const std::vector<std::string>& members, const std::string& path,
                        DiagnosisList* diagnoses);

}  // namespace h5serve::model
