// Transposition, concatenation and splitting.
#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "compute/ops/elementwise.h"
#include "compute/ops/partial_value.h"
#include "compute/ops/shape_ops.h"
#include "compute/ops/strided_copy.h"

namespace h5serve::compute::ops {
namespace {

absl::Status NoAxis(int64_t axis, const Shape& shape) {
  return absl::InvalidArgumentError(
      fmt::format("axis {} does not exist in {}", axis, shape.ToString()));
}

class TransposeOp : public Op {
 public:
  explicit TransposeOp(std::vector<int> permutation) : permutation_(std::move(permutation)) {}
  std::string_view name() const override { return "Transpose"; }
  const std::vector<int>* Permutation() const override { return &permutation_; }

  absl::StatusOr<std::vector<ValueType>> Infer(const InferContext& context) const override {
    const Shape& from = context.shape(0);
    if (from.rank() != static_cast<int>(permutation_.size())) {
      return absl::InvalidArgumentError(
          fmt::format("cannot transpose {}: the permutation has {} axes", from.ToString(),
                      permutation_.size()));
    }
    Shape shape;
    for (int axis : permutation_) shape.push_back(from[axis]);
    return std::vector<ValueType>{{context.dtype(0), shape}};
  }

  absl::Status Run(const RunContext& context) const override {
    const TensorView& in = context.input(0);
    const auto strides = RowMajorStrides(in.shape);
    std::vector<CopyLoop> loops;
    for (int axis : permutation_) loops.push_back({in.shape[axis], strides[axis]});
    CopyStrided(context, in.dtype, in.data, 0, std::move(loops), context.output(0).data);
    return absl::OkStatus();
  }

 private:
  std::vector<int> permutation_;
};

// Whether no two axes longer than one change their order.
bool KeepsOrder(const Shape& shape, const std::vector<int>& permutation) {
  int last = -1;
  for (int axis : permutation) {
    if (shape[axis] == 1) continue;
    if (axis < last) return false;
    last = axis;
  }
  return true;
}

class ConcatOp : public Op, public PartialOp {
 public:
  explicit ConcatOp(int64_t axis) : axis_(axis) {}
  std::string_view name() const override { return "Concat"; }
  std::shared_ptr<const Op> Unpermuted(std::span<const int> permutation) const override {
    const std::optional<int> axis = NormalizeAxis(axis_, static_cast<int>(permutation.size()));
    return axis ? std::make_shared<ConcatOp>(permutation[*axis]) : nullptr;
  }

  absl::StatusOr<std::vector<ValueType>> Infer(const InferContext& context) const override {
    Shape shape = context.shape(0);
    const std::optional<int> axis = NormalizeAxis(axis_, shape.rank());
    if (!axis) return NoAxis(axis_, shape);
    for (int i = 1; i < context.size(); ++i) {
      const Shape& other = context.shape(i);
      bool fits = other.rank() == shape.rank() && context.dtype(i) == context.dtype(0);
      for (int a = 0; fits && a < shape.rank(); ++a) {
        if (a == *axis) {
          const bool known = shape[a] != kUnknown && other[a] != kUnknown;
          shape[a] = known ? shape[a] + other[a] : kUnknown;
        } else if (shape[a] == kUnknown) {
          shape[a] = other[a];
        } else {
          fits = other[a] == kUnknown || other[a] == shape[a];
        }
      }
      if (!fits) {
        return absl::InvalidArgumentError(fmt::format(
            "cannot concatenate {} and {} along axis {}: the other dimensions must agree",
            context.shape(0).ToString(), other.ToString(), axis_));
      }
    }
    return std::vector<ValueType>{{context.dtype(0), shape}};
  }

  absl::Status Run(const RunContext& context) const override {
    const TensorView& out = context.output(0);
    const int axis = *NormalizeAxis(axis_, out.shape.rank());
    const int64_t outer = Product(out.shape, 0, axis);
    const int64_t inner = Product(out.shape, axis + 1, out.shape.rank());
    const int64_t row = out.shape[axis] * inner;
    const int64_t grain = std::max<int64_t>(1, 16384 / std::max<int64_t>(1, row));
    context.ParallelFor(outer, grain, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        int64_t to = i * row;
        for (int n = 0; n < context.num_inputs(); ++n) {
          const TensorView& in = context.input(n);
          const int64_t count = in.shape[axis] * inner;
          CopyElements(out.dtype, in.data, i * count, out.data, to, count);
          to += count;
        }
      }
    });
    return absl::OkStatus();
  }

