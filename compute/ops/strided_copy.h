// Copies between memory layouts: what slicing, transposing and repeating share.
#pragma once

#include <array>
#include <type_traits>
#include <vector>

#include "compute/op.h"

namespace h5serve::compute::ops {

// Row-major strides of a known shape, in elements.
std::array<int64_t, kMaxRank> RowMajorStrides(const Shape& shape);

// The product of dimensions [begin, end) of a known shape.
int64_t Product(const Shape& shape, int begin, int end);

// One loop of a strided copy: `size` steps of `stride` elements in the source.
struct CopyLoop {
  int64_t size = 0;
  int64_t stride = 0;  // 0 repeats, negative runs backwards
};

// Fills `out` row by row with in[offset + sum over loops of index * stride],
// the last loop running fastest. REQUIRES: every index is inside the source.
void CopyStrided(const RunContext& context, DType dtype, const void* in, int64_t offset,
                 std::vector<CopyLoop> loops, void* out);

// Copies `count` elements from position `from` to position `to`.
void CopyElements(DType dtype, const void* in, int64_t from, void* out, int64_t to, int64_t count);

// Sets `count` elements from position `to` to `value` (strings become empty).
void FillElements(DType dtype, void* out, int64_t to, int64_t count, float value);

// Calls `function` with a zero of the type in which elements of `dtype` can be
// moved about (their bits, or std::string).
template <typename Function>
auto VisitMovable(DType dtype, Function&& function) {
  switch (dtype) {
    case DType::kString:
      return function(std::string());
    case DType::kInt64:
      return function(uint64_t{0});
    case DType::kBool:
      return function(uint8_t{0});
    default:
      return function(uint32_t{0});
  }
}

// Counts through the indices of nested loops.
class Odometer {
 public:
  explicit Odometer(const Shape& shape) : shape_(shape) {}
  // Sets the indices of row-major position `position`.
  void Seek(int64_t position) {
    for (int axis = shape_.rank() - 1; axis >= 0; --axis) {
      index_[axis] = position % shape_[axis];
      position /= shape_[axis];
    }
  }
  void Next() {
    for (int axis = shape_.rank() - 1; axis >= 0; --axis) {
      if (++index_[axis] < shape_[axis]) return;
      index_[axis] = 0;
    }
  }
  int64_t operator[](int axis) const { return index_[axis]; }
  int64_t Dot(const std::array<int64_t, kMaxRank>& strides) const {
    int64_t sum = 0;
    for (int axis = 0; axis < shape_.rank(); ++axis) sum += index_[axis] * strides[axis];
    return sum;
  }

 private:
  Shape shape_;
  std::array<int64_t, kMaxRank> index_{};
};

}  // namespace h5serve::compute::ops
