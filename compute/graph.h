// A graph of ops: what is to be computed, before it is compiled to a Program.
#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "compute/op.h"
#include "compute/tensor.h"

namespace h5serve::compute {

// A value of a graph: an input, a constant or an output of a node. The default
// is the invalid value that follows an error.
struct Value {
  int index = -1;

  bool valid() const { return index >= 0; }
  friend bool operator==(Value a, Value b) { return a.index == b.index; }
};

// Built value by value: each op's inputs exist before it, so nodes are in
// topological order. Errors stick: an op that refuses its inputs records its
// status, gives an invalid value, and every op on an invalid value gives an
// invalid one. Callers build freely and look at status() at the end of a part.
//
// Not thread-safe. Immutable once given to Program::Compile.
class Graph {
 public:
  struct ValueInfo {
    ValueType type;
    std::optional<Tensor> constant;
    int node = -1;  // producer, or -1 for inputs and constants
  };
  struct Node {
    std::shared_ptr<const Op> op;
    std::vector<Value> inputs;
    std::vector<Value> outputs;
    std::string label;  // the Keras layer it came from
  };

  // Adds an input; dimensions may be kUnknown. `dtype` is a GraphDType.
  Value Input(DType dtype, const Shape& shape);
  // Adds a constant; numeric types are converted to their GraphDType.
  Value Constant(const Tensor& tensor);
  // Adds a node and gives its outputs, all invalid on error. An op whose outputs
  // follow from constants (and known shapes) is run at once and adds constants
  // instead, unless they exceed the fold limit.
  std::vector<Value> Add(std::shared_ptr<const Op> op, std::vector<Value> inputs);
  // The same for an op with one output.
  Value Add1(std::shared_ptr<const Op> op, std::vector<Value> inputs);

  // Safe for invalid values: rank 0, float32.
  const Shape& shape(Value value) const;
  int rank(Value value) const { return shape(value).rank(); }
  DType dtype(Value value) const;
  // The tensor where the value is known before any request, otherwise null. The
  // pointer stays valid while the graph is only added to.
  const Tensor* constant(Value value) const;

  // First error since the last ClearStatus.
  const absl::Status& status() const { return status_; }
  void ClearStatus() { status_ = absl::OkStatus(); }
  // Records an error (the first one counts) and gives the invalid value.
  Value Fail(absl::Status status);

  // Largest number of elements of an output to compute while building.
  void set_fold_limit(int64_t elements) { fold_limit_ = elements; }

  // Label of the nodes added from now on.
  void set_label(std::string label) { label_ = std::move(label); }
  const std::string& label() const { return label_; }

  const std::vector<Node>& nodes() const { return nodes_; }
  const std::deque<ValueInfo>& values() const { return values_; }
  const std::vector<Value>& inputs() const { return inputs_; }

 private:
  Value NewValue(ValueInfo info);
  bool Fold(const Op& op, const std::vector<Value>& inputs, const std::vector<ValueType>& types,
            std::vector<Value>* outputs);

  std::vector<Node> nodes_;
  // A deque: constant() hands out pointers that must outlive later additions.
  std::deque<ValueInfo> values_;
  std::vector<Value> inputs_;
  absl::Status status_;
  std::string label_;
  int64_t fold_limit_ = int64_t{1} << 20;
};

}  // namespace h5serve::compute
