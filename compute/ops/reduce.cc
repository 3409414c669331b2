// Reductions over axes.
#include "compute/ops/reduce.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "compute/ops/elementwise.h"
#include "compute/ops/reduce_plan.h"
#include "compute/ops/strided_copy.h"

namespace h5serve::compute::ops {
namespace {

// Columns reduced side by side, and terms added in float32 before the sum goes
// on in double: keeps the error of long sums near one rounding.
constexpr int64_t kColumns = 256;
constexpr int64_t kChunk = 64;
constexpr int kLanes = 16;

template <typename F>
double SumRow(const float* x, int64_t n, F f) {
  double total = 0;
  while (n >= kLanes) {
    float lane[kLanes] = {};
    const int64_t count = std::min(n, kChunk * kLanes) / kLanes;
    for (int64_t i = 0; i < count; ++i, x += kLanes) {
      for (int l = 0; l < kLanes; ++l) lane[l] += f(x[l]);
    }
    n -= count * kLanes;
    for (int half = kLanes / 2; half > 0; half /= 2) {
      for (int l = 0; l < half; ++l) lane[l] += lane[l + half];
    }
    total += lane[0];
  }
  for (int64_t i = 0; i < n; ++i) total += f(x[i]);
  return total;
}

// total[c] = sum over rows of f(x[row * stride + c], c).
template <typename F>
void SumColumns(const float* x, int64_t rows, int64_t stride, int64_t columns, F f, double* total) {
  std::fill_n(total, columns, 0.0);
  float part[kColumns];
  for (int64_t begin = 0; begin < rows; begin += kChunk) {
    const int64_t end = std::min(rows, begin + kChunk);
    std::fill_n(part, columns, 0.0f);
    for (int64_t row = begin; row < end; ++row) {
      const float* values = x + row * stride;
      for (int64_t c = 0; c < columns; ++c) part[c] += f(values[c], c);
    }
    for (int64_t c = 0; c < columns; ++c) total[c] += part[c];
  }
}

// Comparisons that let NaN through, as NumPy's do.
template <typename T>
struct Larger {
  static constexpr T kStart = std::numeric_limits<T>::has_infinity
                                  ? -std::numeric_limits<T>::infinity()
                                  : std::numeric_limits<T>::lowest();
  T operator()(T a, T b) const { return b > a || b != b ? b : a; }
};
template <typename T>
struct Smaller {
  static constexpr T kStart = std::numeric_limits<T>::has_infinity
                                  ? std::numeric_limits<T>::infinity()
                                  : std::numeric_limits<T>::max();
  T operator()(T a, T b) const { return b < a || b != b ? b : a; }
};
template <typename T>
struct Times {
  static constexpr T kStart = 1;
  // Integers wrap as NumPy's do, without undefined behaviour.
  T operator()(T a, T b) const {
    if constexpr (std::is_integral_v<T>) {
      return static_cast<T>(static_cast<uint64_t>(a) * static_cast<uint64_t>(b));
    } else {
      return a * b;
    }
  }
};
struct PlusInt {
  static constexpr int64_t kStart = 0;
  int64_t operator()(int64_t a, int64_t b) const {
    return static_cast<int64_t>(static_cast<uint64_t>(a) + static_cast<uint64_t>(b));
  }
};

template <typename T, typename F>
void Fold(const T* x, const ReducePlan& plan, T* out) {
  const F f;
  if (plan.inner == 1) {
    T lane[kLanes];
    std::fill_n(lane, kLanes, F::kStart);
    int64_t i = 0;
    for (; i + kLanes <= plan.reduced; i += kLanes) {
      for (int l = 0; l < kLanes; ++l) lane[l] = f(lane[l], x[i + l]);
    }
    T total = F::kStart;
    for (T value : lane) total = f(total, value);
    for (; i < plan.reduced; ++i) total = f(total, x[i]);
    *out = total;
    return;
  }
  std::fill_n(out, plan.inner, F::kStart);
  for (int64_t row = 0; row < plan.reduced; ++row, x += plan.inner) {
    for (int64_t c = 0; c < plan.inner; ++c) out[c] = f(out[c], x[c]);
  }
}

// Kinds that are sums of something: a row, or a block of columns, at a time.
class FloatSums {
 public:
  FloatSums(ReduceKind kind, const ReducePlan& plan) : kind_(kind), plan_(plan) {}

  float Row(const float* x) const {
    const int64_t n = plan_.reduced;
    switch (kind_) {
      case ReduceKind::kSum:
        return static_cast<float>(SumRow(x, n, [](float v) { return v; }));
      case ReduceKind::kL1Norm:
        return static_cast<float>(SumRow(x, n, [](float v) { return std::fabs(v); }));
      case ReduceKind::kL2Norm:
        return static_cast<float>(std::sqrt(SumRow(x, n, [](float v) { return v * v; })));
      case ReduceKind::kLogSumExp:
        return LogSumExp(x);
      default:
        break;
    }
    const double mean = SumRow(x, n, [](float v) { return v; }) / static_cast<double>(n);
    if (kind_ == ReduceKind::kMean) return static_cast<float>(mean);
    const float center = static_cast<float>(mean);
    const double variance =
        SumRow(x, n, [center](float v) { return (v - center) * (v - center); }) /
        static_cast<double>(n);
    return Spread(variance);
  }

