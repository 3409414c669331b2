// What the layer functions share.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "compute/ops/convolution.h"
#include "compute/ops/recurrent.h"
#include "model/layers/activation.h"
#include "model/layers/layout.h"
#include "model/lowering.h"

namespace h5serve::model {

using compute::Graph;
using compute::kUnknown;
using compute::Shape;
using compute::Tensor;
using compute::Value;
using Mask = std::optional<Value>;

// --- calls ---

// The tensor of a call that takes one. GRAPH_INVALID and an invalid value when
// there is none or there are several. An explicit `mask` argument replaces the
// mask of the tensor.
KerasTensor SingleInput(const LayerScope& scope, const CallInputs& inputs);
// All tensors of a call that takes a list of at least `least`.
std::vector<KerasTensor> InputList(const LayerScope& scope, const CallInputs& inputs, size_t least);
// The argument by position or keyword; null when absent or None.
const CallArgument* FindArgument(const CallInputs& inputs, size_t position, std::string_view name);
// A constant bool argument of a call, by keyword.
bool BoolArgument(const LayerScope& scope, const CallInputs& inputs, std::string_view name,
                  bool otherwise);

// --- eras ---

bool IsKeras3(const LayerScope& scope);
bool IsTfKeras(const LayerScope& scope);
bool IsKeras1(const LayerScope& scope);

// --- values ---

// As float32, whatever the type.
Value AsFloat(Graph& graph, Value x);
// As int64 (floats towards zero).
Value AsInt(Graph& graph, Value x);
Value AsBool(Graph& graph, Value x);
// A mask of shape (…) as float32 (…, 1).
Value MaskColumn(Graph& graph, Value mask);
// x where `mask` (…) is true along all axes but the last, otherwise zero.
Value ZeroWhereMasked(Graph& graph, Value x, Value mask);
// True in the shape of x without its last axis.
Value OnesMask(Graph& graph, Value x);

// Rank of x must be `rank`; otherwise SHAPE_INFERENCE_FAILED.
bool RequireRank(const LayerScope& scope, Value x, int rank);

// A nested list of numbers (or one number) as a float32 tensor; nullopt when it
// is ragged, empty or holds something else.
std::optional<Tensor> NumbersToTensor(const ConfigValue& value);

// --- weights ---

// The weight's tensor, of float32 and a shape that fits; null with a diagnosis otherwise.
const Tensor* FloatWeight(const LayerScope& scope, std::string_view role, const Shape& shape);
// A constant derived from weights, made once per layer; `name` tells it from others.
Value DerivedConstant(const LayerScope& scope, std::string_view name, const Tensor& tensor);
// The weight `role` with its LoRA update merged in: W + alpha / rank · A · B over
// the last axis. `prefix` is the role of the update, "lora_kernel".
Value WeightWithLora(const LayerScope& scope, std::string_view role, const Shape& shape,
                     std::string_view prefix);
// The bias of `size` values, or the invalid value when use_bias is false.
Value OptionalBias(const LayerScope& scope, int64_t size);
// kernel, bias, lora_kernel_a, lora_kernel_b as the config has them.
std::vector<WeightRole> KernelBiasRoles(const Layer& layer,
                                        std::string_view kernel_role = "kernel");
bool ConfigBool(const Layer& layer, std::string_view key, bool otherwise);
// The quantization mode ("int8", "int4", "float8", …) of the layer's dtype
// policy or quantization_config; "" without.
std::string QuantizationMode(const Layer& layer);

// x (…, a, b, …) · kernel (a, b, …, p, q, …) + bias (p, q, …) over the last
// `contracted` axes of x, giving (…, p, q, …). `kernel` and `bias` are roles of
// weights; `bias` may be "".
Value Project(const LayerScope& scope, Value x, int contracted, std::string_view kernel,
              std::string_view bias);

// --- activations ---

// The activation in the config's `activation`.
inline Value ApplyActivation(const LayerScope& scope, Value x) {
  return ApplyActivation(scope, "activation", x);
}
// The activation of a layer that computed y with channels last but gives them
// first where `channels_first`: element-wise functions come before the transposition.
Value ActivateChannels(const LayerScope& scope, Value y, bool channels_first);

// --- padding ---

enum class Padding { kValid, kSame, kCausal, kFull };
// `padding` of the config. Theano knew "full".
Padding PaddingOf(const LayerScope& scope, bool causal_allowed, bool full_allowed = false);

}  // namespace h5serve::model
