#include "compute/ops/winograd.h"

#include <algorithm>
#include <vector>

#include "compute/kernels/gemm.h"
#include "compute/kernels/spatial_kernels.h"
#include "compute/ops/activation.h"

namespace h5serve::compute::ops {
namespace {

constexpr int64_t kPoints = 16;  // products of a tile
// Transformed inputs and products of the tiles that are computed together; they
// should stay in the second-level cache.
constexpr int64_t kBlockFloats = 150 * 1024;
constexpr int64_t kMaxSlots = 8;
constexpr int64_t kLeastChannels = 32;
constexpr int64_t kMostChannels = 256;
// Products with fewer rows than this cannot pay for reading more weights.
constexpr int64_t kLeastTiles = 36;

int64_t CeilDivide(int64_t a, int64_t b) { return (a + b - 1) / b; }
int64_t RoundUp16(int64_t n) { return CeilDivide(n, 16) * 16; }

int64_t TilesOf(const WindowAxis& axis) { return CeilDivide(axis.out, 2); }

// Tiles that are computed together.
int64_t BlockTiles(const Correlation& c, int64_t threads) {
  const int64_t tiles = c.images * TilesOf(c.axes[1]) * TilesOf(c.axes[2]);
  const int64_t fitting =
      std::max<int64_t>(kBlockFloats / (kPoints * (c.filter.in + c.filter.out)), 13);
  // As many blocks for each thread.
  const int64_t blocks = CeilDivide(CeilDivide(tiles, fitting), threads) * threads;
  return std::max<int64_t>(CeilDivide(tiles, std::max<int64_t>(blocks, 1)), 1);
}

int64_t SlotFloats(const Correlation& c) {
  const int64_t tiles = BlockTiles(c, 1);
  return RoundUp16(kPoints * tiles * c.filter.in) + RoundUp16(kPoints * tiles * c.filter.out);
}

// Place of a tile's first output.
struct TilePlace {
  int64_t image, row, column;
};

TilePlace PlaceOf(const Correlation& c, int64_t tile) {
  const int64_t columns = TilesOf(c.axes[2]);
  const int64_t rows = TilesOf(c.axes[1]);
  return {tile / columns / rows, tile / columns % rows * 2, tile % columns * 2};
}

// Transforms the inputs of `count` tiles from `first` on into kPoints matrices
// (count, channels).
void TransformInputs(const Correlation& c, int64_t first, int64_t count, float* out) {
  static constexpr float kZeros[kMostChannels] = {};
  const auto& table = kernels::GetSpatialKernels();
  const int64_t channels = c.filter.in;
  const WindowAxis& vertical = c.axes[1];
  const WindowAxis& horizontal = c.axes[2];
  for (int64_t i = 0; i < count; ++i) {
    const TilePlace place = PlaceOf(c, first + i);
    const float* image = c.x + place.image * c.x_image_stride;
    const float* cells[kPoints];
    for (int64_t j = 0; j < kPoints; ++j) {
      const int64_t row = vertical.Start(place.row) + j / 4;
      const int64_t column = horizontal.Start(place.column) + j % 4;
      const bool inside = row >= 0 && row < vertical.in && column >= 0 && column < horizontal.in;
      cells[j] = inside ? image + (row * horizontal.in + column) * channels : kZeros;
    }
    table.winograd_input(cells, channels, out + i * channels, count * channels);
  }
}

// The outputs of `count` tiles from `first` on, from kPoints matrices of products.
void TransformOutputs(const Correlation& c, int64_t first, int64_t count, const float* products) {
  const auto& table = kernels::GetSpatialKernels();
  const int64_t channels = c.filter.out;
  const ClampRange clamp = ClampOf(c.activation, c.activation_p, c.activation_q);
  for (int64_t i = 0; i < count; ++i) {
    const TilePlace place = PlaceOf(c, first + i);
    kernels::WinogradOutput o;
    o.products = products + i * channels;
    o.product_stride = count * channels;
    o.channels = channels;
    o.bias = c.bias;
    o.low = clamp.low;
    o.high = clamp.high;
    for (int64_t j = 0; j < 4; ++j) {
      const int64_t row = place.row + j / 2;
      const int64_t column = place.column + j % 2;
      if (row >= c.axes[1].out || column >= c.axes[2].out) continue;
      o.y[j] =
          c.y + place.image * c.y_image_stride + row * c.y_strides[1] + column * c.y_strides[2];
      if (c.addend != nullptr) {
        o.addend[j] = c.addend + place.image * c.addend_image_stride + row * c.addend_strides[1] +
                      column * c.addend_strides[2];
      }
    }
    table.winograd_output(o);
    if (clamp.exact) continue;
    for (float* y : o.y) {
      if (y != nullptr) {
        ApplyActivation(c.activation, c.activation_p, c.activation_q, channels, y);
      }
    }
  }
}

void RunBlock(const Correlation& c, int64_t first, int64_t count, float* scratch,
              const Parallelism* parallelism) {
  float* inputs = scratch;
  float* products = scratch + RoundUp16(kPoints * count * c.filter.in);
  TransformInputs(c, first, count, inputs);
  const int64_t matrix = RoundUp16(kernels::PackedFloats(c.filter.in, c.filter.out));
  for (int64_t point = 0; point < kPoints; ++point) {
    kernels::GemmArguments g;
    g.rows = count;
    g.a = inputs + point * count * c.filter.in;
    g.a_row_stride = g.k = c.filter.in;
    g.b = c.packed_filter + point * matrix;
    g.c = products + point * count * c.filter.out;
    g.c_row_stride = g.n = c.filter.out;
    kernels::Gemm(g, parallelism);
  }
  TransformOutputs(c, first, count, products);
}

}  // namespace

bool SuitsWinograd(const Correlation& c) {
  const WindowAxis& vertical = c.axes[1];
  const WindowAxis& horizontal = c.axes[2];
  return c.axes[0].trivial() && vertical.size == 3 && horizontal.size == 3 &&
         vertical.stride == 1 && horizontal.stride == 1 && vertical.dilation == 1 &&
         horizontal.dilation == 1 && c.filter.groups == 1 && c.filter.in >= kLeastChannels &&
         c.filter.in <= kMostChannels && c.filter.out >= kLeastChannels &&
         TilesOf(vertical) * TilesOf(horizontal) >= kLeastTiles;
}

int64_t WinogradFilterFloats(int64_t in, int64_t out) {
  return kPoints * RoundUp16(kernels::PackedFloats(in, out));
}

void PackWinogradFilter(int64_t in, int64_t out, const float* kernel, float* packed) {
  // G of F(2, 3); a transformed kernel is G k G'.
  constexpr double kG[4][3] = {{1, 0, 0}, {0.5, 0.5, 0.5}, {0.5, -0.5, 0.5}, {0, 0, 1}};
  const int64_t matrix = RoundUp16(kernels::PackedFloats(in, out));
  std::vector<float> transformed(in * out);
  for (int64_t point = 0; point < kPoints; ++point) {
    for (int64_t i = 0; i < in * out; ++i) {
      double sum = 0;
      for (int64_t tap = 0; tap < 9; ++tap) {
        sum += kG[point / 4][tap / 3] * kG[point % 4][tap % 3] * kernel[tap * in * out + i];
      }
      transformed[i] = static_cast<float>(sum);
    }
    kernels::PackMatrix(transformed.data(), in, out, out, 1, packed + point * matrix);
  }
}

int64_t WinogradScratchFloats(const Correlation& c) { return SlotFloats(c) * kMaxSlots; }

void RunWinograd(const Correlation& c, float* scratch, const Parallelism* parallelism) {
  const int64_t threads = parallelism == nullptr ? 1 : parallelism->threads();
  const int64_t tiles = c.images * TilesOf(c.axes[1]) * TilesOf(c.axes[2]);
  if (tiles == 0) return;
  const int64_t step = BlockTiles(c, threads);
  const int64_t blocks = CeilDivide(tiles, step);
  const int64_t slot_floats = SlotFloats(c);
  const auto run = [&](int64_t block, int64_t slot, const Parallelism* inner) {
    const int64_t first = block * step;
    RunBlock(c, first, std::min(step, tiles - first), scratch + slot * slot_floats, inner);
  };
  const int64_t slots = std::min(kMaxSlots, blocks);
  if (threads == 1 || slots == 1) {
    for (int64_t block = 0; block < blocks; ++block) run(block, 0, parallelism);
    return;
  }
  parallelism->For(slots, 1, [&](int64_t begin, int64_t end) {
    for (int64_t slot = begin; slot < end; ++slot) {
      for (int64_t block = slot * blocks / slots; block < (slot + 1) * blocks / slots; ++block) {
        run(block, slot, nullptr);
      }
    }
  });
}

}  // namespace h5serve::compute::ops
