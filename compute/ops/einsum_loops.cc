#include "compute/ops/einsum_loops.h"

#include <cstring>

namespace h5serve::compute::ops {
namespace {

// Calls f(offset, count, stride) for each run of the innermost axis, in order,
// over axes [begin, sizes.size()).
template <typename F>
void Walk(const LoopNest& loops, size_t begin, int64_t start, const F& f) {
  const size_t rank = loops.sizes.size();
  if (begin >= rank) {
    f(start, int64_t{1}, int64_t{0});
    return;
  }
  for (size_t axis = begin; axis < rank; ++axis) {
    if (loops.sizes[axis] == 0) return;
  }
  std::vector<int64_t> index(rank, 0);
  int64_t offset = start;
  while (true) {
    f(offset, loops.sizes[rank - 1], loops.strides[rank - 1]);
    size_t axis = rank - 1;
    while (true) {
      if (axis == begin) return;
      --axis;
      offset += loops.strides[axis];
      if (++index[axis] < loops.sizes[axis]) break;
      offset -= loops.strides[axis] * loops.sizes[axis];
      index[axis] = 0;
    }
  }
}

}  // namespace

bool AddSizes(const std::vector<int>& labels, const Shape& shape, LabelSizes* sizes) {
  for (size_t axis = 0; axis < labels.size(); ++axis) {
    const int64_t size = shape[static_cast<int>(axis)];
    const auto [it, added] = sizes->emplace(labels[axis], size);
    if (added || it->second == size || size == 1) continue;
    if (it->second == 1 || it->second == kUnknown) {
      it->second = size;
    } else if (size != kUnknown) {
      return false;
    }
  }
  return true;
}

std::optional<int64_t> LoopNest::Step(int group) const {
  int begin = 0;
  for (int i = 0; i < group; ++i) begin += group_axes[i];
  int64_t step = 1, count = 1;
  for (int axis = begin + group_axes[group]; axis-- > begin;) {
    if (sizes[axis] == 1) continue;
    if (count == 1) {
      step = strides[axis];
    } else if (strides[axis] != step * count) {
      return std::nullopt;
    }
    count *= sizes[axis];
  }
  return step;
}

int64_t LoopNest::Start(int64_t index) const {
  int64_t start = 0;
  for (int axis = group_axes[0]; axis-- > 0;) {
    start += index % sizes[axis] * strides[axis];
    index /= sizes[axis];
  }
  return start;
}

void LoopNest::Gather(const float* from, int64_t begin, int64_t end, float* to) const {
  for (int64_t batch = begin; batch < end; ++batch) {
    Walk(*this, static_cast<size_t>(group_axes[0]), Start(batch),
         [&](int64_t offset, int64_t count, int64_t stride) {
           const float* source = from + offset;
           if (stride == 1) {
             std::memcpy(to, source, static_cast<size_t>(count) * sizeof(float));
           } else {
             for (int64_t i = 0; i < count; ++i) to[i] = source[i * stride];
           }
           to += count;
         });
  }
}

void LoopNest::Scatter(const float* from, int64_t begin, int64_t end, float* to) const {
  for (int64_t batch = begin; batch < end; ++batch) {
    Walk(*this, static_cast<size_t>(group_axes[0]), Start(batch),
         [&](int64_t offset, int64_t count, int64_t stride) {
           for (int64_t i = 0; i < count; ++i) to[offset + i * stride] = *from++;
         });
  }
}

LoopNest MakeLoops(const std::array<std::vector<int>, 3>& groups, const LabelSizes& sizes,
                   const std::vector<int>& labels, const Shape& shape) {
  LoopNest loops;
  std::vector<int64_t> steps(labels.size(), 0);
  int64_t step = 1;
  for (size_t axis = labels.size(); axis-- > 0;) {
    const int64_t size = shape[static_cast<int>(axis)];
    steps[axis] = size == 1 ? 0 : step;
    step *= size;
  }
  for (size_t group = 0; group < groups.size(); ++group) {
    loops.group_axes[group] = static_cast<int>(groups[group].size());
    for (int label : groups[group]) {
      int64_t stride = 0;
      for (size_t axis = 0; axis < labels.size(); ++axis) {
        if (labels[axis] == label) stride += steps[axis];
      }
      const int64_t size = sizes.at(label);
      loops.groups[group] *= size;
      loops.sizes.push_back(size);
      loops.strides.push_back(stride);
    }
  }
  return loops;
}

}  // namespace h5serve::compute::ops
