// The two string hashes that Keras' preprocessing layers use.
#pragma once

#include <cstdint>
#include <string_view>

namespace h5serve::compute::ops {

// FarmHash's Fingerprint64, a hash whose values are fixed for ever.
uint64_t Fingerprint64(std::string_view text);

// SipHash-2-4 under the key (k0, k1).
uint64_t SipHash24(uint64_t k0, uint64_t k1, std::string_view text);

// Mixes the fingerprint of a second value into that of a first, as TensorFlow's
// feature crosses do.
uint64_t ConcatFingerprints(uint64_t first, uint64_t second);

}  // namespace h5serve::compute::ops
