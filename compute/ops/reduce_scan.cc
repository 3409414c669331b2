// Running totals, extremes' positions, and sorting.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "compute/ops/elementwise.h"
#include "compute/ops/reduce.h"
#include "compute/ops/reduce_plan.h"
#include "compute/ops/shape_ops.h"
#include "compute/ops/strided_copy.h"

namespace h5serve::compute::ops {
namespace {

// A total order with NaN above everything, as NumPy sorts.
template <typename T>
bool Below(T a, T b) {
  if constexpr (std::is_floating_point_v<T>) {
    if (std::isnan(b)) return !std::isnan(a);
  }
  return a < b;
}

absl::Status NoAxis(int64_t axis, const Shape& shape) {
  return absl::InvalidArgumentError(
      fmt::format("axis {} does not exist in {}", axis, shape.ToString()));
}

// Calls body(typed input) for float32 or int64.
template <typename Body>
void VisitNumbers(const TensorView& in, Body&& body) {
  if (in.dtype == DType::kInt64) {
    body(in.as<int64_t>());
  } else {
    body(in.as<float>());
  }
}

class ArgReduceOp : public Op {
 public:
  ArgReduceOp(ArgKind kind, int axis, bool keepdims)
      : kind_(kind), axis_(axis), keepdims_(keepdims) {}
  std::string_view name() const override { return kind_ == ArgKind::kArgMax ? "ArgMax" : "ArgMin"; }

  absl::StatusOr<std::vector<ValueType>> Infer(const InferContext& context) const override {
    if (context.shape(0)[axis_] == 0) {
      return absl::InvalidArgumentError("the extreme of an empty axis has no position");
    }
    return std::vector<ValueType>{
        {DType::kInt64, ReducedShape(context.shape(0), {axis_}, keepdims_)}};
  }

  absl::Status Run(const RunContext& context) const override {
    const TensorView& in = context.input(0);
    const ReducePlan plan = PlanReduction(in.shape, {axis_});
    const int64_t work = plan.reduced * plan.inner;
    VisitNumbers(in, [&](const auto* x) {
      context.ParallelFor(plan.outer, std::max<int64_t>(1, 32768 / std::max<int64_t>(1, work)),
                          [&](int64_t begin, int64_t end) {
                            for (int64_t i = begin; i < end; ++i) {
                              Find(x + i * work, plan,
                                   context.output(0).as<int64_t>() + i * plan.inner);
                            }
                          });
    });
    return absl::OkStatus();
  }

 private:
  template <typename T>
  void Find(const T* x, const ReducePlan& plan, int64_t* out) const {
    for (int64_t c = 0; c < plan.inner; ++c) {
      int64_t best = 0;
      for (int64_t row = 1; row < plan.reduced; ++row) {
        const T value = x[row * plan.inner + c], top = x[best * plan.inner + c];
        // The first NaN wins, as in NumPy.
        if (top != top) break;
        if (value != value || (kind_ == ArgKind::kArgMax ? value > top : value < top)) best = row;
      }
      out[c] = best;
    }
  }

  ArgKind kind_;
  int axis_;
  bool keepdims_;
};

class CumulativeOp : public Op {
 public:
  CumulativeOp(ScanKind kind, int axis, bool exclusive, bool reverse)
      : kind_(kind), axis_(axis), exclusive_(exclusive), reverse_(reverse) {}
  std::string_view name() const override { return "Cumulative"; }

  absl::StatusOr<std::vector<ValueType>> Infer(const InferContext& context) const override {
    return std::vector<ValueType>{context.input(0)};
  }

  absl::Status Run(const RunContext& context) const override {
    const TensorView& in = context.input(0);
    const ReducePlan plan = PlanReduction(in.shape, {axis_});
    if (in.dtype == DType::kInt64) {
      Scan<int64_t, uint64_t>(in.as<int64_t>(), plan, context.output(0).as<int64_t>());
    } else {
      Scan<float, double>(in.as<float>(), plan, context.output(0).as<float>());
    }
    return absl::OkStatus();
  }

