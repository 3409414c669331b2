#include "compute/ops/hash.h"

#include <bit>
#include <cstring>
#include <utility>

namespace h5serve::compute::ops {
namespace {

// --- FarmHash Fingerprint64 (Pike, 2014), the "na" variant ---------------------

constexpr uint64_t kK0 = 0xc3a5c85c97cb3127ULL;
constexpr uint64_t kK1 = 0xb492b66fbe98f273ULL;
constexpr uint64_t kK2 = 0x9ae16a3b2f90404fULL;

// Little-endian reads of unaligned memory.
uint64_t Read64(const char* p) {
  uint64_t value;
  std::memcpy(&value, p, sizeof(value));
  if constexpr (std::endian::native == std::endian::big) value = __builtin_bswap64(value);
  return value;
}
uint64_t Read32(const char* p) {
  uint32_t value;
  std::memcpy(&value, p, sizeof(value));
  if constexpr (std::endian::native == std::endian::big) value = __builtin_bswap32(value);
  return value;
}

uint64_t ShiftMix(uint64_t value) { return value ^ (value >> 47); }

uint64_t Mix16(uint64_t u, uint64_t v, uint64_t multiplier) {
  uint64_t a = (u ^ v) * multiplier;
  a ^= a >> 47;
  uint64_t b = (v ^ a) * multiplier;
  b ^= b >> 47;
  return b * multiplier;
}

uint64_t Short(const char* s, size_t n) {
  const uint64_t multiplier = kK2 + n * 2;
  if (n >= 8) {
    const uint64_t a = Read64(s) + kK2;
    const uint64_t b = Read64(s + n - 8);
    const uint64_t c = std::rotr(b, 37) * multiplier + a;
    const uint64_t d = (std::rotr(a, 25) + b) * multiplier;
    return Mix16(c, d, multiplier);
  }
  if (n >= 4) return Mix16(n + (Read32(s) << 3), Read32(s + n - 4), multiplier);
  if (n == 0) return kK2;
  const uint32_t first = static_cast<uint8_t>(s[0]);
  const uint32_t middle = static_cast<uint8_t>(s[n >> 1]);
  const uint32_t last = static_cast<uint8_t>(s[n - 1]);
  const uint32_t y = first + (middle << 8);
  const uint32_t z = static_cast<uint32_t>(n) + (last << 2);
  return ShiftMix(y * kK2 ^ z * kK0) * kK2;
}

uint64_t UpTo32(const char* s, size_t n) {
  const uint64_t multiplier = kK2 + n * 2;
  const uint64_t a = Read64(s) * kK1;
  const uint64_t b = Read64(s + 8);
  const uint64_t c = Read64(s + n - 8) * multiplier;
  const uint64_t d = Read64(s + n - 16) * kK2;
  return Mix16(std::rotr(a + b, 43) + std::rotr(c, 30) + d, a + std::rotr(b + kK2, 18) + c,
               multiplier);
}

uint64_t UpTo64(const char* s, size_t n) {
  const uint64_t multiplier = kK2 + n * 2;
  const uint64_t a = Read64(s) * kK2;
  const uint64_t b = Read64(s + 8);
  const uint64_t c = Read64(s + n - 8) * multiplier;
  const uint64_t d = Read64(s + n - 16) * kK2;
  const uint64_t y = std::rotr(a + b, 43) + std::rotr(c, 30) + d;
  const uint64_t z = Mix16(y, a + std::rotr(b + kK2, 18) + c, multiplier);
  const uint64_t e = Read64(s + 16) * multiplier;
  const uint64_t f = Read64(s + 24);
  const uint64_t g = (y + Read64(s + n - 32)) * multiplier;
  const uint64_t h = (z + Read64(s + n - 24)) * multiplier;
  return Mix16(std::rotr(e + f, 43) + std::rotr(g, 30) + h, e + std::rotr(f + a, 18) + g,
               multiplier);
}

struct Pair {
  uint64_t first = 0;
  uint64_t second = 0;
};

// Mixes 32 bytes and two seeds.
Pair Weak32(const char* s, uint64_t a, uint64_t b) {
  const uint64_t w = Read64(s), x = Read64(s + 8), y = Read64(s + 16), z = Read64(s + 24);
  a += w;
  b = std::rotr(b + a + z, 21);
  const uint64_t c = a;
  a += x;
  a += y;
  b += std::rotr(a, 44);
  return {a + z, b + c};
}

uint64_t Long(const char* s, size_t n) {
  constexpr uint64_t kSeed = 81;
  uint64_t x = kSeed;
  uint64_t y = kSeed * kK1 + 113;
  uint64_t z = ShiftMix(y * kK2 + 113) * kK2;
  Pair v, w;
  x = x * kK2 + Read64(s);
  const char* end = s + (n - 1) / 64 * 64;
  const char* last64 = end + ((n - 1) & 63) - 63;
  do {
    x = std::rotr(x + y + v.first + Read64(s + 8), 37) * kK1;
    y = std::rotr(y + v.second + Read64(s + 48), 42) * kK1;
    x ^= w.second;
    y += v.first + Read64(s + 40);
    z = std::rotr(z + w.first, 33) * kK1;
    v = Weak32(s, v.second * kK1, x + w.first);
    w = Weak32(s + 32, z + w.second, y + Read64(s + 16));
    std::swap(z, x);
    s += 64;
  } while (s != end);
  const uint64_t multiplier = kK1 + ((z & 0xff) << 1);
  s = last64;
  w.first += (n - 1) & 63;
  v.first += w.first;
  w.first += v.first;
  x = std::rotr(x + y + v.first + Read64(s + 8), 37) * multiplier;
  y = std::rotr(y + v.second + Read64(s + 48), 42) * multiplier;
  x ^= w.second * 9;
  y += v.first * 9 + Read64(s + 40);
  z = std::rotr(z + w.first, 33) * multiplier;
  v = Weak32(s, v.second * multiplier, x + w.first);
  w = Weak32(s + 32, z + w.second, y + Read64(s + 16));
  std::swap(z, x);
  return Mix16(Mix16(v.first, w.first, multiplier) + ShiftMix(y) * kK0 + z,
               Mix16(v.second, w.second, multiplier) + x, multiplier);
}

// --- SipHash-2-4 (Aumasson & Bernstein, 2012) ----------------------------------

struct SipState {
  uint64_t v0, v1, v2, v3;

