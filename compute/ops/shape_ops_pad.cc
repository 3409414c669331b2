// Ops that make tensors larger: padding and repetition.
#include <fmt/format.h>

#include <algorithm>

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

// a * b, or an error where a tensor of that size cannot be.
absl::StatusOr<int64_t> Times(int64_t a, int64_t b) {
  int64_t product = 0;
  if (a == kUnknown || b == kUnknown) return kUnknown;
  if (a < 0 || b < 0 || __builtin_mul_overflow(a, b, &product) || product > kMaxElements) {
    return absl::InvalidArgumentError(fmt::format("invalid size: {} x {}", a, b));
  }
  return product;
}

class PadOp : public Op {
 public:
  PadOp(std::vector<std::pair<int64_t, int64_t>> pads, PadMode mode, float value)
      : pads_(std::move(pads)), mode_(mode), value_(value) {}
  std::string_view name() const override { return "Pad"; }
  std::shared_ptr<const Op> Unpermuted(std::span<const int> permutation) const override {
    if (permutation.size() != pads_.size()) return nullptr;
    std::vector<std::pair<int64_t, int64_t>> pads(pads_.size());
    for (size_t axis = 0; axis < pads.size(); ++axis) pads[permutation[axis]] = pads_[axis];
    return std::make_shared<PadOp>(std::move(pads), mode_, value_);
  }

  absl::StatusOr<std::vector<ValueType>> Infer(const InferContext& context) const override {
    Shape shape = context.shape(0);
    if (shape.rank() != static_cast<int>(pads_.size())) {
      return absl::InvalidArgumentError(
          fmt::format("{} pairs of padding do not fit {}", pads_.size(), shape.ToString()));
    }
    for (int axis = 0; axis < shape.rank(); ++axis) {
      const auto [before, after] = pads_[axis];
      const int64_t size = shape[axis];
      if (size == kUnknown) continue;
      const int64_t widest = std::max(before, after);
      const bool fits = widest == 0 || mode_ == PadMode::kConstant ||
                        (mode_ == PadMode::kReflect && widest < size) ||
                        (mode_ == PadMode::kSymmetric && widest <= size) ||
                        (mode_ == PadMode::kEdge && size > 0);
      if (!fits) {
        return absl::InvalidArgumentError(
            fmt::format("padding of {} is too large for axis {} of {}", widest, axis,
                        context.shape(0).ToString()));
      }
      shape[axis] = size + before + after;
    }
    return std::vector<ValueType>{{context.dtype(0), shape}};
  }

  absl::Status Run(const RunContext& context) const override {
    const TensorView& in = context.input(0);
    const TensorView& out = context.output(0);
    // Axes behind the last padded one move as blocks.
    int last = in.shape.rank() - 1;
    while (last > 0 && pads_[last].first == 0 && pads_[last].second == 0) --last;
    if (last < 0) {
      CopyElements(in.dtype, in.data, 0, out.data, 0, 1);
      return absl::OkStatus();
    }
    const int64_t block = Product(in.shape, last + 1, in.shape.rank());
    const Shape outer = out.shape.Slice(0, last);
    const auto strides = RowMajorStrides(in.shape);
    const int64_t rows = Product(out.shape, 0, last);
    const int64_t row_size = out.shape[last] * block;
    const int64_t grain = std::max<int64_t>(1, 32768 / std::max<int64_t>(1, row_size));
    context.ParallelFor(rows, grain, [&](int64_t begin, int64_t end) {
      Odometer odometer(outer);
      odometer.Seek(begin);
      for (int64_t row = begin; row < end; ++row, odometer.Next()) {
        int64_t from = 0;
        for (int axis = 0; axis < last && from >= 0; ++axis) {
          const int64_t source = Source(odometer[axis] - pads_[axis].first, in.shape[axis]);
          from = source < 0 ? -1 : from + source * strides[axis];
        }
        if (from < 0) {
          FillElements(out.dtype, out.data, row * row_size, row_size, value_);
        } else {
          PadRow(in, from, block, in.shape[last], pads_[last], out, row * row_size);
        }
      }
    });
    return absl::OkStatus();
  }

 private:
  // Position on an axis of the input of padded position `i`; -1: outside.
  int64_t Source(int64_t i, int64_t size) const {
    if (i >= 0 && i < size) return i;
    switch (mode_) {
      case PadMode::kConstant:
        return -1;
      case PadMode::kReflect:
        return i < 0 ? -i : 2 * size - 2 - i;
      case PadMode::kSymmetric:
        return i < 0 ? -i - 1 : 2 * size - 1 - i;
      case PadMode::kEdge:
        return i < 0 ? 0 : size - 1;
    }
    return -1;
  }

