// Ops that pick elements by index.
#include <fmt/format.h>

#include <algorithm>
#include <atomic>

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

absl::Status OutOfRange(int64_t index, int64_t size) {
  return absl::InvalidArgumentError(
      fmt::format("index {} is out of range [{}, {})", index, -size, size));
}

// Position of `index` counted from the start; -1 when out of range.
int64_t Position(int64_t index, int64_t size) {
  if (index < 0) index += size;
  return index >= 0 && index < size ? index : -1;
}

// Indices are int64; whole floats from a client are taken as they are.
Value AsIndices(Graph& graph, Value indices) {
  if (!indices.valid() || graph.dtype(indices) == DType::kInt64) return indices;
  if (graph.dtype(indices) == DType::kString) {
    return graph.Fail(absl::InvalidArgumentError("indices must be integers, not strings"));
  }
  return Cast(graph, indices, DType::kInt64);
}

// Runs body(begin, end) over [0, n), each piece giving the first index that was
// out of range (or nothing); the first such piece to end decides the error.
template <typename Body>
absl::Status RunChecked(const RunContext& context, int64_t n, int64_t grain, int64_t size,
                        const Body& body) {
  std::atomic<bool> failed{false};
  std::atomic<int64_t> bad{0};
  context.ParallelFor(n, grain, [&](int64_t begin, int64_t end) {
    const std::optional<int64_t> index = body(begin, end);
    if (index && !failed.exchange(true)) bad = *index;
  });
  return failed ? OutOfRange(bad, size) : absl::OkStatus();
}

class GatherOp : public Op, public PartialOp {
 public:
  GatherOp(int axis, int batch_dims) : axis_(axis), batch_dims_(batch_dims) {}
  std::string_view name() const override { return "Gather"; }

  absl::StatusOr<std::vector<ValueType>> Infer(const InferContext& context) const override {
    const Shape& x = context.shape(0);
    const Shape& indices = context.shape(1);
    if (batch_dims_ > axis_ || batch_dims_ > indices.rank() || axis_ >= x.rank() ||
        x.rank() - 1 + indices.rank() - batch_dims_ > kMaxRank ||
        !Compatible(x.Slice(0, batch_dims_), indices.Slice(0, batch_dims_))) {
      return absl::InvalidArgumentError(
          fmt::format("cannot gather from {} by {} along axis {} with {} batch axes", x.ToString(),
                      indices.ToString(), axis_, batch_dims_));
    }
    Shape shape = x.Slice(0, axis_);
    for (int axis = 0; axis < batch_dims_; ++axis) {
      if (shape[axis] == kUnknown) shape[axis] = indices[axis];
    }
    shape = shape.Concat(indices.Slice(batch_dims_, indices.rank()));
    return std::vector<ValueType>{{context.dtype(0), shape.Concat(x.Slice(axis_ + 1, x.rank()))}};
  }

  absl::Status Run(const RunContext& context) const override {
    const TensorView& x = context.input(0);
    const TensorView& indices = context.input(1);
    const TensorView& out = context.output(0);
    const int64_t batches = Product(x.shape, 0, batch_dims_);
    const int64_t outer = Product(x.shape, batch_dims_, axis_);
    const int64_t size = x.shape[axis_];
    const int64_t inner = Product(x.shape, axis_ + 1, x.shape.rank());
    const int64_t picks = Product(indices.shape, batch_dims_, indices.shape.rank());
    const int64_t* index = indices.as<int64_t>();
    const int64_t grain = std::max<int64_t>(1, 16384 / std::max<int64_t>(1, inner));
    return RunChecked(context, batches * outer * picks, grain, size,
                      [&](int64_t begin, int64_t end) -> std::optional<int64_t> {
                        return VisitMovable(x.dtype, [&](auto zero) -> std::optional<int64_t> {
                          using T = decltype(zero);
                          const T* from = x.as<T>();
                          T* to = out.as<T>() + begin * inner;
                          for (int64_t i = begin; i < end; ++i, to += inner) {
                            const int64_t row = i / picks;
                            const int64_t pick = index[row / outer * picks + i % picks];
                            const int64_t position = Position(pick, size);
                            if (position < 0) return pick;
                            std::copy_n(from + (row * size + position) * inner, inner, to);
                          }
                          return std::nullopt;
                        });
                      });
  }

