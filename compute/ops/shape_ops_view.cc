// Ops that only rename the dimensions: their output is the input's memory.
#include <fmt/format.h>

#include <algorithm>

#include "compute/ops/partial_value.h"
#include "compute/ops/shape_ops.h"

namespace h5serve::compute::ops {
namespace {

absl::Status CannotReshape(const Shape& from, const Shape& to) {
  return absl::InvalidArgumentError(
      fmt::format("cannot reshape {} to {}", from.ToString(), to.ToString()));
}

// Product of the known dimensions, and how many are unknown.
struct Extent {
  int64_t known = 1;
  int unknown = 0;
};

std::optional<Extent> ExtentOf(const Shape& shape, int begin, int end) {
  Extent extent;
  for (int axis = begin; axis < end; ++axis) {
    if (shape[axis] == kUnknown) {
      ++extent.unknown;
    } else if (__builtin_mul_overflow(extent.known, shape[axis], &extent.known) ||
               extent.known > kMaxElements) {
      return std::nullopt;
    }
  }
  return extent;
}

// `target` with its unknown dimension inferred from `from`, as far as possible.
absl::StatusOr<Shape> Reshaped(const Shape& from, const Shape& target) {
  const std::optional<Extent> source = ExtentOf(from, 0, from.rank());
  const std::optional<Extent> result = ExtentOf(target, 0, target.rank());
  if (!source || !result) return CannotReshape(from, target);
  if (source->unknown > 0) return target;
  if (result->unknown == 0) {
    if (source->known != result->known) return CannotReshape(from, target);
    return target;
  }
  if (result->unknown > 1) return target;
  if (result->known == 0 || source->known % result->known != 0) {
    return CannotReshape(from, target);
  }
  Shape shape = target;
  for (int axis = 0; axis < shape.rank(); ++axis) {
    if (shape[axis] == kUnknown) shape[axis] = source->known / result->known;
  }
  return shape;
}

class ViewOp : public Op {
 public:
  bool IsView() const override { return true; }
  absl::Status Run(const RunContext& context) const override { return absl::OkStatus(); }

 protected:
  static absl::StatusOr<std::vector<ValueType>> Types(const InferContext& context,
                                                      absl::StatusOr<Shape> shape) {
    if (!shape.ok()) return shape.status();
    return std::vector<ValueType>{{context.dtype(0), *shape}};
  }
};

class ReshapeOp : public ViewOp {
 public:
  explicit ReshapeOp(const Shape& target) : target_(target) {}
  std::string_view name() const override { return "Reshape"; }
  absl::StatusOr<std::vector<ValueType>> Infer(const InferContext& context) const override {
    return Types(context, Reshaped(context.shape(0), target_));
  }

 private:
  Shape target_;
};

class ReshapeToOp : public ViewOp {
 public:
  explicit ReshapeToOp(const Shape& hint) : hint_(hint) {}
  std::string_view name() const override { return "ReshapeTo"; }
  absl::StatusOr<std::vector<ValueType>> Infer(const InferContext& context) const override {
    const Tensor* target = context.constant(1);
    if (target == nullptr) return Types(context, Reshaped(context.shape(0), hint_));
    absl::StatusOr<Shape> shape = ShapeFromTensor(*target);
    if (!shape.ok()) return shape.status();
    return Types(context, Reshaped(context.shape(0), *shape));
  }

 private:
  Shape hint_;  // what is known of the result before any shape is
};

class ReshapeRowsOp : public ViewOp {
 public:
  explicit ReshapeRowsOp(const Shape& row_shape) : row_shape_(row_shape) {}
  std::string_view name() const override { return "ReshapeRows"; }
  absl::StatusOr<std::vector<ValueType>> Infer(const InferContext& context) const override {
    const Shape& from = context.shape(0);
    if (from.rank() == 0 || row_shape_.rank() >= kMaxRank) {
      return CannotReshape(from, row_shape_);
    }
    absl::StatusOr<Shape> rows = Reshaped(from.Slice(1, from.rank()), row_shape_);
    if (!rows.ok()) return rows.status();
    return Types(context, Shape{from[0]}.Concat(*rows));
  }

