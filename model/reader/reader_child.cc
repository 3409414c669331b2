#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <new>

#include "model/reader/exchange.h"
#include "model/reader/h5_reader.h"
#include "model/reader/lockdown.h"
#include "model/reader/read_model.h"
#include "model/reader/reader_process.h"
#include "model/reader/sandbox.h"

namespace h5serve::model {
namespace {

void Reply(const ReaderRecords& records, Arena* arena) {
  const std::string bytes = SerializeRecords(records);
  const uint64_t offset = arena->Allocate(bytes.size());
  if (offset == 0) _exit(kChildNoRoom);
  std::memcpy(arena->at(offset), bytes.data(), bytes.size());
  const ReaderReply reply{kReplyMagic, offset, bytes.size()};
  std::memcpy(arena->at(kReplyOffset), &reply, sizeof reply);
}

}  // namespace

bool IsReaderChild(int argc, char** argv) {
  return argc == 2 && std::strcmp(argv[1], kReaderArgument) == 0 &&
         std::getenv(kReaderVariable) != nullptr;
}

int RunReaderChild(int argc, char** argv) {
  if (!IsReaderChild(argc, argv)) return kChildBadCall;
  InitializeHdf5();
  UniqueFd file_descriptor;
  UniqueFd memory_descriptor;
  if (!ReceiveFile(&file_descriptor, &memory_descriptor)) return kChildDone;
  struct stat memory_stat {};
  if (fstat(memory_descriptor.get(), &memory_stat) != 0 ||
      memory_stat.st_size < static_cast<off_t>(kArenaOffset)) {
    return kChildBadCall;
  }
  void* memory = mmap(nullptr, memory_stat.st_size, PROT_READ | PROT_WRITE, MAP_SHARED,
                      memory_descriptor.get(), 0);
  if (memory == MAP_FAILED) return kChildBadCall;
  // Huge pages where the system allows them for shared memory: fewer faults.
  madvise(memory, memory_stat.st_size, MADV_HUGEPAGE);
  ReaderRequest request;
  std::memcpy(&request, memory, sizeof request);
  // Private and writable only because HDF5 takes an image as such.
  void* file = mmap(nullptr, request.file_bytes, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_NORESERVE, file_descriptor.get(), 0);
  if (file == MAP_FAILED) return kChildBadCall;
  file_descriptor = UniqueFd();
  memory_descriptor = UniqueFd();

  ReaderRecords records;
  const std::string note = LockDown({request.heap_bytes, request.cpu_seconds});
  if (!note.empty()) records.image.notes.push_back(note);
  Arena arena(static_cast<std::byte*>(memory), request.capacity_bytes, request.file_bytes,
              request.has_budget != 0);
  try {
    ReadHdf5(file, request.file_bytes, request.is_archive_member != 0, &arena, &records);
  } catch (const std::bad_alloc&) {
    records = ReaderRecords();
    records.findings.push_back(
        {Code::kReaderMemory, "describing the file takes more memory than its size justifies", ""});
  }
  Reply(records, &arena);
  // HDF5 is not closed: closing a damaged file can crash, and nothing is to be written.
  _exit(kChildDone);
}

}  // namespace h5serve::model
