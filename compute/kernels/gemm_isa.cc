// Matrix products with packed weights.
//
// The weights lie in panels of two vectors of columns (the last may be one
// vector wide), each row-major, zero-padded. A tile of some rows by one panel is
// kept in registers over the whole inner dimension; tiles are as tall as the
// register file allows, and rows are divided evenly among them.
#include "compute/kernels/activation.h"
#include "compute/kernels/isa_functions.h"

namespace h5serve::compute::kernels::H5SERVE_ISA {
namespace {

inline constexpr int kPanel = kPanelColumns;
static_assert(kPanel == 2 * kLanes);

// Inner dimensions beyond this are cut when there are many rows, so that the
// panel stays in the cache from one tile to the next.
inline constexpr int64_t kInnerBlock = 2048;
// Rows of A that are multiplied with all panels before the next ones.
inline constexpr int64_t kRowBlockBytes = 256 * 1024;
// Weights this small are read again for every few rows.
inline constexpr int64_t kSmallWeightBytes = 64 * 1024;
inline constexpr int64_t kShortBlockBytes = 16 * 1024;
// How far ahead weights that are used once are fetched.
inline constexpr int64_t kStreamAhead = 8192;
inline constexpr int64_t kStreamFloats = int64_t{1} << 18;

enum class Prefetch { kNone, kStream, kNextPanel };

struct Tile {
  const float* a;
  int64_t a_row_stride;
  int64_t segments;
  int64_t a_segment_stride;
  int64_t segment_k;
  const float* b;
  float* c;
  int64_t c_row_stride;
  int columns;        // to be written, at most the panel's
  const float* bias;  // a whole panel
  const float* addend;
  int64_t addend_row_stride;
  bool accumulate;  // add to what is in c instead of the bias
  bool clamp;
  float low, high;
  const float* next_panel;
};

template <int kRows, int kVectors, int kSets>
struct Accumulators {
  Float at[kSets][kRows][kVectors];
};

// One step of the inner dimension for all rows of a tile.
template <int kRows, int kVectors, int kSets>
H5SERVE_INLINE void MultiplyStep(Accumulators<kRows, kVectors, kSets>& sum, int set,
                                 const float* const (&rows)[5], int64_t stride, int64_t offset,
                                 const float* b) {
  Float weights[kVectors];
#pragma GCC unroll 2
  for (int j = 0; j < kVectors; ++j) weights[j] = *reinterpret_cast<const Float*>(b + j * kLanes);
#pragma GCC unroll 16
  for (int i = 0; i < kRows; ++i) {
    // A base for every three rows: x86 addresses base + 0, 1, 2 strides at once.
    const Float value = Set(rows[i / 3][(i % 3) * stride + offset]);
#pragma GCC unroll 2
    for (int j = 0; j < kVectors; ++j) sum.at[set][i][j] += value * weights[j];
  }
}

template <int kRows, int kVectors, int kSets, Prefetch kPrefetch>
H5SERVE_INLINE void MultiplyTile(const Tile& t, Accumulators<kRows, kVectors, kSets>& sum) {
  const float* b = t.b;
  const float* next = t.next_panel;
  for (int64_t segment = 0; segment < t.segments; ++segment) {
    const float* a = t.a + segment * t.a_segment_stride;
    const int64_t stride = t.a_row_stride;
    const float* rows[5] = {a, a + 3 * stride, a + 6 * stride, a + 9 * stride, a + 12 * stride};
    int64_t k = 0;
    for (; k + kSets <= t.segment_k; k += kSets) {
      if constexpr (kPrefetch == Prefetch::kStream) {
#pragma GCC unroll 16
        for (int line = 0; line < kSets * kVectors * kLanes; line += 16) {
          __builtin_prefetch(b + line + kStreamAhead / 4, 0, 3);
        }
      } else if constexpr (kPrefetch == Prefetch::kNextPanel) {
        __builtin_prefetch(next, 0, 2);
        next += kSets * kVectors * kLanes;
      }
#pragma GCC unroll 8
      for (int set = 0; set < kSets; ++set) {
        MultiplyStep(sum, set, rows, stride, set, b + set * kVectors * kLanes);
      }
      b += kSets * kVectors * kLanes;
#pragma GCC unroll 5
      for (int base = 0; base < (kRows + 2) / 3; ++base) rows[base] += kSets;
    }
    for (; k < t.segment_k; ++k) {
      MultiplyStep(sum, 0, rows, stride, 0, b);
      b += kVectors * kLanes;
#pragma GCC unroll 5
      for (int base = 0; base < (kRows + 2) / 3; ++base) ++rows[base];
    }
  }
}

// Calls f(i, j) for all vectors of a tile.
template <int kRows, int kVectors, typename F>
H5SERVE_INLINE void ForTile(F f) {
#pragma GCC unroll 16
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 2
    for (int j = 0; j < kVectors; ++j) f(i, j);
  }
}

#define H5SERVE_INLINE_LAMBDA __attribute__((always_inline))

// Adds what is to be added, clamps and writes.
template <int kRows, int kVectors>
H5SERVE_INLINE void FinishTile(const Tile& t, Accumulators<kRows, kVectors, 1>& sum) {
  auto& at = sum.at[0];
  const bool whole = t.columns >= kVectors * kLanes;
  const auto load = [&](const float* p, int j) H5SERVE_INLINE_LAMBDA {
    const int64_t left = t.columns - j * kLanes;
    return whole || left >= kLanes ? Load(p) : left > 0 ? LoadPart(p, left) : Float{};
  };
  if (t.accumulate) {
    ForTile<kRows, kVectors>([&](int i, int j) H5SERVE_INLINE_LAMBDA {
      at[i][j] += load(t.c + i * t.c_row_stride + j * kLanes, j);
    });
  }
  if (t.addend != nullptr) {
    ForTile<kRows, kVectors>([&](int i, int j) H5SERVE_INLINE_LAMBDA {
      at[i][j] += load(t.addend + i * t.addend_row_stride + j * kLanes, j);
    });
  }
  if (t.clamp) {
    const Float low = Set(t.low), high = Set(t.high);
    ForTile<kRows, kVectors>([&](int i, int j) H5SERVE_INLINE_LAMBDA {
      at[i][j] = Select(at[i][j] < low, low, at[i][j]);
      at[i][j] = Select(at[i][j] > high, high, at[i][j]);
    });
  }
  if (whole) {
    ForTile<kRows, kVectors>([&](int i, int j) H5SERVE_INLINE_LAMBDA {
      Store(t.c + i * t.c_row_stride + j * kLanes, at[i][j]);
    });
    return;
  }
  ForTile<kRows, kVectors>([&](int i, int j) H5SERVE_INLINE_LAMBDA {
    const int64_t left = t.columns - j * kLanes;
    float* c = t.c + i * t.c_row_stride + j * kLanes;
    if (left >= kLanes) {
      Store(c, at[i][j]);
    } else if (left > 0) {
      StorePart(c, at[i][j], left);
    }
  });
}

template <int kRows, int kVectors, Prefetch kPrefetch>
__attribute__((noinline)) void RunTile(const Tile& t) {
  // Few accumulators cannot hide the latency of a multiplication: small tiles
  // keep several sums over interleaved parts of the inner dimension.
  constexpr int kCount = kRows * kVectors;
  constexpr int kSets = kCount >= 8 ? 1 : kCount >= 4 ? 2 : kCount >= 2 ? 4 : 8;
  Accumulators<kRows, kVectors, kSets> sum;
#pragma GCC unroll 8
  for (int set = 0; set < kSets; ++set) {
#pragma GCC unroll 16
    for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 2
      for (int j = 0; j < kVectors; ++j) {
        sum.at[set][i][j] = set > 0 || t.accumulate ? Float{} : Load(t.bias + j * kLanes);
      }
    }
  }
  MultiplyTile<kRows, kVectors, kSets, kPrefetch>(t, sum);
  Accumulators<kRows, kVectors, 1> total;
#pragma GCC unroll 16
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 2
    for (int j = 0; j < kVectors; ++j) {
      Float v = sum.at[0][i][j];
#pragma GCC unroll 8
      for (int set = 1; set < kSets; ++set) v += sum.at[set][i][j];
      total.at[0][i][j] = v;
    }
  }
  FinishTile<kRows, kVectors>(t, total);
}

