// What stands between brackets, and functions that pick elements.
#include <fmt/format.h>

#include <algorithm>

#include "compute/ops/elementwise.h"
#include "compute/ops/reduce.h"
#include "compute/ops/shape_ops.h"
#include "compute/ops/text.h"
#include "model/functions/function_call.h"
#include "model/functions/type_conversion.h"

namespace h5serve::model {
namespace {

using compute::DType;
using compute::Graph;
using compute::Shape;
using compute::Value;
using compute::ops::SliceItem;
namespace ops = compute::ops;

FunctionArgument Result(Value value) { return FunctionArgument::Tensor(value); }

// --- x[key] ---------------------------------------------------------------------

// Items of a constant list as arguments.
std::vector<FunctionArgument> Items(const FunctionArgument& argument) {
  if (argument.is_list()) return argument.list;
  std::vector<FunctionArgument> items;
  for (const ConfigValue& item : argument.constant.as_list())
    items.push_back(FunctionArgument::Constant(item));
  return items;
}

bool IsSequence(const FunctionArgument& argument) {
  return argument.is_list() || (argument.is_constant() && argument.constant.is_list());
}

// Python's indexing of lists and tuples.
FunctionArgument IndexSequence(FunctionCall& call, const FunctionArgument& x,
                               const FunctionArgument& key) {
  Graph& graph = call.graph();
  const std::vector<FunctionArgument> items = Items(x);
  const int64_t size = static_cast<int64_t>(items.size());
  if (key.kind != FunctionArgument::Kind::kSlice) {
    const auto index = KnownInts(graph, key);
    if (!index || index->size() != 1) return call.Invalid("the index of a list must be an integer");
    const int64_t place = index->at(0) < 0 ? index->at(0) + size : index->at(0);
    if (place < 0 || place >= size)
      return call.Invalid(fmt::format("index {} is out of range", index->at(0)));
    return items[place];
  }
  const auto bound = [&](int i, int64_t otherwise, int64_t low, int64_t high) {
    const auto known = KnownInts(graph, key.list[i]);
    if (key.list[i].is_null()) return otherwise;
    if (!known || known->size() != 1) {
      call.Invalid("the bounds of a list's slice must be integers");
      return otherwise;
    }
    return std::clamp(known->at(0) < 0 ? known->at(0) + size : known->at(0), low, high);
  };
  const int64_t step = bound(2, 1, -size - 1, size + 1);
  if (step == 0) return call.Invalid("the step of a slice must not be zero");
  const int64_t low = step > 0 ? 0 : -1, high = step > 0 ? size : size - 1;
  const int64_t begin = bound(0, step > 0 ? low : high, low, high);
  const int64_t end = bound(1, step > 0 ? high : low, low, high);
  std::vector<FunctionArgument> taken;
  for (int64_t i = begin; step > 0 ? i < end : i > end; i += step) taken.push_back(items[i]);
  return FunctionArgument::List(std::move(taken));
}

// A slice whose bounds follow from shapes, or an index that is a tensor: done
// after the rest, on an axis of the result.
struct Later {
  int axis = 0;
  bool gathers = false;
  Value begin, end, indices;
  int64_t step = 1;
};

Value AsScalar(Graph& graph, const FunctionArgument& argument) {
  Value value = ToTensor(graph, argument);
  if (value.valid() && graph.rank(value) == 1) value = ops::Squeeze(graph, value, {0});
  return ops::Cast(graph, value, DType::kInt64);
}

class Indexer {
 public:
  explicit Indexer(FunctionCall& call) : call_(call), graph_(call.graph()) {}

  Value Run(Value x, const std::vector<FunctionArgument>& keys) {
    for (const FunctionArgument& key : keys) {
      if (!Add(key)) return Value{};
    }
    // Axes behind an ellipsis are counted from the end.
    const int result_rank = graph_.rank(x) + new_axes_ - indices_;
    x = ops::Slice(graph_, x, items_);
    if (std::count_if(later_.begin(), later_.end(), [](const Later& l) { return l.gathers; }) > 1) {
      call_.Unsupported("key", "only one index may be a list or a tensor");
      return Value{};
    }
    for (const Later& later : later_) {
      if (later.gathers) continue;
      x = ops::SliceAxisBy(graph_, x, Axis(later, result_rank), later.begin, later.end, later.step);
    }
    for (const Later& later : later_) {
      if (later.gathers) x = ops::Gather(graph_, x, later.indices, Axis(later, result_rank));
    }
    return x;
  }

 private:
  int Axis(const Later& later, int rank) const {
    return after_ellipsis_.empty() || later.axis < ellipsis_ ? later.axis
                                                             : rank - (kept_ - later.axis);
  }

