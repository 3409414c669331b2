#include "compute/ops/affine.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "compute/kernels/dispatch.h"
#include "compute/ops/small_rows.h"

namespace h5serve::compute::ops {

absl::StatusOr<std::vector<ValueType>> AffineOp::Infer(const InferContext& context) const {
  const Shape& x = context.shape(0);
  const Shape channels{x.rank() == 0 ? 1 : x.back()};
  if (x.rank() == 0 || !Compatible(context.shape(1), channels) ||
      !Compatible(context.shape(2), channels)) {
    return absl::InvalidArgumentError(fmt::format("{} and {} do not fit the channels of {}",
                                                  context.shape(1).ToString(),
                                                  context.shape(2).ToString(), x.ToString()));
  }
  return std::vector<ValueType>{context.input(0)};
}

absl::Status AffineOp::Run(const RunContext& context) const {
  const TensorView& input = context.input(0);
  const float* x = input.as<float>();
  float* y = context.output(0).as<float>();
  if (input.size() == 0) return absl::OkStatus();
  const kernels::KernelTable& kernels = kernels::Kernels();
  float low = -std::numeric_limits<float>::infinity();
  float high = -low;
  if (activation_ == UnaryKind::kRelu) low = 0;
  if (activation_ == UnaryKind::kClip) {
    low = p_;
    high = q_;
  }
  const bool after = activation_ != UnaryKind::kIdentity && activation_ != UnaryKind::kRelu &&
                     activation_ != UnaryKind::kClip;
  const int64_t channels = input.shape.back();
  const SmallRows scale(context.input(1).as<float>(), channels);
  const SmallRows shift(context.input(2).as<float>(), channels);
  const auto body = [&](int64_t begin, int64_t end) {
    scale.ForEach(begin, end, [&](int64_t row, int64_t rows, int64_t width) {
      const float* from = x + row * channels;
      float* to = y + row * channels;
      kernels.affine(from, scale.data(), shift.data(), low, high, to, rows, width);
      if (after) kernels.unary(activation_, p_, q_, to, to, rows * width);
    });
  };
  context.ParallelFor(input.size() / channels, 32768 / channels + 1, body);
  return absl::OkStatus();
}

std::shared_ptr<const Op> AffineOp::WithActivation(UnaryKind kind, float p, float q) const {
  if (activation_ != UnaryKind::kIdentity) return nullptr;
  return std::make_shared<AffineOp>(kind, p, q);
}

}  // namespace h5serve::compute::ops
