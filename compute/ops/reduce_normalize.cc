// Normalisation by moments and by length.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "compute/ops/elementwise.h"
#include "compute/ops/reduce.h"
#include "compute/ops/reduce_plan.h"
#include "compute/ops/row_kernels.h"
#include "compute/ops/shape_ops.h"
#include "compute/ops/strided_copy.h"

namespace h5serve::compute::ops {
namespace {

using Strides = std::array<int64_t, kMaxRank>;

// Strides of a tensor that is broadcast against `shape`: 0 where it repeats.
Strides BroadcastStrides(const Shape& from, const Shape& shape) {
  const auto own = RowMajorStrides(from);
  Strides strides{};
  const int missing = shape.rank() - from.rank();
  for (int axis = missing; axis < shape.rank(); ++axis) {
    if (from[axis - missing] != 1) strides[axis] = own[axis - missing];
  }
  return strides;
}

class MomentsNormalizeOp : public Op {
 public:
  MomentsNormalizeOp(std::vector<int> axes, float epsilon, bool gamma, bool beta)
      : axes_(std::move(axes)),
        epsilon_(epsilon),
        gamma_(gamma ? 1 : -1),
        beta_(beta ? (gamma ? 2 : 1) : -1) {}
  std::string_view name() const override { return "MomentsNormalize"; }

  absl::StatusOr<std::vector<ValueType>> Infer(const InferContext& context) const override {
    for (int i = 0; i < context.size(); ++i) {
      const std::optional<Shape> shape = Broadcast(context.shape(0), context.shape(i));
      if (context.dtype(i) != DType::kFloat32 || !shape || !Compatible(*shape, context.shape(0))) {
        return absl::InvalidArgumentError(fmt::format(
            "cannot scale {} by {}", context.shape(0).ToString(), context.shape(i).ToString()));
      }
    }
    return std::vector<ValueType>{context.input(0)};
  }

  int64_t ScratchBytes(std::span<const ValueType> inputs) const override {
    if (IsRowwise(inputs[0].shape, inputs)) return 0;
    const ReducePlan plan = PlanReduction(inputs[0].shape, axes_);
    const int64_t groups = plan.outer * plan.inner;
    const int64_t copy = plan.needs_copy() || plan.inner > 1 ? inputs[0].shape.num_elements() : 0;
    return (copy + 2 * groups) * static_cast<int64_t>(sizeof(float));
  }

  double Flops(std::span<const ValueType> inputs) const override {
    return 8.0 * static_cast<double>(inputs[0].shape.num_elements());
  }

  absl::Status Run(const RunContext& context) const override {
    const TensorView& x = context.input(0);
    if (x.size() == 0) return absl::OkStatus();
    std::vector<ValueType> types;
    for (int i = 0; i < context.num_inputs(); ++i) {
      types.push_back({DType::kFloat32, context.input(i).shape});
    }
    if (IsRowwise(x.shape, types)) {
      RunRows(context);
    } else {
      RunGeneral(context);
    }
    return absl::OkStatus();
  }

 private:
  // The axes are the last ones, and gamma and beta have exactly their shape (or
  // one value that is repeated nowhere).
  bool IsRowwise(const Shape& shape, std::span<const ValueType> inputs) const {
    const int first = shape.rank() - static_cast<int>(axes_.size());
    if (axes_.empty() || axes_.front() != first) return false;
    const Shape row = shape.Slice(first, shape.rank());
    for (size_t i = 1; i < inputs.size(); ++i) {
      const Shape& other = inputs[i].shape;
      const int extra = other.rank() - row.rank();
      if (extra < 0 || !(other.Slice(extra, other.rank()) == row)) return false;
      for (int axis = 0; axis < extra; ++axis) {
        if (other[axis] != 1) return false;
      }
    }
    return true;
  }

  const float* Operand(const RunContext& context, int index) const {
    return index < 0 ? nullptr : context.input(index).as<float>();
  }

  void RunRows(const RunContext& context) const {
    const TensorView& x = context.input(0);
    const int64_t n =
        Product(x.shape, x.shape.rank() - static_cast<int>(axes_.size()), x.shape.rank());
    const int64_t rows = x.size() / n;
    const float* gamma = Operand(context, gamma_);
    const float* beta = Operand(context, beta_);
    context.ParallelFor(rows, std::max<int64_t>(1, 16384 / n), [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        const float* in = x.as<float>() + row * n;
        const RowMoments moments = MomentsOfRow(in, n);
        NormalizeRow(in, n, moments.mean, 1.0f / std::sqrt(moments.variance + epsilon_), gamma,
                     beta, context.output(0).as<float>() + row * n);
      }
    });
  }

