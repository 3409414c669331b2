// A factor and a summand per channel, as batch normalisation is at inference.
#include "compute/kernels/isa_functions.h"
#include "compute/kernels/simd.h"

namespace h5serve::compute::kernels::H5SERVE_ISA {

void Affine(const float* x, const float* scale, const float* shift, float low, float high, float* y,
            int64_t rows, int64_t channels) {
  const Float lowest = Set(low), highest = Set(high);
  const auto apply = [=](Float value, Float factor, Float summand) {
    Float v = value * factor + summand;
    v = Select(v < lowest, lowest, v);
    return Select(v > highest, highest, v);
  };
  for (int64_t row = 0; row < rows; ++row, x += channels, y += channels) {
    int64_t i = 0;
    for (; i + kLanes <= channels; i += kLanes) {
      Store(y + i, apply(Load(x + i), Load(scale + i), Load(shift + i)));
    }
    if (i < channels) {
      const int64_t left = channels - i;
      StorePart(y + i,
                apply(LoadPart(x + i, left), LoadPart(scale + i, left), LoadPart(shift + i, left)),
                left);
    }
  }
}

}  // namespace h5serve::compute::kernels::H5SERVE_ISA
