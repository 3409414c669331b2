// The discrete Fourier transform of any length.
#pragma once

#include <complex>
#include <cstdint>
#include <memory>
#include <vector>

namespace h5serve::compute::ops {

// Transforms of one length, with their tables. Immutable and thread-safe.
class FourierTransform {
 public:
  // REQUIRES: length >= 1.
  explicit FourierTransform(int64_t length);

  // X[k] = sum x[n] e^(-2 pi i k n / length), in place. REQUIRES: `length` values.
  void Forward(std::vector<std::complex<double>>* x) const;
  // The inverse, divided by the length.
  void Inverse(std::vector<std::complex<double>>* x) const;

 private:
  void PowerOfTwo(std::complex<double>* x) const;

  int64_t length_;
  std::vector<std::complex<double>> roots_;  // e^(-2 pi i k / length)
  // For other lengths than powers of two: Bluestein's chirp and its spectrum.
  std::vector<std::complex<double>> chirp_, chirp_spectrum_;
  std::shared_ptr<const FourierTransform> padded_;
};

}  // namespace h5serve::compute::ops
