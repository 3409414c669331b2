#include "compute/ops/fourier.h"

#include <algorithm>
#include <bit>
#include <numbers>

namespace h5serve::compute::ops {

using Complex = std::complex<double>;

FourierTransform::FourierTransform(int64_t length) : length_(length) {
  const auto root = [](int64_t k, int64_t n) {
    const double angle = -2 * std::numbers::pi * static_cast<double>(k) / static_cast<double>(n);
    return Complex(std::cos(angle), std::sin(angle));
  };
  if (std::has_single_bit(static_cast<uint64_t>(length))) {
    for (int64_t k = 0; k < length / 2; ++k) roots_.push_back(root(k, length));
    return;
  }
  // Bluestein: k n = (k^2 + n^2 - (k - n)^2) / 2 turns the sum into a
  // convolution with a chirp, done with a longer power-of-two transform.
  const int64_t size = static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(2 * length - 1)));
  padded_ = std::make_shared<const FourierTransform>(size);
  for (int64_t k = 0; k < length; ++k) {
    const unsigned __int128 square = static_cast<unsigned __int128>(k) * static_cast<uint64_t>(k);
    chirp_.push_back(
        root(static_cast<int64_t>(square % static_cast<uint64_t>(2 * length)), 2 * length));
  }
  chirp_spectrum_.assign(static_cast<size_t>(size), Complex(0));
  chirp_spectrum_[0] = std::conj(chirp_[0]);
  for (int64_t k = 1; k < length; ++k) {
    chirp_spectrum_[k] = chirp_spectrum_[size - k] = std::conj(chirp_[k]);
  }
  padded_->Forward(&chirp_spectrum_);
}

void FourierTransform::PowerOfTwo(Complex* x) const {
  for (int64_t i = 1, j = 0; i < length_; ++i) {
    int64_t bit = length_ >> 1;
    for (; j & bit; bit >>= 1) j ^= bit;
    j ^= bit;
    if (i < j) std::swap(x[i], x[j]);
  }
  for (int64_t half = 1; half < length_; half *= 2) {
    const int64_t step = length_ / (2 * half);
    for (int64_t begin = 0; begin < length_; begin += 2 * half) {
      for (int64_t k = 0; k < half; ++k) {
        const Complex even = x[begin + k];
        const Complex odd = x[begin + half + k] * roots_[k * step];
        x[begin + k] = even + odd;
        x[begin + half + k] = even - odd;
      }
    }
  }
}

void FourierTransform::Forward(std::vector<Complex>* x) const {
  if (padded_ == nullptr) {
    PowerOfTwo(x->data());
    return;
  }
  std::vector<Complex> work(chirp_spectrum_.size(), Complex(0));
  for (int64_t k = 0; k < length_; ++k) work[k] = (*x)[k] * chirp_[k];
  padded_->Forward(&work);
  for (size_t k = 0; k < work.size(); ++k) work[k] *= chirp_spectrum_[k];
  padded_->Inverse(&work);
  for (int64_t k = 0; k < length_; ++k) (*x)[k] = work[k] * chirp_[k];
}

void FourierTransform::Inverse(std::vector<Complex>* x) const {
  for (Complex& value : *x) value = std::conj(value);
  Forward(x);
  for (Complex& value : *x) value = std::conj(value) / static_cast<double>(length_);
}

}  // namespace h5serve::compute::ops
