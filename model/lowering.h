// How a Keras layer becomes ops: the interface that every layer implements.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "compute/graph.h"
#include "model/config_value.h"
#include "model/diagnosis.h"
#include "model/keras_model.h"

namespace h5serve::model {

// A tensor as Keras passes it between layers: with its mask, if it has one. A
// mask is a bool value of shape (batch, time) unless a layer says otherwise.
struct KerasTensor {
  compute::Value value;
  std::optional<compute::Value> mask;
};

// An argument of a call with its tensors filled in.
struct CallArgument {
  Argument::Kind kind = Argument::Kind::kConstant;
  ConfigValue constant;
  KerasTensor tensor;
  std::vector<CallArgument> list;
  std::map<std::string, CallArgument> dict;

  bool is_tensor() const { return kind == Argument::Kind::kTensor; }
  bool is_null() const { return kind == Argument::Kind::kConstant && constant.is_null(); }
};

struct CallInputs {
  std::vector<CallArgument> args;
  std::map<std::string, CallArgument, std::less<>> kwargs;

  // All tensors of the positional arguments, lists and dicts flattened in order.
  std::vector<KerasTensor> Tensors() const;
  // The keyword argument, or null when absent or null.
  const CallArgument* Keyword(std::string_view name) const;
};

// Weights of one layer by role ("kernel", "bias", …), canonical layout.
using LayerWeights = std::map<std::string, compute::Tensor, std::less<>>;
// Weights of all layers of a model, nested and inner ones too.
using ModelWeights = std::map<const Layer*, LayerWeights>;

// The 16-bit type that a layer's policy computes in, if any. The weights and
// outputs of all such layers are rounded to it.
std::optional<compute::DType> HalfPrecision(const Layer& layer);

class Lowering;

// What a layer sees while it is lowered: its config, weights, and the graph to
// build into. All accessors report what is wrong as a diagnosis with the layer
// as place and give a harmless value; a layer function returns as soon as it
// notices failed(). Getters take the value for an absent or null key.
class LayerScope {
 public:
  LayerScope(Lowering* lowering, const Layer* layer, std::string path)
      : lowering_(lowering), layer_(layer), path_(std::move(path)) {}

  const Layer& layer() const { return *layer_; }
  const ConfigValue& config() const { return layer_->config; }
  const Writer& writer() const;
  compute::Graph& graph() const;
  Lowering& lowering() const { return *lowering_; }
  // Name for people: outer/inner.
  const std::string& path() const { return path_; }

  // --- config ---
  bool Has(std::string_view key) const;  // present and not null
  bool Bool(std::string_view key, bool otherwise) const;
  int64_t Int(std::string_view key, int64_t otherwise) const;
  // REQUIRES 1 <= value <= 2^31; otherwise INVALID_CONFIG_VALUE. No default: the key must be there.
  int64_t PositiveInt(std::string_view key) const;
  float Float(std::string_view key, float otherwise) const;
  std::string String(std::string_view key, std::string_view otherwise) const;
  // One of `choices`, otherwise INVALID_CONFIG_VALUE naming them.
  std::string Choice(std::string_view key, std::string_view otherwise,
                     std::initializer_list<std::string_view> choices) const;
  // A list of integers; a single integer counts as a list of one.
  std::vector<int64_t> Ints(std::string_view key, std::vector<int64_t> otherwise) const;
  // `rank` positive integers from an integer (repeated) or a list (kernel_size, strides, …).
  std::vector<int64_t> Sizes(std::string_view key, int rank, int64_t otherwise) const;
  // True for channels_first. Absent or null means the writer's default.
  bool ChannelsFirst() const;

  // --- weights ---
  bool HasWeight(std::string_view role) const;
  // The weight as a constant. `shape` is what it must be (kUnknown: anything),
  // otherwise WEIGHT_SHAPE_MISMATCH; absent: WEIGHT_MISSING.
  compute::Value Weight(std::string_view role, const compute::Shape& shape) const;
  // The tensor itself; null when absent.
  const compute::Tensor* WeightTensor(std::string_view role) const;

  // --- problems ---
  // Records an error about this layer. The caller then returns {}.
  void Fail(Code code, std::string message, std::vector<std::string> remedies = {}) const;
  // INVALID_CONFIG_VALUE: "NAME.key = value: why".
  void BadValue(std::string_view key, std::string_view why) const;
  void Warn(Code code, std::string message) const;
  // True once this layer has failed or its graph carries an error.
  bool failed() const;

  // --- other layers ---
  // Applies an inner layer (wrapped layer, cell) or a nested model to inputs.
  std::vector<KerasTensor> Apply(const Layer& inner, const CallInputs& inputs) const;

 private:
  Lowering* lowering_;
  const Layer* layer_;
  std::string path_;
};

// Lowers one call of a layer. Returns the outputs, or {} after a failure.
using LowerFunction = std::vector<KerasTensor> (*)(const LayerScope& scope,
                                                   const CallInputs& inputs);

// One weight array that a layer owns.
struct WeightRole {
  std::string role;
  bool trainable = true;
};
// Roles in creation order, from the config alone. Wrappers and models leave
// this to their inner layers.
using WeightsFunction = std::vector<WeightRole> (*)(const Layer& layer, const Writer& writer);

// A Keras class: its row in the registry.
struct LayerClass {
  std::string_view name;
  LowerFunction lower;
  WeightsFunction weights = nullptr;  // null: no weights of its own
};

// The class, or null when Keras has no such class or it is not supported.
const LayerClass* FindLayerClass(std::string_view canonical_name);
std::span<const LayerClass> AllLayerClasses();

// Convenience for layers with one input and one output.
std::vector<KerasTensor> One(compute::Value value,
                             std::optional<compute::Value> mask = std::nullopt);

}  // namespace h5serve::model