using TileFunction = void (*)(const Tile&);

template <int kRows>
constexpr TileFunction ChooseTile(int vectors, Prefetch prefetch) {
  if (vectors == 1) {
    return prefetch == Prefetch::kStream ? RunTile<kRows, 1, Prefetch::kStream>
                                         : RunTile<kRows, 1, Prefetch::kNone>;
  }
  if (prefetch == Prefetch::kStream) return RunTile<kRows, 2, Prefetch::kStream>;
  if (prefetch == Prefetch::kNextPanel && kRows > 3) {
    return RunTile<kRows, 2, Prefetch::kNextPanel>;
  }
  return RunTile<kRows, 2, Prefetch::kNone>;
}

TileFunction TileFor(int rows, int vectors, Prefetch prefetch) {
  switch (rows) {
    case 1:
      return ChooseTile<1>(vectors, prefetch);
    case 2:
      return ChooseTile<2>(vectors, prefetch);
    case 3:
      return ChooseTile<3>(vectors, prefetch);
    case 4:
      return ChooseTile<4>(vectors, prefetch);
    case 5:
      return ChooseTile<5>(vectors, prefetch);
#if defined(__AVX512F__)
    case 7:
      return ChooseTile<7>(vectors, prefetch);
    case 8:
      return ChooseTile<8>(vectors, prefetch);
    case 9:
      return ChooseTile<9>(vectors, prefetch);
    case 10:
      return ChooseTile<10>(vectors, prefetch);
    case 11:
      return ChooseTile<11>(vectors, prefetch);
    case 12:
      return ChooseTile<12>(vectors, prefetch);
    case 13:
      return ChooseTile<13>(vectors, prefetch);
#endif
    default:
      return ChooseTile<6>(vectors, prefetch);
  }
}

