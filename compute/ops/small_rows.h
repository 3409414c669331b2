// Rows too short for vectors, taken several at a time.
#pragma once

#include <algorithm>
#include <cstdint>

namespace h5serve::compute::ops {

// A vector that is used with every row of a matrix. A short one is repeated, so
// that several rows become one long row.
class SmallRows {
 public:
  SmallRows(const float* vector, int64_t size) : data_(vector), size_(size) {
    if (size < 1 || size > kCapacity / 4) return;
    repeat_ = kCapacity / size;
    for (int64_t i = 0; i < repeat_; ++i) std::copy_n(vector, size, repeated_ + i * size);
    data_ = repeated_;
  }
  SmallRows(const SmallRows&) = delete;
  SmallRows& operator=(const SmallRows&) = delete;

  const float* data() const { return data_; }

  // Calls f(row, rows, width) so that the rows [begin, end) are covered: from
  // `row` on, `rows` rows of `width` values each, for which data() holds as many.
  template <typename F>
  void ForEach(int64_t begin, int64_t end, const F& f) const {
    const int64_t whole = (end - begin) / repeat_;
    if (whole > 0) f(begin, whole, repeat_ * size_);
    const int64_t rest = begin + whole * repeat_;
    if (rest < end) f(rest, int64_t{1}, (end - rest) * size_);
  }

 private:
  static constexpr int64_t kCapacity = 256;

  const float* data_;
  int64_t size_;
  int64_t repeat_ = 1;
  float repeated_[kCapacity];
};

}  // namespace h5serve::compute::ops
