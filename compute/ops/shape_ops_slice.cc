// NumPy's basic indexing.
#include <fmt/format.h>

#include <algorithm>

#include "compute/ops/partial_value.h"
#include "compute/ops/shape_ops.h"
#include "compute/ops/strided_copy.h"

namespace h5serve::compute::ops {
namespace {

using Kind = SliceItem::Kind;

// First index and number of the elements that Python's slice takes of an axis.
struct Extent {
  int64_t begin = 0;
  int64_t count = 0;
};

Extent Resolve(const SliceItem& item, int64_t size) {
  const int64_t step = item.step;
  // Python clamps to [0, size] going forwards and to [-1, size - 1] backwards.
  const int64_t low = step > 0 ? 0 : -1;
  const int64_t high = step > 0 ? size : size - 1;
  auto clamp = [&](int64_t index) {
    if (index < 0) index += size;
    return std::clamp(index, low, high);
  };
  const int64_t begin = item.start ? clamp(*item.start) : (step > 0 ? low : high);
  const int64_t end = item.stop ? clamp(*item.stop) : (step > 0 ? high : low);
  Extent extent{begin, 0};
  if (step > 0 && end > begin) extent.count = (end - begin - 1) / step + 1;
  if (step < 0 && end < begin) extent.count = (begin - end - 1) / -step + 1;
  return extent;
}

// Size of the slice of an axis of unknown size, where it does not depend on it.
int64_t SizeOfOpenAxis(const SliceItem& item) {
  const bool empty = item.step > 0 && item.start && item.stop && *item.start >= *item.stop &&
                     (*item.start >= 0) == (*item.stop >= 0);
  return empty ? 0 : kUnknown;
}

bool IsWhole(const SliceItem& item) {
  return item.kind == Kind::kRange && !item.stop && item.step == 1 && item.start.value_or(0) == 0;
}

// Items are complete: no ellipsis, one item for each axis besides new axes.
class SliceOp : public Op, public PartialOp {
 public:
  explicit SliceOp(std::vector<SliceItem> items) : items_(std::move(items)) {}
  std::string_view name() const override { return "Slice"; }

  absl::StatusOr<std::vector<ValueType>> Infer(const InferContext& context) const override {
    const Shape& from = context.shape(0);
    Shape shape;
    int axis = 0;
    for (const SliceItem& item : items_) {
      if (item.kind == Kind::kNewAxis) {
        shape.push_back(1);
        continue;
      }
      if (axis >= from.rank()) return absl::InvalidArgumentError("too many indices");
      const int64_t size = from[axis];
      if (item.kind == Kind::kIndex) {
        if (size != kUnknown && (*item.start >= size || *item.start < -size)) {
          return absl::InvalidArgumentError(fmt::format(
              "index {} is out of range for axis {} of {}", *item.start, axis, from.ToString()));
        }
      } else if (size == kUnknown) {
        shape.push_back(IsWhole(item) ? kUnknown : SizeOfOpenAxis(item));
      } else {
        shape.push_back(Resolve(item, size).count);
      }
      ++axis;
    }
    return std::vector<ValueType>{{context.dtype(0), shape}};
  }

  absl::Status Run(const RunContext& context) const override {
    const TensorView& in = context.input(0);
    const auto strides = RowMajorStrides(in.shape);
    std::vector<CopyLoop> loops;
    int64_t offset = 0;
    int axis = 0;
    for (const SliceItem& item : items_) {
      if (item.kind == Kind::kNewAxis) continue;
      const int64_t size = in.shape[axis];
      if (item.kind == Kind::kIndex) {
        offset += (*item.start < 0 ? *item.start + size : *item.start) * strides[axis];
      } else {
        const Extent extent = Resolve(item, size);
        if (extent.count == 0) return absl::OkStatus();
        offset += extent.begin * strides[axis];
        // A step beyond the end must not be multiplied.
        loops.push_back({extent.count, extent.count > 1 ? item.step * strides[axis] : 0});
      }
      ++axis;
    }
    CopyStrided(context, in.dtype, in.data, offset, std::move(loops), context.output(0).data);
    return absl::OkStatus();
  }

  std::optional<std::vector<int64_t>> Partial(
      const Graph& graph, std::span<const Value> values,
      std::span<const std::optional<std::vector<int64_t>>> inputs) const override {
    if (!inputs[0] || graph.rank(values[0]) != 1) return std::nullopt;
    const std::vector<int64_t>& from = *inputs[0];
    const int64_t size = static_cast<int64_t>(from.size());
    std::vector<int64_t> taken;
    for (const SliceItem& item : items_) {
      if (item.kind == Kind::kIndex) {
        taken.push_back(from[*item.start < 0 ? *item.start + size : *item.start]);
      } else if (item.kind == Kind::kRange) {
        const Extent extent = Resolve(item, size);
        for (int64_t i = 0; i < extent.count; ++i)
          taken.push_back(from[extent.begin + i * item.step]);
      }
    }
    return taken;
  }

