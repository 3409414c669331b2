#include "compute/ops/dense.h"

#include <fmt/format.h>

namespace h5serve::compute::ops {
namespace {

int64_t RowsOf(const Shape& shape) {
  int64_t rows = 1;
  for (int axis = 0; axis + 1 < shape.rank(); ++axis) rows *= shape[axis];
  return rows;
}

}  // namespace

absl::StatusOr<std::vector<ValueType>> DenseOp::Infer(const InferContext& context) const {
  const Shape& x = context.shape(0);
  if (x.rank() < 1) return absl::InvalidArgumentError("Dense of a scalar");
  int64_t in = packed_.k(), out = packed_.n();
  if (HasInputKernel()) {
    const Shape& kernel = context.shape(1);
    if (kernel.rank() != 2) {
      return absl::InvalidArgumentError(
          fmt::format("Dense: the kernel must be a matrix, not {}", kernel.ToString()));
    }
    in = kernel[attributes_.transposed ? 1 : 0];
    out = kernel[attributes_.transposed ? 0 : 1];
  }
  if (x.back() != kUnknown && in != kUnknown && x.back() != in) {
    return absl::InvalidArgumentError(
        fmt::format("Dense: input {} does not fit a kernel of ({}, {})", x.ToString(), in, out));
  }
  if (HasInputBias() && !Compatible(context.shape(BiasInput()), Shape{out})) {
    return absl::InvalidArgumentError(fmt::format("Dense: bias {} does not fit {} units",
                                                  context.shape(BiasInput()).ToString(), out));
  }
  Shape shape = x;
  shape.back() = out;
  if (attributes_.addend && !Compatible(context.shape(AddendInput()), shape)) {
    return absl::InvalidArgumentError(fmt::format("Dense: addend {} does not fit {}",
                                                  context.shape(AddendInput()).ToString(),
                                                  shape.ToString()));
  }
  return std::vector<ValueType>{{DType::kFloat32, shape}};
}

absl::Status DenseOp::Run(const RunContext& context) const {
  const TensorView& x = context.input(0);
  const TensorView& y = context.output(0);
  kernels::GemmArguments gemm;
  gemm.rows = RowsOf(x.shape);
  gemm.k = x.shape.back();
  gemm.n = y.shape.back();
  gemm.a = x.as<float>();
  gemm.a_row_stride = gemm.k;
  gemm.c = y.as<float>();
  gemm.c_row_stride = gemm.n;
  if (HasInputKernel()) {
    const int64_t stride_k = attributes_.transposed ? 1 : gemm.n;
    const int64_t stride_n = attributes_.transposed ? gemm.k : 1;
    kernels::PackMatrix(context.input(1).as<float>(), gemm.k, gemm.n, stride_k, stride_n,
                        context.scratch<float>());
    gemm.b = context.scratch<float>();
  } else {
    gemm.b = packed_.data();
  }
  if (attributes_.bias) {
    gemm.bias = bias_.empty() ? context.input(BiasInput()).as<float>() : bias_.data<float>();
  }
  if (attributes_.addend) {
    gemm.addend = context.input(AddendInput()).as<float>();
    gemm.addend_row_stride = gemm.n;
  }
  gemm.activation = attributes_.activation;
  gemm.activation_p = attributes_.p;
  gemm.activation_q = attributes_.q;
  kernels::Gemm(gemm, context.parallelism());
  return absl::OkStatus();
}

int64_t DenseOp::ScratchBytes(std::span<const ValueType> inputs) const {
  if (!HasInputKernel()) return 0;
  const Shape& kernel = inputs[1].shape;
  const int out = attributes_.transposed ? 0 : 1;
  return kernels::PackedFloats(kernel[1 - out], kernel[out]) * 4;
}

double DenseOp::Flops(std::span<const ValueType> inputs) const {
  const Shape& x = inputs[0].shape;
  const int64_t out =
      HasInputKernel() ? inputs[1].shape[attributes_.transposed ? 0 : 1] : packed_.n();
  return 2.0 * static_cast<double>(x.num_elements()) * static_cast<double>(out);
}

std::shared_ptr<const Op> DenseOp::WithActivation(UnaryKind kind, float p, float q) const {
  if (attributes_.activation != UnaryKind::kIdentity || !HasInputKernel()) return nullptr;
  Attributes attributes = attributes_;
  attributes.activation = kind;
  attributes.p = p;
  attributes.q = q;
  return std::make_shared<DenseOp>(attributes);
}

std::shared_ptr<const Op> DenseOp::WithAddend() const {
  if (attributes_.activation != UnaryKind::kIdentity || attributes_.addend || !HasInputKernel()) {
    return nullptr;
  }
  Attributes attributes = attributes_;
  attributes.addend = true;
  return std::make_shared<DenseOp>(attributes);
}

std::optional<Shape> DenseOp::KernelFactorShape(const Shape& kernel) const {
  if (attributes_.activation != UnaryKind::kIdentity || attributes_.addend || !HasInputKernel()) {
    return std::nullopt;
  }
  if (attributes_.transposed) return Shape{kernel[0], 1};
  return Shape{kernel[1]};
}

std::shared_ptr<const Op> DenseOp::WithBias() const {
  if (attributes_.bias) return nullptr;
  Attributes attributes = attributes_;
  attributes.bias = true;
  return std::make_shared<DenseOp>(attributes);
}

Specialized DenseOp::Specialize(std::span<const ValueType> inputs,
                                std::span<const Tensor* const> constants) const {
  if (!HasInputKernel() || constants[1] == nullptr) return {};
  const Tensor& kernel = *constants[1];
  const int out = attributes_.transposed ? 0 : 1;
  const int64_t k = kernel.shape()[1 - out], n = kernel.shape()[out];
  auto op = std::make_shared<DenseOp>(attributes_);
  op->packed_ = kernels::PackedMatrix(kernel.data<float>(), k, n, attributes_.transposed ? 1 : n,
                                      attributes_.transposed ? k : 1);
  Specialized special;
  special.inputs = {0};
  if (attributes_.bias) {
    if (constants[2] != nullptr) {
      op->bias_ = *constants[2];
    } else {
      special.inputs.push_back(2);
    }
  }
  if (attributes_.addend) special.inputs.push_back(AddendInput());
  special.op = std::move(op);
  return special;
}

int64_t DenseOp::ConstantBytes() const {
  return packed_.size_bytes() + (bias_.empty() ? 0 : bias_.size_bytes());
}

}  // namespace h5serve::compute::ops