 private:
  Shape row_shape_;
};

class MergeAxesOp : public ViewOp {
 public:
  MergeAxesOp(int begin, int end) : begin_(begin), end_(end) {}
  std::string_view name() const override { return "MergeAxes"; }
  absl::StatusOr<std::vector<ValueType>> Infer(const InferContext& context) const override {
    const Shape& from = context.shape(0);
    if (begin_ < 0 || begin_ > end_ || end_ > from.rank() ||
        (begin_ == end_ && from.rank() >= kMaxRank)) {
      return absl::InvalidArgumentError(
          fmt::format("cannot merge axes [{}, {}) of {}", begin_, end_, from.ToString()));
    }
    const std::optional<Extent> extent = ExtentOf(from, begin_, end_);
    if (!extent) return absl::InvalidArgumentError("too many elements: " + from.ToString());
    Shape shape = from.Slice(0, begin_);
    shape.push_back(extent->unknown > 0 ? kUnknown : extent->known);
    return Types(context, shape.Concat(from.Slice(end_, from.rank())));
  }

 private:
  int begin_, end_;
};

class SplitAxisOp : public ViewOp {
 public:
  SplitAxisOp(int axis, int64_t outer, int64_t inner) : axis_(axis), outer_(outer), inner_(inner) {}
  std::string_view name() const override { return "SplitAxis"; }
  absl::StatusOr<std::vector<ValueType>> Infer(const InferContext& context) const override {
    const Shape& from = context.shape(0);
    if (from.rank() >= kMaxRank || axis_ < 0 || axis_ >= from.rank()) return Refuse(from);
    int64_t outer = outer_, inner = inner_;
    const int64_t size = from[axis_];
    if (size != kUnknown) {
      if (outer == kUnknown && inner > 0) outer = size / inner;
      if (inner == kUnknown && outer > 0) inner = size / outer;
      if (outer < 0 || inner < 0 || outer * inner != size) return Refuse(from);
    }
    Shape shape = from;
    shape[axis_] = outer;
    shape.Insert(axis_ + 1, inner);
    return Types(context, shape);
  }

 private:
  absl::Status Refuse(const Shape& from) const {
    return absl::InvalidArgumentError(fmt::format("cannot split axis {} of {} into {} x {}", axis_,
                                                  from.ToString(), outer_, inner_));
  }
  int axis_;
  int64_t outer_, inner_;
};

class UnmergeLeadingOp : public ViewOp {
 public:
  explicit UnmergeLeadingOp(int axes) : axes_(axes) {}
  std::string_view name() const override { return "UnmergeLeading"; }
  bool ReadsOnlyShape(int input) const override { return input == 1; }
  absl::StatusOr<std::vector<ValueType>> Infer(const InferContext& context) const override {
    const Shape& from = context.shape(0);
    const Shape& like = context.shape(1);
    if (from.rank() == 0 || axes_ > like.rank() || axes_ < 0 ||
        from.rank() - 1 + axes_ > kMaxRank) {
      return CannotReshape(from, like);
    }
    const Shape leading = like.Slice(0, axes_);
    const std::optional<Extent> extent = ExtentOf(leading, 0, axes_);
    if (!extent) return CannotReshape(from, like);
    const bool known = extent->unknown == 0 && from[0] != kUnknown;
    if (known && extent->known != from[0]) return CannotReshape(from, like);
    return Types(context, leading.Concat(from.Slice(1, from.rank())));
  }

 private:
  int axes_;
};

class ExpandDimsOp : public ViewOp {
 public:
  explicit ExpandDimsOp(int64_t axis) : axis_(axis) {}
  std::string_view name() const override { return "ExpandDims"; }
  absl::StatusOr<std::vector<ValueType>> Infer(const InferContext& context) const override {
    Shape shape = context.shape(0);
    const std::optional<int> axis = NormalizeAxis(axis_, shape.rank() + 1);
    if (!axis || shape.rank() >= kMaxRank) {
      return absl::InvalidArgumentError(
          fmt::format("cannot insert axis {} into {}", axis_, shape.ToString()));
    }
    shape.Insert(*axis, 1);
    return Types(context, shape);
  }

