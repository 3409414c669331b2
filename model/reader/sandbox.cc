#include "model/reader/sandbox.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>
#include <utility>

#include "compute/aligned_memory.h"
#include "compute/tensor.h"
#include "model/reader/exchange.h"
#include "model/reader/lockdown.h"
#include "model/reader/reader_process.h"
#include "model/reader/unique_fd.h"

namespace h5serve::model {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr uint64_t kMiB = uint64_t{1} << 20;
// Deflate, the strongest usual filter, packs at most this much.
constexpr uint64_t kMaxExpansion = 1100;
constexpr uint64_t kMaxArrayBytes = uint64_t{1} << 40;
constexpr uint64_t kMaxHeapBytes = uint64_t{16} << 30;
// HDF5 needs far less CPU time for intact files: some 50 ms for 100 MB
// uncompressed, ten times as much for compressed ones.
constexpr uint64_t kBaseCpuSeconds = 5;
constexpr uint64_t kFileBytesPerCpuSecond = 10 * kMiB;

struct ChildEnd {
  enum class Kind { kExited, kSignalled, kTimedOut, kOverMemory, kLost };
  Kind kind = Kind::kLost;
  int code = 0;  // exit status or signal
};

class MappedMemory {
 public:
  MappedMemory(void* base, size_t size) : base_(base), size_(size) {}
  ~MappedMemory() { munmap(base_, size_); }
  MappedMemory(const MappedMemory&) = delete;
  MappedMemory& operator=(const MappedMemory&) = delete;
  const std::byte* base() const { return static_cast<const std::byte*>(base_); }