  bool Add(const FunctionArgument& key) {
    if (key.kind == FunctionArgument::Kind::kEllipsis) {
      items_.push_back({SliceItem::Kind::kEllipsis, std::nullopt, std::nullopt, 1});
      ellipsis_ = kept_;
      after_ellipsis_ = "...";
      return true;
    }
    if (key.is_null()) {
      items_.push_back({SliceItem::Kind::kNewAxis, std::nullopt, std::nullopt, 1});
      ++new_axes_;
      ++kept_;
      return true;
    }
    if (key.kind == FunctionArgument::Kind::kSlice) return AddRange(key);
    if (key.is_constant() && key.constant.is_bool())
      return Refuse("bools are not supported as indices");
    const auto known = KnownInts(graph_, key);
    if (known && known->size() == 1 && !IsSequence(key) && !IsVector(key)) {
      items_.push_back({SliceItem::Kind::kIndex, known->at(0), std::nullopt, 1});
      ++indices_;
      return true;
    }
    const Value indices = ToTensor(graph_, key);
    if (!indices.valid()) return false;
    if (graph_.dtype(indices) != DType::kInt64) {
      return Refuse("the size of the result would depend on the data");
    }
    Later later;
    later.axis = kept_++;
    later.gathers = true;
    later.indices = indices;
    later_.push_back(later);
    items_.push_back({});
    return true;
  }

  bool IsVector(const FunctionArgument& key) const {
    return key.is_tensor() && graph_.rank(key.tensor) > 0;
  }

  bool AddRange(const FunctionArgument& key) {
    SliceItem item;
    Later later;
    bool dynamic = false;
    const auto step = KnownInts(graph_, key.list[2]);
    if (!key.list[2].is_null()) {
      if (!step || step->size() != 1 || step->at(0) == 0)
        return Refuse("the step of a slice must be a known integer");
      item.step = step->at(0);
    }
    for (int i : {0, 1}) {
      const FunctionArgument& bound = key.list[i];
      if (bound.is_null()) continue;
      const auto known = KnownInts(graph_, bound);
      if (known && known->size() == 1) {
        (i == 0 ? item.start : item.stop) = known->at(0);
      } else if (bound.is_tensor()) {
        dynamic = true;
      } else {
        return Refuse("the bounds of a slice must be integers");
      }
    }
    if (dynamic) {
      if (!key.list[0].is_null()) later.begin = AsScalar(graph_, key.list[0]);
      if (!key.list[1].is_null()) later.end = AsScalar(graph_, key.list[1]);
      later.step = item.step;
      later.axis = kept_;
      later_.push_back(later);
      item = SliceItem{};
    }
    items_.push_back(item);
    ++kept_;
    return true;
  }

  bool Refuse(std::string_view why) {
    call_.Fail(absl::UnimplementedError(std::string(why)));
    return false;
  }