  std::optional<std::vector<int64_t>> Partial(
      const Graph& graph, std::span<const Value> values,
      std::span<const std::optional<std::vector<int64_t>>> inputs) const override {
    if (graph.constant(values[1]) == nullptr || graph.rank(values[0]) != 1 || !inputs[0] ||
        !inputs[1]) {
      return std::nullopt;
    }
    std::vector<int64_t> taken;
    for (int64_t index : *inputs[1]) {
      const int64_t position = Position(index, static_cast<int64_t>(inputs[0]->size()));
      if (position < 0) return std::nullopt;
      taken.push_back((*inputs[0])[position]);
    }
    return taken;
  }

 private:
  int axis_;
  int batch_dims_;
};

class GatherNdOp : public Op {
 public:
  std::string_view name() const override { return "GatherNd"; }

  absl::StatusOr<std::vector<ValueType>> Infer(const InferContext& context) const override {
    const Shape& x = context.shape(0);
    const Shape& indices = context.shape(1);
    const int64_t depth = indices.rank() == 0 ? kUnknown : indices.back();
    if (depth < 0 || depth > x.rank() || indices.rank() - 1 + x.rank() - depth > kMaxRank) {
      return absl::InvalidArgumentError(fmt::format("cannot gather from {} by index tuples {}",
                                                    x.ToString(), indices.ToString()));
    }
    const Shape shape = indices.Slice(0, indices.rank() - 1);
    return std::vector<ValueType>{
        {context.dtype(0), shape.Concat(x.Slice(static_cast<int>(depth), x.rank()))}};
  }

  absl::Status Run(const RunContext& context) const override {
    const TensorView& x = context.input(0);
    const TensorView& indices = context.input(1);
    const TensorView& out = context.output(0);
    const int depth = static_cast<int>(indices.shape.back());
    const int64_t picks = Product(indices.shape, 0, indices.shape.rank() - 1);
    const int64_t inner = Product(x.shape, depth, x.shape.rank());
    const int64_t* index = indices.as<int64_t>();
    for (int64_t i = 0; i < picks; ++i, index += depth) {
      int64_t row = 0;
      for (int axis = 0; axis < depth; ++axis) {
        const int64_t position = Position(index[axis], x.shape[axis]);
        if (position < 0) return OutOfRange(index[axis], x.shape[axis]);
        row = row * x.shape[axis] + position;
      }
      CopyElements(x.dtype, x.data, row * inner, out.data, i * inner, inner);
    }
    return absl::OkStatus();
  }
};

class TakeAlongAxisOp : public Op {
 public:
  explicit TakeAlongAxisOp(int axis) : axis_(axis) {}
  std::string_view name() const override { return "TakeAlongAxis"; }

  absl::StatusOr<std::vector<ValueType>> Infer(const InferContext& context) const override {
    Shape x = context.shape(0);
    Shape indices = context.shape(1);
    if (x.rank() == indices.rank() && axis_ < x.rank()) {
      const int64_t picks = indices[axis_];
      x[axis_] = indices[axis_] = 1;
      if (std::optional<Shape> shape = Broadcast(x, indices)) {
        (*shape)[axis_] = picks;
        return std::vector<ValueType>{{context.dtype(0), *shape}};
      }
    }
    return absl::InvalidArgumentError(fmt::format("cannot take from {} by {} along axis {}",
                                                  context.shape(0).ToString(),
                                                  context.shape(1).ToString(), axis_));
  }

