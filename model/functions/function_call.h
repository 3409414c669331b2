// What the implementation of a function sees of one call.
#pragma once

#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "model/functions/function_table.h"

namespace h5serve::model {

// The arguments of a call by canonical parameter name. Getters take the default
// for an absent or None argument; the first thing that is wrong is recorded and
// a harmless value given. Implementations look at ok() before they use what
// might be wrong.
class FunctionCall {
 public:
  FunctionCall(const FunctionContext& context, FunctionNamespace name_space,
               KeywordArguments arguments)
      : context_(context), name_space_(name_space), arguments_(std::move(arguments)) {}

  compute::Graph& graph() const { return *context_.graph; }
  const FunctionContext& context() const { return context_; }
  FunctionNamespace name_space() const { return name_space_; }
  bool is_tensorflow() const {
    return name_space_ == FunctionNamespace::kTensorflow ||
           name_space_ == FunctionNamespace::kTensorflowNode;
  }

  bool Has(std::string_view name) const;  // present and not None
  // A None constant when absent.
  const FunctionArgument& Get(std::string_view name) const;

  compute::Value Tensor(std::string_view name);                // required
  compute::Value OptionalTensor(std::string_view name);        // invalid when absent
  std::vector<compute::Value> Tensors(std::string_view name);  // of a list, or of one tensor
  int64_t Int(std::string_view name, int64_t otherwise);
  std::optional<int64_t> OptionalInt(std::string_view name);
  int64_t RequiredInt(std::string_view name);
  double Float(std::string_view name, double otherwise);
  bool Bool(std::string_view name, bool otherwise);
  std::string String(std::string_view name, std::string_view otherwise);
  // An integer counts as a list of one; nullopt when absent.
  std::optional<std::vector<int64_t>> Ints(std::string_view name);
  // `count` integers: one is repeated. tf's lists over all four or five axes of
  // an image are cut to the spatial ones (see channels_first).
  std::vector<int64_t> SpatialInts(std::string_view name, int count, int64_t otherwise,
                                   bool channels_first);
  // nullopt when absent; unknown names fail.
  std::optional<compute::DType> DType(std::string_view name);
  // True for channels_first, NCHW, NCW, …
  bool ChannelsFirst(std::string_view name);

  // A shape whose dimensions may come from tensors: `fixed` when all are
  // constants (-1 and None are kUnknown), otherwise the int64 vector.
  struct ShapeArgument {
    std::optional<compute::Shape> fixed;
    compute::Value value;
  };
  ShapeArgument Shape(std::string_view name);

  // Records the first failure and gives None.
  FunctionArgument Fail(absl::Status status);
  FunctionArgument Unsupported(std::string_view name, std::string_view why);
  FunctionArgument Invalid(std::string message);
  bool ok() const { return status_.ok() && context_.graph->status().ok(); }
  absl::Status status() const { return status_.ok() ? context_.graph->status() : status_; }

 private:
  const FunctionContext& context_;
  FunctionNamespace name_space_;
  KeywordArguments arguments_;
  absl::Status status_;
};

// The integers in an argument that is known while the graph is built; nullopt
// for anything else. `None` inside a list counts as -1.
std::optional<std::vector<int64_t>> KnownInts(const compute::Graph& graph,
                                              const FunctionArgument& argument);

using FunctionBody = FunctionArgument (*)(FunctionCall& call);

// A function: its canonical name, keras.ops' parameters in order, and what it
// does. See Signature in function_table.cc for the grammar of `parameters`.
struct FunctionRow {
  std::string_view name;
  std::string_view parameters;
  FunctionBody body;
};

// Another namespace's name for a canonical function, with its parameters.
struct AliasRow {
  std::string_view symbol;
  std::string_view function;
  std::string_view parameters;  // empty: as the canonical function
};

std::span<const FunctionRow> ElementwiseFunctions();
std::span<const FunctionRow> ActivationFunctions();
std::span<const FunctionRow> ReductionFunctions();
std::span<const FunctionRow> ShapeFunctions();
std::span<const FunctionRow> IndexFunctions();
std::span<const FunctionRow> DiagonalFunctions();
std::span<const FunctionRow> CreationFunctions();
std::span<const FunctionRow> LinearFunctions();
std::span<const FunctionRow> NeuralFunctions();
std::span<const FunctionRow> ImageFunctions();
std::span<const FunctionRow> ColorFunctions();
std::span<const FunctionRow> QuantizationFunctions();
std::span<const FunctionRow> TextFunctions();

std::span<const AliasRow> OperationAliases();
std::span<const AliasRow> BackendAliases();
std::span<const AliasRow> TensorflowAliases();
std::span<const AliasRow> TensorflowNodeAliases();
std::span<const AliasRow> NumpyAliases();

}  // namespace h5serve::model