  void PadRow(const TensorView& in, int64_t from, int64_t block, int64_t size,
              std::pair<int64_t, int64_t> pads, const TensorView& out, int64_t to) const {
    const auto [before, after] = pads;
    CopyElements(in.dtype, in.data, from, out.data, to + before * block, size * block);
    if (mode_ == PadMode::kConstant) {
      FillElements(out.dtype, out.data, to, before * block, value_);
      FillElements(out.dtype, out.data, to + (before + size) * block, after * block, value_);
      return;
    }
    for (int64_t i = 0; i < before + after; ++i) {
      const int64_t place = i < before ? i : i + size;
      CopyElements(in.dtype, in.data, from + Source(place - before, size) * block, out.data,
                   to + place * block, block);
    }
  }

  std::vector<std::pair<int64_t, int64_t>> pads_;
  PadMode mode_;
  float value_;
};

class TileOp : public Op {
 public:
  explicit TileOp(std::vector<int64_t> multiples) : multiples_(std::move(multiples)) {}
  std::string_view name() const override { return "Tile"; }

  absl::StatusOr<std::vector<ValueType>> Infer(const InferContext& context) const override {
    Shape shape = context.shape(0);
    for (int axis = 0; axis < shape.rank(); ++axis) {
      absl::StatusOr<int64_t> size = Times(shape[axis], multiples_[axis]);
      if (!size.ok()) return size.status();
      shape[axis] = *size;
    }
    return std::vector<ValueType>{{context.dtype(0), shape}};
  }

  absl::Status Run(const RunContext& context) const override {
    const TensorView& in = context.input(0);
    const auto strides = RowMajorStrides(in.shape);
    std::vector<CopyLoop> loops;
    for (int axis = 0; axis < in.shape.rank(); ++axis) {
      loops.push_back({multiples_[axis], 0});
      loops.push_back({in.shape[axis], strides[axis]});
    }
    CopyStrided(context, in.dtype, in.data, 0, std::move(loops), context.output(0).data);
    return absl::OkStatus();
  }

 private:
  std::vector<int64_t> multiples_;  // one per axis, >= 0
};

class RepeatOp : public Op {
 public:
  RepeatOp(int64_t count, int axis) : count_(count), axis_(axis) {}
  std::string_view name() const override { return "Repeat"; }

  absl::StatusOr<std::vector<ValueType>> Infer(const InferContext& context) const override {
    Shape shape = context.shape(0);
    absl::StatusOr<int64_t> size = Times(shape[axis_], count_);
    if (!size.ok()) return size.status();
    shape[axis_] = *size;
    return std::vector<ValueType>{{context.dtype(0), shape}};
  }

  absl::Status Run(const RunContext& context) const override {
    const TensorView& in = context.input(0);
    const int64_t inner = Product(in.shape, axis_ + 1, in.shape.rank());
    CopyStrided(context, in.dtype, in.data, 0,
                {{Product(in.shape, 0, axis_ + 1), inner}, {count_, 0}, {inner, 1}},
                context.output(0).data);
    return absl::OkStatus();
  }

 private:
  int64_t count_;
  int axis_;
};

class RollOp : public Op {
 public:
  RollOp(int64_t shift, int axis) : shift_(shift), axis_(axis) {}
  std::string_view name() const override { return "Roll"; }

  absl::StatusOr<std::vector<ValueType>> Infer(const InferContext& context) const override {
    return std::vector<ValueType>{context.input(0)};
  }

  absl::Status Run(const RunContext& context) const override {
    const TensorView& in = context.input(0);
    const TensorView& out = context.output(0);
    const int64_t size = in.shape[axis_];
    if (size == 0) return absl::OkStatus();
    const int64_t shift = (shift_ % size + size) % size;
    const int64_t inner = Product(in.shape, axis_ + 1, in.shape.rank());
    const int64_t outer = Product(in.shape, 0, axis_);
    for (int64_t i = 0; i < outer; ++i) {
      const int64_t base = i * size * inner;
      CopyElements(in.dtype, in.data, base, out.data, base + shift * inner, (size - shift) * inner);
      CopyElements(in.dtype, in.data, base + (size - shift) * inner, out.data, base, shift * inner);
    }
    return absl::OkStatus();
  }

 private:
  int64_t shift_;
  int axis_;
};

// Repeats `in` along the axes in which `out` is larger.
void RunBroadcast(const RunContext& context, const TensorView& in, const TensorView& out) {
  const auto strides = RowMajorStrides(in.shape);
  const int missing = out.shape.rank() - in.shape.rank();
  std::vector<CopyLoop> loops;
  for (int axis = 0; axis < out.shape.rank(); ++axis) {
    const int source = axis - missing;
    const bool repeated = source < 0 || in.shape[source] == 1;
    loops.push_back({out.shape[axis], repeated ? 0 : strides[source]});
  }
  CopyStrided(context, in.dtype, in.data, 0, std::move(loops), out.data);
}