  FunctionCall& call_;
  Graph& graph_;
  std::vector<SliceItem> items_;
  std::vector<Later> later_;
  std::string_view after_ellipsis_;
  int kept_ = 0;      // axes of the result so far, the ellipsis not counted
  int ellipsis_ = 0;  // how many of them stand before it
  int new_axes_ = 0, indices_ = 0;
};

FunctionArgument GetItem(FunctionCall& call) {
  const FunctionArgument& x = call.Get("x");
  const FunctionArgument& key = call.Get("key");
  if (IsSequence(x)) return IndexSequence(call, x, key);
  const Value tensor = call.Tensor("x");
  if (!call.ok()) return {};
  std::vector<FunctionArgument> keys = {key};
  // A tuple, unless it holds more indices than there are axes: then a list.
  if (IsSequence(key)) {
    std::vector<FunctionArgument> items = Items(key);
    const bool plain = std::all_of(items.begin(), items.end(), [](const FunctionArgument& item) {
      return item.is_constant() && item.constant.is_int();
    });
    if (!plain || static_cast<int>(items.size()) <= call.graph().rank(tensor))
      keys = std::move(items);
  }
  return Result(Indexer(call).Run(tensor, keys));
}

// The items of a vector that may hold tensors.
std::vector<FunctionArgument> Elements(FunctionCall& call, std::string_view name) {
  const FunctionArgument& argument = call.Get(name);
  if (IsSequence(argument)) return Items(argument);
  std::vector<FunctionArgument> elements;
  Graph& graph = call.graph();
  const Value vector = call.Tensor(name);
  if (!vector.valid()) return elements;
  if (graph.rank(vector) == 0) return {argument};
  const int64_t size = graph.shape(vector)[0];
  if (graph.rank(vector) != 1 || size < 0 || size > 2 * compute::kMaxRank) {
    call.Unsupported(name, "expected one number for each axis");
    return elements;
  }
  for (int64_t i = 0; i < size; ++i) {
    elements.push_back(
        Result(ops::Slice(graph, vector, {{SliceItem::Kind::kIndex, i, std::nullopt, 1}})));
  }
  return elements;
}

FunctionArgument StridedSlice(FunctionCall& call) {
  const Value x = call.Tensor("x");
  const std::vector<FunctionArgument> begin = Elements(call, "begin");
  const std::vector<FunctionArgument> end = Elements(call, "end");
  std::vector<FunctionArgument> strides;
  if (call.Has("strides")) strides = Elements(call, "strides");
  const int64_t begin_mask = call.Int("begin_mask", 0), end_mask = call.Int("end_mask", 0);
  const int64_t ellipsis_mask = call.Int("ellipsis_mask", 0);
  const int64_t new_axis_mask = call.Int("new_axis_mask", 0);
  const int64_t shrink_mask = call.Int("shrink_axis_mask", 0);
  if (!call.ok()) return {};
  if (begin.size() != end.size() || begin.size() > 31 ||
      (!strides.empty() && strides.size() != begin.size())) {
    return call.Invalid("begin, end and strides differ in length");
  }
  std::vector<FunctionArgument> keys;
  for (size_t i = 0; i < begin.size(); ++i) {
    const auto set = [i](int64_t mask) { return (mask >> i & 1) != 0; };
    if (set(ellipsis_mask)) {
      FunctionArgument ellipsis;
      ellipsis.kind = FunctionArgument::Kind::kEllipsis;
      keys.push_back(ellipsis);
    } else if (set(new_axis_mask)) {
      keys.push_back({});
    } else if (set(shrink_mask)) {
      keys.push_back(begin[i]);
    } else {
      keys.push_back(FunctionArgument::Slice(set(begin_mask) ? FunctionArgument() : begin[i],
                                             set(end_mask) ? FunctionArgument() : end[i],
                                             strides.empty() ? FunctionArgument() : strides[i]));
    }
  }
  return Result(Indexer(call).Run(x, keys));
}

// Sizes of -1 reach to the end.
FunctionArgument SliceSizes(FunctionCall& call) {
  Graph& graph = call.graph();
  const Value x = call.Tensor("x");
  const auto begin = KnownInts(graph, call.Get("start_indices"));
  const auto sizes = KnownInts(graph, call.Get("shape"));
  if (!call.ok()) return {};
  if (begin && sizes && begin->size() == sizes->size()) {
    std::vector<SliceItem> items;
    for (size_t i = 0; i < begin->size(); ++i) {
      if (begin->at(i) < 0 || sizes->at(i) < -1) return call.Invalid("negative start or size");
      SliceItem item{SliceItem::Kind::kRange, begin->at(i), std::nullopt, 1};
      if (sizes->at(i) >= 0) item.stop = begin->at(i) + sizes->at(i);
      items.push_back(item);
    }
    return Result(ops::Slice(graph, x, std::move(items)));
  }
  if (sizes) {
    return Result(ops::DynamicSlice(
        graph, x, ops::Cast(graph, call.Tensor("start_indices"), DType::kInt64), *sizes));
  }
  const std::vector<FunctionArgument> starts = Elements(call, "start_indices");
  const std::vector<FunctionArgument> lengths = Elements(call, "shape");
  if (starts.size() != lengths.size()) return call.Invalid("start and size differ in length");
  std::vector<FunctionArgument> keys;
  for (size_t i = 0; i < starts.size(); ++i) {
    const auto known = KnownInts(graph, lengths[i]);
    FunctionArgument stop;
    if (!known || known->at(0) != -1) {
      stop = Result(ops::Add(graph, AsScalar(graph, starts[i]), AsScalar(graph, lengths[i])));
    }
    keys.push_back(FunctionArgument::Slice(starts[i], stop, {}));
  }
  return Result(Indexer(call).Run(x, keys));
}

// --- picking --------------------------------------------------------------------

FunctionArgument Take(FunctionCall& call) {
  Graph& graph = call.graph();
  Value x = call.Tensor("x");
  const Value indices = call.Tensor("indices");
  const int64_t batch_dims = call.Int("batch_dims", 0);
  if (batch_dims < -compute::kMaxRank || batch_dims > compute::kMaxRank)
    return call.Unsupported("batch_dims", "out of range");
  if (!call.Has("axis") && !call.Has("batch_dims") && !call.is_tensorflow()) {
    x = ops::MergeAxes(graph, x, 0, graph.rank(x));
  }
  // tf.gather's axis defaults to the number of batch axes.
  return Result(
      ops::Gather(graph, x, indices, call.Int("axis", batch_dims), static_cast<int>(batch_dims)));
}

FunctionArgument TakeAlongAxis(FunctionCall& call) {
  Graph& graph = call.graph();
  Value x = call.Tensor("x");
  if (call.Has("axis"))
    return Result(ops::TakeAlongAxis(graph, x, call.Tensor("indices"), call.Int("axis", -1)));
  x = ops::MergeAxes(graph, x, 0, graph.rank(x));
  return Result(ops::Gather(graph, x, call.Tensor("indices"), 0));
}

FunctionArgument GatherNd(FunctionCall& call) {
  if (call.Int("batch_dims", 0) != 0) return call.Unsupported("batch_dims", "only 0 is supported");
  return Result(ops::GatherNd(call.graph(), call.Tensor("x"), call.Tensor("indices")));
}

FunctionArgument EmbeddingLookup(FunctionCall& call) {
  return Result(ops::Embedding(call.graph(), call.Tensor("params"), call.Tensor("ids")));
}

FunctionArgument OneHot(FunctionCall& call) {
  Graph& graph = call.graph();
  const Value x = call.Tensor("x");
  const Value y = ops::OneHot(graph, x, call.RequiredInt("num_classes"),
                              static_cast<float>(call.Float("on_value", 1)),
                              static_cast<float>(call.Float("off_value", 0)), call.Int("axis", -1));
  const auto dtype = call.DType("dtype");
  return Result(dtype ? ConvertType(graph, y, *dtype) : y);
}

// One where any of the classes along the last axis of x is.
FunctionArgument MultiHot(FunctionCall& call) {
  Graph& graph = call.graph();
  const Value x = call.Tensor("x");
  const int64_t depth = call.RequiredInt("num_classes");
  const int64_t axis = call.Int("axis", -1);
  if (axis != -1) return call.Unsupported("axis", "only -1 is supported");
  return Result(
      ops::Reduce(graph, ops::ReduceKind::kMax, ops::OneHot(graph, x, depth), {-2}, false));
}

FunctionArgument SequenceMask(FunctionCall& call) {
  Graph& graph = call.graph();
  const Value lengths = ops::ExpandDims(graph, call.Tensor("lengths"), -1);
  if (!call.Has("maxlen"))
    return call.Unsupported("maxlen", "the size of the result would depend on the data");
  const Value steps = ops::Range(graph, 0, call.RequiredInt("maxlen"));
  Value mask = ops::Binary(graph, ops::BinaryKind::kLess, steps, lengths);
  const auto dtype = call.DType("dtype");
  return Result(dtype ? ConvertType(graph, mask, *dtype) : mask);
}

FunctionArgument SearchSorted(FunctionCall& call) {
  Graph& graph = call.graph();
  const Value sorted = ops::Cast(graph, call.Tensor("sorted_sequence"), DType::kFloat32);
  const compute::Tensor* known = graph.constant(sorted);
  if (known == nullptr || known->shape().rank() != 1) {
    return call.ok() ? call.Unsupported("sorted_sequence", "it must be a known vector")
                     : FunctionArgument{};
  }
  std::vector<float> bounds(known->data<float>(), known->data<float>() + known->num_elements());
  const Value values = ops::Cast(graph, call.Tensor("values"), DType::kFloat32);
  const std::string side = call.String("side", "left");
  if (side == "right") return Result(ops::Bucketize(graph, values, bounds));
  if (side != "left") return call.Unsupported("side", "expected left or right");
  // Bounds below x are those that are not, negated, at or below -x.
  std::vector<float> mirrored(bounds.rbegin(), bounds.rend());
  for (float& bound : mirrored) bound = -bound;
  const Value above =
      ops::Bucketize(graph, ops::Unary(graph, ops::UnaryKind::kNegative, values), mirrored);
  const Value count = graph.Constant(compute::Tensor::Scalar(static_cast<int64_t>(bounds.size())));
  return Result(ops::Subtract(graph, count, above));
}

constexpr FunctionRow kFunctions[] = {
    {"get_item", "x, key", GetItem},
    {"slice", "inputs=x, start_indices, shape", SliceSizes},
    {"<strided_slice>",
     "x, begin, end, strides, begin_mask, end_mask, ellipsis_mask, new_axis_mask, shrink_axis_mask",
     StridedSlice},
    {"take", "x, indices, axis; batch_dims", Take},
    {"take_along_axis", "x, indices, axis", TakeAlongAxis},
    {"<gather_nd>", "x, indices, batch_dims", GatherNd},
    {"<embedding_lookup>", "params, ids", EmbeddingLookup},
    {"one_hot", "x, num_classes, axis, dtype, sparse=!; on_value, off_value", OneHot},
    {"multi_hot", "inputs=x, num_classes, axis, dtype=-, sparse=!; num_tokens=num_classes",
     MultiHot},
    {"<sequence_mask>", "lengths, maxlen, dtype", SequenceMask},
    {"searchsorted", "sorted_sequence, values, side", SearchSorted},
};

}  // namespace

std::span<const FunctionRow> IndexFunctions() { return kFunctions; }

}  // namespace h5serve::model
