// Pool and AdaptivePool: the largest or the mean cell of windows.
#include <fmt/format.h>

#include <algorithm>

#include "compute/kernels/spatial_kernels.h"
#include "compute/ops/convolution.h"
#include "compute/ops/spatial.h"

namespace h5serve::compute::ops {
namespace {

// Rows of outputs that are worth a thread, by floats read.
int64_t RowGrain(int64_t floats_per_row) {
  return std::max<int64_t>(1, 65536 / std::max<int64_t>(floats_per_row, 1));
}

class PoolOp : public Op {
 public:
  PoolOp(PoolKind kind, std::vector<int64_t> sizes, WindowAttributes window, bool count_padding)
      : kind_(kind),
        sizes_(std::move(sizes)),
        window_(std::move(window)),
        count_padding_(count_padding) {}

  std::string_view name() const override { return "Pool"; }
  absl::StatusOr<std::vector<ValueType>> Infer(const InferContext& context) const override;
  absl::Status Run(const RunContext& context) const override;

 private:
  const PoolKind kind_;
  const std::vector<int64_t> sizes_;
  const WindowAttributes window_;
  const bool count_padding_;
};

absl::StatusOr<std::vector<ValueType>> PoolOp::Infer(const InferContext& context) const {
  const absl::StatusOr<int> spatial = CheckImages(name(), context.input(0));
  if (!spatial.ok()) return spatial.status();
  if (absl::Status status = CheckWindowAttributes(name(), window_, *spatial); !status.ok()) {
    return status;
  }
  if (static_cast<int>(sizes_.size()) != *spatial) {
    return absl::InvalidArgumentError(
        fmt::format("Pool: expected {} window sizes, got {}", *spatial, sizes_.size()));
  }
  const Shape& x = context.shape(0);
  Shape y{x[0]};
  for (int i = 0; i < *spatial; ++i) {
    const absl::StatusOr<int64_t> out = WindowOutput(name(), i, x[1 + i], sizes_[i], window_);
    if (!out.ok()) return out.status();
    if (!window_.same) {
      const auto [before, after] = window_.pads[i];
      if (before >= sizes_[i] || after >= sizes_[i] || x[1 + i] == 0) {
        return absl::InvalidArgumentError(
            fmt::format("Pool: windows of {} cells over {} cells padded by {} and {} may not "
                        "touch the input",
                        sizes_[i], x[1 + i], before, after));
      }
    }
    y.push_back(*out);
  }
  y.push_back(x.back());
  return std::vector<ValueType>{{DType::kFloat32, y}};
}

absl::Status PoolOp::Run(const RunContext& context) const {
  const Shape& x = context.input(0).shape;
  const WindowAxes axes = ResolveWindows(x, sizes_, window_);
  const auto& [deep, vertical, horizontal] = axes;
  const int64_t channels = x.back();
  const int64_t in_row = horizontal.in * channels;
  const int64_t image_floats = deep.in * vertical.in * in_row;
  const int64_t out_row = horizontal.out * channels;
  const int64_t window = deep.size * vertical.size * horizontal.size;
  const int64_t rows = x[0] * deep.out * vertical.out;
  const auto& table = kernels::GetSpatialKernels();

  const auto run = [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t row = i % axes[1].out;
      const int64_t depth = i / axes[1].out % axes[0].out;
      const int64_t image = i / axes[1].out / axes[0].out;
      const auto [first_plane, last_plane] = axes[0].InsideTaps(depth);
      const auto [first_row, last_row] = axes[1].InsideTaps(row);
      kernels::PoolRow r;
      r.planes = last_plane - first_plane;
      r.plane_stride = axes[1].in * in_row;
      r.rows = last_row - first_row;
      r.row_stride = in_row;
      r.x = context.input(0).as<float>() + image * image_floats +
            (axes[0].Start(depth) + first_plane) * r.plane_stride +
            (axes[1].Start(row) + first_row) * in_row;
      r.y = context.output(0).as<float>() + i * out_row;
      r.channels = channels;
      r.columns_in = axes[2].in;
      r.columns_out = axes[2].out;
      r.size = axes[2].size;
      r.stride = axes[2].stride;
      r.before = axes[2].before;
      r.average = kind_ == PoolKind::kAverage;
      r.divisor = count_padding_ ? window : 0;
      table.pool_row(r);
    }
  };
  context.ParallelFor(rows, RowGrain(in_row * vertical.size * deep.size), run);
  return absl::OkStatus();
}

class AdaptivePoolOp : public Op {
 public:
  AdaptivePoolOp(PoolKind kind, std::vector<int64_t> sizes)
      : kind_(kind), sizes_(std::move(sizes)) {}