 private:
  // Sums run in a type that neither loses digits nor overflows undefined.
  template <typename T, typename Wide>
  void Scan(const T* in, const ReducePlan& plan, T* out) const {
    using Limits = std::numeric_limits<T>;
    const T lowest = Limits::has_infinity ? -Limits::infinity() : Limits::lowest();
    const T highest = Limits::has_infinity ? Limits::infinity() : Limits::max();
    for (int64_t i = 0; i < plan.outer; ++i) {
      for (int64_t c = 0; c < plan.inner; ++c) {
        const int64_t base = i * plan.reduced * plan.inner + c;
        Wide total = kind_ == ScanKind::kProduct ? Wide{1} : Wide{0};
        T extreme = kind_ == ScanKind::kMax ? lowest : highest;
        for (int64_t step = 0; step < plan.reduced; ++step) {
          const int64_t row = reverse_ ? plan.reduced - 1 - step : step;
          const int64_t place = base + row * plan.inner;
          const T value = in[place];
          const bool sums = kind_ == ScanKind::kSum || kind_ == ScanKind::kProduct;
          const T before = sums ? static_cast<T>(total) : extreme;
          if (kind_ == ScanKind::kSum) total += static_cast<Wide>(value);
          if (kind_ == ScanKind::kProduct) total *= static_cast<Wide>(value);
          if (kind_ == ScanKind::kMax && (value > extreme || value != value)) extreme = value;
          if (kind_ == ScanKind::kMin && (value < extreme || value != value)) extreme = value;
          out[place] = exclusive_ ? before : (sums ? static_cast<T>(total) : extreme);
        }
      }
    }
  }

  ScanKind kind_;
  int axis_;
  bool exclusive_, reverse_;
};

class TopKOp : public Op {
 public:
  explicit TopKOp(int64_t k) : k_(k) {}
  std::string_view name() const override { return "TopK"; }

  absl::StatusOr<std::vector<ValueType>> Infer(const InferContext& context) const override {
    Shape shape = context.shape(0);
    if (shape.rank() == 0 || (shape.back() != kUnknown && shape.back() < k_)) {
      return absl::InvalidArgumentError(
          fmt::format("cannot take the {} largest of {}", k_, shape.ToString()));
    }
    shape.back() = k_;
    return std::vector<ValueType>{{context.dtype(0), shape}, {DType::kInt64, shape}};
  }

  int64_t ScratchBytes(std::span<const ValueType> inputs) const override {
    return inputs[0].shape.back() * static_cast<int64_t>(sizeof(int64_t));
  }

  absl::Status Run(const RunContext& context) const override {
    const TensorView& in = context.input(0);
    const int64_t n = in.shape.back();
    const int64_t rows = Product(in.shape, 0, in.shape.rank() - 1);
    int64_t* order = context.scratch<int64_t>();
    VisitNumbers(in, [&](const auto* x) {
      using T = std::remove_const_t<std::remove_pointer_t<decltype(x)>>;
      for (int64_t row = 0; row < rows; ++row, x += n) {
        std::iota(order, order + n, int64_t{0});
        std::partial_sort(order, order + k_, order + n, [x](int64_t a, int64_t b) {
          if (Below(x[b], x[a])) return true;
          return !Below(x[a], x[b]) && a < b;
        });
        T* values = context.output(0).as<T>() + row * k_;
        int64_t* indices = context.output(1).as<int64_t>() + row * k_;
        for (int64_t i = 0; i < k_; ++i) {
          indices[i] = order[i];
          values[i] = x[order[i]];
        }
      }
    });
    return absl::OkStatus();
  }

 private:
  int64_t k_;
};

// Sorts the last axis and gives the values or the positions they had.
class SortOp : public Op {
 public:
  SortOp(bool positions, bool descending) : positions_(positions), descending_(descending) {}
  std::string_view name() const override { return positions_ ? "ArgSort" : "Sort"; }

  absl::StatusOr<std::vector<ValueType>> Infer(const InferContext& context) const override {
    return std::vector<ValueType>{
        {positions_ ? DType::kInt64 : context.dtype(0), context.shape(0)}};
  }

