// Products of a matrix of rows with a packed matrix of weights.
#pragma once

#include <cstdint>
#include <memory>

#include "compute/kernels/gemm_arguments.h"
#include "compute/op.h"

namespace h5serve::compute::kernels {

// Rows of the largest tile of a product.
int64_t TileRows();

// Floats that the packed form of a k x n matrix takes.
int64_t PackedFloats(int64_t k, int64_t n);

// Packs the k x n matrix with elements b[i * stride_k + j * stride_n] into
// PackedFloats(k, n) floats at `packed`, which is 64-byte aligned.
void PackMatrix(const float* b, int64_t k, int64_t n, int64_t stride_k, int64_t stride_n,
                float* packed);

// A packed matrix that owns its memory. Copies share it. Immutable.
class PackedMatrix {
 public:
  PackedMatrix() = default;
  // As PackMatrix. May throw std::bad_alloc.
  PackedMatrix(const float* b, int64_t k, int64_t n, int64_t stride_k, int64_t stride_n);

  int64_t k() const { return k_; }
  int64_t n() const { return n_; }
  const float* data() const { return data_.get(); }
  int64_t size_bytes() const;

 private:
  int64_t k_ = 0;
  int64_t n_ = 0;
  std::shared_ptr<const float> data_;
};

// Computes what GemmArguments says, split over threads where it is worth it.
// `parallelism` may be null.
void Gemm(const GemmArguments& arguments, const Parallelism* parallelism = nullptr);

}  // namespace h5serve::compute::kernels
