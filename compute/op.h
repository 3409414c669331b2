// The interface of an operation in a compute graph.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "compute/dtype.h"
#include "compute/shape.h"
#include "compute/tensor.h"

namespace h5serve::compute {

namespace ops {
enum class UnaryKind;
}  // namespace ops

class Op;

// Element type (a GraphDType) and shape of a value.
struct ValueType {
  DType dtype = DType::kFloat32;
  Shape shape;
};

// A tensor's memory as an op sees it while it runs.
struct TensorView {
  DType dtype = DType::kFloat32;
  Shape shape;
  void* data = nullptr;

  template <typename T>
  T* as() const {
    return static_cast<T*>(data);
  }
  int64_t size() const { return shape.num_elements(); }
};

// What is known of an op's inputs before it runs.
class InferContext {
 public:
  InferContext(std::span<const ValueType> inputs, std::span<const Tensor* const> constants)
      : inputs_(inputs), constants_(constants) {}

  int size() const { return static_cast<int>(inputs_.size()); }
  const ValueType& input(int i) const { return inputs_[i]; }
  const Shape& shape(int i) const { return inputs_[i].shape; }
  DType dtype(int i) const { return inputs_[i].dtype; }
  // The value of input i where it is already known, otherwise null.
  const Tensor* constant(int i) const { return constants_[i]; }

 private:
  std::span<const ValueType> inputs_;
  std::span<const Tensor* const> constants_;
};

// Splits work over threads. Implementations are thread-safe.
class Parallelism {
 public:
  virtual ~Parallelism() = default;
  // Calls body(begin, end) for ranges that cover [0, n), perhaps at once on
  // several threads, and returns when all are done. A range has at least
  // `grain` items, unless n has fewer.
  virtual void For(int64_t n, int64_t grain,
                   const std::function<void(int64_t, int64_t)>& body) const = 0;
  // How many ranges can run at once, at least 1.
  virtual int threads() const = 0;
};

// Inputs, outputs and scratch memory of one run of an op.
class RunContext {
 public:
  RunContext(std::span<const TensorView> inputs, std::span<const TensorView> outputs, void* scratch,
             const Parallelism* parallelism)
      : inputs_(inputs), outputs_(outputs), scratch_(scratch), parallelism_(parallelism) {}

  int num_inputs() const { return static_cast<int>(inputs_.size()); }
  const TensorView& input(int i) const { return inputs_[i]; }
  const TensorView& output(int i) const { return outputs_[i]; }
  // Op::ScratchBytes bytes, 64-byte aligned, uninitialised.
  template <typename T>
  T* scratch() const {
    return static_cast<T*>(scratch_);
  }
  // Calls body for ranges of [0, n); in one piece when there is one thread.
  template <typename Body>
  void ParallelFor(int64_t n, int64_t grain, const Body& body) const {
    if (parallelism_ == nullptr || n <= grain) {
      if (n > 0) body(int64_t{0}, n);
    } else {
      // By reference: a function object of many captures would be allocated.
      parallelism_->For(n, grain, std::ref(body));
    }
  }
  const Parallelism* parallelism() const { return parallelism_; }

 private:
  std::span<const TensorView> inputs_;
  std::span<const TensorView> outputs_;
  void* scratch_;
  const Parallelism* parallelism_;
};

// An op that has taken constant inputs into itself (see Op::Specialize).
struct Specialized {
  std::shared_ptr<const Op> op;
  std::vector<int> inputs;  // which inputs of the old op are the new op's, in order
};

// An operation with its attributes. Immutable after construction, so that any
// number of threads may run it at once.
class Op {
 public:
  virtual ~Op() = default;

  virtual std::string_view name() const = 0;

  // Types of the outputs for inputs of these types, whose dimensions may be
  // kUnknown. INVALID_ARGUMENT when the inputs do not fit; the message says
  // what was expected and what came. Called while a graph is built (unknown
  // dimensions allowed) and again for each concrete set of input shapes.
  virtual absl::StatusOr<std::vector<ValueType>> Infer(const InferContext& context) const = 0;

  // Computes the outputs. All shapes are known and were accepted by Infer. An
  // error means data that no output exists for (an index out of range), and is
  // INVALID_ARGUMENT.
  virtual absl::Status Run(const RunContext& context) const = 0;

  // Scratch memory that Run needs for inputs of these (known) types, in bytes.
  virtual int64_t ScratchBytes(std::span<const ValueType> inputs) const { return 0; }

  // True when output 0 has the elements of input 0 in the same order: it is
  // then given the same memory and Run is not called.
  virtual bool IsView() const { return false; }

  // True when Run may be given the same memory for input 0 and output 0
  // (element-wise ops of equal shape and type).
  virtual bool CanRunInPlace() const { return false; }

  // The same for another input i, when no other input is in that memory.
  virtual bool CanOverwrite(int input) const { return input == 0 && CanRunInPlace(); }

  // True when the outputs depend on the shape of input i, not on its elements:
  // Run may then find a null pointer there, and the input need not be computed.
  // An op whose other inputs are all known is run as soon as shapes are.
  virtual bool ReadsOnlyShape(int input) const { return false; }

  // The same op followed by an element function, or null when it cannot take
  // one (or has one already). Asked by the optimiser.
  virtual std::shared_ptr<const Op> WithActivation(ops::UnaryKind kind, float p, float q) const {
    return nullptr;
  }

  // The same op with one more input at the end, of the output's shape, that is
  // added before the activation; null when it cannot (or has one already, or
  // has an activation already).
  virtual std::shared_ptr<const Op> WithAddend() const { return nullptr; }

  // For ops that are linear in input 1 (the kernel), plus input 2 (the bias,
  // if there are three inputs), and have no activation or addend: the shape into
  // which a factor per output channel (last axis) is to be brought so that
  // kernel * factor gives output * factor. nullopt for all other ops.
  virtual std::optional<Shape> KernelFactorShape(const Shape& kernel) const { return std::nullopt; }
  // The same op with a bias as input 2 (a vector over the last axis of the
  // output). Asked only when KernelFactorShape is not nullopt and there is none.
  virtual std::shared_ptr<const Op> WithBias() const { return nullptr; }

  // True when each element of the only output depends on the elements of the
  // inputs at the same place alone (inputs broadcast).
  virtual bool IsElementwise() const { return false; }
  // For ops that do nothing but permute axes: output axis i is input axis p[i].
  virtual const std::vector<int>* Permutation() const { return nullptr; }
  // The op f' with f(T(x), T(y), …) = T(f'(x, y, …)) where T permutes axes by
  // `permutation`; null when there is none. Not asked of element-wise ops.
  virtual std::shared_ptr<const Op> Unpermuted(std::span<const int> permutation) const {
    return nullptr;
  }

  // Called once, after all optimisation: an op that has taken those inputs that
  // are constants (not null) into itself, in the form it computes with (packed
  // weights). A null op: stay as it is.
  virtual Specialized Specialize(std::span<const ValueType> inputs,
                                 std::span<const Tensor* const> constants) const {
    return {};
  }
  // Bytes of the constants inside the op.
  virtual int64_t ConstantBytes() const { return 0; }

  // Multiplications and additions of one run, for reports.
  virtual double Flops(std::span<const ValueType> inputs) const { return 0; }
};

}  // namespace h5serve::compute