  void Round() {
    v0 += v1;
    v1 = std::rotl(v1, 13) ^ v0;
    v0 = std::rotl(v0, 32);
    v2 += v3;
    v3 = std::rotl(v3, 16) ^ v2;
    v0 += v3;
    v3 = std::rotl(v3, 21) ^ v0;
    v2 += v1;
    v1 = std::rotl(v1, 17) ^ v2;
    v2 = std::rotl(v2, 32);
  }
  void Absorb(uint64_t word) {
    v3 ^= word;
    Round();
    Round();
    v0 ^= word;
  }
};

}  // namespace

uint64_t Fingerprint64(std::string_view text) {
  const char* s = text.data();
  const size_t n = text.size();
  if (n <= 16) return Short(s, n);
  if (n <= 32) return UpTo32(s, n);
  if (n <= 64) return UpTo64(s, n);
  return Long(s, n);
}

uint64_t SipHash24(uint64_t k0, uint64_t k1, std::string_view text) {
  // The constants spell "somepseudorandomlygeneratedbytes".
  SipState state{k0 ^ 0x736f6d6570736575ULL, k1 ^ 0x646f72616e646f6dULL, k0 ^ 0x6c7967656e657261ULL,
                 k1 ^ 0x7465646279746573ULL};
  const char* s = text.data();
  const size_t n = text.size();
  for (size_t i = 0; i + 8 <= n; i += 8) state.Absorb(Read64(s + i));
  uint64_t last = static_cast<uint64_t>(n) << 56;
  for (size_t i = n / 8 * 8; i < n; ++i) {
    last |= static_cast<uint64_t>(static_cast<uint8_t>(s[i])) << (i % 8 * 8);
  }
  state.Absorb(last);
  state.v2 ^= 0xff;
  for (int i = 0; i < 4; ++i) state.Round();
  return state.v0 ^ state.v1 ^ state.v2 ^ state.v3;
}

uint64_t ConcatFingerprints(uint64_t first, uint64_t second) {
  constexpr uint64_t kMultiplier = 0xc6a4a7935bd1e995ULL;
  uint64_t result = first ^ kMultiplier;
  result ^= ShiftMix(second * kMultiplier) * kMultiplier;
  result *= kMultiplier;
  result = ShiftMix(result) * kMultiplier;
  return ShiftMix(result);
}

}  // namespace h5serve::compute::ops