  absl::Status Run(const RunContext& context) const override {
    const TensorView& x = context.input(0);
    const TensorView& indices = context.input(1);
    const TensorView& out = context.output(0);
    auto from = RowMajorStrides(x.shape);
    auto pick = RowMajorStrides(indices.shape);
    const int64_t stride = from[axis_];
    from[axis_] = 0;
    for (int axis = 0; axis < x.shape.rank(); ++axis) {
      if (x.shape[axis] == 1) from[axis] = 0;
      if (indices.shape[axis] == 1) pick[axis] = 0;
    }
    const int64_t size = x.shape[axis_];
    return RunChecked(context, out.size(), 8192, size,
                      [&](int64_t begin, int64_t end) -> std::optional<int64_t> {
                        return VisitMovable(x.dtype, [&](auto zero) -> std::optional<int64_t> {
                          using T = decltype(zero);
                          Odometer odometer(out.shape);
                          odometer.Seek(begin);
                          for (int64_t i = begin; i < end; ++i, odometer.Next()) {
                            const int64_t index = indices.as<int64_t>()[odometer.Dot(pick)];
                            const int64_t position = Position(index, size);
                            if (position < 0) return index;
                            out.as<T>()[i] = x.as<T>()[odometer.Dot(from) + position * stride];
                          }
                          return std::nullopt;
                        });
                      });
  }

 private:
  int axis_;
};

class OneHotOp : public Op {
 public:
  OneHotOp(int64_t depth, float on, float off, int64_t axis)
      : depth_(depth), on_(on), off_(off), axis_(axis) {}
  std::string_view name() const override { return "OneHot"; }

  absl::StatusOr<std::vector<ValueType>> Infer(const InferContext& context) const override {
    Shape shape = context.shape(0);
    const std::optional<int> axis = NormalizeAxis(axis_, shape.rank() + 1);
    if (!axis || shape.rank() >= kMaxRank) return NoAxis(axis_, shape);
    shape.Insert(*axis, depth_);
    return std::vector<ValueType>{{DType::kFloat32, shape}};
  }

  absl::Status Run(const RunContext& context) const override {
    const TensorView& in = context.input(0);
    const TensorView& out = context.output(0);
    const int axis = *NormalizeAxis(axis_, in.shape.rank() + 1);
    const int64_t inner = Product(in.shape, axis, in.shape.rank());
    float* to = out.as<float>();
    std::fill_n(to, out.size(), off_);
    for (int64_t i = 0; i < in.size(); ++i) {
      const int64_t index = in.as<int64_t>()[i];
      if (index < 0 || index >= depth_) continue;
      to[(i / inner * depth_ + index) * inner + i % inner] = on_;
    }
    return absl::OkStatus();
  }

 private:
  int64_t depth_;
  float on_, off_;
  int64_t axis_;
};

}  // namespace

Value Gather(Graph& graph, Value x, Value indices, int64_t axis, int batch_dims) {
  indices = AsIndices(graph, indices);
  if (!x.valid() || !indices.valid()) return Value{};
  const std::optional<int> normal = NormalizeAxis(axis, graph.rank(x));
  if (batch_dims < 0) batch_dims += graph.rank(indices);
  if (!normal || batch_dims < 0) return graph.Fail(NoAxis(axis, graph.shape(x)));
  return graph.Add1(std::make_shared<GatherOp>(*normal, batch_dims), {x, indices});
}

Value GatherNd(Graph& graph, Value x, Value indices) {
  return graph.Add1(std::make_shared<GatherNdOp>(), {x, AsIndices(graph, indices)});
}

Value TakeAlongAxis(Graph& graph, Value x, Value indices, int64_t axis) {
  indices = AsIndices(graph, indices);
  if (!x.valid() || !indices.valid()) return Value{};
  const std::optional<int> normal = NormalizeAxis(axis, graph.rank(x));
  if (!normal) return graph.Fail(NoAxis(axis, graph.shape(x)));
  return graph.Add1(std::make_shared<TakeAlongAxisOp>(*normal), {x, indices});
}

Value OneHot(Graph& graph, Value indices, int64_t depth, float on, float off, int64_t axis) {
  if (depth < 0 || depth > kMaxElements) {
    return graph.Fail(absl::InvalidArgumentError(fmt::format("invalid depth: {}", depth)));
  }
  return graph.Add1(std::make_shared<OneHotOp>(depth, on, off, axis), {AsIndices(graph, indices)});
}

}  // namespace h5serve::compute::ops