 private:
  void* base_;
  size_t size_;
};

ReaderRequest MakeRequest(int64_t file_bytes, bool is_archive_member, const ReadOptions& options) {
  ReaderRequest request{};
  request.file_bytes = static_cast<uint64_t>(file_bytes);
  uint64_t arrays = std::min(request.file_bytes * kMaxExpansion, kMaxArrayBytes);
  const auto budget = static_cast<uint64_t>(std::max<int64_t>(options.max_array_bytes, 0));
  request.has_budget = budget > 0 && budget < arrays;
  if (request.has_budget) arrays = budget;
  // Besides arrays: the records, which repeat the configuration.
  request.capacity_bytes = kArenaOffset + arrays + 2 * request.file_bytes + 64 * kMiB;
  request.heap_bytes = std::min(256 * kMiB + 6 * request.file_bytes, kMaxHeapBytes);
  const uint64_t patience = BuiltWithSanitizer() ? 5 : 1;
  const uint64_t seconds =
      patience * (kBaseCpuSeconds + request.file_bytes / kFileBytesPerCpuSecond);
  const uint64_t timeout = static_cast<uint64_t>(options.timeout.count()) / 1000 + 1;
  request.cpu_seconds = static_cast<uint32_t>(std::min(seconds, timeout));
  request.is_archive_member = is_archive_member;
  return request;
}

// Shared memory with the request at its start, of a size that nobody can change.
UniqueFd MakeMemory(const ReaderRequest& request) {
  UniqueFd memory(memfd_create("h5serve-model", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (memory.get() < 0 || ftruncate(memory.get(), static_cast<off_t>(request.capacity_bytes)) ||
      pwrite(memory.get(), &request, sizeof request, 0) != sizeof request ||
      fcntl(memory.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) != 0) {
    return UniqueFd();
  }
  return memory;
}

// Hands the file to a child. Returns its process id, or -1 with errno.
pid_t StartChild(int file_descriptor, int memory_descriptor, SpareReader* spare) {
  std::optional<ReaderProcess> process;
  if (spare != nullptr) process = spare->Take();
  if (process && process->Send(file_descriptor, memory_descriptor)) return process->Release();
  // None was waiting, or it was killed meanwhile.
  process = ReaderProcess::Start();
  if (!process || !process->Send(file_descriptor, memory_descriptor)) return -1;
  return process->Release();
}

uint64_t ResidentBytes(pid_t child) {
  const UniqueFd statm(open(fmt::format("/proc/{}/statm", child).c_str(), O_RDONLY | O_CLOEXEC));
  char text[128] = {};
  if (statm.get() < 0 || read(statm.get(), text, sizeof text - 1) <= 0) return 0;
  char* end = text;
  std::strtoull(text, &end, 10);  // all that is mapped
  return std::strtoull(end, nullptr, 10) * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
}

// Waits at most `slice` for the end of the child; false when that has not come.
bool WaitFor(pid_t child, int child_descriptor, milliseconds slice, int* status, bool* lost) {
  if (child_descriptor >= 0) {
    pollfd waiting{child_descriptor, POLLIN, 0};
    if (poll(&waiting, 1, static_cast<int>(slice.count())) <= 0) return false;
  } else {
    // No process descriptors before Linux 5.3 and in some sandboxes.
    const timespec nap{0, 2'000'000};
    nanosleep(&nap, nullptr);
  }
  pid_t ended = -1;
  do {
    ended = waitpid(child, status, WNOHANG);
  } while (ended < 0 && errno == EINTR);
  *lost = ended < 0;
  return ended != 0;
}

ChildEnd Await(pid_t child, const ReaderRequest& request, Clock::time_point deadline) {
  const UniqueFd descriptor(static_cast<int>(syscall(SYS_pidfd_open, child, 0)));
  // Where address space cannot be limited, memory in use is watched instead.
  const bool watch_memory = BuiltWithSanitizer();
  const uint64_t memory_limit = request.heap_bytes + 2 * request.file_bytes + 512 * kMiB;
  ChildEnd end;
  int status = 0;
  bool lost = false;
  bool killed = false;
  while (true) {
    const auto left = std::chrono::ceil<milliseconds>(deadline - Clock::now());
    milliseconds slice = std::clamp(left, milliseconds(0), milliseconds(60'000));
    if (watch_memory) slice = std::min(slice, milliseconds(20));
    if (killed) slice = milliseconds(1000);
    if (WaitFor(child, descriptor.get(), slice, &status, &lost)) break;
    const bool timed_out = Clock::now() >= deadline;
    if (killed || (!timed_out && !(watch_memory && ResidentBytes(child) > memory_limit))) continue;
    end.kind = timed_out ? ChildEnd::Kind::kTimedOut : ChildEnd::Kind::kOverMemory;
    kill(child, SIGKILL);
    killed = true;
  }
  if (killed || lost) return end;
  end.kind = WIFSIGNALED(status) ? ChildEnd::Kind::kSignalled : ChildEnd::Kind::kExited;
  end.code = WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status);
  return end;
}

std::string SignalName(int number) {
  const char* name = sigabbrev_np(number);
  return name != nullptr ? fmt::format("SIG{}", name) : fmt::format("signal {}", number);
}

// Reports an end without results.
void DiagnoseEnd(const ChildEnd& end, const ReadOptions& options, DiagnosisList* diagnoses) {
  switch (end.kind) {
    case ChildEnd::Kind::kTimedOut:
      diagnoses->Add(Code::kReaderTimeout,
                     fmt::format("reading did not end within {} ms: the file looks damaged",
                                 options.timeout.count()));
      return;
    case ChildEnd::Kind::kOverMemory:
      diagnoses->Add(Code::kReaderMemory,
                     "reading takes more memory than the file's size justifies: the file looks "
                     "damaged");
      return;
    case ChildEnd::Kind::kLost:
      diagnoses->Add(Code::kInternalError, "the reading process was reaped by another thread");
      return;
    case ChildEnd::Kind::kSignalled:
      if (end.code == SIGXCPU) {
        diagnoses->Add(Code::kReaderTimeout,
                       "reading takes more CPU time than the file's size justifies: the file "
                       "looks damaged");
      } else if (end.code == SIGSYS) {
        diagnoses->Add(Code::kReaderCrashed,
                       "reading tried a forbidden system call: the file is damaged or hostile");
      } else if (end.code == SIGKILL) {
        diagnoses->Add(Code::kResourceLimit,
                       "the reading process was killed from outside, probably for lack of memory");
      } else {
        diagnoses->Add(
            Code::kReaderCrashed,
            fmt::format("reading crashed with {}: the file looks damaged", SignalName(end.code)));
      }
      return;
    case ChildEnd::Kind::kExited:
      if (end.code == kChildNoRoom) {
        diagnoses->Add(Code::kReaderMemory,
                       "describing the file takes more memory than its size justifies: the file "
                       "looks damaged");
      } else if (end.code == kChildBadCall) {
        diagnoses->Add(Code::kInternalError, "the reading process could not be set up");
      } else {
        // Sanitizers and abort handlers end a process in this way.
        diagnoses->Add(
            Code::kReaderCrashed,
            fmt::format("reading failed with exit status {}: the file looks damaged", end.code));
      }
      return;
  }
}

bool IsSoundBool(const compute::Tensor& tensor) {
  const auto* bytes = static_cast<const uint8_t*>(tensor.raw_data());
  return std::all_of(bytes, bytes + tensor.num_elements(), [](uint8_t byte) { return byte <= 1; });
}

// Makes the memory unchangeable. A mapping of the dead child can outlive it for a
// moment, while somebody reads its statistics in /proc: EBUSY until then.
bool Seal(int memory_descriptor, Clock::time_point deadline) {
  while (fcntl(memory_descriptor, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SEAL) != 0) {
    if (errno != EBUSY || Clock::now() >= deadline) return false;
    const timespec nap{0, 1'000'000};
    nanosleep(&nap, nullptr);
  }
  return true;
}

// Reads arrays that the child found in the file. Those at the same place share
// memory.
class FileArrays {
 public:
  explicit FileArrays(int descriptor) : descriptor_(descriptor) {}

  // nullopt when the file has become shorter.
  std::optional<compute::Tensor> Read(const ReaderRecords::Array& array) {
    const uint64_t bytes = array.shape.num_elements() * compute::SizeOf(array.dtype);
    std::shared_ptr<void>& memory = read_[{array.offset, bytes}];
    if (memory == nullptr) {
      memory = compute::AllocateAligned(bytes);
      if (!Fill(static_cast<std::byte*>(memory.get()), bytes, array.offset)) return std::nullopt;
    }
    return compute::Tensor::View(memory, memory.get(), array.dtype, array.shape);
  }

 private:
  bool Fill(std::byte* destination, uint64_t bytes, uint64_t offset) const {
    while (bytes > 0) {
      const ssize_t got = pread(descriptor_, destination, bytes, static_cast<off_t>(offset));
      if (got < 0 && errno == EINTR) continue;
      if (got <= 0) return false;
      destination += got;
      offset += got;
      bytes -= got;
    }
    return true;
  }

  int descriptor_;
  std::map<std::pair<uint64_t, uint64_t>, std::shared_ptr<void>> read_;
};

// Turns what the child left into an image; nullopt when it is not sound.
std::optional<ModelImage> TakeOver(int memory_descriptor, int file_descriptor,
                                   const ReaderRequest& request, DiagnosisList* diagnoses) {
  const uint64_t capacity = request.capacity_bytes;
  ReaderReply reply;
  if (pread(memory_descriptor, &reply, sizeof reply, kReplyOffset) != sizeof reply ||
      reply.magic != kReplyMagic || reply.records_offset < kArenaOffset ||
      reply.records_offset > capacity || reply.records_bytes > capacity - reply.records_offset) {
    return std::nullopt;
  }
  const size_t size = reply.records_offset + reply.records_bytes;
  void* base = mmap(nullptr, size, PROT_READ, MAP_SHARED, memory_descriptor, 0);
  if (base == MAP_FAILED) return std::nullopt;
  const auto memory = std::make_shared<const MappedMemory>(base, size);
  std::optional<ReaderRecords> records =
      ParseRecords({memory->base() + reply.records_offset, reply.records_bytes},
                   reply.records_offset, request.file_bytes);
  if (!records) return std::nullopt;
  ModelImage image = std::move(records->image);
  FileArrays file_arrays(file_descriptor);
  for (ReaderRecords::Array& array : records->arrays) {
    compute::Tensor tensor;
    if (array.in_file && array.dtype != compute::DType::kString) {
      std::optional<compute::Tensor> read = file_arrays.Read(array);
      if (!read) return std::nullopt;
      tensor = *std::move(read);
    } else if (array.dtype == compute::DType::kString) {
      tensor = compute::Tensor::Strings(array.shape, std::move(array.strings));
    } else {
      tensor =
          compute::Tensor::View(memory, memory->base() + array.offset, array.dtype, array.shape);
    }
    if (array.dtype == compute::DType::kBool && !IsSoundBool(tensor)) {
      return std::nullopt;
    }
    image.datasets.insert_or_assign(std::move(array.path), std::move(tensor));
  }
  for (ReaderRecords::Finding& finding : records->findings) {
    diagnoses->Add(finding.code, std::move(finding.message),
                   {.layer = "",
                    .class_name = "",
                    .json_pointer = "",
                    .hdf5_path = std::move(finding.hdf5_path)});
  }
  return image;
}

void DiagnoseShortage(const char* what, DiagnosisList* diagnoses) {
  const int error = errno;
  const bool transient = error == ENOMEM || error == EAGAIN || error == EMFILE || error == ENFILE ||
                         error == ENOSPC || error == EBUSY;
  diagnoses->Add(transient ? Code::kResourceLimit : Code::kInternalError,
                 fmt::format("cannot {}: {}", what, std::strerror(error)));
}

}  // namespace

std::optional<ModelImage> ReadInSandbox(int file_descriptor, int64_t file_bytes,
                                        bool is_archive_member, const ReadOptions& options,
                                        DiagnosisList* diagnoses) {
  if (std::getenv(kReaderVariable) != nullptr) {
    // A program whose main() does not call RunReaderChild would start itself for ever.
    diagnoses->Add(Code::kInternalError, "a reading process was asked to read a model");
    return std::nullopt;
  }
  const Clock::time_point deadline = Clock::now() + options.timeout;
  const ReaderRequest request = MakeRequest(file_bytes, is_archive_member, options);
  const UniqueFd memory = MakeMemory(request);
  if (memory.get() < 0) {
    DiagnoseShortage("make shared memory", diagnoses);
    return std::nullopt;
  }
  const pid_t child = StartChild(file_descriptor, memory.get(), options.spare);
  if (child < 0) {
    DiagnoseShortage("start the reading process", diagnoses);
    return std::nullopt;
  }
  const ChildEnd end = Await(child, request, deadline);
  if (end.kind != ChildEnd::Kind::kExited || end.code != 0) {
    DiagnoseEnd(end, options, diagnoses);
    return std::nullopt;
  }
  // From here on nobody can write: what is checked stays as it is.
  if (!Seal(memory.get(), deadline)) {
    DiagnoseShortage("seal the shared memory", diagnoses);
    return std::nullopt;
  }
  std::optional<ModelImage> image = TakeOver(memory.get(), file_descriptor, request, diagnoses);
  if (!image) {
    diagnoses->Add(Code::kReaderCrashed, "reading gave no sound result: the file looks damaged");
  }
  return image;
}

}  // namespace h5serve::model
