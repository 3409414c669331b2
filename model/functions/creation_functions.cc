// Tensors made from nothing.
#include <fmt/format.h>

#include <cmath>

#include "compute/ops/elementwise.h"
#include "compute/ops/reduce.h"
#include "compute/ops/shape_ops.h"
#include "model/functions/function_call.h"
#include "model/functions/type_conversion.h"

namespace h5serve::model {
namespace {

using compute::DType;
using compute::Graph;
using compute::kUnknown;
using compute::Shape;
using compute::Tensor;
using compute::Value;
namespace ops = compute::ops;

// More elements than any network writes down.
constexpr int64_t kMaxConstant = int64_t{1} << 26;

FunctionArgument Result(Value value) { return FunctionArgument::Tensor(value); }

Value Converted(FunctionCall& call, Value value) {
  const auto dtype = call.DType("dtype");
  return dtype ? ConvertType(call.graph(), value, *dtype) : value;
}

FunctionArgument Filled(FunctionCall& call, Value scalar) {
  Graph& graph = call.graph();
  const FunctionCall::ShapeArgument shape = call.Shape("shape");
  if (!call.ok()) return {};
  scalar = Converted(call, scalar);
  if (!shape.fixed) return Result(ops::BroadcastToValue(graph, scalar, shape.value));
  if (!shape.fixed->known()) return call.Invalid("a tensor cannot be made with open dimensions");
  const auto count = compute::CheckedElementCount(*shape.fixed);
  if (!count || *count > kMaxConstant) return call.Invalid("too many elements");
  return Result(ops::BroadcastTo(graph, scalar, *shape.fixed));
}

template <int value>
FunctionArgument Constant(FunctionCall& call) {
  return Filled(call, call.graph().Constant(Tensor::Scalar(static_cast<float>(value))));
}

FunctionArgument Full(FunctionCall& call) { return Filled(call, call.Tensor("fill_value")); }

Value Like(FunctionCall& call, Value x, Value scalar) {
  Graph& graph = call.graph();
  const auto dtype = call.DType("dtype");
  scalar = dtype ? ConvertType(graph, scalar, *dtype) : ops::Cast(graph, scalar, graph.dtype(x));
  return ops::FillLike(graph, x, scalar);
}

template <int value>
FunctionArgument ConstantLike(FunctionCall& call) {
  const Value x = call.Tensor("x");
  return Result(Like(call, x, call.graph().Constant(Tensor::Scalar(static_cast<float>(value)))));
}

FunctionArgument FullLike(FunctionCall& call) {
  const Value x = call.Tensor("x");
  return Result(Like(call, x, call.Tensor("fill_value")));
}

// A count that follows from shapes: 0, 1, … of that length.
Value CountTo(Graph& graph, Value count) {
  const Value one = graph.Constant(Tensor::Scalar(int64_t{1}));
  const Value ones = ops::BroadcastToValue(graph, one, ops::ExpandDims(graph, count, 0));
  return ops::Cumulative(graph, ops::ScanKind::kSum, ones, 0, /*exclusive=*/true);
}

FunctionArgument ArangeOfShapes(FunctionCall& call, Value start, Value stop, Value step) {
  Graph& graph = call.graph();
  for (Value* bound : {&start, &stop, &step}) *bound = ops::Cast(graph, *bound, DType::kInt64);
  // The number of steps, rounded up: -floor(-(stop - start) / step).
  Value count =
      ops::Binary(graph, ops::BinaryKind::kFloorDivide, ops::Subtract(graph, start, stop), step);
  count = ops::Unary(graph, ops::UnaryKind::kNegative, count);
  count = ops::Binary(graph, ops::BinaryKind::kMaximum, count,
                      graph.Constant(Tensor::Scalar(int64_t{0})));
  const Value values = ops::Add(graph, start, ops::Multiply(graph, CountTo(graph, count), step));
  return Result(Converted(call, values));
}

FunctionArgument Arange(FunctionCall& call) {
  Graph& graph = call.graph();
  const FunctionArgument zero = FunctionArgument::Constant(int64_t{0});
  const FunctionArgument one = FunctionArgument::Constant(int64_t{1});
  // A single bound is the end.
  const bool single = !call.Has("stop");
  const FunctionArgument& start = single ? zero : (call.Has("start") ? call.Get("start") : zero);
  const FunctionArgument& stop = single ? call.Get("start") : call.Get("stop");
  const FunctionArgument& step = call.Has("step") ? call.Get("step") : one;
  const Value a = ToTensor(graph, start), b = ToTensor(graph, stop), c = ToTensor(graph, step);
  if (!call.ok()) return {};
  const Tensor *from = graph.constant(a), *to = graph.constant(b), *by = graph.constant(c);
  if (from == nullptr || to == nullptr || by == nullptr) return ArangeOfShapes(call, a, b, c);
  const auto whole = [](const Tensor* t) {
    return t->dtype() == DType::kInt64 && t->num_elements() == 1;
  };
  if (whole(from) && whole(to) && whole(by)) {
    return Result(Converted(call, ops::Range(graph, *from->data<int64_t>(), *to->data<int64_t>(),
                                             *by->data<int64_t>())));
  }
  KeywordArguments bounds = {{"a", start}, {"b", stop}, {"c", step}};
  FunctionCall numbers(call.context(), call.name_space(), std::move(bounds));
  const double first = numbers.Float("a", 0), last = numbers.Float("b", 0),
               width = numbers.Float("c", 1);
  const double count = std::ceil((last - first) / width);
  if (!numbers.ok() || !(count <= static_cast<double>(kMaxConstant)))
    return call.Invalid("no range");
  std::vector<float> values;
  for (int64_t i = 0; i < static_cast<int64_t>(count); ++i) {
    values.push_back(static_cast<float>(first + static_cast<double>(i) * width));
  }
  return Result(Converted(
      call, graph.Constant(Tensor::Floats(Shape{static_cast<int64_t>(values.size())}, values))));
}

FunctionArgument Eye(FunctionCall& call) {
  const int64_t rows = call.RequiredInt("N");
  const int64_t columns = call.Int("M", rows);
  const int64_t k = call.Int("k", 0);
  if (!call.ok()) return {};
  if (rows < 0 || columns < 0 || rows > kMaxConstant || columns > kMaxConstant ||
      rows * columns > kMaxConstant) {
    return call.Invalid("too many elements");
  }
  std::vector<float> values(static_cast<size_t>(rows * columns), 0.0f);
  for (int64_t i = 0; i < rows; ++i) {
    const int64_t j = i + k;
    if (j >= 0 && j < columns) values[i * columns + j] = 1;
  }
  return Result(
      Converted(call, call.graph().Constant(Tensor::Floats(Shape{rows, columns}, values))));
}

FunctionArgument Tri(FunctionCall& call) {
  const int64_t rows = call.RequiredInt("N");
  const int64_t columns = call.Int("M", rows);
  if (!call.ok()) return {};
  if (rows < 0 || columns < 0 || rows > kMaxConstant || columns > kMaxConstant ||
      rows * columns > kMaxConstant) {
    return call.Invalid("too many elements");
  }
  const Value ones = call.graph().Constant(Tensor::Fill(Shape{rows, columns}, 1));
  return Result(Converted(call, ops::Triangle(call.graph(), ones, call.Int("k", 0), true)));
}

FunctionArgument Linspace(FunctionCall& call) {
  const double start = call.Float("start", 0), stop = call.Float("stop", 1);
  const int64_t count = call.Int("num", 50);
  const bool endpoint = call.Bool("endpoint", true);
  if (call.Bool("retstep", false)) return call.Unsupported("retstep", "not supported");
  if (call.Int("axis", 0) != 0) return call.Unsupported("axis", "only 0 is supported");
  if (!call.ok()) return {};
  if (count < 0 || count > kMaxConstant) return call.Invalid("too many elements");
  const double steps = static_cast<double>(endpoint ? count - 1 : count);
  std::vector<float> values;
  for (int64_t i = 0; i < count; ++i) {
    values.push_back(static_cast<float>(
        start + (steps > 0 ? (stop - start) * static_cast<double>(i) / steps : 0)));
  }
  // The last point is exact.
  if (endpoint && count > 1) values.back() = static_cast<float>(stop);
  return Result(Converted(call, call.graph().Constant(Tensor::Floats(Shape{count}, values))));
}

FunctionArgument Logspace(FunctionCall& call) {
  FunctionArgument exponents = Linspace(call);
  if (!call.ok()) return {};
  const Value base =
      call.graph().Constant(Tensor::Scalar(static_cast<float>(call.Float("base", 10))));
  return Result(ops::Binary(call.graph(), ops::BinaryKind::kPower, base, exponents.tensor));
}

FunctionArgument Meshgrid(FunctionCall& call) {
  Graph& graph = call.graph();
  std::vector<Value> xs = call.Tensors("xs");
  const std::string indexing = call.String("indexing", "xy");
  if (indexing != "xy" && indexing != "ij")
    return call.Unsupported("indexing", "expected xy or ij");
  const int count = static_cast<int>(xs.size());
  if (count > compute::kMaxRank) return call.Invalid("too many axes");
  for (int i = 0; i < count; ++i) {
    // xy exchanges the first two axes.
    int axis = i;
    if (indexing == "xy" && count > 1 && i < 2) axis = 1 - i;
    if (graph.rank(xs[i]) == 0) xs[i] = ops::ExpandDims(graph, xs[i], 0);
    if (graph.rank(xs[i]) != 1) return call.Invalid("expected vectors");
    for (int j = 0; j < axis; ++j) xs[i] = ops::ExpandDims(graph, xs[i], 0);
    for (int j = axis + 1; j < count; ++j) xs[i] = ops::ExpandDims(graph, xs[i], -1);
  }
  std::vector<Value> grids;
  for (int i = 0; i < count; ++i) {
    Value grid = xs[i];
    for (int j = 0; j < count; ++j) {
      if (j == i) continue;
      // Along the axis on which grid j varies, this one repeats.
      const Value zeros = ops::FillLike(
          graph, xs[j],
          ops::Cast(graph, graph.Constant(Tensor::Scalar(int64_t{0})), graph.dtype(grid)));
      grid = graph.dtype(grid) == DType::kBool
                 ? ops::Binary(graph, ops::BinaryKind::kLogicalOr, grid, zeros)
                 : ops::Add(graph, grid, zeros);
    }
    grids.push_back(grid);
  }
  return FunctionArgument::Tensors(grids);
}

// tf.constant and friends: a value, perhaps brought to a shape.
FunctionArgument ConstantValue(FunctionCall& call) {
  Graph& graph = call.graph();
  Value value = Converted(call, call.Tensor("value"));
  if (!call.Has("shape")) return Result(value);
  const FunctionCall::ShapeArgument shape = call.Shape("shape");
  if (!call.ok() || !shape.fixed || !shape.fixed->known())
    return call.ok() ? call.Unsupported("shape", "it must be known") : FunctionArgument{};
  if (graph.rank(value) == 0) return Filled(call, value);
  return Result(ops::Reshape(graph, value, *shape.fixed));
}

// keras.backend.epsilon, .floatx, …: settings with their defaults.
FunctionArgument Epsilon(FunctionCall&) { return FunctionArgument::Constant(1e-7); }
FunctionArgument Floatx(FunctionCall&) { return FunctionArgument::Constant("float32"); }
FunctionArgument ImageDataFormat(FunctionCall& call) {
  return FunctionArgument::Constant(call.context().channels_first ? "channels_first"
                                                                  : "channels_last");
}
FunctionArgument LearningPhase(FunctionCall&) { return FunctionArgument::Constant(int64_t{0}); }

// Which of two values inference takes.
FunctionArgument InferenceValue(FunctionCall& call) {
  const FunctionArgument& x = call.Get("x");
  return x.is_constant() ? x : Result(call.Tensor("x"));
}

constexpr FunctionRow kFunctions[] = {
    {"zeros", "shape, dtype", Constant<0>},
    {"ones", "shape, dtype", Constant<1>},
    {"empty", "shape, dtype", Constant<0>},
    {"full", "shape, fill_value, dtype", Full},
    {"zeros_like", "x, dtype", ConstantLike<0>},
    {"ones_like", "x, dtype", ConstantLike<1>},
    {"empty_like", "x, dtype", ConstantLike<0>},
    {"full_like", "x, fill_value, dtype", FullLike},
    {"arange", "start, stop, step, dtype", Arange},
    {"eye", "N, M, k, dtype", Eye},
    {"identity", "n=N, dtype", Eye},
    {"tri", "N, M, k, dtype", Tri},
    {"linspace", "start, stop, num, endpoint, retstep, dtype, axis", Linspace},
    {"logspace", "start, stop, num, endpoint, base, dtype, axis", Logspace},
    {"meshgrid", "*xs; indexing", Meshgrid},
    {"<constant>", "value, dtype, shape", ConstantValue},
    {"<epsilon>", "", Epsilon},
    {"<floatx>", "", Floatx},
    {"<image_data_format>", "", ImageDataFormat},
    {"<learning_phase>", "", LearningPhase},
    {"<inference_value>", "x", InferenceValue},
};

}  // namespace

std::span<const FunctionRow> CreationFunctions() { return kFunctions; }

}  // namespace h5serve::model
