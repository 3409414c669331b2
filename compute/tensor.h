// Tensors: a shape, an element type and memory, owned or shared.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "compute/dtype.h"
#include "compute/shape.h"

namespace h5serve::compute {

// A row-major tensor. Copies share the memory. The memory of a tensor that is
// shared (a weight, a finished output) must not be written any more.
//
// Memory made by Allocate is 64-byte aligned; memory given to View is aligned
// as the caller's is, at least to the element size.
class Tensor {
 public:
  Tensor() = default;

  // Memory is uninitialised, except strings, which are empty.
  // REQUIRES: shape.known() and CheckedElementCount(shape).
  static Tensor Allocate(DType dtype, const Shape& shape);
  // Refers to `data`, which `owner` keeps alive.
  static Tensor View(std::shared_ptr<const void> owner, const void* data, DType dtype,
                     const Shape& shape);
  static Tensor Scalar(float value);
  static Tensor Scalar(int64_t value);
  static Tensor Scalar(bool value);
  static Tensor Floats(const Shape& shape, const std::vector<float>& values);
  static Tensor Ints(const Shape& shape, const std::vector<int64_t>& values);
  static Tensor Strings(const Shape& shape, std::vector<std::string> values);
  static Tensor Fill(const Shape& shape, float value);

  DType dtype() const { return dtype_; }
  const Shape& shape() const { return shape_; }
  bool empty() const { return data_ == nullptr; }
  int64_t num_elements() const { return shape_.num_elements(); }
  // Bytes of the elements, for strings without what they point to.
  int64_t size_bytes() const { return num_elements() * SizeOf(dtype_); }

  // REQUIRES: T is the C++ type of dtype() (uint16_t for the 16-bit floats).
  template <typename T>
  const T* data() const {
    return static_cast<const T*>(data_);
  }
  template <typename T>
  T* mutable_data() {
    return static_cast<T*>(const_cast<void*>(data_));
  }
  const void* raw_data() const { return data_; }
  void* raw_mutable_data() { return const_cast<void*>(data_); }
  const std::shared_ptr<const void>& owner() const { return owner_; }

  // The same memory under another shape. REQUIRES: as many elements.
  Tensor Reshaped(const Shape& shape) const;
  // Rows [begin, end) of axis 0, sharing the memory. REQUIRES: rank >= 1.
  Tensor Rows(int64_t begin, int64_t end) const;

 private:
  std::shared_ptr<const void> owner_;
  const void* data_ = nullptr;
  DType dtype_ = DType::kFloat32;
  Shape shape_;
};

// Converts the elements as NumPy's astype does (floats truncate towards zero to
// integers, non-zero is true); out-of-range floats saturate. Returns the tensor
// itself when the type is already right. INVALID_ARGUMENT for strings.
absl::StatusOr<Tensor> Cast(const Tensor& tensor, DType dtype);

// Conversion of single 16-bit floats.
float HalfToFloat(uint16_t bits);
uint16_t FloatToHalf(float value);
float BFloat16ToFloat(uint16_t bits);
uint16_t FloatToBFloat16(float value);

}  // namespace h5serve::compute