// Where every axis of `target` is wide enough for `from`: the result's shape.
absl::StatusOr<Shape> BroadcastShape(const Shape& from, const Shape& target) {
  const auto refuse = [&] {
    return absl::InvalidArgumentError(
        fmt::format("cannot broadcast {} to {}", from.ToString(), target.ToString()));
  };
  if (from.rank() > target.rank()) return refuse();
  Shape shape = target;
  const int missing = target.rank() - from.rank();
  for (int axis = missing; axis < target.rank(); ++axis) {
    const int64_t size = from[axis - missing];
    if (shape[axis] == kUnknown) {
      if (size != 1) shape[axis] = size;
    } else if (size != kUnknown && size != 1 && size != shape[axis]) {
      return refuse();
    }
  }
  return shape;
}

class BroadcastToOp : public Op {
 public:
  explicit BroadcastToOp(const Shape& shape) : shape_(shape) {}
  std::string_view name() const override { return "BroadcastTo"; }

  // An unknown dimension of the target keeps the input's.
  absl::StatusOr<std::vector<ValueType>> Infer(const InferContext& context) const override {
    const Shape& from = context.shape(0);
    absl::StatusOr<Shape> shape = BroadcastShape(from, shape_);
    if (!shape.ok()) return shape.status();
    const int missing = shape->rank() - from.rank();
    for (int axis = missing; axis < shape->rank(); ++axis) {
      if ((*shape)[axis] == kUnknown) (*shape)[axis] = from[axis - missing];
    }
    return std::vector<ValueType>{{context.dtype(0), *shape}};
  }

  absl::Status Run(const RunContext& context) const override {
    RunBroadcast(context, context.input(0), context.output(0));
    return absl::OkStatus();
  }

 private:
  Shape shape_;
};

class BroadcastLikeOp : public Op {
 public:
  std::string_view name() const override { return "BroadcastLike"; }
  bool ReadsOnlyShape(int input) const override { return input == 1; }
  absl::StatusOr<std::vector<ValueType>> Infer(const InferContext& context) const override {
    absl::StatusOr<Shape> shape = BroadcastShape(context.shape(0), context.shape(1));
    if (!shape.ok()) return shape.status();
    return std::vector<ValueType>{{context.dtype(0), *shape}};
  }
  absl::Status Run(const RunContext& context) const override {
    RunBroadcast(context, context.input(0), context.output(0));
    return absl::OkStatus();
  }
};

// Input 1 is the target shape, known when shapes are.
class BroadcastToValueOp : public Op {
 public:
  explicit BroadcastToValueOp(const Shape& hint) : hint_(hint) {}
  std::string_view name() const override { return "BroadcastToValue"; }
  absl::StatusOr<std::vector<ValueType>> Infer(const InferContext& context) const override {
    Shape target = hint_;
    if (const Tensor* known = context.constant(1)) {
      absl::StatusOr<Shape> shape = ShapeFromTensor(*known);
      if (!shape.ok()) return shape.status();
      target = *shape;
    }
    absl::StatusOr<Shape> shape = BroadcastShape(context.shape(0), target);
    if (!shape.ok()) return shape.status();
    return std::vector<ValueType>{{context.dtype(0), *shape}};
  }
  absl::Status Run(const RunContext& context) const override {
    RunBroadcast(context, context.input(0), context.output(0));
    return absl::OkStatus();
  }

 private:
  Shape hint_;
};

// Input 1 holds the multiples, known when shapes are.
class TileByOp : public Op {
 public:
  std::string_view name() const override { return "TileBy"; }
  absl::StatusOr<std::vector<ValueType>> Infer(const InferContext& context) const override {
    Shape shape = context.shape(0);
    const Tensor* multiples = context.constant(1);
    if (context.dtype(1) != DType::kInt64 || context.shape(1).rank() != 1 ||
        (context.shape(1)[0] != kUnknown && context.shape(1)[0] != shape.rank())) {
      return absl::InvalidArgumentError("a tensor is tiled by one integer for each axis");
    }
    for (int axis = 0; axis < shape.rank(); ++axis) {
      absl::StatusOr<int64_t> size =
          multiples == nullptr ? kUnknown : Times(shape[axis], multiples->data<int64_t>()[axis]);
      if (!size.ok()) return size.status();
      shape[axis] = *size;
    }
    return std::vector<ValueType>{{context.dtype(0), shape}};
  }
  absl::Status Run(const RunContext& context) const override {
    const TensorView& in = context.input(0);
    const int64_t* multiples = context.input(1).as<int64_t>();
    const auto strides = RowMajorStrides(in.shape);
    std::vector<CopyLoop> loops;
    for (int axis = 0; axis < in.shape.rank(); ++axis) {
      loops.push_back({multiples[axis], 0});
      loops.push_back({in.shape[axis], strides[axis]});
    }
    CopyStrided(context, in.dtype, in.data, 0, std::move(loops), context.output(0).data);
    return absl::OkStatus();
  }
};

}  // namespace

