#include "compute/aligned_memory.h"

#include <sys/mman.h>

#include <cstdlib>
#include <new>

namespace h5serve::compute {
namespace {

// Reading packed weights with 4 KB pages loses more than a third of the
// bandwidth to address translation.
constexpr size_t kHugePage = size_t{2} << 20;

}  // namespace

std::shared_ptr<void> AllocateAligned(size_t bytes) {
  const bool huge = bytes >= 2 * kHugePage;
  const size_t alignment = huge ? kHugePage : kMemoryAlignment;
  if (bytes > SIZE_MAX - alignment) throw std::bad_alloc();
  // At least one unit, so that even empty tensors have an address.
  const size_t rounded =
      bytes == 0 ? kMemoryAlignment : (bytes + kMemoryAlignment - 1) & ~(kMemoryAlignment - 1);
  void* memory = nullptr;
  if (posix_memalign(&memory, alignment, rounded) != 0) throw std::bad_alloc();
  if (huge) madvise(memory, rounded & ~(kHugePage - 1), MADV_HUGEPAGE);  // only a hint
  return std::shared_ptr<void>(memory, std::free);
}

}  // namespace h5serve::compute