  void Columns(const float* x, int64_t columns, float* out) const {
    double total[kColumns];
    float center[kColumns];
    const int64_t rows = plan_.reduced, stride = plan_.inner;
    const double n = static_cast<double>(rows);
    switch (kind_) {
      case ReduceKind::kL1Norm:
        SumColumns(
            x, rows, stride, columns, [](float v, int64_t) { return std::fabs(v); }, total);
        break;
      case ReduceKind::kL2Norm:
        SumColumns(
            x, rows, stride, columns, [](float v, int64_t) { return v * v; }, total);
        for (int64_t c = 0; c < columns; ++c) total[c] = std::sqrt(total[c]);
        break;
      case ReduceKind::kLogSumExp:
        return LogSumExpColumns(x, columns, out);
      default:
        SumColumns(
            x, rows, stride, columns, [](float v, int64_t) { return v; }, total);
    }
    if (kind_ == ReduceKind::kMean || kind_ == ReduceKind::kVariance || kind_ == ReduceKind::kStd) {
      for (int64_t c = 0; c < columns; ++c) total[c] /= n;
    }
    for (int64_t c = 0; c < columns; ++c) out[c] = static_cast<float>(total[c]);
    if (kind_ != ReduceKind::kVariance && kind_ != ReduceKind::kStd) return;
    std::copy_n(out, columns, center);
    SumColumns(
        x, rows, stride, columns,
        [&center](float v, int64_t c) { return (v - center[c]) * (v - center[c]); }, total);
    for (int64_t c = 0; c < columns; ++c) out[c] = Spread(total[c] / n);
  }

 private:
  float Spread(double variance) const {
    return static_cast<float>(kind_ == ReduceKind::kStd ? std::sqrt(variance) : variance);
  }

  float LogSumExp(const float* x) const {
    float top = -std::numeric_limits<float>::infinity();
    for (int64_t i = 0; i < plan_.reduced; ++i) top = Larger<float>()(top, x[i]);
    if (!std::isfinite(top)) return top;
    double sum = 0;
    for (int64_t i = 0; i < plan_.reduced; ++i) sum += std::exp(x[i] - top);
    return static_cast<float>(top + std::log(sum));
  }

  void LogSumExpColumns(const float* x, int64_t columns, float* out) const {
    std::vector<float> column(static_cast<size_t>(plan_.reduced));
    for (int64_t c = 0; c < columns; ++c) {
      for (int64_t row = 0; row < plan_.reduced; ++row) column[row] = x[row * plan_.inner + c];
      out[c] = LogSumExp(column.data());
    }
  }

  ReduceKind kind_;
  const ReducePlan& plan_;
};

std::string_view KindName(ReduceKind kind) {
  switch (kind) {
    case ReduceKind::kSum:
      return "ReduceSum";
    case ReduceKind::kMean:
      return "ReduceMean";
    case ReduceKind::kMax:
      return "ReduceMax";
    case ReduceKind::kMin:
      return "ReduceMin";
    case ReduceKind::kProduct:
      return "ReduceProduct";
    case ReduceKind::kVariance:
      return "ReduceVariance";
    case ReduceKind::kStd:
      return "ReduceStd";
    case ReduceKind::kLogSumExp:
      return "ReduceLogSumExp";
    case ReduceKind::kL2Norm:
      return "ReduceL2Norm";
    case ReduceKind::kL1Norm:
      return "ReduceL1Norm";
    case ReduceKind::kAny:
      return "ReduceAny";
    case ReduceKind::kAll:
      return "ReduceAll";
    case ReduceKind::kCountNonzero:
      return "CountNonzero";
  }
  return "Reduce";
}

bool IsLogical(ReduceKind kind) { return kind == ReduceKind::kAny || kind == ReduceKind::kAll; }

bool KeepsIntegers(ReduceKind kind) {
  return kind == ReduceKind::kSum || kind == ReduceKind::kMax || kind == ReduceKind::kMin ||
         kind == ReduceKind::kProduct;
}

class ReduceOp : public Op {
 public:
  ReduceOp(ReduceKind kind, std::vector<int> axes, bool keepdims)
      : kind_(kind), axes_(std::move(axes)), keepdims_(keepdims) {}
  std::string_view name() const override { return KindName(kind_); }

  absl::StatusOr<std::vector<ValueType>> Infer(const InferContext& context) const override {
    DType dtype = context.dtype(0);
    if (IsLogical(kind_)) dtype = DType::kBool;
    if (kind_ == ReduceKind::kCountNonzero) dtype = DType::kInt64;
    return std::vector<ValueType>{{dtype, ReducedShape(context.shape(0), axes_, keepdims_)}};
  }

