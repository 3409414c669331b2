#include "compute/arena_layout.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

namespace h5serve::compute {
namespace {

TEST(ArenaLayoutTest, BlocksThatLiveAtOnceNeverOverlap) {
  std::mt19937 random(1);
  for (int run = 0; run < 200; ++run) {
    std::vector<ArenaBlock> blocks(1 + random() % 40);
    for (ArenaBlock& block : blocks) {
      block.bytes = random() % 5 == 0 ? 0 : random() % 5000;
      block.first = static_cast<int>(random() % 30);
      block.last = block.first + static_cast<int>(random() % 10);
    }

    const int64_t total = LayOutArena(blocks);

    for (size_t i = 0; i < blocks.size(); ++i) {
      const ArenaBlock& a = blocks[i];
      EXPECT_EQ(a.offset % 64, 0);
      EXPECT_LE(a.offset + a.bytes, total);
      for (size_t j = 0; j < i; ++j) {
        const ArenaBlock& b = blocks[j];
        const bool together = a.first <= b.last && b.first <= a.last;
        const bool overlap = a.offset < b.offset + b.bytes && b.offset < a.offset + a.bytes;
        EXPECT_FALSE(together && overlap);
      }
    }
  }
}

TEST(ArenaLayoutTest, AChainNeedsTwoBlocks) {
  std::vector<ArenaBlock> blocks;
  for (int i = 0; i < 10; ++i) blocks.push_back({6400, i, i + 1, 0});

  EXPECT_EQ(LayOutArena(blocks), 2 * 6400);
}

TEST(ArenaLayoutTest, OverflowIsFound) {
  std::vector<ArenaBlock> blocks(3, ArenaBlock{int64_t{1} << 62, 0, 1, 0});

  EXPECT_EQ(LayOutArena(blocks), -1);
}

}  // namespace
}  // namespace h5serve::compute
