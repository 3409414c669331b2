#include "compute/ops/correlation.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "compute/kernels/gemm.h"

namespace h5serve::compute::ops {
namespace {

// Floats of the padded or gathered inputs of one tile: they are read once for
// every panel of the filter, so they should stay in the second-level cache.
constexpr int64_t kTileFloats = 64 * 1024;
// Bounds of what all tiles that are worked on at the same time take.
constexpr int64_t kMaxSlots = 16;
constexpr int64_t kMaxScratchFloats = 4 * 1024 * 1024;
// Below this many columns a vector of one group's outputs is mostly padding, so
// that groups are merged into one block-diagonal matrix.
constexpr int64_t kMergedColumns = 16;

int64_t CeilDivide(int64_t a, int64_t b) { return (a + b - 1) / b; }
int64_t RoundUp16(int64_t n) { return CeilDivide(n, 16) * 16; }

// Groups after merging.
struct FilterParts {
  int64_t count = 1;
  int64_t in = 1;
  int64_t out = 1;
  int64_t merged = 1;  // groups of one part
};

FilterParts PartsOf(const FilterShape& shape) {
  const int64_t out = shape.out / shape.groups;
  int64_t merged = 1;
  for (int64_t m = 2; m <= shape.groups && m * out <= kMergedColumns; ++m) {
    if (shape.groups % m == 0) merged = m;
  }
  return {shape.groups / merged, shape.in * merged, out * merged, merged};
}

int64_t PartFloats(const FilterShape& shape, const FilterParts& parts) {
  return RoundUp16(kernels::PackedFloats(shape.taps * parts.in, parts.out));
}

// One part of a kernel whose groups were merged: zero outside the blocks.
std::vector<float> BlockDiagonal(const FilterShape& shape, const FilterParts& parts,
                                 const float* kernel, int64_t part) {
  const int64_t out = shape.out / shape.groups;
  std::vector<float> matrix(shape.taps * parts.in * parts.out, 0.0f);
  for (int64_t tap = 0; tap < shape.taps; ++tap) {
    for (int64_t channel = 0; channel < parts.in; ++channel) {
      const int64_t group = channel / shape.in;
      const float* source = kernel + (tap * shape.in + channel % shape.in) * shape.out +
                            part * parts.out + group * out;
      std::copy_n(source, out, &matrix[(tap * parts.in + channel) * parts.out + group * out]);
    }
  }
  return matrix;
}

// True when output o of the axis is input o, so that the axis can be merged
// with the one before it.
bool IsPointwise(const WindowAxis& axis) {
  return axis.size == 1 && axis.stride == 1 && axis.before == 0 && axis.in == axis.out;
}

// Merges images and axes that are walked in the same way, which leaves longer
// rows and fewer calls: a batch of sequences becomes one image of many rows.
Correlation Simplified(Correlation c) {
  const int64_t plane = c.axes[1].in * c.axes[2].in * c.in_channels();
  if (IsPointwise(c.axes[0]) && c.x_image_stride == c.axes[0].in * plane &&
      c.y_image_stride == c.axes[0].out * c.y_strides[0] &&
      c.addend_image_stride == c.axes[0].out * c.addend_strides[0]) {
    c.images *= c.axes[0].in;
    c.axes[0] = WindowAxis{};
    c.x_image_stride = plane;
    c.y_image_stride = c.y_strides[0];
    c.addend_image_stride = c.addend_strides[0];
  }
  const int64_t row = c.axes[2].in * c.in_channels();
  if (c.axes[0].trivial() && IsPointwise(c.axes[1]) && c.x_image_stride == c.axes[1].in * row &&
      c.y_image_stride == c.axes[1].out * c.y_strides[1] &&
      c.addend_image_stride == c.axes[1].out * c.addend_strides[1]) {
    c.axes[1].in = c.axes[1].out = c.images * c.axes[1].in;
    c.images = 1;
  }
  return c;
}

int64_t CellsFor(const WindowAxis& axis, int64_t outputs) {
  return (outputs - 1) * axis.stride + (axis.size - 1) * axis.dilation + 1;
}

// Outputs whose inputs fit into `cells`, at least 1.
int64_t OutputsFor(const WindowAxis& axis, int64_t cells) {
  const int64_t reach = (axis.size - 1) * axis.dilation + 1;
  return std::clamp<int64_t>((cells - reach) / axis.stride + 1, 1, std::max<int64_t>(axis.out, 1));
}

// How a correlation is cut into products.
struct Plan {
  FilterParts parts;
  // Rows of the matrix are read from images (padded copies of them, if not
  // direct), instead of being gathered patch by patch.
  bool implicit = false;
  bool direct = false;
  // Taps of the two inner axes as segments of a row (see GemmArguments).
  int64_t segments = 1;
  bool segments_are_columns = false;
  // One tile: rows x columns outputs of one plane.
  int64_t rows = 1, columns = 1;
  int64_t row_tiles = 1, column_tiles = 1;
  int64_t tile_floats = 0;