 private:
  int64_t axis_;
};

class SqueezeOp : public ViewOp {
 public:
  explicit SqueezeOp(std::vector<int> axes) : axes_(std::move(axes)) {}
  std::string_view name() const override { return "Squeeze"; }
  absl::StatusOr<std::vector<ValueType>> Infer(const InferContext& context) const override {
    const Shape& from = context.shape(0);
    Shape shape;
    for (int axis = 0; axis < from.rank(); ++axis) {
      if (std::find(axes_.begin(), axes_.end(), axis) == axes_.end()) {
        shape.push_back(from[axis]);
      } else if (from[axis] != 1 && from[axis] != kUnknown) {
        return absl::InvalidArgumentError(
            fmt::format("cannot squeeze axis {} of {}: its size is not 1", axis, from.ToString()));
      }
    }
    return Types(context, shape);
  }

 private:
  std::vector<int> axes_;
};

}  // namespace

Value Reshape(Graph& graph, Value x, const Shape& target) {
  if (x.valid() && target.known() && graph.shape(x) == target) return x;
  if (std::count(target.begin(), target.end(), kUnknown) > 1) {
    return graph.Fail(CannotReshape(graph.shape(x), target));
  }
  return graph.Add1(std::make_shared<ReshapeOp>(target), {x});
}

Value ReshapeTo(Graph& graph, Value x, Value target) {
  if (!x.valid() || !target.valid()) return Value{};
  const std::optional<std::vector<int64_t>> partial = PartialValue(graph, target);
  if (!partial || partial->size() > kMaxRank) {
    return graph.Fail(
        absl::InvalidArgumentError("the target of a reshape must be a vector of known length"));
  }
  const Shape hint{std::span<const int64_t>(*partial)};
  for (int64_t dim : *partial) {
    if (dim < kUnknown) return graph.Fail(CannotReshape(graph.shape(x), hint));
  }
  // One open dimension follows from the number of elements, whatever it is.
  if (std::count(hint.begin(), hint.end(), kUnknown) <= 1) return Reshape(graph, x, hint);
  return graph.Add1(std::make_shared<ReshapeToOp>(hint), {x, target});
}

Value ReshapeRows(Graph& graph, Value x, const Shape& row_shape) {
  if (std::count(row_shape.begin(), row_shape.end(), kUnknown) > 1) {
    return graph.Fail(CannotReshape(graph.shape(x), row_shape));
  }
  return graph.Add1(std::make_shared<ReshapeRowsOp>(row_shape), {x});
}

Value MergeAxes(Graph& graph, Value x, int begin, int end) {
  return graph.Add1(std::make_shared<MergeAxesOp>(begin, end), {x});
}

Value SplitAxis(Graph& graph, Value x, int axis, int64_t outer, int64_t inner) {
  if (axis < 0) axis += graph.rank(x);
  return graph.Add1(std::make_shared<SplitAxisOp>(axis, outer, inner), {x});
}

Value UnmergeLeading(Graph& graph, Value x, Value like, int axes) {
  return graph.Add1(std::make_shared<UnmergeLeadingOp>(axes), {x, like});
}

Value ExpandDims(Graph& graph, Value x, int64_t axis) {
  return graph.Add1(std::make_shared<ExpandDimsOp>(axis), {x});
}

Value Squeeze(Graph& graph, Value x, const std::vector<int64_t>& axes) {
  if (!x.valid()) return x;
  const Shape& shape = graph.shape(x);
  std::vector<int> normal;
  for (int axis = 0; axes.empty() && axis < shape.rank(); ++axis) {
    if (shape[axis] == 1) normal.push_back(axis);
  }
  for (int64_t axis : axes) {
    const std::optional<int> found = NormalizeAxis(axis, shape.rank());
    if (!found) {
      return graph.Fail(absl::InvalidArgumentError(
          fmt::format("cannot squeeze axis {} of {}", axis, shape.ToString())));
    }
    normal.push_back(*found);
  }
  if (normal.empty()) return x;
  return graph.Add1(std::make_shared<SqueezeOp>(std::move(normal)), {x});
}

}  // namespace h5serve::compute::ops