Value Pad(Graph& graph, Value x, const std::vector<std::pair<int64_t, int64_t>>& pads, PadMode mode,
          float value) {
  bool none = true;
  for (const auto& [before, after] : pads) {
    if (before < 0 || after < 0 || before > kMaxElements || after > kMaxElements) {
      return graph.Fail(
          absl::InvalidArgumentError(fmt::format("invalid padding: ({}, {})", before, after)));
    }
    none = none && before == 0 && after == 0;
  }
  if (none && x.valid() && static_cast<int>(pads.size()) == graph.rank(x)) return x;
  return graph.Add1(std::make_shared<PadOp>(pads, mode, value), {x});
}

Value Tile(Graph& graph, Value x, const std::vector<int64_t>& multiples) {
  if (!x.valid()) return x;
  // As numpy.tile: the shorter of the two is extended with ones in front.
  const int rank = graph.rank(x);
  const int wanted = static_cast<int>(multiples.size());
  if (wanted > kMaxRank) return graph.Fail(absl::InvalidArgumentError("too many axes to tile"));
  for (int i = rank; i < wanted; ++i) x = ExpandDims(graph, x, 0);
  std::vector<int64_t> all(static_cast<size_t>(std::max(0, rank - wanted)), 1);
  all.insert(all.end(), multiples.begin(), multiples.end());
  if (std::all_of(all.begin(), all.end(), [](int64_t m) { return m == 1; })) return x;
  return graph.Add1(std::make_shared<TileOp>(std::move(all)), {x});
}

Value TileBy(Graph& graph, Value x, Value multiples) {
  if (!x.valid() || !multiples.valid()) return Value{};
  if (const Tensor* known = graph.constant(multiples);
      known != nullptr && known->dtype() == DType::kInt64 && known->shape().rank() == 1) {
    const int64_t* data = known->data<int64_t>();
    return Tile(graph, x, std::vector<int64_t>(data, data + known->num_elements()));
  }
  return graph.Add1(std::make_shared<TileByOp>(), {x, multiples});
}

Value Repeat(Graph& graph, Value x, int64_t count, int64_t axis) {
  if (!x.valid() || count == 1) return x;
  const std::optional<int> normal = NormalizeAxis(axis, graph.rank(x));
  if (!normal) return graph.Fail(NoAxis(axis, graph.shape(x)));
  return graph.Add1(std::make_shared<RepeatOp>(count, *normal), {x});
}

Value Roll(Graph& graph, Value x, int64_t shift, int64_t axis) {
  if (!x.valid() || shift == 0) return x;
  const std::optional<int> normal = NormalizeAxis(axis, graph.rank(x));
  if (!normal) return graph.Fail(NoAxis(axis, graph.shape(x)));
  return graph.Add1(std::make_shared<RollOp>(shift, *normal), {x});
}

Value BroadcastTo(Graph& graph, Value x, const Shape& shape) {
  if (x.valid() && shape.known() && graph.shape(x) == shape) return x;
  return graph.Add1(std::make_shared<BroadcastToOp>(shape), {x});
}

Value BroadcastToValue(Graph& graph, Value x, Value shape) {
  if (!x.valid() || !shape.valid()) return Value{};
  const std::optional<std::vector<int64_t>> partial = PartialValue(graph, shape);
  if (!partial || partial->size() > kMaxRank) {
    return graph.Fail(
        absl::InvalidArgumentError("the target of a broadcast must be a vector of known length"));
  }
  const Shape hint{std::span<const int64_t>(*partial)};
  if (hint.known()) return BroadcastTo(graph, x, hint);
  return graph.Add1(std::make_shared<BroadcastToValueOp>(hint), {x, shape});
}

Value BroadcastLike(Graph& graph, Value x, Value like) {
  if (x.valid() && like.valid() && graph.shape(like).known()) {
    return BroadcastTo(graph, x, graph.shape(like));
  }
  return graph.Add1(std::make_shared<BroadcastLikeOp>(), {x, like});
}

Value FillLike(Graph& graph, Value like, Value scalar) {
  if (scalar.valid() && graph.rank(scalar) != 0) {
    return graph.Fail(absl::InvalidArgumentError(
        fmt::format("a fill value must be a scalar, not {}", graph.shape(scalar).ToString())));
  }
  return BroadcastLike(graph, scalar, like);
}

}  // namespace h5serve::compute::ops
