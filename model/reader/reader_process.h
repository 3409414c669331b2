// Processes of this program that wait for a file to read.
#pragma once

#include <sys/types.h>

#include <optional>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "model/reader/unique_fd.h"

namespace h5serve::model {

inline constexpr char kReaderArgument[] = "--h5serve-reader-child";
inline constexpr char kReaderVariable[] = "H5SERVE_READER_CHILD";
// Where such a process finds the socket on which it is handed a file.
inline constexpr int kRequestSocket = 3;

// Owns a process that waits: unless it is released, it is killed and reaped in
// the end. It also ends by itself when its owner dies.
class ReaderProcess {
 public:
  // nullopt, with errno set, when the system gives none.
  static std::optional<ReaderProcess> Start();
  ReaderProcess(ReaderProcess&& other) noexcept;
  ReaderProcess& operator=(ReaderProcess&& other) noexcept;
  ~ReaderProcess();

  // Hands over copies of the descriptors. False when the process has died.
  bool Send(int file_descriptor, int memory_descriptor) const;
  // Whoever calls this waits for the end of the process.
  pid_t Release();
  pid_t id() const { return id_; }

 private:
  ReaderProcess(pid_t id, UniqueFd socket) : id_(id), socket_(std::move(socket)) {}

  pid_t id_ = -1;
  UniqueFd socket_;
};

// In the child: waits for the descriptors. False when the owner has gone.
bool ReceiveFile(UniqueFd* file, UniqueFd* memory);

// Keeps one process waiting, so that a load need not wait until one has started,
// which takes as long as reading 100 MB.
//
// Thread-safe.
class SpareReader {
 public:
  // Starts a process unless one waits or none can be had. Blocks for some
  // milliseconds. Never throws.
  void Prepare() ABSL_LOCKS_EXCLUDED(mutex_);
  // The process that waits, if any.
  std::optional<ReaderProcess> Take() ABSL_LOCKS_EXCLUDED(mutex_);
  // Its process id, or -1.
  pid_t waiting_id() const ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  mutable absl::Mutex mutex_;
  std::optional<ReaderProcess> waiting_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace h5serve::model
