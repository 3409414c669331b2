// Memory for tensors, weights and arenas.
#pragma once

#include <cstddef>
#include <memory>

namespace h5serve::compute {

inline constexpr size_t kMemoryAlignment = 64;

// At least `bytes` bytes (also for 0), uninitialised and 64-byte aligned.
// Large blocks ask for huge pages. Throws std::bad_alloc.
std::shared_ptr<void> AllocateAligned(size_t bytes);

}  // namespace h5serve::compute