  int64_t tiles(const Correlation& c) const {
    return c.images * c.axes[0].out * row_tiles * column_tiles;
  }
  // Tiles that can be worked on at the same time.
  int64_t slots() const {
    if (tile_floats == 0) return kMaxSlots;
    return std::clamp<int64_t>(kMaxScratchFloats / tile_floats, 1, kMaxSlots);
  }
};

// True when rows of outputs are so short that products of one row at a time
// would leave most of a tile's registers unused, and copying every patch costs
// little beside multiplying it with that many columns.
bool GatheringPays(const Correlation& c, const FilterParts& parts) {
  constexpr int64_t kEnoughRows = 5, kEnoughColumns = 64;
  const int64_t rows = c.axes[2].out;
  if (c.axes[1].out < 2 || rows < 1 || parts.out < kEnoughColumns) return false;
  if (IsPointwise(c.axes[1]) && IsPointwise(c.axes[2])) return false;  // one long row
  return rows < kEnoughRows * CeilDivide(rows, kernels::TileRows());
}

Plan MakePlan(const Correlation& c) {
  Plan plan;
  plan.parts = PartsOf(c.filter);
  const WindowAxis& vertical = c.axes[1];
  const WindowAxis& horizontal = c.axes[2];
  plan.implicit = c.axes[0].trivial() &&
                  (vertical.size == 1 || horizontal.size == 1 || horizontal.dilation == 1) &&
                  !GatheringPays(c, plan.parts);
  if (plan.implicit) {
    plan.segments_are_columns = vertical.size == 1 && horizontal.size > 1 &&
                                (horizontal.dilation > 1 || plan.parts.count > 1);
    plan.segments = plan.segments_are_columns ? horizontal.size : vertical.size;
    const bool whole_pixels =
        plan.parts.count == 1 || plan.segments_are_columns || horizontal.size == 1;
    plan.direct = whole_pixels && vertical.AllInside() && horizontal.AllInside();
    const int64_t pixel = plan.parts.in;
    plan.columns = std::max(OutputsFor(horizontal, kTileFloats / (CellsFor(vertical, 1) * pixel)),
                            std::min<int64_t>(horizontal.out, 64));
    const int64_t row = CellsFor(horizontal, plan.columns) * pixel;
    plan.rows = OutputsFor(vertical, kTileFloats / row);
  } else {
    const int64_t patch = c.filter.taps * plan.parts.in;
    plan.columns = std::clamp<int64_t>(kTileFloats / patch, std::min<int64_t>(16, horizontal.out),
                                       horizontal.out);
    plan.rows = std::clamp<int64_t>(kTileFloats / (patch * plan.columns), 1, vertical.out);
  }
  plan.row_tiles = CeilDivide(vertical.out, plan.rows);
  plan.rows = CeilDivide(vertical.out, plan.row_tiles);
  plan.column_tiles = CeilDivide(horizontal.out, plan.columns);
  plan.columns = CeilDivide(horizontal.out, plan.column_tiles);
  if (plan.direct) return plan;
  plan.tile_floats =
      RoundUp16(plan.implicit ? CellsFor(vertical, plan.rows) * CellsFor(horizontal, plan.columns) *
                                    plan.parts.in
                              : plan.rows * plan.columns * c.filter.taps * plan.parts.in);
  return plan;
}

// Cuts tiles smaller, so that all threads have the same number of them.
void BalanceTiles(const Correlation& c, int64_t threads, Plan& plan) {
  const int64_t tiles = plan.tiles(c);
  if (tiles == 0 || tiles % threads == 0 || tiles >= 8 * threads) return;
  const int64_t per_row_tile = tiles / plan.row_tiles;
  const int64_t wanted = CeilDivide(CeilDivide(tiles, threads) * threads, per_row_tile);
  if (wanted > c.axes[1].out) return;
  plan.rows = CeilDivide(c.axes[1].out, wanted);
  plan.row_tiles = CeilDivide(c.axes[1].out, plan.rows);
}

// Part of the outputs of one image.
struct Tile {
  int64_t image, depth;
  int64_t row, rows;
  int64_t column, columns;
};

Tile TileAt(const Correlation& c, const Plan& plan, int64_t index) {
  Tile tile;
  tile.column = index % plan.column_tiles * plan.columns;
  index /= plan.column_tiles;
  tile.row = index % plan.row_tiles * plan.rows;
  index /= plan.row_tiles;
  tile.depth = index % c.axes[0].out;
  tile.image = index / c.axes[0].out;
  // Rounding up may leave nothing for the last tiles.
  tile.rows = std::clamp<int64_t>(c.axes[1].out - tile.row, 0, plan.rows);
  tile.columns = std::clamp<int64_t>(c.axes[2].out - tile.column, 0, plan.columns);
  return tile;
}

// Copies cells [first, first + count) of a row of `row_cells` cells, of which
// cells outside are zero: `width` channels starting at `channel`.
void CopyCells(const float* row, int64_t row_cells, int64_t channels, int64_t channel,
               int64_t width, int64_t first, int64_t count, float* out) {
  const int64_t begin = std::clamp<int64_t>(-first, 0, count);
  const int64_t end = std::clamp<int64_t>(row_cells - first, begin, count);
  std::fill_n(out, begin * width, 0.0f);
  if (width == channels) {
    if (end > begin) {
      std::memcpy(out + begin * width, row + (first + begin) * channels,
                  (end - begin) * width * sizeof(float));
    }
  } else {
    for (int64_t cell = begin; cell < end; ++cell) {
      std::copy_n(row + (first + cell) * channels + channel, width, out + cell * width);
    }
  }
  std::fill_n(out + end * width, (count - end) * width, 0.0f);
}

// Copies the cells a tile reads, with zeros where there are none.
void CopyPadded(const Correlation& c, const Plan& plan, const Tile& tile, int64_t part,
                float* out) {
  const WindowAxis& vertical = c.axes[1];
  const WindowAxis& horizontal = c.axes[2];
  const int64_t cells = CellsFor(horizontal, tile.columns);
  const int64_t row_floats = cells * plan.parts.in;
  const int64_t in_row = horizontal.in * c.in_channels();
  const float* image = c.x + tile.image * c.x_image_stride;
  const int64_t count = CellsFor(vertical, tile.rows);
  for (int64_t i = 0; i < count; ++i, out += row_floats) {
    const int64_t row = vertical.Start(tile.row) + i;
    if (row < 0 || row >= vertical.in) {
      std::fill_n(out, row_floats, 0.0f);
    } else {
      CopyCells(image + row * in_row, horizontal.in, c.in_channels(), part * plan.parts.in,
                plan.parts.in, horizontal.Start(tile.column), cells, out);
    }
  }
}

// Copies the taps of one output row of kernel (depth, height), all columns.
void GatherPatch(const Correlation& c, const Plan& plan, const float* image, int64_t part,
                 const std::array<int64_t, kMaxSpatial>& start, float* out) {
  const auto& [deep, vertical, horizontal] = c.axes;
  const int64_t width = plan.parts.in;
  const int64_t channels = c.in_channels();
  for (int64_t i = 0; i < deep.size; ++i) {
    const int64_t plane = start[0] + i * deep.dilation;
    for (int64_t j = 0; j < vertical.size; ++j, out += horizontal.size * width) {
      const int64_t row = start[1] + j * vertical.dilation;
      if (plane < 0 || plane >= deep.in || row < 0 || row >= vertical.in) {
        std::fill_n(out, horizontal.size * width, 0.0f);
        continue;
      }
      const float* source = image + (plane * vertical.in + row) * horizontal.in * channels;
      if (horizontal.dilation == 1) {
        CopyCells(source, horizontal.in, channels, part * width, width, start[2], horizontal.size,
                  out);
      } else {
        for (int64_t k = 0; k < horizontal.size; ++k) {
          CopyCells(source, horizontal.in, channels, part * width, width,
                    start[2] + k * horizontal.dilation, 1, out + k * width);
        }
      }
    }
  }
}

void GatherPatches(const Correlation& c, const Plan& plan, const Tile& tile, int64_t part,
                   float* out) {
  const float* image = c.x + tile.image * c.x_image_stride;
  const int64_t patch = c.filter.taps * plan.parts.in;
  for (int64_t row = tile.row; row < tile.row + tile.rows; ++row) {
    for (int64_t column = tile.column; column < tile.column + tile.columns;
         ++column, out += patch) {
      GatherPatch(c, plan, image, part,
                  {c.axes[0].Start(tile.depth), c.axes[1].Start(row), c.axes[2].Start(column)},
                  out);
    }
  }
}

// The product of one tile and one part. `a` is the first cell of the tile's
// first window; `row_floats` and `cell_floats` are the distances of rows and cells.
kernels::GemmArguments Product(const Correlation& c, const Plan& plan, const Tile& tile,
                               int64_t part, const float* a, int64_t row_floats,
                               int64_t cell_floats) {
  kernels::GemmArguments g;
  g.blocks = tile.rows;
  g.rows = tile.columns;
  g.a = a;
  if (plan.implicit) {
    g.segments = plan.segments;
    g.a_block_stride = c.axes[1].stride * row_floats;
    g.a_row_stride = c.axes[2].stride * cell_floats;
    g.a_segment_stride = plan.segments_are_columns ? c.axes[2].dilation * cell_floats
                                                   : c.axes[1].dilation * row_floats;
  } else {
    g.a_row_stride = c.filter.taps * plan.parts.in;
    g.a_block_stride = tile.columns * g.a_row_stride;
  }
  g.b = c.packed_filter + part * PartFloats(c.filter, plan.parts);
  g.k = c.filter.taps * plan.parts.in;
  g.n = plan.parts.out;
  const int64_t channel = part * plan.parts.out;
  g.c = c.y + tile.image * c.y_image_stride + tile.depth * c.y_strides[0] +
        tile.row * c.y_strides[1] + tile.column * c.y_strides[2] + channel;
  g.c_block_stride = c.y_strides[1];
  g.c_row_stride = c.y_strides[2];
  if (c.bias != nullptr) g.bias = c.bias + channel;
  if (c.addend != nullptr) {
    g.addend = c.addend + tile.image * c.addend_image_stride + tile.depth * c.addend_strides[0] +
               tile.row * c.addend_strides[1] + tile.column * c.addend_strides[2] + channel;
    g.addend_block_stride = c.addend_strides[1];
    g.addend_row_stride = c.addend_strides[2];
  }
  g.activation = c.activation;
  g.activation_p = c.activation_p;
  g.activation_q = c.activation_q;
  if (g.a_block_stride == g.rows * g.a_row_stride && g.c_block_stride == g.rows * g.c_row_stride &&
      (c.addend == nullptr || g.addend_block_stride == g.rows * g.addend_row_stride)) {
    g.rows *= g.blocks;
    g.blocks = 1;
  }
  return g;
}

void RunTile(const Correlation& c, const Plan& plan, const Tile& tile, float* scratch,
             const Parallelism* parallelism) {
  if (tile.rows == 0 || tile.columns == 0) return;
  for (int64_t part = 0; part < plan.parts.count; ++part) {
    const float* a = scratch;
    int64_t cell_floats = plan.parts.in;
    int64_t row_floats = CellsFor(c.axes[2], tile.columns) * cell_floats;
    if (plan.direct) {
      cell_floats = c.in_channels();
      row_floats = c.axes[2].in * cell_floats;
      a = c.x + tile.image * c.x_image_stride + c.axes[1].Start(tile.row) * row_floats +
          c.axes[2].Start(tile.column) * cell_floats + part * plan.parts.in;
    } else if (plan.implicit) {
      CopyPadded(c, plan, tile, part, scratch);
    } else {
      GatherPatches(c, plan, tile, part, scratch);
    }
    kernels::Gemm(Product(c, plan, tile, part, a, row_floats, cell_floats), parallelism);
  }
}

}  // namespace

int64_t PackedFilterFloats(const FilterShape& shape) {
  const FilterParts parts = PartsOf(shape);
  return parts.count * PartFloats(shape, parts);
}

void PackFilter(const FilterShape& shape, const float* kernel, float* packed) {
  const FilterParts parts = PartsOf(shape);
  const int64_t k = shape.taps * parts.in;
  for (int64_t part = 0; part < parts.count; ++part) {
    float* out = packed + part * PartFloats(shape, parts);
    if (parts.merged > 1) {
      const std::vector<float> matrix = BlockDiagonal(shape, parts, kernel, part);
      kernels::PackMatrix(matrix.data(), k, parts.out, parts.out, 1, out);
    } else {
      kernels::PackMatrix(kernel + part * parts.out, k, parts.out, shape.out, 1, out);
    }
  }
}

Tensor PackedFilter(const FilterShape& shape, const float* kernel) {
  Tensor packed = Tensor::Allocate(DType::kFloat32, Shape{PackedFilterFloats(shape)});
  PackFilter(shape, kernel, packed.mutable_data<float>());
  return packed;
}

void SetDenseStrides(Correlation& c) {
  c.x_image_stride = c.in_cells() * c.in_channels();
  c.y_strides[2] = c.filter.out;
  c.y_strides[1] = c.axes[2].out * c.y_strides[2];
  c.y_strides[0] = c.axes[1].out * c.y_strides[1];
  c.y_image_stride = c.axes[0].out * c.y_strides[0];
  c.addend_strides = c.y_strides;
  c.addend_image_stride = c.y_image_stride;
}

int64_t CorrelationScratchFloats(const Correlation& correlation) {
  if (correlation.images * correlation.out_cells() == 0) return 0;
  const Correlation c = Simplified(correlation);
  const Plan plan = MakePlan(c);
  return plan.tile_floats * plan.slots();
}

void RunCorrelation(const Correlation& correlation, float* scratch,
                    const Parallelism* parallelism) {
  // Where there is nothing to compute there are no tiles to cut.
  if (correlation.images * correlation.out_cells() == 0) return;
  const Correlation c = Simplified(correlation);
  Plan plan = MakePlan(c);
  const int64_t threads = parallelism == nullptr ? 1 : parallelism->threads();
  if (plan.direct) {
    // The product itself is cut by the GEMM, which knows its cache blocks.
    plan.rows = c.axes[1].out;
    plan.columns = c.axes[2].out;
    plan.row_tiles = plan.column_tiles = 1;
  } else if (threads > 1) {
    BalanceTiles(c, threads, plan);
  }
  const int64_t tiles = plan.tiles(c);
  if (tiles == 0) return;
  const int64_t slots = std::min(plan.slots(), tiles);
  if (threads == 1 || slots < threads) {
    for (int64_t i = 0; i < tiles; ++i) {
      RunTile(c, plan, TileAt(c, plan, i), scratch, parallelism);
    }
    return;
  }
  parallelism->For(slots, 1, [&](int64_t begin, int64_t end) {
    for (int64_t slot = begin; slot < end; ++slot) {
      for (int64_t i = slot * tiles / slots; i < (slot + 1) * tiles / slots; ++i) {
        RunTile(c, plan, TileAt(c, plan, i), scratch + slot * plan.tile_floats, nullptr);
      }
    }
  });
}

}  // namespace h5serve::compute::ops