  std::optional<std::vector<int64_t>> Partial(
      const Graph& graph, std::span<const Value> values,
      std::span<const std::optional<std::vector<int64_t>>> inputs) const override {
    std::vector<int64_t> joined;
    for (const auto& input : inputs) {
      if (!input) return std::nullopt;
      joined.insert(joined.end(), input->begin(), input->end());
    }
    return joined;
  }

 private:
  int64_t axis_;
};

class SplitOp : public Op {
 public:
  SplitOp(std::vector<int64_t> sizes, int64_t axis) : sizes_(std::move(sizes)), axis_(axis) {}
  std::string_view name() const override { return "Split"; }

  absl::StatusOr<std::vector<ValueType>> Infer(const InferContext& context) const override {
    const Shape& from = context.shape(0);
    const std::optional<int> axis = NormalizeAxis(axis_, from.rank());
    if (!axis) return NoAxis(axis_, from);
    absl::StatusOr<std::vector<int64_t>> sizes = Sizes(from[*axis], from);
    if (!sizes.ok()) return sizes.status();
    std::vector<ValueType> types;
    for (int64_t size : *sizes) {
      Shape shape = from;
      shape[*axis] = size;
      types.push_back({context.dtype(0), shape});
    }
    return types;
  }

  absl::Status Run(const RunContext& context) const override {
    const TensorView& in = context.input(0);
    const int axis = *NormalizeAxis(axis_, in.shape.rank());
    const int64_t outer = Product(in.shape, 0, axis);
    const int64_t inner = Product(in.shape, axis + 1, in.shape.rank());
    int64_t from = 0;
    for (size_t n = 0; n < sizes_.size(); ++n) {
      const TensorView& out = context.output(static_cast<int>(n));
      const int64_t size = out.shape[axis];
      CopyStrided(context, in.dtype, in.data, from,
                  {{outer, in.shape[axis] * inner}, {size * inner, 1}}, out.data);
      from += size * inner;
    }
    return absl::OkStatus();
  }

 private:
  absl::StatusOr<std::vector<int64_t>> Sizes(int64_t total, const Shape& from) const {
    std::vector<int64_t> sizes = sizes_;
    int64_t sum = 0;
    int open = -1;
    for (size_t i = 0; i < sizes.size(); ++i) {
      if (sizes[i] == kUnknown) {
        open = static_cast<int>(i);
      } else {
        sum += sizes[i];
      }
    }
    if (total == kUnknown) return sizes;
    if (open >= 0) sizes[open] = total - sum;
    if (sum > total || (open < 0 && sum != total)) {
      return absl::InvalidArgumentError(fmt::format(
          "cannot split axis {} of {} into pieces of {} in all", axis_, from.ToString(), sum));
    }
    return sizes;
  }

  std::vector<int64_t> sizes_;
  int64_t axis_;
};

// Brings operands to one type: strings only with strings, floats win over
// integers, integers over bools.
std::vector<Value> Unify(Graph& graph, std::vector<Value> xs) {
  DType dtype = DType::kBool;
  for (Value x : xs) {
    const DType other = graph.dtype(x);
    if (other == DType::kString) return xs;
    if (IsFloat(other) || (IsInteger(other) && dtype == DType::kBool)) dtype = other;
  }
  for (Value& x : xs) {
    if (graph.dtype(x) != dtype) x = Cast(graph, x, dtype);
  }
  return xs;
}

}  // namespace

