// Rows of requests put together into the tensors of a batch, and apart again.
#pragma once

#include <span>
#include <vector>

#include "compute/batching/request.h"

namespace h5serve::compute::batching {

// Every input has the request's rows on axis 0, so that rows may be merged.
bool HasRows(const BatchRequest& request);
// Axis 0 of every output has `rows` rows.
bool HasRows(const Outputs& outputs, int64_t rows);
// The inputs agree in types and shapes but for axis 0.
bool SameTrailing(const std::vector<Tensor>& a, const std::vector<Tensor>& b);

// REQUIRES: not empty, and all of one type and trailing shape.
Tensor ConcatRows(std::span<const Tensor> pieces);

// The inputs of one segment, sharing its memory.
std::vector<Tensor> SegmentInputs(const Segment& segment);
// The inputs of a batch; shared where it has one segment only.
std::vector<Tensor> BatchInputs(std::span<const Segment> batch);
// What of a batch's outputs belongs to each segment, sharing their memory.
std::vector<Outputs> SplitOutputs(const Outputs& outputs, std::span<const Segment> batch);

}  // namespace h5serve::compute::batching
