// Softmax and its relatives.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>

#include "compute/ops/elementwise.h"
#include "compute/ops/reduce.h"
#include "compute/ops/reduce_plan.h"
#include "compute/ops/row_kernels.h"
#include "compute/ops/shape_ops.h"

namespace h5serve::compute::ops {
namespace {

enum class Kind { kSoftmax, kLogSoftmax, kSparsemax };

// Sorts z descending; with S_j = z_1 + … + z_j and k the number of j for which
// 1 + j z_j > S_j, tau = (S_1 + … + S_k - 1) / k and the result is max(z - tau, 0).
// Keras 3 adds up the partial sums where the projection on the simplex takes
// only the last; models were trained with it, so it is what they mean.
void SparsemaxRow(const float* x, int64_t n, float* out) {
  std::copy_n(x, n, out);
  std::sort(out, out + n,
            [](float a, float b) { return std::isnan(b) ? false : std::isnan(a) || a > b; });
  double sum = 0, partial_sums = 0;
  int64_t supported = 0;
  for (int64_t k = 1; k <= n; ++k) {
    sum += out[k - 1];
    if (1.0 + static_cast<double>(k) * out[k - 1] <= sum) continue;
    partial_sums += sum;
    ++supported;
  }
  const double tau = supported == 0 ? 0 : (partial_sums - 1) / static_cast<double>(supported);
  for (int64_t i = 0; i < n; ++i) out[i] = std::max(0.0f, static_cast<float>(x[i] - tau));
}

// Rows along the last axes, which are `axes` many.
class SoftmaxOp : public Op {
 public:
  SoftmaxOp(Kind kind, int axes) : kind_(kind), axes_(axes) {}
  std::string_view name() const override {
    return kind_ == Kind::kSoftmax      ? "Softmax"
           : kind_ == Kind::kLogSoftmax ? "LogSoftmax"
                                        : "Sparsemax";
  }

  absl::StatusOr<std::vector<ValueType>> Infer(const InferContext& context) const override {
    if (context.dtype(0) != DType::kFloat32 || context.shape(0).rank() < axes_) {
      return absl::InvalidArgumentError(
          fmt::format("{} does not fit {}", name(), context.shape(0).ToString()));
    }
    return std::vector<ValueType>{context.input(0)};
  }

  bool CanRunInPlace() const override { return kind_ != Kind::kSparsemax; }

  absl::Status Run(const RunContext& context) const override {
    const TensorView& in = context.input(0);
    const int rank = in.shape.rank();
    const int64_t n = Product(in.shape, rank - axes_, rank);
    if (n == 0) return absl::OkStatus();
    const int64_t rows = Product(in.shape, 0, rank - axes_);
    context.ParallelFor(rows, std::max<int64_t>(1, 8192 / n), [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        const float* x = in.as<float>() + row * n;
        float* out = context.output(0).as<float>() + row * n;
        switch (kind_) {
          case Kind::kSoftmax:
            SoftmaxRow(x, n, out);
            break;
          case Kind::kLogSoftmax:
            LogSoftmaxRow(x, n, out);
            break;
          case Kind::kSparsemax:
            SparsemaxRow(x, n, out);
        }
      }
    });
    return absl::OkStatus();
  }

 private:
  Kind kind_;
  int axes_;
};

// Brings `axes` to the end, applies `body(x, number of axes)` and puts them back.
Value OverLastAxes(Graph& graph, Value x, const std::vector<int64_t>& axes,
                   const std::function<Value(Value, int)>& body) {
  if (!x.valid()) return x;
  const int rank = graph.rank(x);
  if (rank == 0) {
    return graph.Fail(absl::InvalidArgumentError("softmax needs at least one axis"));
  }
  absl::StatusOr<std::vector<int>> normal = ReducedAxes(axes, rank);
  if (!normal.ok()) return graph.Fail(normal.status());
  std::vector<int> order;
  for (int axis = 0; axis < rank; ++axis) {
    if (!std::binary_search(normal->begin(), normal->end(), axis)) order.push_back(axis);
  }
  order.insert(order.end(), normal->begin(), normal->end());
  std::vector<int> back(order.size());
  for (int i = 0; i < rank; ++i) back[order[i]] = i;
  x = Transpose(graph, x, order);
  return Transpose(graph, body(x, static_cast<int>(normal->size())), back);
}

Value SoftmaxLike(Graph& graph, Kind kind, Value x, const std::vector<int64_t>& axes) {
  if (x.valid() && graph.dtype(x) != DType::kFloat32) x = Cast(graph, x, DType::kFloat32);
  return OverLastAxes(graph, x, axes, [&](Value last, int count) {
    return graph.Add1(std::make_shared<SoftmaxOp>(kind, count), {last});
  });
}

}  // namespace

Value Softmax(Graph& graph, Value x, std::vector<int64_t> axes) {
  return SoftmaxLike(graph, Kind::kSoftmax, x, axes);
}

Value LogSoftmax(Graph& graph, Value x, int64_t axis) {
  return SoftmaxLike(graph, Kind::kLogSoftmax, x, {axis});
}

Value Sparsemax(Graph& graph, Value x, int64_t axis) {
  return SoftmaxLike(graph, Kind::kSparsemax, x, {axis});
}

}  // namespace h5serve::compute::ops
