// Depthwise convolution, pooling and the other kernels of SpatialKernels.
#include "compute/kernels/simd.h"
#include "compute/kernels/spatial_kernels.h"

namespace h5serve::compute::kernels::H5SERVE_ISA {
namespace {

// A few channels at once: as many as fit into a vector of `lanes`, or one float.
template <int lanes>
struct VectorChannels {
  typedef float Type __attribute__((vector_size(lanes * 4), may_alias));
  typedef float Unaligned __attribute__((vector_size(lanes * 4), aligned(4), may_alias));
  static H5SERVE_INLINE Type Read(const float* p) { return *reinterpret_cast<const Unaligned*>(p); }
  static H5SERVE_INLINE void Write(float* p, Type v) { *reinterpret_cast<Unaligned*>(p) = v; }
  static H5SERVE_INLINE Type Fill(float x) { return x - Type{}; }
};
template <>
struct VectorChannels<1> {
  typedef float Type;
  static H5SERVE_INLINE float Read(const float* p) { return *p; }
  static H5SERVE_INLINE void Write(float* p, float v) { *p = v; }
  static H5SERVE_INLINE float Fill(float x) { return x; }
};

// Calls f(VectorChannels<lanes>, c) so that all channels [0, n) are covered: by
// vectors, the last of which may overlap the one before, or, where there are
// fewer channels than lanes, by narrower ones.
template <int lanes = kLanes, typename F>
H5SERVE_INLINE void ForChannels(int64_t n, F f) {
  if constexpr (lanes > 4) {
    if (n < lanes) return ForChannels<lanes / 2>(n, f);
  }
  if (n >= lanes) {
    for (int64_t c = 0; c < n; c += lanes) {
      f(VectorChannels<lanes>{}, c + lanes <= n ? c : n - lanes);
    }
  } else {
    for (int64_t c = 0; c < n; ++c) f(VectorChannels<1>{}, c);
  }
}

// `count` outputs from `column` on, with taps [first, last).
template <typename C, int count>
H5SERVE_INLINE void DepthwiseOutputs(const DepthwiseRow& r, int64_t column, int64_t first,
                                     int64_t last, int64_t c) {
  typedef typename C::Type T;
  const int64_t step = r.stride * r.channels;
  const int64_t cell = (column * r.stride - r.before + first * r.dilation) * r.channels + c;
  const int64_t tap_step = r.dilation * r.channels;
  T sums[count];
  for (int i = 0; i < count; ++i) sums[i] = r.bias ? C::Read(r.bias + c) : C::Fill(0);
  for (int64_t plane = 0; plane < r.planes; ++plane) {
    for (int64_t row = 0; row < r.rows; ++row) {
      const float* x = r.x + plane * r.plane_stride + row * r.row_stride + cell;
      const float* w = r.weights + plane * r.weight_plane_stride + row * r.weight_row_stride +
                       first * r.channels + c;
      for (int64_t t = first; t < last; ++t, x += tap_step, w += r.channels) {
        const T weight = C::Read(w);
#pragma GCC unroll 8
        for (int i = 0; i < count; ++i) sums[i] += weight * C::Read(x + i * step);
      }
    }
  }
  float* y = r.y + column * r.channels + c;
  const T low = C::Fill(r.low), high = C::Fill(r.high);
#pragma GCC unroll 8
  for (int i = 0; i < count; ++i) {
    sums[i] = sums[i] < low ? low : sums[i];
    sums[i] = sums[i] > high ? high : sums[i];
    C::Write(y + i * r.channels, sums[i]);
  }
}

// Taps [first, last) of an output that are inside the row.
H5SERVE_INLINE void InsideTaps(const DepthwiseRow& r, int64_t column, int64_t* first,
                               int64_t* last) {
  const int64_t start = column * r.stride - r.before;
  int64_t f = start < 0 ? (-start + r.dilation - 1) / r.dilation : 0;
  int64_t l = start < r.columns_in ? (r.columns_in - start + r.dilation - 1) / r.dilation : 0;
  *last = l < r.taps ? l : r.taps;
  *first = f < *last ? f : *last;
}

// The same for outputs all of whose taps are inside, with a number of taps and a
// stride that are known: each cell is loaded once for all outputs it counts for.
template <typename C, int count, int taps, int stride>
H5SERVE_INLINE void DepthwiseInside(const DepthwiseRow& r, int64_t column, int64_t c) {
  typedef typename C::Type T;
  constexpr int kCells = (count - 1) * stride + taps;
  const int64_t channels = r.channels;
  const float* start = r.x + (column * stride - r.before) * channels + c;
  T sums[count];
#pragma GCC unroll 8
  for (int i = 0; i < count; ++i) sums[i] = r.bias ? C::Read(r.bias + c) : C::Fill(0);
  for (int64_t plane = 0; plane < r.planes; ++plane) {
    for (int64_t row = 0; row < r.rows; ++row) {
      const float* x = start + plane * r.plane_stride + row * r.row_stride;
      const float* w = r.weights + plane * r.weight_plane_stride + row * r.weight_row_stride + c;
      T weights[taps];
#pragma GCC unroll 8
      for (int t = 0; t < taps; ++t) weights[t] = C::Read(w + t * channels);
#pragma GCC unroll 32
      for (int cell = 0; cell < kCells; ++cell) {
        const T value = C::Read(x + cell * channels);
#pragma GCC unroll 8
        for (int t = 0; t < taps; ++t) {
          const int output = (cell - t) / stride;
          if (cell >= t && (cell - t) % stride == 0 && output < count) {
            sums[output] += weights[t] * value;
          }
        }
      }
    }
  }
  float* y = r.y + column * channels + c;
  const T low = C::Fill(r.low), high = C::Fill(r.high);
#pragma GCC unroll 8
  for (int i = 0; i < count; ++i) {
    sums[i] = sums[i] < low ? low : sums[i];
    sums[i] = sums[i] > high ? high : sums[i];
    C::Write(y + i * channels, sums[i]);
  }
}

template <typename C, int count>
H5SERVE_INLINE void DepthwiseGroup(const DepthwiseRow& r, int64_t column, int64_t c) {
  if (r.dilation == 1 && r.taps == 3 && r.stride == 1) {
    DepthwiseInside<C, count, 3, 1>(r, column, c);
  } else if (r.dilation == 1 && r.taps == 3 && r.stride == 2) {
    DepthwiseInside<C, count, 3, 2>(r, column, c);
  } else if (r.dilation == 1 && r.taps == 5 && r.stride == 1) {
    DepthwiseInside<C, count, 5, 1>(r, column, c);
  } else {
    DepthwiseOutputs<C, count>(r, column, 0, r.taps, c);
  }
}

// Several outputs at a time: a weight is loaded once for all of them, and their
// sums do not wait for each other. All channels of a few outputs come before the
// next outputs, so that memory is read in its order.
template <int count>
H5SERVE_INLINE void DepthwiseColumns(const DepthwiseRow& r, int64_t column) {
  ForChannels(
      r.channels, [&](auto channels, int64_t c) __attribute__((always_inline)) {
        DepthwiseGroup<decltype(channels), count>(r, column, c);
      });
}

void DepthwiseEdge(const DepthwiseRow& r, int64_t column) {
  int64_t first, last;
  InsideTaps(r, column, &first, &last);
  ForChannels(
      r.channels, [&](auto channels, int64_t c) __attribute__((always_inline)) {
        DepthwiseOutputs<decltype(channels), 1>(r, column, first, last, c);
      });
}

void RunDepthwiseRow(const DepthwiseRow& r) {
  int64_t column = 0;
  while (column < r.inside_first) DepthwiseEdge(r, column++);
  for (; column + 8 <= r.inside_last; column += 8) DepthwiseColumns<8>(r, column);
  for (; column + 4 <= r.inside_last; column += 4) DepthwiseColumns<4>(r, column);
  for (; column + 2 <= r.inside_last; column += 2) DepthwiseColumns<2>(r, column);
  while (column < r.columns_out) DepthwiseEdge(r, column++);
}

template <typename C>
H5SERVE_INLINE void PoolOutput(const PoolRow& r, const float* x, int64_t cells, float divisor,
                               float* y, int64_t c) {
  typedef typename C::Type T;
  T value = C::Read(x + c);
  for (int64_t plane = 0; plane < r.planes; ++plane) {
    for (int64_t row = 0; row < r.rows; ++row) {
      const float* p = x + plane * r.plane_stride + row * r.row_stride + c;
      int64_t cell = plane == 0 && row == 0 ? 1 : 0;
      for (p += cell * r.channels; cell < cells; ++cell, p += r.channels) {
        const T other = C::Read(p);
        if (r.average) {
          value += other;
        } else {
          value = value >= other ? value : other;
        }
      }
    }
  }
  if (r.average) value /= C::Fill(divisor);
  C::Write(y + c, value);
}

void RunPoolRow(const PoolRow& r) {
  for (int64_t column = 0; column < r.columns_out; ++column) {
    const int64_t start = column * r.stride - r.before;
    const int64_t first = start > 0 ? start : 0;
    const int64_t last = start + r.size < r.columns_in ? start + r.size : r.columns_in;
    const int64_t cells = last - first;
    const int64_t divisor = r.divisor > 0 ? r.divisor : r.planes * r.rows * cells;
    ForChannels(
        r.channels, [&](auto channels, int64_t c) __attribute__((always_inline)) {
          PoolOutput<decltype(channels)>(r, r.x + first * r.channels, cells,
                                         static_cast<float>(divisor), r.y + column * r.channels, c);
        });
  }
}

void WeightedSum(const float* x, int64_t stride, const float* weights, int64_t taps, int64_t n,
                 float* y) {
  ForChannels(
      n, [&](auto channels, int64_t c) __attribute__((always_inline)) {
        typedef decltype(channels) C;
        auto sum = C::Fill(0);
        for (int64_t t = 0; t < taps; ++t) sum += C::Fill(weights[t]) * C::Read(x + t * stride + c);
        C::Write(y + c, sum);
      });
}

// B' d of F(2, 3) for four values a stride apart.
struct Four {
  Float at[4];
};
H5SERVE_INLINE Four InputTransform(Float d0, Float d1, Float d2, Float d3) {
  return {{d0 - d2, d1 + d2, d2 - d1, d1 - d3}};
}

void WinogradInput(const float* const cells[16], int64_t channels, float* out, int64_t out_stride) {
  for (int64_t i = 0; i < channels; i += kLanes) {
    const int64_t c = i + kLanes <= channels ? i : channels - kLanes;
    Four columns[4];
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) {
      columns[j] = InputTransform(Load(cells[j] + c), Load(cells[4 + j] + c),
                                  Load(cells[8 + j] + c), Load(cells[12 + j] + c));
    }
#pragma GCC unroll 4
    for (int row = 0; row < 4; ++row) {
      const Four result = InputTransform(columns[0].at[row], columns[1].at[row], columns[2].at[row],
                                         columns[3].at[row]);
#pragma GCC unroll 4
      for (int j = 0; j < 4; ++j) Store(out + (row * 4 + j) * out_stride + c, result.at[j]);
    }
  }
}

void RunWinogradOutput(const WinogradOutput& o) {
  const Float low = Set(o.low), high = Set(o.high);
  for (int64_t i = 0; i < o.channels; i += kLanes) {
    const int64_t c = i + kLanes <= o.channels ? i : o.channels - kLanes;
    const float* p = o.products + c;
    Float upper[4], lower[4];
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) {
      const Float m0 = Load(p + j * o.product_stride);
      const Float m1 = Load(p + (4 + j) * o.product_stride);
      const Float m2 = Load(p + (8 + j) * o.product_stride);
      const Float m3 = Load(p + (12 + j) * o.product_stride);
      upper[j] = m0 + m1 + m2;
      lower[j] = m1 - m2 - m3;
    }
    const Float bias = o.bias != nullptr ? Load(o.bias + c) : Float{};
    const Float results[4] = {
        upper[0] + upper[1] + upper[2] + bias, upper[1] - upper[2] - upper[3] + bias,
        lower[0] + lower[1] + lower[2] + bias, lower[1] - lower[2] - lower[3] + bias};
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) {
      if (o.y[j] == nullptr) continue;
      Float v = results[j];
      if (o.addend[j] != nullptr) v += Load(o.addend[j] + c);
      v = Select(v < low, low, v);
      v = Select(v > high, high, v);
      Store(o.y[j] + c, v);
    }
  }
}