 private:
  std::vector<SliceItem> items_;
};

// Input 1, 2: begin and end, as far as they are there.
class SliceByOp : public Op {
 public:
  SliceByOp(int axis, bool begin, int64_t step) : axis_(axis), begin_(begin), step_(step) {}
  std::string_view name() const override { return "SliceBy"; }

  absl::StatusOr<std::vector<ValueType>> Infer(const InferContext& context) const override {
    Shape shape = context.shape(0);
    SliceItem item{Kind::kRange, std::nullopt, std::nullopt, step_};
    bool known = true;
    for (int i = 1; i < context.size(); ++i) {
      if (context.dtype(i) != DType::kInt64 || context.shape(i).rank() != 0) {
        return absl::InvalidArgumentError("bounds of a slice must be integers");
      }
      const Tensor* bound = context.constant(i);
      known = known && bound != nullptr;
      if (bound != nullptr) Bound(i, &item) = *bound->data<int64_t>();
    }
    const int64_t size = shape[axis_];
    shape[axis_] = known && size != kUnknown ? Resolve(item, size).count : kUnknown;
    return std::vector<ValueType>{{context.dtype(0), shape}};
  }

  absl::Status Run(const RunContext& context) const override {
    const TensorView& in = context.input(0);
    const TensorView& out = context.output(0);
    SliceItem item{Kind::kRange, std::nullopt, std::nullopt, step_};
    for (int i = 1; i < context.num_inputs(); ++i) {
      Bound(i, &item) = *context.input(i).as<int64_t>();
    }
    const Extent extent = Resolve(item, in.shape[axis_]);
    const int64_t inner = Product(in.shape, axis_ + 1, in.shape.rank());
    const int64_t stride = extent.count > 1 ? step_ * inner : 0;
    CopyStrided(context, in.dtype, in.data, extent.begin * inner,
                {{Product(in.shape, 0, axis_), in.shape[axis_] * inner},
                 {extent.count, stride},
                 {inner, 1}},
                out.data);
    return absl::OkStatus();
  }

 private:
  std::optional<int64_t>& Bound(int input, SliceItem* item) const {
    return input == 1 && begin_ ? item->start : item->stop;
  }
  int axis_;
  bool begin_;  // input 1 is the begin
  int64_t step_;
};

class DynamicSliceOp : public Op {
 public:
  explicit DynamicSliceOp(std::vector<int64_t> sizes) : sizes_(std::move(sizes)) {}
  std::string_view name() const override { return "DynamicSlice"; }

  absl::StatusOr<std::vector<ValueType>> Infer(const InferContext& context) const override {
    const Shape& from = context.shape(0);
    const Shape& start = context.shape(1);
    if (start.rank() != 1 || from.rank() != static_cast<int>(sizes_.size()) ||
        (start[0] != kUnknown && start[0] != from.rank()) || context.dtype(1) != DType::kInt64) {
      return absl::InvalidArgumentError(fmt::format(
          "start and sizes of a slice of {} need one number for each axis", from.ToString()));
    }
    Shape shape;
    const Tensor* known = context.constant(1);
    for (int axis = 0; axis < from.rank(); ++axis) {
      int64_t size = sizes_[axis];
      if (size == kUnknown && from[axis] != kUnknown && known != nullptr) {
        size =
            std::max<int64_t>(0, from[axis] - std::max<int64_t>(0, known->data<int64_t>()[axis]));
      } else if (size == kUnknown && from.known() && known == nullptr) {
        return absl::InvalidArgumentError("the size of a slice depends on its start");
      }
      if (size != kUnknown && from[axis] != kUnknown && size > from[axis]) {
        return absl::InvalidArgumentError(
            fmt::format("cannot take {} elements of axis {} of {}", size, axis, from.ToString()));
      }
      shape.push_back(size);
    }
    return std::vector<ValueType>{{context.dtype(0), shape}};
  }

  absl::Status Run(const RunContext& context) const override {
    const TensorView& in = context.input(0);
    const TensorView& out = context.output(0);
    const int64_t* start = context.input(1).as<int64_t>();
    const auto strides = RowMajorStrides(in.shape);
    std::vector<CopyLoop> loops;
    int64_t offset = 0;
    for (int axis = 0; axis < in.shape.rank(); ++axis) {
      const int64_t last = in.shape[axis] - out.shape[axis];
      offset += std::clamp<int64_t>(start[axis], 0, last) * strides[axis];
      loops.push_back({out.shape[axis], strides[axis]});
    }
    CopyStrided(context, in.dtype, in.data, offset, std::move(loops), out.data);
    return absl::OkStatus();
  }