  void RunGeneral(const RunContext& context) const {
    const TensorView& x = context.input(0);
    const Shape kept = ReducedShape(x.shape, axes_, /*keepdims=*/true);
    const int64_t groups = kept.num_elements();
    const int64_t n = x.size() / groups;
    float* mean = context.scratch<float>();
    float* scale = mean + groups;
    const float* data = x.as<float>();
    const ReducePlan plan = PlanReduction(x.shape, axes_);
    if (plan.needs_copy() || plan.inner > 1) {
      const auto strides = RowMajorStrides(x.shape);
      std::vector<CopyLoop> kept_loops, reduced_loops;
      for (int axis = 0; axis < x.shape.rank(); ++axis) {
        const bool reduces = std::binary_search(axes_.begin(), axes_.end(), axis);
        (reduces ? reduced_loops : kept_loops).push_back({x.shape[axis], strides[axis]});
      }
      kept_loops.insert(kept_loops.end(), reduced_loops.begin(), reduced_loops.end());
      CopyStrided(context, DType::kFloat32, x.data, 0, std::move(kept_loops), scale + groups);
      data = scale + groups;
    }
    context.ParallelFor(groups, std::max<int64_t>(1, 16384 / n), [&](int64_t begin, int64_t end) {
      for (int64_t group = begin; group < end; ++group) {
        const RowMoments moments = MomentsOfRow(data + group * n, n);
        mean[group] = moments.mean;
        scale[group] = 1.0f / std::sqrt(moments.variance + epsilon_);
      }
    });
    Apply(context, kept, mean, scale);
  }

  void Apply(const RunContext& context, const Shape& kept, const float* mean,
             const float* scale) const {
    const TensorView& x = context.input(0);
    const int last = x.shape.rank() - 1;
    const int64_t n = last < 0 ? 1 : x.shape[last];
    const Shape outer = x.shape.Slice(0, std::max(0, last));
    const float* gamma = Operand(context, gamma_);
    const float* beta = Operand(context, beta_);
    const Strides group = BroadcastStrides(kept, x.shape);
    const Strides gamma_strides =
        gamma == nullptr ? Strides{} : BroadcastStrides(context.input(gamma_).shape, x.shape);
    const Strides beta_strides =
        beta == nullptr ? Strides{} : BroadcastStrides(context.input(beta_).shape, x.shape);
    const auto step = [last](const Strides& strides) { return last < 0 ? 0 : strides[last]; };
    context.ParallelFor(x.size() / n, std::max<int64_t>(1, 16384 / n),
                        [&](int64_t begin, int64_t end) {
                          Odometer odometer(outer);
                          odometer.Seek(begin);
                          for (int64_t row = begin; row < end; ++row, odometer.Next()) {
                            const int64_t g = odometer.Dot(group);
                            const int64_t gamma_at = odometer.Dot(gamma_strides),
                                          beta_at = odometer.Dot(beta_strides);
                            const float* in = x.as<float>() + row * n;
                            float* out = context.output(0).as<float>() + row * n;
                            for (int64_t i = 0; i < n; ++i) {
                              const int64_t from = g + i * step(group);
                              float y = (in[i] - mean[from]) * scale[from];
                              if (gamma != nullptr) y *= gamma[gamma_at + i * step(gamma_strides)];
                              if (beta != nullptr) y += beta[beta_at + i * step(beta_strides)];
                              out[i] = y;
                            }
                          }
                        });
  }

  std::vector<int> axes_;
  float epsilon_;
  int gamma_, beta_;  // input numbers, -1: absent
};

}  // namespace

Value L2Normalize(Graph& graph, Value x, std::vector<int64_t> axes, float epsilon) {
  if (x.valid() && graph.dtype(x) != DType::kFloat32) x = Cast(graph, x, DType::kFloat32);
  Value squares = Reduce(graph, ReduceKind::kSum, Unary(graph, UnaryKind::kSquare, x),
                         std::move(axes), /*keepdims=*/true);
  squares = Binary(graph, BinaryKind::kMaximum, squares, graph.Constant(Tensor::Scalar(epsilon)));
  return Multiply(graph, x, Unary(graph, UnaryKind::kRsqrt, squares));
}

Value MomentsNormalize(Graph& graph, Value x, std::vector<int64_t> axes, float epsilon, Value gamma,
                       Value beta) {
  if (!x.valid()) return x;
  if (graph.dtype(x) != DType::kFloat32) x = Cast(graph, x, DType::kFloat32);
  absl::StatusOr<std::vector<int>> normal = ReducedAxes(axes, graph.rank(x));
  if (!normal.ok()) return graph.Fail(normal.status());
  std::vector<Value> inputs = {x};
  if (gamma.valid()) inputs.push_back(gamma);
  if (beta.valid()) inputs.push_back(beta);
  return graph.Add1(std::make_shared<MomentsNormalizeOp>(*std::move(normal), epsilon, gamma.valid(),
                                                         beta.valid()),
                    std::move(inputs));
}

}  // namespace h5serve::compute::ops