int64_t Smaller(int64_t a, int64_t b) { return a < b ? a : b; }
int64_t Larger(int64_t a, int64_t b) { return a > b ? a : b; }

int PanelVectors(int64_t n, int64_t panel) { return n - panel * kPanel <= kLanes ? 1 : 2; }

// A part of the inner dimension: whole segments, or a stretch of the only one.
struct InnerPart {
  int64_t segment_begin, segments;
  int64_t k_begin, segment_k;
  bool first, last;
  int64_t depth() const { return segments * segment_k; }
};

// What a fused activation needs inside the tile, and whether that is all of it.
struct Clamp {
  bool in_tile = false;
  bool after = false;  // another function follows over the finished rows
  float low = -kInfinity, high = kInfinity;
};

Clamp ClampFor(const GemmArguments& g) {
  Clamp clamp;
  switch (g.activation) {
    case ops::UnaryKind::kIdentity:
      break;
    case ops::UnaryKind::kRelu:
      clamp.in_tile = true;
      clamp.low = 0;
      break;
    case ops::UnaryKind::kClip:
      clamp.in_tile = true;
      clamp.low = g.activation_p;
      clamp.high = g.activation_q;
      break;
    default:
      clamp.after = true;
  }
  return clamp;
}

class Product {
 public:
  Product(const GemmArguments& g, const GemmRange& r) : g_(g), r_(r), clamp_(ClampFor(g)) {}

