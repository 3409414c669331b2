// Dimensions of a tensor.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <span>
#include <string>

namespace h5serve::compute {

// A dimension that is not known until a request arrives (None in Keras).
inline constexpr int64_t kUnknown = -1;
inline constexpr int kMaxRank = 12;
// No tensor may have more elements: keeps every byte count far from overflow.
inline constexpr int64_t kMaxElements = int64_t{1} << 40;

// A list of at most kMaxRank dimensions, each >= 0 or kUnknown. Holds no heap
// memory. Ranks beyond kMaxRank must be refused before a Shape is made.
class Shape {
 public:
  Shape() = default;
  Shape(std::initializer_list<int64_t> dims) {
    for (int64_t dim : dims) push_back(dim);
  }
  explicit Shape(std::span<const int64_t> dims) {
    for (int64_t dim : dims) push_back(dim);
  }

  int rank() const { return rank_; }
  int64_t operator[](int axis) const { return dims_[axis]; }
  int64_t& operator[](int axis) { return dims_[axis]; }
  // Like operator[], but counts negative axes from the end and gives kUnknown
  // for an axis that does not exist.
  int64_t dim(int axis) const;

  void push_back(int64_t dim) {
    if (rank_ < kMaxRank) dims_[rank_++] = dim;
  }
  void Insert(int axis, int64_t dim);
  void Erase(int axis);
  // Dimensions [begin, end).
  Shape Slice(int begin, int end) const;
  Shape Concat(const Shape& other) const;

  std::span<const int64_t> dims() const { return {dims_.data(), static_cast<size_t>(rank_)}; }
  const int64_t* begin() const { return dims_.data(); }
  const int64_t* end() const { return dims_.data() + rank_; }
  const int64_t& back() const { return dims_[rank_ - 1]; }
  int64_t& back() { return dims_[rank_ - 1]; }

  // True when no dimension is kUnknown.
  bool known() const;
  // Product of the dimensions. REQUIRES: known(), and a size checked before
  // (see CheckedElementCount).
  int64_t num_elements() const;
  // "(None, 28, 28, 1)", as Keras prints it.
  std::string ToString() const;

  friend bool operator==(const Shape& a, const Shape& b);

 private:
  std::array<int64_t, kMaxRank> dims_{};
  int rank_ = 0;
};

// Product of the dimensions, or nullopt when one is unknown or the product
// exceeds kMaxElements.
std::optional<int64_t> CheckedElementCount(const Shape& shape);

// `axis` counted from the start, or nullopt when outside [-rank, rank).
std::optional<int> NormalizeAxis(int64_t axis, int rank);

// True when the two could be equal: same rank, and equal wherever both are known.
bool Compatible(const Shape& a, const Shape& b);

// NumPy's broadcast of two shapes; nullopt when they do not fit. An unknown
// dimension against 1 or unknown stays unknown; against n > 1 gives n.
std::optional<Shape> Broadcast(const Shape& a, const Shape& b);

}  // namespace h5serve::compute
