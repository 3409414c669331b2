#include "compute/ops/strided_copy.h"

#include <algorithm>
#include <cstring>
#include <string>

namespace h5serve::compute::ops {
namespace {

// A piece that one thread should get at least, in elements.
constexpr int64_t kGrain = 32768;
// Side of the square in which two axes are swapped: 16 rows of 16 floats stay
// in the first-level cache on both sides.
constexpr int64_t kTile = 16;

// Drops loops of size 1 and merges loops that walk one stretch of memory.
std::vector<CopyLoop> Simplify(const std::vector<CopyLoop>& loops) {
  std::vector<CopyLoop> merged;
  for (const CopyLoop& loop : loops) {
    if (loop.size == 1) continue;
    if (!merged.empty() && merged.back().stride == loop.stride * loop.size) {
      merged.back().size *= loop.size;
      merged.back().stride = loop.stride;
    } else {
      merged.push_back(loop);
    }
  }
  return merged;
}

template <typename T>
void CopyRow(const T* in, int64_t stride, int64_t count, T* out) {
  if (stride == 1) {
    std::copy_n(in, count, out);
  } else if (stride == 0) {
    std::fill_n(out, count, *in);
  } else {
    for (int64_t i = 0; i < count; ++i) out[i] = in[i * stride];
  }
}

// Source offset of row `row` of the loops before the last `skip` ones.
int64_t RowOffset(const std::vector<CopyLoop>& loops, size_t used, int64_t row) {
  int64_t offset = 0;
  for (size_t i = used; i-- > 0;) {
    offset += row % loops[i].size * loops[i].stride;
    row /= loops[i].size;
  }
  return offset;
}

// The last loop jumps in the source while loop `unit` walks it: goes through
// both in squares, so that each cache line is used whole.
template <typename T>
void CopyTiled(const RunContext& context, const T* in, const std::vector<CopyLoop>& loops,
               size_t unit, T* out) {
  const CopyLoop columns = loops.back();
  const CopyLoop rows = loops[unit];
  // Row-major strides of the output, and the loops other than the two.
  std::vector<int64_t> out_strides(loops.size());
  int64_t total = 1;
  for (size_t i = loops.size(); i-- > 0;) {
    out_strides[i] = total;
    total *= loops[i].size;
  }
  const int64_t row_tiles = (rows.size + kTile - 1) / kTile;
  const int64_t others = total / (rows.size * columns.size);
  context.ParallelFor(others * row_tiles, std::max<int64_t>(1, kGrain / (kTile * columns.size)),
                      [&](int64_t begin, int64_t end) {
                        for (int64_t item = begin; item < end; ++item) {
                          int64_t rest = item / row_tiles;
                          const int64_t row_begin = item % row_tiles * kTile;
                          const int64_t row_end = std::min(rows.size, row_begin + kTile);
                          int64_t from = 0, to = 0;
                          for (size_t i = loops.size() - 1; i-- > 0;) {
                            if (i == unit) continue;
                            const int64_t index = rest % loops[i].size;
                            rest /= loops[i].size;
                            from += index * loops[i].stride;
                            to += index * out_strides[i];
                          }
                          for (int64_t column = 0; column < columns.size; column += kTile) {
                            const int64_t column_end = std::min(columns.size, column + kTile);
                            for (int64_t row = row_begin; row < row_end; ++row) {
                              const T* source = in + from + row * rows.stride;
                              T* target = out + to + row * out_strides[unit];
                              for (int64_t i = column; i < column_end; ++i)
                                target[i] = source[i * columns.stride];
                            }
                          }
                        }
                      });
}

template <typename T>
void CopyLoops(const RunContext& context, const T* in, const std::vector<CopyLoop>& loops, T* out) {
  if (loops.empty()) {
    *out = *in;
    return;
  }
  const CopyLoop inner = loops.back();
  if (inner.stride != 1 && inner.stride != 0 && inner.size >= 4) {
    for (size_t i = 0; i + 1 < loops.size(); ++i) {
      if (loops[i].stride == 1 && loops[i].size >= 4) return CopyTiled(context, in, loops, i, out);
    }
  }
  int64_t rows = 1;
  for (size_t i = 0; i + 1 < loops.size(); ++i) rows *= loops[i].size;
  const int64_t grain = std::max<int64_t>(1, kGrain / inner.size);
  context.ParallelFor(rows, grain, [&](int64_t begin, int64_t end) {
    std::vector<int64_t> index(loops.size(), 0);
    int64_t rest = begin;
    for (size_t i = loops.size() - 1; i-- > 0;) {
      index[i] = rest % loops[i].size;
      rest /= loops[i].size;
    }
    int64_t from = RowOffset(loops, loops.size() - 1, begin);
    for (int64_t row = begin; row < end; ++row) {
      CopyRow(in + from, inner.stride, inner.size, out + row * inner.size);
      for (size_t i = loops.size() - 1; i-- > 0;) {
        from += loops[i].stride;
        if (++index[i] < loops[i].size) break;
        from -= loops[i].stride * loops[i].size;
        index[i] = 0;
      }
    }
  });
}

}  // namespace

std::array<int64_t, kMaxRank> RowMajorStrides(const Shape& shape) {
  std::array<int64_t, kMaxRank> strides{};
  int64_t stride = 1;
  for (int axis = shape.rank() - 1; axis >= 0; --axis) {
    strides[axis] = stride;
    stride *= shape[axis];
  }
  return strides;
}

int64_t Product(const Shape& shape, int begin, int end) {
  int64_t product = 1;
  for (int axis = begin; axis < end; ++axis) product *= shape[axis];
  return product;
}

void CopyStrided(const RunContext& context, DType dtype, const void* in, int64_t offset,
                 std::vector<CopyLoop> loops, void* out) {
  for (const CopyLoop& loop : loops) {
    if (loop.size == 0) return;
  }
  const std::vector<CopyLoop> simple = Simplify(loops);
  VisitMovable(dtype, [&](auto zero) {
    using T = decltype(zero);
    CopyLoops(context, static_cast<const T*>(in) + offset, simple, static_cast<T*>(out));
  });
}

void CopyElements(DType dtype, const void* in, int64_t from, void* out, int64_t to, int64_t count) {
  VisitMovable(dtype, [&](auto zero) {
    using T = decltype(zero);
    std::copy_n(static_cast<const T*>(in) + from, count, static_cast<T*>(out) + to);
  });
}

void FillElements(DType dtype, void* out, int64_t to, int64_t count, float value) {
  switch (dtype) {
    case DType::kString:
      std::fill_n(static_cast<std::string*>(out) + to, count, std::string());
      break;
    case DType::kInt64:
      std::fill_n(static_cast<int64_t*>(out) + to, count, static_cast<int64_t>(value));
      break;
    case DType::kBool:
      std::fill_n(static_cast<bool*>(out) + to, count, value != 0);
      break;
    default:
      std::fill_n(static_cast<float*>(out) + to, count, value);
  }
}

}  // namespace h5serve::compute::ops
