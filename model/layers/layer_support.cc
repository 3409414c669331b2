#include "model/layers/layer_support.h"

#include <fmt/format.h>

#include <algorithm>

#include "compute/ops/elementwise.h"
#include "compute/ops/linear.h"
#include "compute/ops/reduce.h"
#include "compute/ops/shape_ops.h"
#include "model/lower_model.h"

namespace h5serve::model {

namespace ops = compute::ops;
using compute::DType;

KerasTensor SingleInput(const LayerScope& scope, const CallInputs& inputs) {
  std::vector<KerasTensor> tensors;
  if (!inputs.args.empty()) {
    CallInputs positional;
    positional.args.push_back(inputs.args[0]);
    tensors = positional.Tensors();
  }
  for (std::string_view name : {"inputs", "input", "x"}) {
    const CallArgument* argument = inputs.Keyword(name);
    if (tensors.empty() && argument != nullptr && argument->is_tensor()) {
      tensors.push_back(argument->tensor);
    }
  }
  if (tensors.size() != 1) {
    scope.Fail(Code::kGraphInvalid, fmt::format("layer {} takes one tensor and is called with {}",
                                                scope.path(), tensors.size()));
    return {};
  }
  KerasTensor input = tensors[0];
  if (const CallArgument* mask = inputs.Keyword("mask"); mask != nullptr && mask->is_tensor()) {
    input.mask = AsBool(scope.graph(), mask->tensor.value);
  }
  return input;
}

std::vector<KerasTensor> InputList(const LayerScope& scope, const CallInputs& inputs,
                                   size_t least) {
  std::vector<KerasTensor> tensors = inputs.Tensors();
  if (tensors.size() < least) {
    scope.Fail(Code::kGraphInvalid,
               fmt::format("layer {} takes {} or more tensors and is called with {}", scope.path(),
                           least, tensors.size()));
    return {};
  }
  return tensors;
}

const CallArgument* FindArgument(const CallInputs& inputs, size_t position, std::string_view name) {
  if (position < inputs.args.size() && !inputs.args[position].is_null()) {
    return &inputs.args[position];
  }
  return inputs.Keyword(name);
}

bool BoolArgument(const LayerScope& scope, const CallInputs& inputs, std::string_view name,
                  bool otherwise) {
  const CallArgument* argument = inputs.Keyword(name);
  if (argument == nullptr) return otherwise;
  if (argument->kind == Argument::Kind::kConstant) {
    if (argument->constant.is_bool()) return argument->constant.as_bool();
    if (argument->constant.ToInt()) return *argument->constant.ToInt() != 0;
  }
  scope.Fail(
      Code::kUnsupportedArgument,
      fmt::format("layer {}: the call argument {} must be a constant bool", scope.path(), name));
  return otherwise;
}

bool IsKeras3(const LayerScope& scope) {
  return scope.writer().dialect == Writer::Dialect::kKeras3;
}
bool IsTfKeras(const LayerScope& scope) {
  return scope.writer().dialect == Writer::Dialect::kTfKeras;
}
bool IsKeras1(const LayerScope& scope) {
  return scope.writer().dialect == Writer::Dialect::kKeras1;
}

Value AsFloat(Graph& graph, Value x) {
  return graph.dtype(x) == DType::kFloat32 ? x : ops::Cast(graph, x, DType::kFloat32);
}
Value AsInt(Graph& graph, Value x) {
  return graph.dtype(x) == DType::kInt64 ? x : ops::Cast(graph, x, DType::kInt64);
}
Value AsBool(Graph& graph, Value x) {
  return graph.dtype(x) == DType::kBool ? x : ops::Cast(graph, x, DType::kBool);
}

Value MaskColumn(Graph& graph, Value mask) {
  return ops::ExpandDims(graph, AsFloat(graph, mask), -1);
}

Value ZeroWhereMasked(Graph& graph, Value x, Value mask) {
  return ops::Multiply(graph, AsFloat(graph, x), MaskColumn(graph, mask));
}

Value OnesMask(Graph& graph, Value x) {
  const int last = graph.rank(x) - 1;
  std::vector<ops::SliceItem> items(1, {ops::SliceItem::Kind::kEllipsis, {}, {}, 1});
  items.push_back({ops::SliceItem::Kind::kIndex, 0, {}, 1});
  if (last < 0) return graph.Fail(absl::InvalidArgumentError("a scalar has no time steps"));
  const Value like = ops::Slice(graph, x, std::move(items));
  return ops::FillLike(graph, like, graph.Constant(Tensor::Scalar(true)));
}

bool RequireRank(const LayerScope& scope, Value x, int rank) {
  if (!x.valid() || scope.graph().rank(x) == rank) return x.valid();
  scope.Fail(Code::kShapeInferenceFailed,
             fmt::format("layer {} takes a tensor of rank {} and is called with {}", scope.path(),
                         rank, scope.graph().shape(x).ToString()));
  return false;
}

namespace {

constexpr size_t kMaxConfigNumbers = size_t{1} << 24;

bool Collect(const ConfigValue& value, int depth, Shape* shape, std::vector<float>* numbers) {
  if (value.is_number() || value.is_bool()) {
    numbers->push_back(value.is_bool() ? static_cast<float>(value.as_bool())
                                       : static_cast<float>(value.as_float()));
    return depth == shape->rank() && numbers->size() <= kMaxConfigNumbers;
  }
  if (!value.is_list() || value.as_list().empty() || depth >= shape->rank() ||
      static_cast<int64_t>(value.as_list().size()) != (*shape)[depth]) {
    return false;
  }
  return std::all_of(value.as_list().begin(), value.as_list().end(), [&](const ConfigValue& item) {
    return Collect(item, depth + 1, shape, numbers);
  });
}

}  // namespace

std::optional<Tensor> NumbersToTensor(const ConfigValue& value) {
  Shape shape;
  const ConfigValue* level = &value;
  while (level->is_list() && !level->as_list().empty()) {
    if (shape.rank() == compute::kMaxRank) return std::nullopt;
    shape.push_back(static_cast<int64_t>(level->as_list().size()));
    level = &level->as_list()[0];
  }
  std::vector<float> numbers;
  if (!Collect(value, 0, &shape, &numbers)) return std::nullopt;
  return Tensor::Floats(shape, numbers);
}

const Tensor* FloatWeight(const LayerScope& scope, std::string_view role, const Shape& shape) {
  if (!scope.Weight(role, shape).valid()) return nullptr;
  const Tensor* tensor = scope.WeightTensor(role);
  if (tensor->dtype() == DType::kFloat32) return tensor;
  scope.Fail(Code::kWeightDtypeUnsupported,
             fmt::format("layer {}, {}: {} where floats are expected", scope.path(), role,
                         compute::Name(tensor->dtype())));
  return nullptr;
}

Value DerivedConstant(const LayerScope& scope, std::string_view name, const Tensor& tensor) {
  // '#' keeps derived constants apart from roles.
  return scope.lowering().WeightConstant(scope.layer(), "#" + std::string(name), tensor);
}

Value WeightWithLora(const LayerScope& scope, std::string_view role, const Shape& shape,
                     std::string_view prefix) {
  const Value plain = scope.Weight(role, shape);
  const std::string role_a = std::string(prefix) + "_a";
  const std::string role_b = std::string(prefix) + "_b";
  const Tensor* a = scope.WeightTensor(role_a);
  const Tensor* b = scope.WeightTensor(role_b);
  // Files whose updates were merged when they were saved have none.
  if (!plain.valid() || (a == nullptr && b == nullptr)) return plain;
  if (FloatWeight(scope, role, shape) == nullptr) return {};
  const Tensor& base = *scope.WeightTensor(role);
  const int64_t rank = scope.PositiveInt("lora_rank");
  const float alpha = scope.Float("lora_alpha", static_cast<float>(rank));
  if (scope.failed() || base.shape().rank() == 0) return {};
  const int64_t columns = base.shape().back();
  Shape shape_a = base.shape();
  shape_a.back() = rank;
  a = FloatWeight(scope, role_a, shape_a);
  b = FloatWeight(scope, role_b, Shape{rank, columns});
  if (a == nullptr || b == nullptr) return {};
  Tensor merged = Tensor::Allocate(DType::kFloat32, base.shape());
  const int64_t rows = columns == 0 ? 0 : base.num_elements() / columns;
  const float scale = alpha / static_cast<float>(rank);
  std::vector<double> sums(columns);
  for (int64_t row = 0; row < rows; ++row) {
    std::fill(sums.begin(), sums.end(), 0.0);
    for (int64_t r = 0; r < rank; ++r) {
      const double factor = a->data<float>()[row * rank + r];
      const float* line = b->data<float>() + r * columns;
      for (int64_t c = 0; c < columns; ++c) sums[c] += factor * line[c];
    }
    for (int64_t c = 0; c < columns; ++c) {
      const int64_t at = row * columns + c;
      merged.mutable_data<float>()[at] =
          base.data<float>()[at] + scale * static_cast<float>(sums[c]);
    }
  }
  return DerivedConstant(scope, std::string(role) + "+lora", merged);
}

Value OptionalBias(const LayerScope& scope, int64_t size) {
  if (!scope.Bool("use_bias", true)) return {};
  return scope.Weight("bias", Shape{size});
}

bool ConfigBool(const Layer& layer, std::string_view key, bool otherwise) {
  const ConfigValue& value = layer.config[key];
  if (value.is_bool()) return value.as_bool();
  if (const auto number = value.ToInt()) return *number != 0;
  return otherwise;
}

std::vector<WeightRole> KernelBiasRoles(const Layer& layer, std::string_view kernel_role) {
  const std::optional<int64_t> rank = layer.config["lora_rank"].ToInt();
  const bool lora = rank && *rank > 0;
  std::vector<WeightRole> roles{{std::string(kernel_role), !lora}};
  if (ConfigBool(layer, "use_bias", true)) roles.push_back({"bias", true});
  if (lora) {
    roles.push_back({"lora_kernel_a", true});
    roles.push_back({"lora_kernel_b", true});
  }
  return roles;
}

std::string QuantizationMode(const Layer& layer) {
  const ConfigValue& config = layer.config["quantization_config"];
  if (config.is_dict()) {
    const std::string_view mode = config["config"].StringOr("mode");
    if (!mode.empty()) return std::string(mode);
    const std::string_view name = config.StringOr("class_name");
    if (name.starts_with("Int8")) return "int8";
    if (name.starts_with("Int4")) return "int4";
    if (name.starts_with("Float8")) return "float8";
    if (!name.empty()) return std::string(name);
  }
  // A quantized policy is named "int8_from_float32".
  const std::string_view policy = layer.config.StringOr("dtype");
  const size_t from = policy.find("_from_");
  return from == std::string_view::npos ? "" : std::string(policy.substr(0, from));
}

Value Project(const LayerScope& scope, Value x, int contracted, std::string_view kernel_role,
              std::string_view bias_role) {
  Graph& graph = scope.graph();
  const Tensor* kernel = scope.WeightTensor(kernel_role);
  if (kernel == nullptr) return scope.Weight(kernel_role, Shape{});
  const int rank = graph.rank(x);
  const int kernel_rank = kernel->shape().rank();
  if (rank <= contracted || kernel_rank < contracted) {
    return graph.Fail(absl::InvalidArgumentError(
        fmt::format("{} of {} cannot project {}", kernel_role, kernel->shape().ToString(),
                    graph.shape(x).ToString())));
  }
  Shape in, out;
  int64_t rows = 1, columns = 1;
  for (int i = 0; i < kernel_rank; ++i) {
    const int64_t size = kernel->shape()[i];
    (i < contracted ? rows : columns) *= size;
    (i < contracted ? in : out).push_back(size);
  }
  if (!compute::Compatible(graph.shape(x).Slice(rank - contracted, rank), in)) {
    return graph.Fail(absl::InvalidArgumentError(
        fmt::format("{} of {} cannot project {}", kernel_role, kernel->shape().ToString(),
                    graph.shape(x).ToString())));
  }
  const Value matrix = DerivedConstant(scope, std::string(kernel_role) + ":matrix",
                                       kernel->Reshaped(Shape{rows, columns}));
  Value bias;
  if (!bias_role.empty()) {
    const Value stored = scope.Weight(bias_role, out);
    if (!stored.valid()) return {};
    bias = DerivedConstant(scope, std::string(bias_role) + ":vector",
                           scope.WeightTensor(bias_role)->Reshaped(Shape{columns}));
  }
  Value flat = AsFloat(graph, x);
  if (contracted > 1) flat = ops::MergeAxes(graph, flat, rank - contracted, rank);
  Value y = ops::Dense(graph, flat, matrix, bias);
  // Splits the last axis into the kernel's output axes, from the left.
  for (int i = 0; i + 1 < out.rank(); ++i) {
    int64_t inner = 1;
    for (int j = i + 1; j < out.rank(); ++j) inner *= out[j];
    y = ops::SplitAxis(graph, y, graph.rank(y) - 1, out[i], inner);
  }
  return y;
}

Padding PaddingOf(const LayerScope& scope, bool causal_allowed, bool full_allowed) {
  const std::string padding =
      scope.Choice("padding", "valid", {"valid", "same", "causal", "full", "VALID", "SAME"});
  if (padding == "same" || padding == "SAME") return Padding::kSame;
  if (padding == "causal") {
    if (!causal_allowed) scope.BadValue("padding", "causal padding is for one dimension");
    return Padding::kCausal;
  }
  if (padding == "full") {
    if (!full_allowed) scope.BadValue("padding", "valid or same is expected");
    return Padding::kFull;
  }
  return Padding::kValid;
}

}  // namespace h5serve::model
