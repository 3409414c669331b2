// Vectors of floats as wide as the instruction set that is compiled for. Only
// for kernel files: everything lives in that set's namespace, so that the linker
// cannot mix functions of two sets.
#pragma once

#include <cstdint>

namespace h5serve::compute::kernels::H5SERVE_ISA {

#if defined(__AVX512F__)
inline constexpr int kLanes = 16;
#elif defined(__AVX__)
inline constexpr int kLanes = 8;
#else
inline constexpr int kLanes = 4;
#endif

typedef float Float __attribute__((vector_size(kLanes * 4), may_alias));
typedef float UnalignedFloat __attribute__((vector_size(kLanes * 4), aligned(4), may_alias));
typedef int32_t Int __attribute__((vector_size(kLanes * 4), may_alias));

#define H5SERVE_INLINE inline __attribute__((always_inline))

H5SERVE_INLINE Float Load(const float* p) { return *reinterpret_cast<const UnalignedFloat*>(p); }
H5SERVE_INLINE void Store(float* p, Float v) { *reinterpret_cast<UnalignedFloat*>(p) = v; }
H5SERVE_INLINE Float Set(float x) { return x - Float{}; }
H5SERVE_INLINE Int SetInt(int32_t x) { return x - Int{}; }
H5SERVE_INLINE Int Bits(Float v) { return reinterpret_cast<Int>(v); }
H5SERVE_INLINE Float FromBits(Int v) { return reinterpret_cast<Float>(v); }
H5SERVE_INLINE Float Select(Int mask, Float a, Float b) { return mask ? a : b; }
H5SERVE_INLINE Float Abs(Float v) { return FromBits(Bits(v) & 0x7FFFFFFF); }
// The magnitude of `v`, which is not negative, with the sign of `sign`.
H5SERVE_INLINE Float WithSign(Float v, Float sign) {
  return FromBits(Bits(v) | (Bits(sign) & static_cast<int32_t>(0x80000000)));
}
// Of two numbers; the second where the first is NaN.
H5SERVE_INLINE Float Min(Float a, Float b) { return a < b ? a : b; }
H5SERVE_INLINE Float Max(Float a, Float b) { return a > b ? a : b; }

// The first `n` (< kLanes) floats; the others are zero.
H5SERVE_INLINE Float LoadPart(const float* p, int64_t n) {
  Float v = {};
  __builtin_memcpy(&v, p, static_cast<unsigned long>(n) * 4);
  return v;
}
H5SERVE_INLINE void StorePart(float* p, Float v, int64_t n) {
  __builtin_memcpy(p, &v, static_cast<unsigned long>(n) * 4);
}

}  // namespace h5serve::compute::kernels::H5SERVE_ISA