  std::string_view name() const override { return "AdaptivePool"; }
  absl::StatusOr<std::vector<ValueType>> Infer(const InferContext& context) const override;
  absl::Status Run(const RunContext& context) const override;

 private:
  const PoolKind kind_;
  const std::vector<int64_t> sizes_;
};

absl::StatusOr<std::vector<ValueType>> AdaptivePoolOp::Infer(const InferContext& context) const {
  const absl::StatusOr<int> spatial = CheckImages(name(), context.input(0));
  if (!spatial.ok()) return spatial.status();
  if (static_cast<int>(sizes_.size()) != *spatial) {
    return absl::InvalidArgumentError(
        fmt::format("AdaptivePool: expected {} output sizes, got {}", *spatial, sizes_.size()));
  }
  const Shape& x = context.shape(0);
  Shape y{x[0]};
  for (int i = 0; i < *spatial; ++i) {
    if (sizes_[i] < 1 || sizes_[i] > kMaxWindow || x[1 + i] == 0) {
      return absl::InvalidArgumentError(
          fmt::format("AdaptivePool: cannot pool spatial axis {} of {} to {} cells", i,
                      x.ToString(), sizes_[i]));
    }
    y.push_back(sizes_[i]);
  }
  y.push_back(x.back());
  return std::vector<ValueType>{{DType::kFloat32, y}};
}

// Window of output `index` of `out` over `in` cells.
struct Range {
  int64_t first, last;
};
Range AdaptiveRange(int64_t in, int64_t out, int64_t index) {
  return {index * in / out, ((index + 1) * in + out - 1) / out};
}

absl::Status AdaptivePoolOp::Run(const RunContext& context) const {
  const Shape& x = context.input(0).shape;
  const int spatial = x.rank() - 2;
  std::array<int64_t, kMaxSpatial> in = {1, 1, 1};
  std::array<int64_t, kMaxSpatial> out = {1, 1, 1};
  for (int i = 0; i < spatial; ++i) {
    in[kMaxSpatial - spatial + i] = x[1 + i];
    out[kMaxSpatial - spatial + i] = sizes_[i];
  }
  const int64_t channels = x.back();
  const int64_t in_row = in[2] * channels;
  const auto& table = kernels::GetSpatialKernels();

  const auto run = [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t image = i / out[1] / out[0];
      const Range planes = AdaptiveRange(in[0], out[0], i / out[1] % out[0]);
      const Range rows = AdaptiveRange(in[1], out[1], i % out[1]);
      for (int64_t column = 0; column < out[2]; ++column) {
        const Range cells = AdaptiveRange(in[2], out[2], column);
        kernels::PoolRow r;
        r.planes = planes.last - planes.first;
        r.plane_stride = in[1] * in_row;
        r.rows = rows.last - rows.first;
        r.row_stride = in_row;
        r.x = context.input(0).as<float>() +
              ((image * in[0] + planes.first) * in[1] + rows.first) * in_row +
              cells.first * channels;
        r.y = context.output(0).as<float>() + (i * out[2] + column) * channels;
        r.channels = channels;
        r.columns_in = r.size = cells.last - cells.first;
        r.columns_out = 1;
        r.average = kind_ == PoolKind::kAverage;
        table.pool_row(r);
      }
    }
  };
  context.ParallelFor(x[0] * out[0] * out[1], RowGrain(in[0] * in[1] * in_row / (out[0] * out[1])),
                      run);
  return absl::OkStatus();
}

}  // namespace

Value Pool(Graph& graph, Value x, const PoolAttributes& attributes) {
  WindowAttributes window;
  window.strides = attributes.strides.empty() ? attributes.sizes : attributes.strides;
  window.same = attributes.same;
  window.pads = attributes.pads;
  return graph.Add1(
      std::make_shared<PoolOp>(attributes.kind, attributes.sizes,
                               Completed(std::move(window), graph.rank(x) - 2),
                               attributes.count_padding && attributes.kind == PoolKind::kAverage),
      {x});
}

Value AdaptivePool(Graph& graph, Value x, PoolKind kind, const std::vector<int64_t>& output_size) {
  return graph.Add1(std::make_shared<AdaptivePoolOp>(kind, output_size), {x});
}

}  // namespace h5serve::compute::ops