  int64_t ScratchBytes(std::span<const ValueType> inputs) const override {
    return inputs[0].shape.back() * static_cast<int64_t>(sizeof(int64_t));
  }

  absl::Status Run(const RunContext& context) const override {
    const TensorView& in = context.input(0);
    const int64_t n = in.shape.back();
    const int64_t rows = Product(in.shape, 0, in.shape.rank() - 1);
    int64_t* order = context.scratch<int64_t>();
    VisitNumbers(in, [&](const auto* x) {
      using T = std::remove_const_t<std::remove_pointer_t<decltype(x)>>;
      for (int64_t row = 0; row < rows; ++row, x += n) {
        std::iota(order, order + n, int64_t{0});
        std::sort(order, order + n, [x, this](int64_t a, int64_t b) {
          if (descending_ ? Below(x[b], x[a]) : Below(x[a], x[b])) return true;
          if (descending_ ? Below(x[a], x[b]) : Below(x[b], x[a])) return false;
          return a < b;
        });
        for (int64_t i = 0; i < n; ++i) {
          if (positions_) {
            context.output(0).as<int64_t>()[row * n + i] = order[i];
          } else {
            context.output(0).as<T>()[row * n + i] = x[order[i]];
          }
        }
      }
    });
    return absl::OkStatus();
  }

 private:
  bool positions_, descending_;
};

// float32 and int64 stay, bools become int64, strings are refused.
Value AsNumbers(Graph& graph, Value x) {
  if (!x.valid()) return x;
  if (graph.dtype(x) == DType::kString) {
    return graph.Fail(absl::InvalidArgumentError("expected numbers, got strings"));
  }
  return graph.dtype(x) == DType::kBool ? Cast(graph, x, DType::kInt64) : x;
}

Value SortAlong(Graph& graph, Value x, int64_t axis, bool positions, bool descending) {
  x = AsNumbers(graph, x);
  if (!x.valid()) return x;
  const std::optional<int> normal = NormalizeAxis(axis, graph.rank(x));
  if (!normal) return graph.Fail(NoAxis(axis, graph.shape(x)));
  x = MoveAxis(graph, x, *normal, -1);
  x = graph.Add1(std::make_shared<SortOp>(positions, descending), {x});
  return MoveAxis(graph, x, -1, *normal);
}

}  // namespace

Value ArgReduce(Graph& graph, ArgKind kind, Value x, int64_t axis, bool keepdims) {
  x = AsNumbers(graph, x);
  if (!x.valid()) return x;
  const std::optional<int> normal = NormalizeAxis(axis, graph.rank(x));
  if (!normal) return graph.Fail(NoAxis(axis, graph.shape(x)));
  return graph.Add1(std::make_shared<ArgReduceOp>(kind, *normal, keepdims), {x});
}

Value Cumulative(Graph& graph, ScanKind kind, Value x, int64_t axis, bool exclusive, bool reverse) {
  x = AsNumbers(graph, x);
  if (!x.valid()) return x;
  const std::optional<int> normal = NormalizeAxis(axis, graph.rank(x));
  if (!normal) return graph.Fail(NoAxis(axis, graph.shape(x)));
  return graph.Add1(std::make_shared<CumulativeOp>(kind, *normal, exclusive, reverse), {x});
}

std::vector<Value> TopK(Graph& graph, Value x, int64_t k) {
  if (k < 0) {
    graph.Fail(absl::InvalidArgumentError(fmt::format("cannot take the {} largest", k)));
    return std::vector<Value>(2);
  }
  return graph.Add(std::make_shared<TopKOp>(k), {AsNumbers(graph, x)});
}

Value Sort(Graph& graph, Value x, int64_t axis, bool descending) {
  return SortAlong(graph, x, axis, /*positions=*/false, descending);
}

Value ArgSort(Graph& graph, Value x, int64_t axis, bool descending) {
  return SortAlong(graph, x, axis, /*positions=*/true, descending);
}

}  // namespace h5serve::compute::ops
