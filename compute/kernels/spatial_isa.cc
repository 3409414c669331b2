// Depthwise convolution, pooling and the other kernels of SpatialKernels.
#include "compute/kernels/simd.h"
#include "compute/kernels/spatial_kernels.h"

namespace h5serve::compute::kernels::H5SERVE_ISA {
namespace {

// Outputs that are computed at the same time, so that a weight is loaded once
// for all of them.
constexpr int kOutputs = 4;

// A few channels at once: a whole vector, or one float.
struct VectorChannels {
  typedef Float Type;
  static H5SERVE_INLINE Float Read(const float* p) { return Load(p); }
  static H5SERVE_INLINE void Write(float* p, Float v) { Store(p, v); }
  static H5SERVE_INLINE Float Fill(float x) { return Set(x); }
};
struct ScalarChannel {
  typedef float Type;
  static H5SERVE_INLINE float Read(const float* p) { return *p; }
  static H5SERVE_INLINE void Write(float* p, float v) { *p = v; }
  static H5SERVE_INLINE float Fill(float x) { return x; }
};

// Calls f.template operator()<Channels>(c) for channels [0, n): whole vectors,
// the last of which may overlap the one before, or single channels when there
// are fewer than a vector.
template <typename F>
H5SERVE_INLINE void ForChannels(int64_t n, F f) {
  if (n >= kLanes) {
    for (int64_t c = 0; c < n; c += kLanes) {
      f(VectorChannels{}, c + kLanes <= n ? c : n - kLanes);
    }
  } else {
    for (int64_t c = 0; c < n; ++c) f(ScalarChannel{}, c);
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

template <typename C>
H5SERVE_INLINE void DepthwiseChannels(const DepthwiseRow& r, int64_t c) {
  int64_t column = 0;
  int64_t first, last;
  for (; column < r.inside_first; ++column) {
    InsideTaps(r, column, &first, &last);
    DepthwiseOutputs<C, 1>(r, column, first, last, c);
  }
  for (; column + kOutputs <= r.inside_last; column += kOutputs) {
    DepthwiseOutputs<C, kOutputs>(r, column, 0, r.taps, c);
  }
  for (; column < r.columns_out; ++column) {
    InsideTaps(r, column, &first, &last);
    DepthwiseOutputs<C, 1>(r, column, first, last, c);
  }
}

void RunDepthwiseRow(const DepthwiseRow& r) {
  ForChannels(
      r.channels, [&](auto channels, int64_t c) __attribute__((always_inline)) {
        DepthwiseChannels<decltype(channels)>(r, c);
      });
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
  for (; i + kLanes <= n; i += kLanes) f(VectorChannels{}, i);
  for (; i < n; ++i) f(ScalarChannel{}, i);
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
    .product = Product,
    .lstm_carry = LstmCarry,
    .multiply = Multiply,
    .add = Add,
    .multiply_add = MultiplyAdd,
    .gru_mix = GruMix,
};

}  // namespace h5serve::compute::kernels::H5SERVE_ISA
