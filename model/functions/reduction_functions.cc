// Reductions, scans, sorting and normalisation by statistics.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "compute/ops/elementwise.h"
#include "compute/ops/reduce.h"
#include "compute/ops/shape_ops.h"
#include "compute/ops/text.h"
#include "model/functions/function_call.h"

namespace h5serve::model {
namespace {

using compute::DType;
using compute::Graph;
using compute::Value;
using compute::ops::Binary;
using compute::ops::BinaryKind;
using compute::ops::Cast;
using compute::ops::Reduce;
using compute::ops::ReduceKind;
using compute::ops::Unary;
using compute::ops::UnaryKind;

FunctionArgument Result(Value value) { return FunctionArgument::Tensor(value); }

// Axes of None are all; an empty list reduces nothing.
struct Axes {
  std::vector<int64_t> axes;
  bool nothing = false;
};
Axes ReadAxes(FunctionCall& call) {
  Axes result;
  if (const auto axes = call.Ints("axis")) {
    result.axes = *axes;
    result.nothing = axes->empty();
  }
  return result;
}

template <ReduceKind kind>
FunctionArgument Reduction(FunctionCall& call) {
  Graph& graph = call.graph();
  const Axes axes = ReadAxes(call);
  Value x = call.Tensor("x");
  if (axes.nothing) {
    // Over one element each.
    x = compute::ops::ExpandDims(graph, x, -1);
    return Result(Reduce(graph, kind, x, {-1}, false));
  }
  const bool truncates =
      kind == ReduceKind::kMean && call.is_tensorflow() && graph.dtype(x) == DType::kInt64;
  Value y = Reduce(graph, kind, x, axes.axes, call.Bool("keepdims", false));
  // TensorFlow keeps the mean of integers an integer.
  if (truncates) y = Cast(graph, y, DType::kInt64);
  return Result(y);
}

template <compute::ops::ArgKind kind>
FunctionArgument ArgReduction(FunctionCall& call) {
  Graph& graph = call.graph();
  Value x = call.Tensor("x");
  const bool keepdims = call.Bool("keepdims", false);
  if (call.Has("axis")) {
    return Result(compute::ops::ArgReduce(graph, kind, x, call.Int("axis", 0), keepdims));
  }
  const int rank = graph.rank(x);
  Value y =
      compute::ops::ArgReduce(graph, kind, compute::ops::MergeAxes(graph, x, 0, rank), 0, false);
  for (int axis = 0; keepdims && axis < rank; ++axis) y = compute::ops::ExpandDims(graph, y, 0);
  return Result(y);
}

template <compute::ops::ScanKind kind>
FunctionArgument Scan(FunctionCall& call) {
  Graph& graph = call.graph();
  Value x = call.Tensor("x");
  if (!call.Has("axis")) x = compute::ops::MergeAxes(graph, x, 0, graph.rank(x));
  return Result(compute::ops::Cumulative(graph, kind, x, call.Int("axis", 0),
                                         call.Bool("exclusive", false),
                                         call.Bool("reverse", false)));
}

FunctionArgument Norm(FunctionCall& call) {
  Graph& graph = call.graph();
  const Value x = call.Tensor("x");
  const Axes axes = ReadAxes(call);
  const bool keepdims = call.Bool("keepdims", false);
  const FunctionArgument& ord = call.Get("ord");
  const size_t reduced = axes.axes.empty() ? static_cast<size_t>(graph.rank(x)) : axes.axes.size();
  const bool text = ord.is_constant() && ord.constant.is_string();
  const std::string name = text ? ord.constant.as_string() : "";
  if (ord.is_null() || name == "euclidean" || (name == "fro" && reduced == 2)) {
    return Result(Reduce(graph, ReduceKind::kL2Norm, x, axes.axes, keepdims));
  }
  if (text && name != "inf") return call.Unsupported("ord", "this norm is not supported");
  const double order = text ? std::numeric_limits<double>::infinity() : call.Float("ord", 2);
  // tf.norm takes all axes as one long vector; NumPy means a matrix norm.
  if (reduced != 1 && !call.is_tensorflow())
    return call.Unsupported("ord", "matrix norms are not supported");
  if (order == 1) return Result(Reduce(graph, ReduceKind::kL1Norm, x, axes.axes, keepdims));
  if (order == 2) return Result(Reduce(graph, ReduceKind::kL2Norm, x, axes.axes, keepdims));
  const Value size = Unary(graph, UnaryKind::kAbs, Cast(graph, x, DType::kFloat32));
  if (std::isinf(order)) {
    return Result(
        Reduce(graph, order > 0 ? ReduceKind::kMax : ReduceKind::kMin, size, axes.axes, keepdims));
  }
  if (order == 0) {
    return Result(Cast(graph, Reduce(graph, ReduceKind::kCountNonzero, x, axes.axes, keepdims),
                       DType::kFloat32));
  }
  const auto power = [&](Value v, double p) {
    return Binary(graph, BinaryKind::kPower, v,
                  graph.Constant(compute::Tensor::Scalar(static_cast<float>(p))));
  };
  return Result(
      power(Reduce(graph, ReduceKind::kSum, power(size, order), axes.axes, keepdims), 1 / order));
}

// keras.utils.normalize and keras.ops.normalize: x / max(norm, epsilon).
FunctionArgument Normalize(FunctionCall& call) {
  Graph& graph = call.graph();
  const Value x = Cast(graph, call.Tensor("x"), DType::kFloat32);
  const std::vector<int64_t> axes = call.Ints("axis").value_or(std::vector<int64_t>{-1});
  const double order = call.Float("order", 2);
  const float epsilon = static_cast<float>(call.Float("epsilon", 1e-12));
  if (order == 2) {
    return Result(compute::ops::L2Normalize(graph, x, axes, epsilon * epsilon));
  }
  if (order != 1) return call.Unsupported("order", "only 1 and 2 are supported");
  Value norm = Reduce(graph, ReduceKind::kL1Norm, x, axes, true);
  norm =
      Binary(graph, BinaryKind::kMaximum, norm, graph.Constant(compute::Tensor::Scalar(epsilon)));
  return Result(compute::ops::Divide(graph, x, norm));
}

FunctionArgument L2Normalize(FunctionCall& call) {
  const std::vector<int64_t> axes = call.Ints("axis").value_or(std::vector<int64_t>{});
  return Result(compute::ops::L2Normalize(call.graph(), call.Tensor("x"), axes,
                                          static_cast<float>(call.Float("epsilon", 1e-12))));
}

FunctionArgument Moments(FunctionCall& call) {
  Graph& graph = call.graph();
  const Value x = Cast(graph, call.Tensor("x"), DType::kFloat32);
  const Axes axes = ReadAxes(call);
  if (call.Bool("synchronized", false))
    return call.Unsupported("synchronized", "there is one device");
  const bool keepdims = call.Bool("keepdims", false);
  return FunctionArgument::Tensors({Reduce(graph, ReduceKind::kMean, x, axes.axes, keepdims),
                                    Reduce(graph, ReduceKind::kVariance, x, axes.axes, keepdims)});
}

FunctionArgument Average(FunctionCall& call) {
  Graph& graph = call.graph();
  const Value x = call.Tensor("x");
  const Axes axes = ReadAxes(call);
  const bool keepdims = call.Bool("keepdims", false);
  if (!call.Has("weights")) return Result(Reduce(graph, ReduceKind::kMean, x, axes.axes, keepdims));
  Value weights = call.Tensor("weights");
  if (graph.rank(weights) == 1 && graph.rank(x) > 1 && axes.axes.size() == 1) {
    const std::optional<int> axis = compute::NormalizeAxis(axes.axes[0], graph.rank(x));
    for (int i = axis.value_or(0) + 1; i < graph.rank(x); ++i) {
      weights = compute::ops::ExpandDims(graph, weights, -1);
    }
  }
  weights = compute::ops::BroadcastLike(graph, weights, x);
  const Value sum = Reduce(graph, ReduceKind::kSum, compute::ops::Multiply(graph, x, weights),
                           axes.axes, keepdims);
  return Result(compute::ops::Divide(
      graph, sum, Reduce(graph, ReduceKind::kSum, weights, axes.axes, keepdims)));
}

FunctionArgument PeakToPeak(FunctionCall& call) {
  Graph& graph = call.graph();
  const Value x = call.Tensor("x");
  const Axes axes = ReadAxes(call);
  const bool keepdims = call.Bool("keepdims", false);
  return Result(compute::ops::Subtract(graph,
                                       Reduce(graph, ReduceKind::kMax, x, axes.axes, keepdims),
                                       Reduce(graph, ReduceKind::kMin, x, axes.axes, keepdims)));
}

FunctionArgument TopK(FunctionCall& call) {
  return FunctionArgument::Tensors(
      compute::ops::TopK(call.graph(), call.Tensor("x"), call.Int("k", 1)));
}

FunctionArgument InTopK(FunctionCall& call) {
  Graph& graph = call.graph();
  const Value targets = call.Tensor("targets");
  const Value predictions = call.Tensor("predictions");
  // A class is among the top k when fewer than k are strictly better.
  const Value own = compute::ops::TakeAlongAxis(graph, predictions,
                                                compute::ops::ExpandDims(graph, targets, -1), -1);
  const Value better = Binary(graph, BinaryKind::kGreater, predictions, own);
  const Value count = Reduce(graph, ReduceKind::kSum, better, {-1}, false);
  const Value k = graph.Constant(compute::Tensor::Scalar(call.Int("k", 1)));
  return Result(Binary(graph, BinaryKind::kLess, count, k));
}

bool Descending(FunctionCall& call) {
  const std::string direction = call.String("direction", "ASCENDING");
  if (direction != "ASCENDING" && direction != "DESCENDING")
    call.Unsupported("direction", "unknown direction");
  return direction == "DESCENDING";
}

// None sorts the flattened tensor.
template <bool positions>
FunctionArgument Sort(FunctionCall& call) {
  Graph& graph = call.graph();
  Value x = call.Tensor("x");
  int64_t axis = -1;
  if (call.Has("axis")) {
    axis = call.Int("axis", -1);
  } else {
    x = compute::ops::MergeAxes(graph, x, 0, graph.rank(x));
  }
  const bool descending = Descending(call);
  return Result(positions ? compute::ops::ArgSort(graph, x, axis, descending)
                          : compute::ops::Sort(graph, x, axis, descending));
}

// Position q (n - 1) between the sorted values, interpolated linearly.
Value Quantile(Graph& graph, Value sorted, int64_t n, double q) {
  const double place = q * static_cast<double>(n - 1);
  const int64_t below = static_cast<int64_t>(std::floor(place));
  const int64_t above = std::min(n - 1, below + 1);
  const Value low = compute::ops::Squeeze(
      graph, compute::ops::SliceAxis(graph, sorted, -1, below, below + 1), {-1});
  const Value high = compute::ops::Squeeze(
      graph, compute::ops::SliceAxis(graph, sorted, -1, above, above + 1), {-1});
  const float rest = static_cast<float>(place - static_cast<double>(below));
  if (rest == 0) return low;
  return compute::ops::Add(
      graph, low,
      compute::ops::MultiplyScalar(graph, compute::ops::Subtract(graph, high, low), rest));
}

FunctionArgument Quantiles(FunctionCall& call) {
  Graph& graph = call.graph();
  Value x = Cast(graph, call.Tensor("x"), DType::kFloat32);
  const bool keepdims = call.Bool("keepdims", false);
  const std::string method = call.String("method", "linear");
  if (method != "linear") return call.Unsupported("method", "only linear is supported");
  int64_t axis = -1;
  if (!call.Has("axis")) {
    if (keepdims) return call.Unsupported("keepdims", "it needs an axis");
    x = compute::ops::MergeAxes(graph, x, 0, graph.rank(x));
  } else {
    axis = call.Int("axis", -1);
  }
  const Value sorted = compute::ops::Sort(graph, compute::ops::MoveAxis(graph, x, axis, -1), -1);
  const int64_t n = graph.shape(sorted).dim(-1);
  if (n <= 0) return call.Invalid("the axis must have a known size");
  const compute::Tensor* qs = graph.constant(Cast(graph, call.Tensor("q"), DType::kFloat32));
  if (qs == nullptr) return call.Unsupported("q", "it must be known when the model loads");
  std::vector<Value> results;
  for (int64_t i = 0; i < qs->num_elements(); ++i) {
    const double q = qs->data<float>()[i];
    if (!(q >= 0 && q <= 1)) return call.Unsupported("q", "it must lie between 0 and 1");
    Value y = Quantile(graph, sorted, n, q);
    if (keepdims) y = compute::ops::ExpandDims(graph, y, axis);
    results.push_back(y);
  }
  return Result(qs->shape().rank() == 0 ? results.at(0) : compute::ops::Stack(graph, results, 0));
}

FunctionArgument Median(FunctionCall& call) {
  KeywordArguments arguments = {{"x", call.Get("x")},
                                {"axis", call.Get("axis")},
                                {"keepdims", call.Get("keepdims")},
                                {"q", FunctionArgument::Constant(0.5)}};
  FunctionCall quantile(call.context(), call.name_space(), std::move(arguments));
  FunctionArgument result = Quantiles(quantile);
  if (!quantile.ok()) return call.Fail(quantile.status());
  return result;
}

FunctionArgument BinCount(FunctionCall& call) {
  const int64_t depth = std::max(call.Int("minlength", 0), call.Int("maxlength", 0));
  if (depth <= 0) return call.Unsupported("minlength", "the number of bins must be known");
  const Value weights = call.OptionalTensor("weights");
  const Value counts =
      compute::ops::BinCount(call.graph(), call.Tensor("x"), depth, false, weights, false);
  return Result(weights.valid() ? counts : Cast(call.graph(), counts, DType::kInt64));
}

// Sums (or extremes) of the rows that share a segment id.
template <ReduceKind kind>
FunctionArgument Segments(FunctionCall& call) {
  Graph& graph = call.graph();
  const std::optional<int64_t> count = call.OptionalInt("num_segments");
  if (!count || *count < 1 || *count > 65536) {
    return call.Unsupported("num_segments", "it must be known when the model loads");
  }
  Value data = call.Tensor("data");
  // (segments, rows): which row belongs where.
  const Value member = compute::ops::OneHot(graph, call.Tensor("segment_ids"), *count, 1, 0, 0);
  Value wide = member;
  for (int axis = 1; axis < graph.rank(data); ++axis)
    wide = compute::ops::ExpandDims(graph, wide, -1);
  data = compute::ops::ExpandDims(graph, Cast(graph, data, DType::kFloat32), 0);
  if (kind == ReduceKind::kSum) {
    return Result(Reduce(graph, kind, compute::ops::Multiply(graph, wide, data), {1}, false));
  }
  const float low = -std::numeric_limits<float>::infinity();
  const Value outside = graph.Constant(compute::Tensor::Scalar(low));
  const Value inside = Cast(graph, wide, DType::kBool);
  return Result(Reduce(graph, kind, compute::ops::Where(graph, inside, data, outside), {1}, false));
}

FunctionArgument L2Loss(FunctionCall& call) {
  Graph& graph = call.graph();
  const Value squares =
      Unary(graph, UnaryKind::kSquare, Cast(graph, call.Tensor("x"), DType::kFloat32));
  return Result(compute::ops::MultiplyScalar(
      graph, Reduce(graph, ReduceKind::kSum, squares, {}, false), 0.5f));
}

// x · clip_norm / max(norm, clip_norm).
FunctionArgument ClipByNorm(FunctionCall& call) {
  Graph& graph = call.graph();
  const Value x = Cast(graph, call.Tensor("x"), DType::kFloat32);
  const Value limit = call.Tensor("clip_norm");
  const Value norm = Reduce(graph, ReduceKind::kL2Norm, x, ReadAxes(call).axes, true);
  const Value scale =
      compute::ops::Divide(graph, limit, Binary(graph, BinaryKind::kMaximum, norm, limit));
  return Result(compute::ops::Multiply(graph, x, scale));
}

// Differences of neighbours, n times.
FunctionArgument Diff(FunctionCall& call) {
  Graph& graph = call.graph();
  Value x = call.Tensor("x");
  const int64_t n = call.Int("n", 1), axis = call.Int("axis", -1);
  if (n < 0 || n > 64) return call.Unsupported("n", "too many differences");
  for (int64_t i = 0; i < n; ++i) {
    x = compute::ops::Subtract(graph, compute::ops::SliceAxis(graph, x, axis, 1, std::nullopt),
                               compute::ops::SliceAxis(graph, x, axis, std::nullopt, -1));
  }
  return Result(x);
}

constexpr std::string_view kReduce = "x, axis, keepdims";

constexpr FunctionRow kFunctions[] = {
    {"sum", kReduce, Reduction<ReduceKind::kSum>},
    {"mean", kReduce, Reduction<ReduceKind::kMean>},
    {"max", "x, axis, keepdims, initial=!", Reduction<ReduceKind::kMax>},
    {"min", "x, axis, keepdims, initial=!", Reduction<ReduceKind::kMin>},
    {"amax", kReduce, Reduction<ReduceKind::kMax>},
    {"amin", kReduce, Reduction<ReduceKind::kMin>},
    {"prod", "x, axis, keepdims, dtype=-", Reduction<ReduceKind::kProduct>},
    {"var", kReduce, Reduction<ReduceKind::kVariance>},
    {"std", kReduce, Reduction<ReduceKind::kStd>},
    {"any", kReduce, Reduction<ReduceKind::kAny>},
    {"all", kReduce, Reduction<ReduceKind::kAll>},
    {"logsumexp", kReduce, Reduction<ReduceKind::kLogSumExp>},
    {"count_nonzero", kReduce, Reduction<ReduceKind::kCountNonzero>},
    {"<l2_norm>", kReduce, Reduction<ReduceKind::kL2Norm>},
    {"<l2_loss>", "x", L2Loss},
    {"<clip_by_norm>", "x, clip_norm, axis", ClipByNorm},
    {"diff", "x, n, axis; a=x", Diff},
    {"average", "x, axis, weights; keepdims", Average},
    {"ptp", kReduce, PeakToPeak},
    {"argmax", kReduce, ArgReduction<compute::ops::ArgKind::kArgMax>},
    {"argmin", kReduce, ArgReduction<compute::ops::ArgKind::kArgMin>},
    {"cumsum", "x, axis, dtype=-; exclusive, reverse", Scan<compute::ops::ScanKind::kSum>},
    {"cumprod", "x, axis, dtype=-; exclusive, reverse", Scan<compute::ops::ScanKind::kProduct>},
    {"cummax", "x, axis; exclusive, reverse", Scan<compute::ops::ScanKind::kMax>},
    {"cummin", "x, axis; exclusive, reverse", Scan<compute::ops::ScanKind::kMin>},
    {"norm", "x, ord, axis, keepdims", Norm},
    {"normalize", "x, axis, order, epsilon", Normalize},
    {"l2_normalize", "x, axis, epsilon", L2Normalize},
    {"moments", "x, axes=axis, keepdims, synchronized", Moments},
    {"top_k", "x, k, sorted=-", TopK},
    {"in_top_k", "targets, predictions, k", InTopK},
    {"sort", "x, axis:-1; direction", Sort<false>},
    {"argsort", "x, axis:-1; direction", Sort<true>},
    {"median", kReduce, Median},
    {"quantile", "x, q, axis, method, keepdims", Quantiles},
    {"bincount", "x, weights, minlength, sparse=!; maxlength", BinCount},
    {"segment_sum", "data, segment_ids, num_segments, sorted=-", Segments<ReduceKind::kSum>},
    {"segment_max", "data, segment_ids, num_segments, sorted=-", Segments<ReduceKind::kMax>},
};

}  // namespace

std::span<const FunctionRow> ReductionFunctions() { return kFunctions; }

}  // namespace h5serve::model