  void Run() {
    const int64_t rows = r_.row_end - r_.row_begin;
    const int64_t blocks = r_.block_end - r_.block_begin;
    if (rows <= 0 || blocks <= 0 || r_.panel_begin >= r_.panel_end) return;
    // Of one block at a time some rows, or of all rows some blocks.
    const int64_t row_bytes = Larger(g_.k, 1) * 4;
    int64_t fit = Larger(kRowBlockBytes / row_bytes, kTileRows);
    small_ = row_bytes * g_.n <= kSmallWeightBytes;
    if (small_) {
      // The weights stay near anyway: write C in its order instead.
      fit = Larger(kShortBlockBytes / (row_bytes + g_.n * 4), 2 * kTileRows);
    }
    const int64_t steps = (rows + fit - 1) / fit;
    const int64_t even = (rows + steps - 1) / steps;
    const int64_t row_step = Smaller(rows, (even + kTileRows - 1) / kTileRows * kTileRows);
    const int64_t block_step = row_step < rows ? 1 : Larger(1, fit / rows);
    many_tiles_ = rows > kTileRows || Smaller(blocks, block_step) > 1;
    stream_ = !many_tiles_ && g_.k * g_.n > kStreamFloats;
    for (int64_t block = r_.block_begin; block < r_.block_end; block += block_step) {
      for (int64_t row = r_.row_begin; row < r_.row_end; row += row_step) {
        RunRows(block, Smaller(block + block_step, r_.block_end), row,
                Smaller(row + row_step, r_.row_end));
      }
    }
  }

 private:
  void RunRows(int64_t block_begin, int64_t block_end, int64_t row_begin, int64_t row_end) {
    const int64_t segment_k = g_.k / g_.segments;
    if (g_.segments == 1) {
      const int64_t step = many_tiles_ && g_.k > kInnerBlock ? kInnerBlock : Larger(g_.k, 1);
      int64_t k = 0;
      do {
        const int64_t depth = Smaller(step, g_.k - k);
        RunPanels(block_begin, block_end, row_begin, row_end,
                  {0, 1, k, depth, k == 0, k + depth == g_.k});
        k += step;
      } while (k < g_.k);
    } else {
      const int64_t step =
          many_tiles_ ? Larger(1, kInnerBlock / Larger(segment_k, 1)) : g_.segments;
      for (int64_t s = 0; s < g_.segments; s += step) {
        const int64_t count = Smaller(step, g_.segments - s);
        RunPanels(block_begin, block_end, row_begin, row_end,
                  {s, count, 0, segment_k, s == 0, s + count == g_.segments});
      }
    }
    if (clamp_.after) Activate(block_begin, block_end, row_begin, row_end);
  }

  void RunPanels(int64_t block_begin, int64_t block_end, int64_t row_begin, int64_t row_end,
                 const InnerPart& part) {
    for (int64_t panel = r_.panel_begin; panel < r_.panel_end; ++panel) {
      const int vectors = PanelVectors(g_.n, panel);
      const int64_t column = panel * kPanel;
      alignas(64) float bias[kPanel];
      const int64_t columns = Smaller(g_.n - column, kPanel);
      for (int j = 0; j < kPanel; ++j) {
        bias[j] = g_.bias != nullptr && j < columns ? g_.bias[column + j] : 0.0f;
      }
      Tile tile;
      tile.a_row_stride = g_.a_row_stride;
      tile.segments = part.segments;
      tile.a_segment_stride = g_.a_segment_stride;
      tile.segment_k = part.segment_k;
      tile.b = PanelStart(panel) +
               (part.segment_begin * part.segment_k + part.k_begin) * vectors * kLanes;
      tile.c_row_stride = g_.c_row_stride;
      tile.columns = static_cast<int>(columns);
      tile.bias = bias;
      tile.addend_row_stride = g_.addend_row_stride;
      tile.accumulate = !part.first;
      tile.clamp = clamp_.in_tile && part.last;
      tile.low = clamp_.low;
      tile.high = clamp_.high;
      fetched_ = panel + 1 < r_.panel_end && part.first ? 0 : kPanel;
      for (int64_t block = block_begin; block < block_end; ++block) {
        RunTiles(tile, block, row_begin, row_end, column, part, vectors);
      }
    }
  }

