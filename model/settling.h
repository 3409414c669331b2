// When a file that is being written has come to rest.
#pragma once

#include <optional>

#include "absl/time/time.h"
#include "model/file_system.h"

namespace h5serve::model {

// What a file's first bytes say about its being whole.
enum class Completeness {
  // As long as its header says, or a kind of file whose end is not known.
  kComplete,
  // Empty, no header yet, not as long as its header says, or marked as open for writing.
  kIncomplete,
};

// Reads headers and, of a .keras archive, the end. Unreadable files count as
// complete: loading them finds the better words.
Completeness CheckCompleteness(const FileSystem& files, const std::string& path, int64_t size);

struct SettlingRules {
  // How long a complete file must stand still.
  absl::Duration settle = absl::Seconds(1);
  // How long an incomplete one must, before it is taken for what it is.
  absl::Duration incomplete = absl::Seconds(15);
};

// Follows one path through many scans.
//
// Not thread-safe.
class Settling {
 public:
  struct Sighting {
    // The file, then what belongs to it; all must stand still.
    FileIdentity file, digest_file, golden_file;
    // It was moved here in one step since the last scan.
    bool renamed = false;
    // Wall time since its last change as the file system tells it.
    absl::Duration age;

    bool SameFiles(const Sighting& other) const {
      return file == other.file && digest_file == other.digest_file &&
             golden_file == other.golden_file;
    }
  };

  // Notes a sighting. Returns true if it differs from the one before; then the
  // file counts as incomplete until SetCompleteness is called.
  bool Observe(const Sighting& sighting, absl::Duration now);
  void SetCompleteness(Completeness completeness) { completeness_ = completeness; }

  // When the last sighting counts as settled if nothing changes; in the past
  // when it does.
  absl::Duration SettledAt(const SettlingRules& rules) const;
  const std::optional<Sighting>& sighting() const { return sighting_; }

 private:
  std::optional<Sighting> sighting_;
  Completeness completeness_ = Completeness::kIncomplete;
  absl::Duration unchanged_since_ = absl::ZeroDuration();
};

}  // namespace h5serve::model