template <int rows>
H5SERVE_INLINE void ProductRows(const float* a, const float* b, const float* bias, int64_t k,
                                int64_t n, float* y, int64_t y_stride) {
  ForChannels(
      n, [&](auto channels, int64_t c) __attribute__((always_inline)) {
        typedef decltype(channels) C;
        typename C::Type sums[rows];
        for (int r = 0; r < rows; ++r) sums[r] = bias ? C::Read(bias + c) : C::Fill(0);
        for (int64_t i = 0; i < k; ++i) {
          const auto value = C::Read(b + i * n + c);
#pragma GCC unroll 8
          for (int r = 0; r < rows; ++r) sums[r] += C::Fill(a[r * k + i]) * value;
        }
        for (int r = 0; r < rows; ++r) C::Write(y + r * y_stride + c, sums[r]);
      });
}

void Product(const float* a, const float* b, const float* bias, int64_t m, int64_t k, int64_t n,
             float* y, int64_t y_stride) {
  for (; m >= 8; m -= 8, a += 8 * k, y += 8 * y_stride) {
    ProductRows<8>(a, b, bias, k, n, y, y_stride);
  }
  for (; m >= 2; m -= 2, a += 2 * k, y += 2 * y_stride) {
    ProductRows<2>(a, b, bias, k, n, y, y_stride);
  }
  if (m > 0) ProductRows<1>(a, b, bias, k, n, y, y_stride);
}