 private:
  std::vector<int64_t> sizes_;
};

// One item for each axis of a tensor of `rank`, besides new axes.
absl::StatusOr<std::vector<SliceItem>> Complete(const std::vector<SliceItem>& items, int rank) {
  int used = 0, ellipses = 0, result_rank = rank;
  for (const SliceItem& item : items) {
    if (item.kind == Kind::kEllipsis) ++ellipses;
    if (item.kind == Kind::kRange || item.kind == Kind::kIndex) ++used;
    if (item.kind == Kind::kIndex) --result_rank;
    if (item.kind == Kind::kNewAxis) ++result_rank;
    if (item.kind == Kind::kIndex && !item.start) {
      return absl::InvalidArgumentError("an index has no value");
    }
    if (item.kind == Kind::kRange && (item.step == 0 || item.step == INT64_MIN)) {
      return absl::InvalidArgumentError("the step of a slice must not be zero");
    }
  }
  if (used > rank || ellipses > 1 || result_rank > kMaxRank) {
    return absl::InvalidArgumentError(
        fmt::format("{} indices do not fit a tensor of rank {}", used, rank));
  }
  std::vector<SliceItem> complete;
  const std::vector<SliceItem> rest(static_cast<size_t>(rank - used));
  for (const SliceItem& item : items) {
    if (item.kind == Kind::kEllipsis) {
      complete.insert(complete.end(), rest.begin(), rest.end());
    } else {
      complete.push_back(item);
    }
  }
  if (ellipses == 0) complete.insert(complete.end(), rest.begin(), rest.end());
  return complete;
}

}  // namespace

Value Slice(Graph& graph, Value x, std::vector<SliceItem> items) {
  if (!x.valid()) return x;
  absl::StatusOr<std::vector<SliceItem>> complete = Complete(items, graph.rank(x));
  if (!complete.ok()) return graph.Fail(complete.status());
  const bool whole = std::all_of(complete->begin(), complete->end(), [](const SliceItem& item) {
    return item.kind == Kind::kNewAxis || IsWhole(item);
  });
  if (whole) {
    for (size_t i = 0; i < complete->size(); ++i) {
      if ((*complete)[i].kind == Kind::kNewAxis) x = ExpandDims(graph, x, static_cast<int64_t>(i));
    }
    return x;
  }
  const Value result = graph.Add1(std::make_shared<SliceOp>(*std::move(complete)), {x});
  // Sizes taken out of a shape are often known although the shape is not.
  if (result.valid() && graph.dtype(x) == DType::kInt64 && graph.constant(result) == nullptr) {
    const std::optional<std::vector<int64_t>> known = PartialValue(graph, result);
    if (known && std::none_of(known->begin(), known->end(), [](int64_t v) { return v < 0; })) {
      return graph.Constant(Tensor::Ints(graph.shape(result), *known));
    }
  }
  return result;
}

Value SliceAxis(Graph& graph, Value x, int64_t axis, std::optional<int64_t> begin,
                std::optional<int64_t> end, int64_t step) {
  if (!x.valid()) return x;
  const std::optional<int> normal = NormalizeAxis(axis, graph.rank(x));
  if (!normal) {
    return graph.Fail(absl::InvalidArgumentError(
        fmt::format("axis {} does not exist in {}", axis, graph.shape(x).ToString())));
  }
  std::vector<SliceItem> items(static_cast<size_t>(*normal) + 1);
  items.back() = SliceItem{Kind::kRange, begin, end, step};
  return Slice(graph, x, std::move(items));
}

Value SliceAxisBy(Graph& graph, Value x, int64_t axis, Value begin, Value end, int64_t step) {
  if (!x.valid()) return x;
  const std::optional<int> normal = NormalizeAxis(axis, graph.rank(x));
  if (!normal || step == 0 || step == INT64_MIN) {
    return graph.Fail(absl::InvalidArgumentError(
        fmt::format("cannot slice axis {} of {}", axis, graph.shape(x).ToString())));
  }
  std::vector<Value> inputs = {x};
  if (begin.valid()) inputs.push_back(begin);
  if (end.valid()) inputs.push_back(end);
  return graph.Add1(std::make_shared<SliceByOp>(*normal, begin.valid(), step),
                    std::move(inputs));
}

Value Reverse(Graph& graph, Value x, int64_t axis) {
  return SliceAxis(graph, x, axis, std::nullopt, std::nullopt, -1);
}

Value DynamicSlice(Graph& graph, Value x, Value start, const std::vector<int64_t>& sizes) {
  return graph.Add1(std::make_shared<DynamicSliceOp>(sizes), {x, start});
}

}  // namespace h5serve::compute::ops
