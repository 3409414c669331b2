// What merge layers of all eras are made of.
#pragma once

#include <vector>

#include "model/layers/layer_support.h"

namespace h5serve::model {

// The mask of an element-wise merge: Keras 1 and 2 combine with "and" and
// skip tensors without a mask; Keras 3 combines with "or" unless one has none.
Mask MergedMask(const LayerScope& scope, const std::vector<KerasTensor>& tensors);
// The mask of a concatenation along `axis` (from the start).
Mask ConcatenatedMask(const LayerScope& scope, const std::vector<KerasTensor>& tensors, int axis);
Value ConcatenateValues(const LayerScope& scope, std::vector<KerasTensor> tensors, int64_t axis);

// keras.backend.batch_dot of the writer: contracts axis `axis_x` of x with
// `axis_y` of y for each sample. Axes count from the start and are not 0.
Value BatchDot(const LayerScope& scope, Value x, Value y, int axis_x, int axis_y);

}  // namespace h5serve::model