// Calls f(i, load, store) for all elements, a vector at a time.
template <typename F>
H5SERVE_INLINE void ForElements(int64_t n, F f) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) f(VectorChannels<kLanes>{}, i);
  for (; i < n; ++i) f(VectorChannels<1>{}, i);
}

void LstmCarry(const float* i, const float* f, const float* g, int64_t n, float* c, float* h) {
  ForElements(
      n, [&](auto channels, int64_t j) __attribute__((always_inline)) {
        typedef decltype(channels) C;
        const auto carry = C::Read(f + j) * C::Read(c + j) + C::Read(i + j) * C::Read(g + j);
        C::Write(c + j, carry);
        C::Write(h + j, carry);
      });
}

void Multiply(const float* a, const float* b, int64_t n, float* y) {
  ForElements(
      n, [&](auto channels, int64_t j) __attribute__((always_inline)) {
        typedef decltype(channels) C;
        C::Write(y + j, C::Read(a + j) * C::Read(b + j));
      });
}

void Add(const float* a, const float* b, int64_t n, float* y) {
  ForElements(
      n, [&](auto channels, int64_t j) __attribute__((always_inline)) {
        typedef decltype(channels) C;
        C::Write(y + j, C::Read(a + j) + C::Read(b + j));
      });
}

void MultiplyAdd(const float* a, const float* b, const float* c, int64_t n, float* y) {
  ForElements(
      n, [&](auto channels, int64_t j) __attribute__((always_inline)) {
        typedef decltype(channels) C;
        C::Write(y + j, C::Read(a + j) + C::Read(b + j) * C::Read(c + j));
      });
}

