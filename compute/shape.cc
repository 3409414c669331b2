#include "compute/shape.h"

#include <fmt/format.h>

#include <algorithm>

namespace h5serve::compute {

int64_t Shape::dim(int axis) const {
  if (axis < 0) axis += rank_;
  return axis >= 0 && axis < rank_ ? dims_[axis] : kUnknown;
}

void Shape::Insert(int axis, int64_t dim) {
  if (rank_ >= kMaxRank || axis < 0 || axis > rank_) return;
  std::copy_backward(dims_.begin() + axis, dims_.begin() + rank_, dims_.begin() + rank_ + 1);
  dims_[axis] = dim;
  ++rank_;
}

void Shape::Erase(int axis) {
  if (axis < 0 || axis >= rank_) return;
  std::copy(dims_.begin() + axis + 1, dims_.begin() + rank_, dims_.begin() + axis);
  --rank_;
  dims_[rank_] = 0;
}

Shape Shape::Slice(int begin, int end) const {
  Shape slice;
  for (int axis = std::max(begin, 0); axis < std::min(end, rank_); ++axis) {
    slice.push_back(dims_[axis]);
  }
  return slice;
}

Shape Shape::Concat(const Shape& other) const {
  Shape joined = *this;
  for (int64_t dim : other.dims()) joined.push_back(dim);
  return joined;
}

bool Shape::known() const {
  return std::all_of(begin(), end(), [](int64_t dim) { return dim >= 0; });
}

int64_t Shape::num_elements() const {
  int64_t count = 1;
  for (int64_t dim : dims()) count *= dim;
  return count;
}

std::string Shape::ToString() const {
  std::string text = "(";
  for (int axis = 0; axis < rank_; ++axis) {
    if (axis > 0) text += ", ";
    text += dims_[axis] == kUnknown ? "None" : fmt::format("{}", dims_[axis]);
  }
  return text + (rank_ == 1 ? ",)" : ")");
}

bool operator==(const Shape& a, const Shape& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end());
}

std::optional<int64_t> CheckedElementCount(const Shape& shape) {
  // An empty dimension makes the tensor empty, however large the others are,
  // but strides are products of the others: bound those too.
  int64_t product = 1;
  bool empty = false;
  for (int64_t dim : shape.dims()) {
    if (dim < 0) return std::nullopt;
    if (dim == 0) {
      empty = true;
    } else if (__builtin_mul_overflow(product, dim, &product) || product > kMaxElements) {
      return std::nullopt;
    }
  }
  return empty ? 0 : product;
}

std::optional<int> NormalizeAxis(int64_t axis, int rank) {
  if (axis < -rank || axis >= rank) return std::nullopt;
  return static_cast<int>(axis < 0 ? axis + rank : axis);
}

bool Compatible(const Shape& a, const Shape& b) {
  if (a.rank() != b.rank()) return false;
  for (int axis = 0; axis < a.rank(); ++axis) {
    if (a[axis] != kUnknown && b[axis] != kUnknown && a[axis] != b[axis]) return false;
  }
  return true;
}

std::optional<Shape> Broadcast(const Shape& a, const Shape& b) {
  Shape result = a.rank() >= b.rank() ? a : b;
  const Shape& other = a.rank() >= b.rank() ? b : a;
  const int offset = result.rank() - other.rank();
  for (int axis = 0; axis < other.rank(); ++axis) {
    int64_t& dim = result[offset + axis];
    const int64_t with = other[axis];
    if (dim == with || with == 1) continue;
    if (dim == 1) {
      dim = with;
    } else if (dim == kUnknown) {
      dim = with;
    } else if (with != kUnknown) {
      return std::nullopt;
    }
  }
  return result;
}

}  // namespace h5serve::compute
