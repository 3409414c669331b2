// Spectra.
#pragma once

#include <vector>

#include "compute/graph.h"

namespace h5serve::compute::ops {

// Short-time Fourier transform of x (…, samples) with a window of fft_length
// values: frames every `hop` samples; outputs real and imaginary parts
// (…, frames, fft_length / 2 + 1). No padding: the caller pads.
std::vector<Value> Stft(Graph& graph, Value x, const std::vector<float>& window, int64_t hop,
                        int64_t fft_length);

}  // namespace h5serve::compute::ops
