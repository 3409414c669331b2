// Channel order, padding and other things that spatial layers share.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "compute/graph.h"
#include "compute/ops/convolution.h"
#include "model/lowering.h"

namespace h5serve::model {

// The first tensor of a call, GRAPH_INVALID when there is none.
std::optional<KerasTensor> OnlyInput(const LayerScope& scope, const CallInputs& inputs);

// The input when it has `rank` dimensions, SHAPE_INFERENCE_FAILED otherwise.
std::optional<KerasTensor> InputOfRank(const LayerScope& scope, const CallInputs& inputs, int rank);

// Brings channels to the last axis, or back to axis 1.
compute::Value ToChannelsLast(compute::Graph& graph, compute::Value x);
compute::Value ToChannelsFirst(compute::Graph& graph, compute::Value x);

// Number of spatial dimensions in a class name ("Conv2D": 2).
int SpatialRank(const Layer& layer);

// Padding of a convolution as the writer's backend did it. `crop` is set when
// the result must be cut to ceil(size / stride) rows (Theano with even kernels).
struct ConvPadding {
  compute::ops::ConvAttributes attributes;
  bool crop = false;
};
std::optional<ConvPadding> ConvPaddingOf(const LayerScope& scope, int spatial,
                                         const std::vector<int64_t>& kernel_size);

// Cuts each spatial axis of y (channels last) to ceil(size of x / stride).
compute::Value CropToSame(const LayerScope& scope, compute::Value x, compute::Value y,
                          const std::vector<int64_t>& strides);

}  // namespace h5serve::model
