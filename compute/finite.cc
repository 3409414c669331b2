#include "compute/finite.h"

#include <cmath>
#include <cstring>

namespace h5serve::compute {

bool AllFinite(const float* values, int64_t count) {
  // Two floats at a time. An exponent of ones is what NaN and infinity have, and
  // what, without the sign, one more exponent unit carries into the sign's place.
  constexpr uint64_t kNoSigns = 0x7FFF'FFFF'7FFF'FFFF;
  constexpr uint64_t kExponentUnits = 0x0080'0000'0080'0000;
  constexpr int64_t kBlock = 8;
  uint64_t carries[kBlock / 2] = {};
  int64_t i = 0;
  for (; i + kBlock <= count; i += kBlock) {
    uint64_t pairs[kBlock / 2];
    std::memcpy(pairs, values + i, sizeof pairs);
    for (int64_t j = 0; j < kBlock / 2; ++j) carries[j] |= (pairs[j] & kNoSigns) + kExponentUnits;
  }
  uint64_t all = 0;
  for (const uint64_t carry : carries) all |= carry;
  bool finite = (all & ~kNoSigns) == 0;
  for (; i < count; ++i) finite &= std::isfinite(values[i]);
  return finite;
}

}  // namespace h5serve::compute