void GruMix(const float* z, const float* candidate, int64_t n, float* h) {
  ForElements(
      n, [&](auto channels, int64_t j) __attribute__((always_inline)) {
        typedef decltype(channels) C;
        const auto gate = C::Read(z + j);
        C::Write(h + j, gate * C::Read(h + j) + (C::Fill(1) - gate) * C::Read(candidate + j));
      });
}

#if defined(__AVX512F__)
constexpr char kIsaName[] = "x86-64-v4";
#elif defined(__AVX2__)
constexpr char kIsaName[] = "x86-64-v3";
#else
constexpr char kIsaName[] = "x86-64-v2";
#endif

}  // namespace

extern const SpatialKernels kSpatialKernels;
const SpatialKernels kSpatialKernels = {
    .isa = kIsaName,
    .depthwise_row = RunDepthwiseRow,
    .pool_row = RunPoolRow,
    .weighted_sum = WeightedSum,
    .winograd_input = WinogradInput,
    .winograd_output = RunWinogradOutput,
    .product = Product,
    .lstm_carry = LstmCarry,
    .multiply = Multiply,
    .add = Add,
    .multiply_add = MultiplyAdd,
    .gru_mix = GruMix,
};

}  // namespace h5serve::compute::kernels::H5SERVE_ISA
