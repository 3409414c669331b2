// Functions that move elements.
#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "compute/ops/elementwise.h"
#include "compute/ops/partial_value.h"
#include "compute/ops/shape_ops.h"
#include "model/functions/function_call.h"

namespace h5serve::model {
namespace {

using compute::DType;
using compute::Graph;
using compute::kUnknown;
using compute::Shape;
using compute::Value;
namespace ops = compute::ops;

FunctionArgument Result(Value value) { return FunctionArgument::Tensor(value); }

// `axis` of a tensor of `rank`, or 0 with a failure.
int Axis(FunctionCall& call, std::string_view name, int64_t axis, int rank) {
  const std::optional<int> normal = compute::NormalizeAxis(axis, rank);
  if (!normal)
    call.Invalid(fmt::format("{} = {} does not exist in a tensor of rank {}", name, axis, rank));
  return normal.value_or(0);
}

FunctionArgument Reshape(FunctionCall& call) {
  Graph& graph = call.graph();
  const Value x = call.Tensor("x");
  const FunctionCall::ShapeArgument shape = call.Shape("newshape");
  if (!call.ok()) return {};
  if (!shape.fixed) return Result(ops::ReshapeTo(graph, x, shape.value));
  // Two open dimensions: the batch, and the one to be inferred.
  Shape target = *shape.fixed;
  const auto open = std::count(target.begin(), target.end(), kUnknown);
  if (open == 2 && target.rank() > 0 && target[0] == kUnknown) {
    return Result(ops::ReshapeRows(graph, x, target.Slice(1, target.rank())));
  }
  return Result(ops::Reshape(graph, x, target));
}

FunctionArgument Transpose(FunctionCall& call) {
  Graph& graph = call.graph();
  const Value x = call.Tensor("x");
  const int rank = graph.rank(x);
  std::vector<int> permutation;
  if (const auto axes = call.Ints("axes")) {
    for (int64_t axis : *axes) permutation.push_back(Axis(call, "axes", axis, rank));
  } else {
    for (int axis = rank - 1; axis >= 0; --axis) permutation.push_back(axis);
  }
  return Result(ops::Transpose(graph, x, permutation));
}

FunctionArgument SwapAxes(FunctionCall& call) {
  Graph& graph = call.graph();
  const Value x = call.Tensor("x");
  const int rank = graph.rank(x);
  std::vector<int> permutation(rank);
  std::iota(permutation.begin(), permutation.end(), 0);
  const int a = Axis(call, "axis1", call.Int("axis1", -2), rank);
  const int b = Axis(call, "axis2", call.Int("axis2", -1), rank);
  if (!call.ok()) return {};
  std::swap(permutation[a], permutation[b]);
  return Result(ops::Transpose(graph, x, permutation));
}

FunctionArgument MoveAxis(FunctionCall& call) {
  Graph& graph = call.graph();
  const Value x = call.Tensor("x");
  const int rank = graph.rank(x);
  const std::vector<int64_t> from = call.Ints("source").value_or(std::vector<int64_t>{});
  const std::vector<int64_t> to = call.Ints("destination").value_or(std::vector<int64_t>{});
  if (from.size() != to.size() || from.size() > static_cast<size_t>(rank))
    return call.Invalid("source and destination differ in length");
  std::vector<int> permutation(rank, -1);
  std::vector<bool> moved(rank, false);
  for (size_t i = 0; i < from.size(); ++i) {
    const int source = Axis(call, "source", from[i], rank);
    const int target = Axis(call, "destination", to[i], rank);
    if (!call.ok() || moved[source] || permutation[target] >= 0)
      return call.Invalid("an axis is named twice");
    permutation[target] = source;
    moved[source] = true;
  }
  int next = 0;
  for (int& axis : permutation) {
    if (axis >= 0) continue;
    while (moved[next]) ++next;
    axis = next++;
  }
  return Result(ops::Transpose(graph, x, permutation));
}

FunctionArgument ExpandDims(FunctionCall& call) {
  Graph& graph = call.graph();
  Value x = call.Tensor("x");
  std::vector<int64_t> axes = call.Ints("axis").value_or(std::vector<int64_t>{-1});
  const int rank = graph.rank(x) + static_cast<int>(axes.size());
  if (rank > compute::kMaxRank) return call.Invalid("too many axes");
  for (int64_t& axis : axes) axis = Axis(call, "axis", axis, rank);
  std::sort(axes.begin(), axes.end());
  for (int64_t axis : axes) x = ops::ExpandDims(graph, x, axis);
  return Result(x);
}

FunctionArgument Squeeze(FunctionCall& call) {
  const std::vector<int64_t> axes = call.Ints("axis").value_or(std::vector<int64_t>{});
  return Result(ops::Squeeze(call.graph(), call.Tensor("x"), axes));
}

FunctionArgument Concatenate(FunctionCall& call) {
  return Result(ops::Concat(call.graph(), call.Tensors("xs"), call.Int("axis", 0)));
}

// TensorFlow's nodes take the axis as the first or the last of their inputs.
template <bool axis_first>
FunctionArgument ConcatenateNode(FunctionCall& call) {
  std::vector<Value> xs = call.Tensors("xs");
  const FunctionArgument& list = call.Get("xs");
  FunctionArgument axis = call.Get("axis");
  if (!axis_first && !list.list.empty()) {
    axis = list.list.back();
    xs.pop_back();
  }
  const auto known = KnownInts(call.graph(), axis);
  if (!known || known->size() != 1)
    return call.Invalid("the axis must be known when the model loads");
  return Result(ops::Concat(call.graph(), xs, known->at(0)));
}

// K.concatenate and keras.layers' default to the last axis.
FunctionArgument ConcatenateLast(FunctionCall& call) {
  return Result(ops::Concat(call.graph(), call.Tensors("xs"), call.Int("axis", -1)));
}

FunctionArgument Stack(FunctionCall& call) {
  return Result(ops::Stack(call.graph(), call.Tensors("x"), call.Int("axis", 0)));
}

FunctionArgument Unstack(FunctionCall& call) {
  const Value x = call.Tensor("x");
  const int64_t axis = call.Int("axis", 0);
  const auto count = call.OptionalInt("num");
  const int64_t size = call.graph().shape(x).dim(static_cast<int>(axis));
  if (count && size != kUnknown && *count != size) {
    return call.Invalid(fmt::format("cannot unstack {} slices into {}", size, *count));
  }
  return FunctionArgument::Tensors(ops::Unstack(call.graph(), x, axis));
}

// NumPy's stacks differ in the axis, and in how low ranks are lifted.
template <int axis, int lift>
FunctionArgument StackAlong(FunctionCall& call) {
  Graph& graph = call.graph();
  std::vector<Value> xs = call.Tensors("xs");
  for (Value& x : xs) {
    if (graph.rank(x) == 0) x = ops::ExpandDims(graph, x, 0);
    if (lift >= 2 && graph.rank(x) == 1) x = ops::ExpandDims(graph, x, 0);
    if (lift >= 3 && graph.rank(x) == 2) x = ops::ExpandDims(graph, x, 2);
  }
  const bool flat = !xs.empty() && axis == 1 && lift == 1 && graph.rank(xs[0]) == 1;
  return Result(ops::Concat(graph, xs, flat ? 0 : axis));
}

// `indices_or_sections` cuts at indices (a list) or into equal pieces.
FunctionArgument Split(FunctionCall& call) {
  Graph& graph = call.graph();
  const Value x = call.Tensor("x");
  const int axis = Axis(call, "axis", call.Int("axis", 0), graph.rank(x));
  const int64_t size = graph.shape(x).dim(axis);
  const auto numbers = call.Ints("indices_or_sections");
  if (!call.ok()) return {};
  if (!numbers) return call.Invalid("missing argument: indices_or_sections");
  const FunctionArgument& argument = call.Get("indices_or_sections");
  const bool list = argument.is_list() || (argument.is_constant() && argument.constant.is_list());
  std::vector<int64_t> sizes;
  if (list) {
    int64_t last = 0;
    for (int64_t index : *numbers) {
      if (index < 0 && size == kUnknown)
        return call.Invalid("the axis to split must have a known size");
      const int64_t end =
          index < 0 ? index + size : (size == kUnknown ? index : std::min(index, size));
      sizes.push_back(std::max<int64_t>(0, end - last));
      last = std::max(last, end);
    }
    sizes.push_back(size == kUnknown ? kUnknown : size - last);
  } else {
    const int64_t pieces = numbers->at(0);
    if (pieces < 1 || pieces > 65536 || size == kUnknown || size % pieces != 0) {
      return call.Invalid(
          fmt::format("cannot split {} into {} equal pieces", graph.shape(x).ToString(), pieces));
    }
    sizes.assign(static_cast<size_t>(pieces), size / pieces);
  }
  return FunctionArgument::Tensors(ops::Split(graph, x, sizes, axis));
}

// tf.split takes sizes instead of indices.
FunctionArgument SplitSizes(FunctionCall& call) {
  Graph& graph = call.graph();
  const FunctionArgument& argument = call.Get("sizes");
  const bool list = argument.is_list() || (argument.is_constant() && argument.constant.is_list()) ||
                    (argument.is_tensor() && graph.rank(argument.tensor) == 1);
  const Value x = call.Tensor("x");
  const auto numbers = call.Ints("sizes");
  if (!call.ok() || !numbers)
    return call.ok() ? call.Invalid("missing argument: sizes") : FunctionArgument{};
  const int axis = Axis(call, "axis", call.Int("axis", 0), graph.rank(x));
  std::vector<int64_t> sizes = *numbers;
  if (!list) {
    const int64_t size = graph.shape(x).dim(axis);
    const int64_t pieces = sizes.at(0);
    if (pieces < 1 || pieces > 65536 || size == kUnknown || size % pieces != 0) {
      return call.Invalid(
          fmt::format("cannot split {} into {} equal pieces", graph.shape(x).ToString(), pieces));
    }
    sizes.assign(static_cast<size_t>(pieces), size / pieces);
  }
  return FunctionArgument::Tensors(ops::Split(graph, x, sizes, axis));
}

FunctionArgument Tile(FunctionCall& call) {
  Graph& graph = call.graph();
  const Value x = call.Tensor("x");
  if (const auto repeats = KnownInts(graph, call.Get("repeats")))
    return Result(ops::Tile(graph, x, *repeats));
  Value multiples = call.Tensor("repeats");
  if (graph.rank(multiples) == 0) multiples = ops::ExpandDims(graph, multiples, 0);
  return Result(ops::TileBy(graph, x, ops::Cast(graph, multiples, DType::kInt64)));
}

FunctionArgument Repeat(FunctionCall& call) {
  Graph& graph = call.graph();
  Value x = call.Tensor("x");
  const auto repeats = call.Ints("repeats");
  if (!repeats || repeats->empty())
    return call.ok() ? call.Invalid("missing argument: repeats") : FunctionArgument{};
  int64_t axis = call.Int("axis", 0);
  if (!call.Has("axis")) x = ops::MergeAxes(graph, x, 0, graph.rank(x));
  if (graph.rank(x) == 0) x = ops::ExpandDims(graph, x, 0);
  if (std::any_of(repeats->begin(), repeats->end(),
                  [](int64_t n) { return n < 0 || n > (1 << 24); })) {
    return call.Unsupported("repeats", "no number of repetitions");
  }
  if (repeats->size() == 1) return Result(ops::Repeat(graph, x, repeats->at(0), axis));
  axis = Axis(call, "axis", axis, graph.rank(x));
  const int64_t size = graph.shape(x).dim(static_cast<int>(axis));
  if (size != static_cast<int64_t>(repeats->size()))
    return call.Invalid("repeats differ from the axis in length");
  std::vector<int64_t> order;
  for (size_t i = 0; i < repeats->size(); ++i)
    order.insert(order.end(), repeats->at(i), static_cast<int64_t>(i));
  const Value indices =
      graph.Constant(compute::Tensor::Ints(Shape{static_cast<int64_t>(order.size())}, order));
  return Result(ops::Gather(graph, x, indices, axis));
}

FunctionArgument Roll(FunctionCall& call) {
  Graph& graph = call.graph();
  Value x = call.Tensor("x");
  const std::vector<int64_t> shift = call.Ints("shift").value_or(std::vector<int64_t>{0});
  if (!call.Has("axis")) {
    const Value flat = ops::Roll(graph, ops::MergeAxes(graph, x, 0, graph.rank(x)), shift.at(0), 0);
    return Result(graph.rank(x) == 1 ? flat : ops::UnmergeLeading(graph, flat, x, graph.rank(x)));
  }
  const std::vector<int64_t> axes = call.Ints("axis").value_or(std::vector<int64_t>{0});
  if (shift.size() != axes.size() && shift.size() != 1)
    return call.Invalid("shift and axis differ in length");
  for (size_t i = 0; i < axes.size(); ++i)
    x = ops::Roll(graph, x, shift[shift.size() == 1 ? 0 : i], axes[i]);
  return Result(x);
}

FunctionArgument Flip(FunctionCall& call) {
  Graph& graph = call.graph();
  Value x = call.Tensor("x");
  std::vector<int64_t> axes(static_cast<size_t>(graph.rank(x)));
  std::iota(axes.begin(), axes.end(), int64_t{0});
  for (int64_t axis : call.Ints("axis").value_or(axes)) x = ops::Reverse(graph, x, axis);
  return Result(x);
}

// Turns by 90 degrees from the first axis towards the second, k times.
FunctionArgument Rot90(FunctionCall& call) {
  Graph& graph = call.graph();
  Value x = call.Tensor("x");
  const int rank = graph.rank(x);
  const std::vector<int64_t> axes = call.Ints("axes").value_or(std::vector<int64_t>{0, 1});
  if (axes.size() != 2 || rank < 2) return call.Unsupported("axes", "expected two axes");
  const int a = Axis(call, "axes", axes[0], rank), b = Axis(call, "axes", axes[1], rank);
  if (!call.ok()) return {};
  const int64_t turns = (call.Int("k", 1) % 4 + 4) % 4;
  std::vector<int> permutation(rank);
  std::iota(permutation.begin(), permutation.end(), 0);
  std::swap(permutation[a], permutation[b]);
  if (turns == 2) return Result(ops::Reverse(graph, ops::Reverse(graph, x, a), b));
  if (turns == 1) return Result(ops::Transpose(graph, ops::Reverse(graph, x, b), permutation));
  if (turns == 3) return Result(ops::Reverse(graph, ops::Transpose(graph, x, permutation), b));
  return Result(x);
}

FunctionArgument Pad(FunctionCall& call) {
  Graph& graph = call.graph();
  const Value x = call.Tensor("x");
  const Value widths = call.Tensor("pad_width");
  const compute::Tensor* known = graph.constant(widths);
  if (known == nullptr || known->dtype() != DType::kInt64) {
    return call.ok() ? call.Unsupported("pad_width", "it must be known when the model loads")
                     : FunctionArgument{};
  }
  const int64_t* data = known->data<int64_t>();
  const int64_t count = known->num_elements();
  const int rank = graph.rank(x);
  std::vector<std::pair<int64_t, int64_t>> pads;
  for (int axis = 0; axis < rank; ++axis) {
    if (count == 1) {
      pads.emplace_back(data[0], data[0]);
    } else if (count == 2) {
      pads.emplace_back(data[0], data[1]);
    } else if (count == 2 * rank) {
      pads.emplace_back(data[2 * axis], data[2 * axis + 1]);
    }
  }
  if (static_cast<int>(pads.size()) != rank)
    return call.Invalid("pad_width does not fit the tensor");
  std::string mode = call.String("mode", "constant");
  std::transform(mode.begin(), mode.end(), mode.begin(),
                 [](unsigned char c) { return std::tolower(c); });
  const float value = static_cast<float>(call.Float("constant_values", 0));
  if (mode == "constant") return Result(ops::Pad(graph, x, pads, ops::PadMode::kConstant, value));
  if (mode == "reflect") return Result(ops::Pad(graph, x, pads, ops::PadMode::kReflect));
  if (mode == "symmetric") return Result(ops::Pad(graph, x, pads, ops::PadMode::kSymmetric));
  if (mode == "edge") return Result(ops::Pad(graph, x, pads, ops::PadMode::kEdge));
  return call.Unsupported("mode", "unknown mode");
}

FunctionArgument BroadcastTo(FunctionCall& call) {
  const Value x = call.Tensor("x");
  const FunctionCall::ShapeArgument shape = call.Shape("shape");
  if (!call.ok()) return {};
  if (shape.fixed) return Result(ops::BroadcastTo(call.graph(), x, *shape.fixed));
  return Result(ops::BroadcastToValue(call.graph(), x, shape.value));
}

FunctionArgument BroadcastLike(FunctionCall& call) {
  return Result(ops::BroadcastLike(call.graph(), call.Tensor("x"), call.Tensor("like")));
}

FunctionArgument Ravel(FunctionCall& call) {
  Graph& graph = call.graph();
  const Value x = call.Tensor("x");
  return Result(ops::MergeAxes(graph, x, 0, graph.rank(x)));
}

FunctionArgument BatchFlatten(FunctionCall& call) {
  Graph& graph = call.graph();
  const Value x = call.Tensor("x");
  return Result(ops::MergeAxes(graph, x, 1, std::max(1, graph.rank(x))));
}

// K.repeat: (batch, n) to (batch, times, n).
FunctionArgument RepeatVector(FunctionCall& call) {
  Graph& graph = call.graph();
  const Value x = ops::ExpandDims(graph, call.Tensor("x"), 1);
  return Result(ops::Repeat(graph, x, call.RequiredInt("n"), 1));
}

// What Python knows of a shape: a tuple with None for open dimensions.
FunctionArgument StaticShape(FunctionCall& call) {
  const Value x = call.Tensor("x");
  ConfigValue::List dims;
  for (int64_t dim : call.graph().shape(x))
    dims.push_back(dim == kUnknown ? ConfigValue() : ConfigValue(dim));
  return FunctionArgument::Constant(std::move(dims));
}

FunctionArgument ShapeOf(FunctionCall& call) {
  return Result(ops::ShapeOf(call.graph(), call.Tensor("x")));
}

// keras.ops.shape: a tuple with tensors for open dimensions.
FunctionArgument ShapeTuple(FunctionCall& call) {
  Graph& graph = call.graph();
  const Value x = call.Tensor("x");
  const Shape shape = graph.shape(x);
  std::vector<FunctionArgument> dims;
  for (int axis = 0; axis < shape.rank(); ++axis) {
    if (shape[axis] != kUnknown) {
      dims.push_back(FunctionArgument::Constant(shape[axis]));
      continue;
    }
    const Value dim = ops::SliceAxis(graph, ops::ShapeOf(graph, x), 0, axis, axis + 1);
    dims.push_back(Result(ops::Squeeze(graph, dim, {0})));
  }
  return FunctionArgument::List(std::move(dims));
}

FunctionArgument Rank(FunctionCall& call) {
  return FunctionArgument::Constant(int64_t{call.graph().rank(call.Tensor("x"))});
}

FunctionArgument Size(FunctionCall& call) {
  Graph& graph = call.graph();
  const Value x = call.Tensor("x");
  if (graph.shape(x).known()) return FunctionArgument::Constant(graph.shape(x).num_elements());
  Value product = graph.Constant(compute::Tensor::Scalar(int64_t{1}));
  for (int axis = 0; axis < graph.rank(x); ++axis) {
    const Value dim =
        ops::Squeeze(graph, ops::SliceAxis(graph, ops::ShapeOf(graph, x), 0, axis, axis + 1), {0});
    product = ops::Multiply(graph, product, dim);
  }
  return Result(product);
}

constexpr FunctionRow kFunctions[] = {
    {"reshape", "x, newshape; shape=newshape", Reshape},
    {"transpose", "x, axes", Transpose},
    {"swapaxes", "x, axis1, axis2", SwapAxes},
    {"moveaxis", "x, source, destination", MoveAxis},
    {"matrix_transpose", "x", SwapAxes},
    {"expand_dims", "x, axis", ExpandDims},
    {"squeeze", "x, axis", Squeeze},
    {"concatenate", "xs, axis", Concatenate},
    {"<concatenate_last>", "xs, axis", ConcatenateLast},
    {"<concatenate_axis_first>", "axis, *xs", ConcatenateNode<true>},
    {"<concatenate_axis_last>", "*xs", ConcatenateNode<false>},
    {"stack", "x, axis; arrays=x, xs=x", Stack},
    {"unstack", "x, num, axis", Unstack},
    {"hstack", "xs", StackAlong<1, 1>},
    {"vstack", "xs", StackAlong<0, 2>},
    {"dstack", "xs", StackAlong<2, 3>},
    {"split", "x, indices_or_sections, axis", Split},
    {"array_split", "x, indices_or_sections, axis", Split},
    {"<split_sizes>", "x, sizes, axis", SplitSizes},
    {"tile", "x, repeats; reps=repeats", Tile},
    {"repeat", "x, repeats, axis", Repeat},
    {"<repeat_vector>", "x, n", RepeatVector},
    {"roll", "x, shift, axis", Roll},
    {"flip", "x, axis", Flip},
    {"rot90", "x, k, axes; array=x, m=x", Rot90},
    {"pad", "x, pad_width, mode, constant_values", Pad},
    {"broadcast_to", "x, shape", BroadcastTo},
    {"<broadcast_like>", "x, like", BroadcastLike},
    {"ravel", "x", Ravel},
    {"<batch_flatten>", "x", BatchFlatten},
    {"shape", "x", ShapeTuple},
    {"<shape_tensor>", "x; out_type=-", ShapeOf},
    {"<static_shape>", "x", StaticShape},
    {"ndim", "x", Rank},
    {"size", "x; out_type=-", Size},
};

}  // namespace

std::span<const FunctionRow> ShapeFunctions() { return kFunctions; }

}  // namespace h5serve::model
