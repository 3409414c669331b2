// One table from the functions people call in Keras models to ops, whatever
// library they called them through: keras.ops, keras.backend, tf, numpy.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "compute/graph.h"
#include "model/config_value.h"
#include "model/keras_model.h"

namespace h5serve::model {

// Where a symbol comes from: decides its name, parameters and conventions.
enum class FunctionNamespace {
  kKerasOps,        // keras.ops.mean, also nn.relu, image.resize, activations.relu
  kKerasOperation,  // classes of Keras 3 graphs: Mean, GetItem
  kBackend,         // keras.backend.mean (K.mean)
  kTensorflow,      // tf.math.reduce_mean, __operators__.add, compat.v1.transpose
  kTensorflowNode,  // op types of TensorFlow graphs: AddV2, StridedSlice
  kNumpy,           // numpy.mean
};

// A value as Python sees it: a tensor of the graph, a constant (None is null),
// a list or tuple, or what stands between the brackets of x[…].
struct FunctionArgument {
  enum class Kind { kConstant, kTensor, kList, kSlice, kEllipsis };

  Kind kind = Kind::kConstant;
  ConfigValue constant;
  compute::Value tensor;
  std::vector<FunctionArgument> list;  // kSlice: start, stop, step

  static FunctionArgument Constant(ConfigValue value);
  static FunctionArgument Tensor(compute::Value value);
  static FunctionArgument List(std::vector<FunctionArgument> items);
  static FunctionArgument Tensors(const std::vector<compute::Value>& values);
  static FunctionArgument Slice(FunctionArgument start, FunctionArgument stop,
                                FunctionArgument step);

  bool is_tensor() const { return kind == Kind::kTensor; }
  bool is_list() const { return kind == Kind::kList; }
  bool is_constant() const { return kind == Kind::kConstant; }
  bool is_null() const { return is_constant() && constant.is_null(); }
  // True when no tensor stands anywhere inside.
  bool is_static() const;
};

// What a call may depend on besides its arguments.
struct FunctionContext {
  compute::Graph* graph = nullptr;
  Writer writer;                // formulas that changed between versions
  bool channels_first = false;  // image_data_format of the writer
};

using KeywordArguments = std::map<std::string, FunctionArgument, std::less<>>;

// Calls the function that `symbol` names in its namespace, folding where all
// arguments are constants. Fails with
//   NOT_FOUND: no such function; the message names the nearest ones,
//   UNIMPLEMENTED: an argument value that is not supported,
//   INVALID_ARGUMENT: arguments that do not fit (shapes, types, missing ones).
absl::StatusOr<FunctionArgument> CallFunction(const FunctionContext& context,
                                              FunctionNamespace name_space, std::string_view symbol,
                                              const std::vector<FunctionArgument>& args,
                                              const KeywordArguments& kwargs);

// True when the namespace has the symbol.
bool HasFunction(FunctionNamespace name_space, std::string_view symbol);
// Up to three supported symbols that look most like `symbol`.
std::vector<std::string> NearestFunctions(FunctionNamespace name_space, std::string_view symbol);
// All symbols of a namespace, sorted, for documentation.
std::vector<std::string> AllFunctions(FunctionNamespace name_space);

// The tensor for an argument: numbers and lists of numbers become constants,
// lists of tensors are stacked. Invalid, with the graph's status set, where
// there is none.
compute::Value ToTensor(compute::Graph& graph, const FunctionArgument& argument);

}  // namespace h5serve::model
