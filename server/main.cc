#include <malloc.h>

#include "absl/synchronization/mutex.h"
#include "model/reader/read_model.h"
#include "server/commands/commands.h"

namespace {

// Debian's Abseil is built to look for deadlocks, which costs a few percent of
// each request. The order of locks is the thread-safety build's business.
void TuneLocks() { absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore); }

// Requests bring buffers of hundreds of kilobytes. Left alone, glibc maps and
// unmaps each of them, and the page faults cost more than the request itself.
// REQUIRES: no other thread yet.
void TuneAllocator() {
  mallopt(M_MMAP_THRESHOLD, 32 << 20);
  mallopt(M_TRIM_THRESHOLD, 512 << 20);
  mallopt(M_TOP_PAD, 64 << 20);
  mallopt(M_ARENA_MAX, 2);
}

}  // namespace

int main(int argc, char** argv) {
  // The process that reads a file is this binary again: see model/reader.
  if (h5serve::model::IsReaderChild(argc, argv)) {
    return h5serve::model::RunReaderChild(argc, argv);
  }
  TuneAllocator();
  TuneLocks();
  return h5serve::server::RunCommandLine(argc, argv);
}
