// The canonical form of a Keras model: one meaning, whatever wrote the file.
//
// The dialect readers turn every Keras version's JSON into this form; layers
// are lowered from it. Class names, argument names and values are those of
// Keras 2.x/3.x (Conv2D, units, channels_last, …): what Keras 1 called nb_filter
// is `filters` here.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "compute/dtype.h"
#include "compute/shape.h"
#include "compute/tensor.h"
#include "model/config_value.h"

namespace h5serve::model {

// Who wrote the file: decides defaults and formulas where the versions differ.
struct Writer {
  enum class Dialect { kKeras1, kKeras2, kTfKeras, kKeras3 };

  std::string version;  // as written, "2.2.4-tf"; "" when the file does not say
  int major = 0, minor = 0, patch = 0;
  Dialect dialect = Dialect::kKeras2;
  std::string backend;  // as written or inferred; "" when unknown
  // Kernels are stored flipped and padding follows Theano's rules.
  bool theano = false;

  bool AtLeast(int major_version, int minor_version, int patch_version = 0) const;
};

std::string_view Name(Writer::Dialect dialect);  // "keras1", "keras2", "tf.keras", "keras3"

// Output `tensor` of call number `call` (from 0) of layer `layer` (an index
// into KerasModel::layers).
struct TensorRef {
  int layer = -1;
  int call = 0;
  int tensor = 0;
};

// An argument of a layer call: a tensor, a constant, or a list or dict of arguments.
struct Argument {
  enum class Kind { kConstant, kTensor, kList, kDict };

  Kind kind = Kind::kConstant;
  ConfigValue constant;
  TensorRef tensor;
  std::vector<Argument> list;
  std::map<std::string, Argument> dict;
};

// One call of a layer.
struct Call {
  std::vector<Argument> args;
  std::map<std::string, Argument> kwargs;
};

struct CustomDefinition;
struct KerasModel;

struct Layer {
  std::string name;
  std::string class_name;     // canonical: "Conv2D"
  std::string written_class;  // as the file writes it: "Convolution2D", "Custom>Foo"
  std::string module;         // Keras 3: "keras.layers", otherwise ""
  std::string registered_name;
  bool is_operation = false;  // a keras.ops operation, not a layer (Keras 3)
  bool trainable = true;
  ConfigValue config;                         // canonical argument names, without inner layers
  std::string json_pointer;                   // of the layer in model_config
  std::unique_ptr<KerasModel> nested;         // class Functional or Sequential
  std::vector<std::unique_ptr<Layer>> inner;  // of wrappers: wrapped layer, cells; see dialect/
  std::vector<Call> calls;
  // How somebody's own class or function is served (see custom/); null for what
  // Keras has. With it, the config as stored.
  std::shared_ptr<const CustomDefinition> custom;
  ConfigValue saved_config;
  // Names of the arrays in the file's order, of a class that nobody knows.
  std::vector<std::string> saved_weights;
};

// A model: layers in the file's order, and how they are wired.
struct KerasModel {
  std::string name;
  std::string class_name;  // "Sequential" or "Functional"
  std::vector<std::unique_ptr<Layer>> layers;
  std::vector<TensorRef> inputs;  // outputs of InputLayers
  std::vector<TensorRef> outputs;
  std::vector<std::string> input_names;  // as Keras names them, unique
  std::vector<std::string> output_names;
};

}  // namespace h5serve::model
