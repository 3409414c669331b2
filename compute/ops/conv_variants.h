// Ways to compute a convolution that its attributes call for.
#pragma once

#include "compute/graph.h"
#include "compute/ops/convolution.h"
#include "compute/ops/spatial.h"

namespace h5serve::compute::ops {

// The sliding window of a convolution over `spatial` axes, defaults filled in.
WindowAttributes WindowOf(const ConvAttributes& attributes, int spatial);

// As Conv and DepthwiseConv, without choosing another way.
Value GemmConv(Graph& graph, Value x, Value kernel, Value bias, const ConvAttributes& attributes);
// Each channel alone. With `grouped_kernel` the kernel has the layout of Conv
// with one input channel per group, (spatial…, 1, out), otherwise that of
// DepthwiseConv, (spatial…, in, multiplier): the same floats either way.
Value ChannelwiseConv(Graph& graph, Value x, Value kernel, Value bias,
                      const ConvAttributes& attributes, bool grouped_kernel);

}  // namespace h5serve::compute::ops