Value Transpose(Graph& graph, Value x, const std::vector<int>& permutation) {
  if (!x.valid()) return x;
  const Shape& shape = graph.shape(x);
  std::vector<bool> seen(permutation.size(), false);
  bool valid = static_cast<int>(permutation.size()) == shape.rank();
  for (int axis : permutation) {
    valid = valid && axis >= 0 && axis < shape.rank() && !seen[axis];
    if (valid) seen[axis] = true;
  }
  if (!valid) {
    return graph.Fail(
        absl::InvalidArgumentError(fmt::format("({}) is no permutation of the axes of {}",
                                               fmt::join(permutation, ", "), shape.ToString())));
  }
  if (std::is_sorted(permutation.begin(), permutation.end())) return x;
  if (shape.known() && KeepsOrder(shape, permutation)) {
    Shape target;
    for (int axis : permutation) target.push_back(shape[axis]);
    return Reshape(graph, x, target);
  }
  return graph.Add1(std::make_shared<TransposeOp>(permutation), {x});
}

Value MoveAxis(Graph& graph, Value x, int64_t from, int64_t to) {
  if (!x.valid()) return x;
  const int rank = graph.rank(x);
  const std::optional<int> source = NormalizeAxis(from, rank);
  const std::optional<int> target = NormalizeAxis(to, rank);
  if (!source || !target) return graph.Fail(NoAxis(source ? to : from, graph.shape(x)));
  std::vector<int> permutation(rank);
  std::iota(permutation.begin(), permutation.end(), 0);
  permutation.erase(permutation.begin() + *source);
  permutation.insert(permutation.begin() + *target, *source);
  return Transpose(graph, x, permutation);
}

Value Concat(Graph& graph, const std::vector<Value>& xs, int64_t axis) {
  if (xs.empty()) return graph.Fail(absl::InvalidArgumentError("nothing to concatenate"));
  for (Value x : xs) {
    if (!x.valid()) return x;
  }
  if (xs.size() == 1) {
    if (!NormalizeAxis(axis, graph.rank(xs[0])))
      return graph.Fail(NoAxis(axis, graph.shape(xs[0])));
    return xs[0];
  }
  return graph.Add1(std::make_shared<ConcatOp>(axis), Unify(graph, xs));
}

Value Stack(Graph& graph, const std::vector<Value>& xs, int64_t axis) {
  if (xs.empty()) return graph.Fail(absl::InvalidArgumentError("nothing to stack"));
  std::vector<Value> expanded;
  for (Value x : Unify(graph, xs)) {
    if (!x.valid()) return x;
    if (!Compatible(graph.shape(x), graph.shape(xs[0]))) {
      return graph.Fail(absl::InvalidArgumentError(fmt::format(
          "cannot stack {} and {}", graph.shape(xs[0]).ToString(), graph.shape(x).ToString())));
    }
    expanded.push_back(ExpandDims(graph, x, axis));
  }
  return Concat(graph, expanded, axis);
}

std::vector<Value> Unstack(Graph& graph, Value x, int64_t axis) {
  if (!x.valid()) return {};
  const Shape shape = graph.shape(x);
  const std::optional<int> normal = NormalizeAxis(axis, shape.rank());
  if (!normal || shape[*normal] == kUnknown) {
    graph.Fail(normal
                   ? absl::InvalidArgumentError(fmt::format(
                         "cannot unstack axis {} of {}: its size is open", axis, shape.ToString()))
                   : NoAxis(axis, shape));
    return {};
  }
  if (shape[*normal] > 65536) {
    graph.Fail(absl::InvalidArgumentError(fmt::format("cannot unstack {} slices", shape[*normal])));
    return {};
  }
  std::vector<Value> pieces =
      Split(graph, x, std::vector<int64_t>(static_cast<size_t>(shape[*normal]), 1), *normal);
  for (Value& piece : pieces) piece = Squeeze(graph, piece, {*normal});
  return pieces;
}

std::vector<Value> Split(Graph& graph, Value x, const std::vector<int64_t>& sizes, int64_t axis) {
  const bool negative =
      std::any_of(sizes.begin(), sizes.end(), [](int64_t size) { return size < kUnknown; });
  if (sizes.empty() || negative || std::count(sizes.begin(), sizes.end(), kUnknown) > 1) {
    graph.Fail(absl::InvalidArgumentError("invalid sizes to split into"));
    return std::vector<Value>(sizes.size());
  }
  if (sizes.size() == 1 && x.valid() && sizes[0] == graph.shape(x).dim(static_cast<int>(axis))) {
    return {x};
  }
  return graph.Add(std::make_shared<SplitOp>(sizes, axis), {x});
}

}  // namespace h5serve::compute::ops
