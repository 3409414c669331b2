// Places for values with limited lifetimes in one block of memory.
#pragma once

#include <cstdint>
#include <span>

namespace h5serve::compute {

struct ArenaBlock {
  int64_t bytes = 0;
  int first = 0;  // first and last step that uses it, inclusive
  int last = 0;
  int64_t offset = 0;  // set by LayOutArena; a multiple of 64
};

// Gives every block an offset so that no two blocks overlap in both time and
// place, and returns the bytes needed (0 or more). nullopt-like: -1 when the sum
// would overflow.
int64_t LayOutArena(std::span<ArenaBlock> blocks);

}  // namespace h5serve::compute
