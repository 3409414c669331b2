// Ops that move elements without changing them. All accept every GraphDType.
#pragma once

#include <optional>
#include <vector>

#include "compute/graph.h"

namespace h5serve::compute::ops {

// `target` has at most one kUnknown, which is inferred.
Value Reshape(Graph& graph, Value x, const Shape& target);
// The target is an int64 vector known when the shapes are (see ShapeOf); one
// element may be -1.
Value ReshapeTo(Graph& graph, Value x, Value target);
// Keeps the batch (axis 0, whatever it is) and reshapes the rest.
Value ReshapeRows(Graph& graph, Value x, const Shape& row_shape);
// Merges axes [begin, end) into one, or splits one axis in two with sizes
// (outer, inner), one of which may be kUnknown. Other axes may be unknown.
Value MergeAxes(Graph& graph, Value x, int begin, int end);
Value SplitAxis(Graph& graph, Value x, int axis, int64_t outer, int64_t inner);
// Restores axis 0 of `x` as the leading axes [0, axes) of `like`: the inverse of
// merging the leading axes, with sizes taken from `like` at run time.
Value UnmergeLeading(Graph& graph, Value x, Value like, int axes);
Value ExpandDims(Graph& graph, Value x, int64_t axis);
// Empty `axes`: all axes of size 1.
Value Squeeze(Graph& graph, Value x, const std::vector<int64_t>& axes);
Value Transpose(Graph& graph, Value x, const std::vector<int>& permutation);
Value MoveAxis(Graph& graph, Value x, int64_t from, int64_t to);

Value Concat(Graph& graph, const std::vector<Value>& xs, int64_t axis);
Value Stack(Graph& graph, const std::vector<Value>& xs, int64_t axis);
std::vector<Value> Unstack(Graph& graph, Value x, int64_t axis);
std::vector<Value> Split(Graph& graph, Value x, const std::vector<int64_t>& sizes, int64_t axis);

// One item of NumPy's basic indexing.
struct SliceItem {
  enum class Kind { kRange, kIndex, kNewAxis, kEllipsis };
  Kind kind = Kind::kRange;
  std::optional<int64_t> start, stop;  // kRange; kIndex uses start
  int64_t step = 1;                    // never 0
};
// x[items]; axes that are not named stay whole.
Value Slice(Graph& graph, Value x, std::vector<SliceItem> items);
// Elements [begin, end) of one axis; negative end counts from the end; nullopt: to the end.
Value SliceAxis(Graph& graph, Value x, int64_t axis, std::optional<int64_t> begin,
                std::optional<int64_t> end, int64_t step = 1);
// The same with bounds from int64 scalars known when the shapes are; an invalid
// bound is absent.
Value SliceAxisBy(Graph& graph, Value x, int64_t axis, Value begin, Value end, int64_t step = 1);
Value Reverse(Graph& graph, Value x, int64_t axis);
// A start that is itself a value (int64 vector, one per axis) and fixed sizes
// (-1: to the end); starts are clamped so that the slice fits.
Value DynamicSlice(Graph& graph, Value x, Value start, const std::vector<int64_t>& sizes);

enum class PadMode { kConstant, kReflect, kSymmetric, kEdge };
// (before, after) per axis, >= 0.
Value Pad(Graph& graph, Value x, const std::vector<std::pair<int64_t, int64_t>>& pads,
          PadMode mode = PadMode::kConstant, float value = 0);
// As numpy.tile; TileBy takes the multiples from an int64 vector that is known
// when the shapes are.
Value Tile(Graph& graph, Value x, const std::vector<int64_t>& multiples);
Value TileBy(Graph& graph, Value x, Value multiples);
// Each element of an axis `count` times.
Value Repeat(Graph& graph, Value x, int64_t count, int64_t axis);
Value Roll(Graph& graph, Value x, int64_t shift, int64_t axis);
// An unknown dimension of `shape` keeps the one of x.
Value BroadcastTo(Graph& graph, Value x, const Shape& shape);
// The shape is an int64 vector known when the shapes are.
Value BroadcastToValue(Graph& graph, Value x, Value shape);
// Broadcast to the shape of `like`.
Value BroadcastLike(Graph& graph, Value x, Value like);
// Of the shape of `like`, filled.
Value FillLike(Graph& graph, Value like, Value scalar);

// Elements of `axis` at int64 `indices` (any shape, negative from the end); an
// index out of range is INVALID_ARGUMENT at run time. The first `batch_dims` axes
// of both are matched instead of crossed.
Value Gather(Graph& graph, Value x, Value indices, int64_t axis, int batch_dims = 0);
// tf.gather_nd.
Value GatherNd(Graph& graph, Value x, Value indices);
// numpy.take_along_axis.
Value TakeAlongAxis(Graph& graph, Value x, Value indices, int64_t axis);
Value OneHot(Graph& graph, Value indices, int64_t depth, float on = 1, float off = 0,
             int64_t axis = -1);
// Rows of axis 0 where the mask (rank 1 bool) is true are not supported: shapes
// must follow from shapes.

// The shape as an int64 vector; known to later ops as soon as shapes are.
Value ShapeOf(Graph& graph, Value x);
// int64 range [start, limit) with known constants.
Value Range(Graph& graph, int64_t start, int64_t limit, int64_t step = 1);
Value DepthToSpace(Graph& graph, Value x, int64_t block, bool channels_first);
Value SpaceToDepth(Graph& graph, Value x, int64_t block, bool channels_first);
// Lower (or upper) triangle of the last two axes; others zero.
Value Triangle(Graph& graph, Value x, int64_t diagonal, bool lower);

}  // namespace h5serve::compute::ops
