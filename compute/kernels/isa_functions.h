// The functions of one instruction set, for its table. Only for kernel files.
#pragma once

#include "compute/kernels/kernel_table.h"

namespace h5serve::compute::kernels::H5SERVE_ISA {

// Columns of a full panel of packed weights, and rows of the tallest tile. With
// AVX-512 13 rows by 2 vectors: GCC spills at 14.
#if defined(__AVX512F__)
inline constexpr int kPanelColumns = 32;
inline constexpr int kTileRows = 13;
#elif defined(__AVX__)
inline constexpr int kPanelColumns = 16;
inline constexpr int kTileRows = 6;
#else
inline constexpr int kPanelColumns = 8;
inline constexpr int kTileRows = 6;
#endif

void Unary(ops::UnaryKind kind, float p, float q, const float* x, float* y, int64_t n);
void ReluGeneral(float max_value, float negative_slope, float threshold, const float* x, float* y,
                 int64_t n);
void Classify(ops::UnaryKind kind, const float* x, bool* y, int64_t n);
void Binary(ops::BinaryKind kind, const float* a, int64_t a_step, const float* b, int64_t b_step,
            float* y, int64_t n);
void Compare(ops::BinaryKind kind, const float* a, int64_t a_step, const float* b, int64_t b_step,
             bool* y, int64_t n);
void SelectFloats(const bool* condition, int64_t condition_step, const float* a, int64_t a_step,
                  const float* b, int64_t b_step, float* y, int64_t n);
void Affine(const float* x, const float* scale, const float* shift, float low, float high, float* y,
            int64_t rows, int64_t channels);
void PackPanels(const float* b, int64_t k, int64_t n, int64_t stride_k, int64_t stride_n,
                float* packed);
void MultiplyPacked(const GemmArguments& arguments, const GemmRange& range);

}  // namespace h5serve::compute::kernels::H5SERVE_ISA
