// Copies between a tensor and the same elements in another order of axes.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "compute/shape.h"

namespace h5serve::compute::ops {

// Sizes by label; kUnknown where not known.
using LabelSizes = std::map<int, int64_t>;

// Adds the sizes of an operand's axes; an axis of 1 stretches to the size that
// another axis of the same label has. False when two sizes contradict.
bool AddSizes(const std::vector<int>& labels, const Shape& shape, LabelSizes* sizes);

// Three groups of axes in the order in which they are walked, the first slowest,
// with their steps in some tensor.
struct LoopNest {
  std::array<int64_t, 3> groups = {1, 1, 1};  // product of the sizes
  std::vector<int64_t> sizes;
  std::vector<int64_t> strides;
  std::array<int, 3> group_axes = {0, 0, 0};

  // The step from each element of a group to the next, where it is always the
  // same; 1 for a group of one element.
  std::optional<int64_t> Step(int group) const;
  // Where element `index` of the first group begins.
  int64_t Start(int64_t index) const;
  // Copies the elements of the batches [begin, end) of the first group to `to`.
  void Gather(const float* from, int64_t begin, int64_t end, float* to) const;
  // The inverse: element i of `from` to its place in `to`.
  void Scatter(const float* from, int64_t begin, int64_t end, float* to) const;
};

// The walk over the labels of `groups` in a tensor with these labels and shape.
// A label the tensor does not have, or has with size 1, stands still; one it has
// twice walks its diagonal.
LoopNest MakeLoops(const std::array<std::vector<int>, 3>& groups, const LabelSizes& sizes,
                   const std::vector<int>& labels, const Shape& shape);

}  // namespace h5serve::compute::ops
