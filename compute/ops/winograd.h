// Convolutions with 3 x 3 kernels by Winograd's minimal filtering F(2 x 2, 3 x 3)
// (A. Lavin, S. Gray, "Fast algorithms for convolutional neural networks", 2015):
// tiles of 2 x 2 outputs cost 16 products of channels instead of 36.
#pragma once

#include <cstdint>

#include "compute/ops/correlation.h"

namespace h5serve::compute::ops {

// True where the algorithm is faster than the plain one and as good: the sums
// are exact in the same number of bits, with an error of a few units in the
// last place of the largest term.
bool SuitsWinograd(const Correlation& correlation);

// Floats of the transformed kernel of `in` by `out` channels.
int64_t WinogradFilterFloats(int64_t in, int64_t out);
// Transforms and packs a kernel (3, 3, in, out).
void PackWinogradFilter(int64_t in, int64_t out, const float* kernel, float* packed);

// As for correlations; `packed_filter` is the transformed kernel.
int64_t WinogradScratchFloats(const Correlation& correlation);
void RunWinograd(const Correlation& correlation, float* scratch, const Parallelism* parallelism);

}  // namespace h5serve::compute::ops