  // The rows [row_begin, row_end) of one block, in tiles of balanced height.
  void RunTiles(Tile& tile, int64_t block, int64_t row_begin, int64_t row_end, int64_t column,
                const InnerPart& part, int vectors) {
    const int64_t rows = row_end - row_begin;
    const int64_t tiles = (rows + kTileRows - 1) / kTileRows;
    const int64_t height = rows / tiles, taller = rows % tiles;
    const float* next_panel = PanelStart(column / kPanel + 1);
    const float* a =
        g_.a + block * g_.a_block_stride + part.segment_begin * g_.a_segment_stride + part.k_begin;
    float* c = g_.c + block * g_.c_block_stride + column;
    // With the first part: the addend may be C, which that part overwrites.
    const float* addend = g_.addend == nullptr || !part.first
                              ? nullptr
                              : g_.addend + block * g_.addend_block_stride + column;
    int64_t row = row_begin;
    for (int64_t i = 0; i < tiles; ++i) {
      const int64_t h = height + (i < taller ? 1 : 0);
      tile.a = a + row * g_.a_row_stride;
      tile.c = c + row * g_.c_row_stride;
      tile.addend = addend == nullptr ? nullptr : addend + row * g_.addend_row_stride;
      Prefetch prefetch = stream_ ? Prefetch::kStream : Prefetch::kNone;
      // The first tiles over a panel fetch the next one, a line of each row each.
      if (many_tiles_ && !small_ && fetched_ < kPanel) {
        prefetch = Prefetch::kNextPanel;
        tile.next_panel = next_panel + fetched_;
        fetched_ += 16;
      }
      TileFor(static_cast<int>(h), vectors, prefetch)(tile);
      row += h;
    }
  }

  const float* PanelStart(int64_t panel) const { return g_.b + panel * kPanel * g_.k; }

  void Activate(int64_t block_begin, int64_t block_end, int64_t row_begin, int64_t row_end) {
    const int64_t column = r_.panel_begin * kPanel;
    const int64_t columns = Smaller(g_.n, r_.panel_end * kPanel) - column;
    for (int64_t block = block_begin; block < block_end; ++block) {
      float* c = g_.c + block * g_.c_block_stride + row_begin * g_.c_row_stride + column;
      const int64_t rows = row_end - row_begin;
      if (columns == g_.c_row_stride) {
        Unary(g_.activation, g_.activation_p, g_.activation_q, c, c, rows * columns);
        continue;
      }
      for (int64_t row = 0; row < rows; ++row, c += g_.c_row_stride) {
        Unary(g_.activation, g_.activation_p, g_.activation_q, c, c, columns);
      }
    }
  }

  const GemmArguments& g_;
  const GemmRange& r_;
  const Clamp clamp_;
  bool many_tiles_ = false;
  bool small_ = false;  // weights
  bool stream_ = false;
  int fetched_ = 0;  // floats of each row of the next panel
};

}  // namespace

void PackPanels(const float* b, int64_t k, int64_t n, int64_t stride_k, int64_t stride_n,
                float* packed) {
  for (int64_t column = 0; column < n; column += kPanel) {
    const int64_t width = PanelVectors(n, column / kPanel) * kLanes;
    const int64_t columns = Smaller(n - column, width);
    const float* source = b + column * stride_n;
    if (stride_n == 1 && columns == width) {
      for (int64_t i = 0; i < k; ++i) {
        for (int64_t j = 0; j < width; j += kLanes) {
          Store(packed + i * width + j, Load(source + i * stride_k + j));
        }
      }
    } else if (stride_n == 1) {
      for (int64_t i = 0; i < k; ++i) {
        __builtin_memcpy(packed + i * width, source + i * stride_k,
                         static_cast<unsigned long>(columns) * sizeof(float));
      }
    } else {
      // Along the columns of B, which may be close together, in blocks whose
      // packed form stays in the cache.
      constexpr int64_t kBlock = 64;
      for (int64_t first = 0; first < k; first += kBlock) {
        const int64_t last = Smaller(first + kBlock, k);
        for (int64_t j = 0; j < columns; ++j) {
          const float* from = source + j * stride_n;
          for (int64_t i = first; i < last; ++i) packed[i * width + j] = from[i * stride_k];
        }
      }
    }
    for (int64_t i = 0; columns < width && i < k; ++i) {
      for (int64_t j = columns; j < width; ++j) packed[i * width + j] = 0;
    }
    packed += k * width;
  }
}

void MultiplyPacked(const GemmArguments& arguments, const GemmRange& range) {
  Product(arguments, range).Run();
}

}  // namespace h5serve::compute::kernels::H5SERVE_ISA
