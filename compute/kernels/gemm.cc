#include "compute/kernels/gemm.h"

#include <algorithm>

#include "compute/aligned_memory.h"
#include "compute/kernels/dispatch.h"

namespace h5serve::compute::kernels {
namespace {

// Work worth handing to another thread: about ten microseconds.
constexpr int64_t kGrainFlops = int64_t{1} << 20;

int64_t DivideUp(int64_t a, int64_t b) { return (a + b - 1) / b; }

}  // namespace

int64_t TileRows() { return Kernels().tile_rows; }

int64_t PackedFloats(int64_t k, int64_t n) {
  const int64_t panel = Kernels().panel_columns;
  const int64_t rest = n % panel;
  const int64_t last = rest == 0 ? 0 : rest <= panel / 2 ? panel / 2 : panel;
  return k * (n - rest + last);
}

void PackMatrix(const float* b, int64_t k, int64_t n, int64_t stride_k, int64_t stride_n,
                float* packed) {
  Kernels().pack(b, k, n, stride_k, stride_n, packed);
}

PackedMatrix::PackedMatrix(const float* b, int64_t k, int64_t n, int64_t stride_k, int64_t stride_n)
    : k_(k), n_(n) {
  std::shared_ptr<void> memory =
      AllocateAligned(static_cast<size_t>(PackedFloats(k, n)) * sizeof(float));
  float* packed = static_cast<float*>(memory.get());
  PackMatrix(b, k, n, stride_k, stride_n, packed);
  data_ = std::shared_ptr<const float>(std::move(memory), packed);
}

int64_t PackedMatrix::size_bytes() const {
  return data_ == nullptr ? 0 : PackedFloats(k_, n_) * static_cast<int64_t>(sizeof(float));
}

void Gemm(const GemmArguments& arguments, const Parallelism* parallelism) {
  const KernelTable& kernels = Kernels();
  const int64_t panels = DivideUp(arguments.n, kernels.panel_columns);
  const int64_t rows = arguments.blocks * arguments.rows;
  const GemmRange all{0, arguments.blocks, 0, arguments.rows, 0, panels};
  const int64_t flops = 2 * rows * arguments.n * std::max<int64_t>(arguments.k, 1);
  if (parallelism == nullptr || flops < 2 * kGrainFlops || parallelism->threads() == 1) {
    kernels.gemm(arguments, all);
    return;
  }
  // Rows are split when every thread still has several tiles; each thread then
  // reads all weights. Otherwise columns are.
  const auto split = [&](int64_t n, int64_t per_item, auto&& set) {
    const int64_t grain = std::max<int64_t>(1, kGrainFlops / std::max<int64_t>(per_item, 1));
    const auto body = [&](int64_t begin, int64_t end) {
      GemmRange range = all;
      set(range, begin, end);
      kernels.gemm(arguments, range);
    };
    if (n <= grain) {
      body(0, n);
    } else {
      parallelism->For(n, grain, std::ref(body));
    }
  };
  const int64_t threads = parallelism->threads();
  if (arguments.blocks >= 2 * threads) {
    split(arguments.blocks, flops / arguments.blocks,
          [](GemmRange& range, int64_t begin, int64_t end) {
            range.block_begin = begin;
            range.block_end = end;
          });
  } else if (arguments.rows >= 4 * threads * kernels.tile_rows || panels < threads) {
    // In units of tiles, so that no thread gets a ragged end but the last.
    const int64_t tile = kernels.tile_rows;
    split(DivideUp(arguments.rows, tile), flops / DivideUp(arguments.rows, tile),
          [&](GemmRange& range, int64_t begin, int64_t end) {
            range.row_begin = begin * tile;
            range.row_end = std::min(end * tile, arguments.rows);
          });
  } else {
    split(panels, flops / panels, [](GemmRange& range, int64_t begin, int64_t end) {
      range.panel_begin = begin;
      range.panel_end = end;
    });
  }
}

}  // namespace h5serve::compute::kernels
