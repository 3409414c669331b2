#include "compute/arena_layout.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <vector>

#include "compute/aligned_memory.h"

namespace h5serve::compute {
namespace {

int64_t RoundUp(int64_t bytes) {
  const int64_t alignment = static_cast<int64_t>(kMemoryAlignment);
  return (bytes + alignment - 1) / alignment * alignment;
}

}  // namespace

int64_t LayOutArena(std::span<ArenaBlock> blocks) {
  // Greedy by size: the largest blocks first, each at the lowest place that is
  // free during its life. Within a few percent of the optimum on real networks.
  std::vector<int> order(blocks.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](int a, int b) { return blocks[a].bytes > blocks[b].bytes; });
  std::vector<int> placed;  // by offset
  int64_t total = 0;
  for (int index : order) {
    ArenaBlock& block = blocks[index];
    if (block.bytes > std::numeric_limits<int64_t>::max() / 4) return -1;
    block.offset = 0;
    if (block.bytes == 0) continue;  // most steps need no scratch memory
    int64_t offset = 0;
    for (int other_index : placed) {
      const ArenaBlock& other = blocks[other_index];
      if (other.last < block.first || block.last < other.first) continue;
      if (offset + block.bytes <= other.offset) break;
      offset = std::max(offset, RoundUp(other.offset + other.bytes));
    }
    if (offset > std::numeric_limits<int64_t>::max() / 2) return -1;
    block.offset = offset;
    total = std::max(total, RoundUp(offset + block.bytes));
    placed.insert(std::upper_bound(placed.begin(), placed.end(), offset,
                                   [&](int64_t value, int i) { return value < blocks[i].offset; }),
                  index);
  }
  return total;
}

}  // namespace h5serve::compute