  int64_t ScratchBytes(std::span<const ValueType> inputs) const override {
    const ReducePlan plan = PlanReduction(inputs[0].shape, axes_);
    return plan.needs_copy() ? inputs[0].shape.num_elements() * SizeOf(inputs[0].dtype) : 0;
  }

  absl::Status Run(const RunContext& context) const override {
    const TensorView& in = context.input(0);
    const ReducePlan plan = PlanReduction(in.shape, axes_);
    const void* data = in.data;
    if (plan.needs_copy() && in.size() > 0) {
      CopyStrided(context, in.dtype, in.data, 0, plan.copy, context.scratch<char>());
      data = context.scratch<char>();
    }
    const int64_t work = std::max<int64_t>(1, plan.reduced * plan.inner);
    context.ParallelFor(plan.outer, std::max<int64_t>(1, 65536 / work),
                        [&](int64_t begin, int64_t end) {
                          for (int64_t i = begin; i < end; ++i) Reduce(context, plan, data, i);
                        });
    return absl::OkStatus();
  }

 private:
  void Reduce(const RunContext& context, const ReducePlan& plan, const void* data,
              int64_t outer) const {
    const TensorView& out = context.output(0);
    const int64_t from = outer * plan.reduced * plan.inner;
    const int64_t to = outer * plan.inner;
    if (IsLogical(kind_) || kind_ == ReduceKind::kCountNonzero) {
      switch (context.input(0).dtype) {
        case DType::kBool:
          return Count(static_cast<const bool*>(data) + from, plan, out, to);
        case DType::kInt64:
          return Count(static_cast<const int64_t*>(data) + from, plan, out, to);
        default:
          return Count(static_cast<const float*>(data) + from, plan, out, to);
      }
    }
    if (context.input(0).dtype == DType::kInt64) {
      return Integers(static_cast<const int64_t*>(data) + from, plan, out.as<int64_t>() + to);
    }
    Floats(static_cast<const float*>(data) + from, plan, out.as<float>() + to);
  }

  template <typename T>
  void Count(const T* x, const ReducePlan& plan, const TensorView& out, int64_t to) const {
    for (int64_t c = 0; c < plan.inner; ++c) {
      int64_t count = 0;
      for (int64_t row = 0; row < plan.reduced; ++row) count += x[row * plan.inner + c] != T{0};
      if (kind_ == ReduceKind::kCountNonzero) {
        out.as<int64_t>()[to + c] = count;
      } else {
        out.as<bool>()[to + c] = kind_ == ReduceKind::kAny ? count > 0 : count == plan.reduced;
      }
    }
  }

  void Integers(const int64_t* x, const ReducePlan& plan, int64_t* out) const {
    switch (kind_) {
      case ReduceKind::kMax:
        return Fold<int64_t, Larger<int64_t>>(x, plan, out);
      case ReduceKind::kMin:
        return Fold<int64_t, Smaller<int64_t>>(x, plan, out);
      case ReduceKind::kProduct:
        return Fold<int64_t, Times<int64_t>>(x, plan, out);
      default:
        return Fold<int64_t, PlusInt>(x, plan, out);
    }
  }

  void Floats(const float* x, const ReducePlan& plan, float* out) const {
    switch (kind_) {
      case ReduceKind::kMax:
        return Fold<float, Larger<float>>(x, plan, out);
      case ReduceKind::kMin:
        return Fold<float, Smaller<float>>(x, plan, out);
      case ReduceKind::kProduct:
        return Fold<float, Times<float>>(x, plan, out);
      default:
        break;
    }
    const FloatSums sums(kind_, plan);
    if (plan.inner == 1) {
      *out = sums.Row(x);
      return;
    }
    for (int64_t c = 0; c < plan.inner; c += kColumns) {
      sums.Columns(x + c, std::min(kColumns, plan.inner - c), out + c);
    }
  }

  ReduceKind kind_;
  std::vector<int> axes_;
  bool keepdims_;
};

}  // namespace

Value Reduce(Graph& graph, ReduceKind kind, Value x, std::vector<int64_t> axes, bool keepdims) {
  if (!x.valid()) return x;
  const DType dtype = graph.dtype(x);
  if (dtype == DType::kString) {
    return graph.Fail(absl::InvalidArgumentError("strings cannot be reduced"));
  }
  absl::StatusOr<std::vector<int>> normal = ReducedAxes(axes, graph.rank(x));
  if (!normal.ok()) return graph.Fail(normal.status());
  bool to_bool = false;
  if (!IsLogical(kind) && kind != ReduceKind::kCountNonzero) {
    to_bool = dtype == DType::kBool && (kind == ReduceKind::kMax || kind == ReduceKind::kMin);
    const DType wanted = !KeepsIntegers(kind)    ? DType::kFloat32
                         : dtype == DType::kBool ? DType::kInt64
                                                 : dtype;
    if (dtype != wanted) x = Cast(graph, x, wanted);
  }
  x = graph.Add1(std::make_shared<ReduceOp>(kind, *std::move(normal), keepdims), {x});
  return to_bool ? Cast(graph, x, DType::kBool) : x;
}

}  // namespace h5serve::compute::ops
