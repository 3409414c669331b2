#include "compute/ops/signal.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <complex>
#include <numbers>

#include "compute/ops/elementwise.h"
#include "compute/ops/fourier.h"
#include "compute/ops/strided_copy.h"

namespace h5serve::compute::ops {
namespace {

constexpr int64_t kMaxFftLength = int64_t{1} << 22;

class StftOp : public Op {
 public:
  StftOp(std::vector<float> window, int64_t hop, int64_t length)
      : window_(std::move(window)), hop_(hop), length_(length), transform_(length) {}
  std::string_view name() const override { return "Stft"; }

  absl::StatusOr<std::vector<ValueType>> Infer(const InferContext& context) const override {
    const Shape& from = context.shape(0);
    if (from.rank() < 1 || from.rank() >= kMaxRank || context.dtype(0) != DType::kFloat32 ||
        (from.back() != kUnknown && from.back() < length_)) {
      return absl::InvalidArgumentError(
          fmt::format("a transform of {} samples does not fit {}", length_, from.ToString()));
    }
    Shape shape = from;
    if (from.back() != kUnknown) shape.back() = (from.back() - length_) / hop_ + 1;
    shape.push_back(length_ / 2 + 1);
    return std::vector<ValueType>{{DType::kFloat32, shape}, {DType::kFloat32, shape}};
  }

  absl::Status Run(const RunContext& context) const override {
    const TensorView& in = context.input(0);
    const TensorView& real = context.output(0);
    const int rank = real.shape.rank();
    const int64_t bins = real.shape[rank - 1], frames = real.shape[rank - 2];
    const int64_t rows = Product(real.shape, 0, rank - 2);
    const int64_t samples = in.shape.back();
    context.ParallelFor(rows * frames, 4, [&](int64_t begin, int64_t end) {
      std::vector<std::complex<double>> frame(static_cast<size_t>(length_));
      for (int64_t i = begin; i < end; ++i) {
        const float* x = in.as<float>() + i / frames * samples + i % frames * hop_;
        for (int64_t s = 0; s < length_; ++s) frame[s] = static_cast<double>(x[s]) * window_[s];
        transform_.Forward(&frame);
        for (int64_t bin = 0; bin < bins; ++bin) {
          real.as<float>()[i * bins + bin] = static_cast<float>(frame[bin].real());
          context.output(1).as<float>()[i * bins + bin] = static_cast<float>(frame[bin].imag());
        }
      }
    });
    return absl::OkStatus();
  }

 private:
  std::vector<float> window_;
  int64_t hop_, length_;
  FourierTransform transform_;
};

}  // namespace

std::vector<Value> Stft(Graph& graph, Value x, const std::vector<float>& window, int64_t hop,
                        int64_t fft_length) {
  if (fft_length < 1 || fft_length > kMaxFftLength || hop < 1 ||
      static_cast<int64_t>(window.size()) != fft_length) {
    graph.Fail(absl::InvalidArgumentError(
        fmt::format("invalid transform: {} samples every {}", fft_length, hop)));
    return std::vector<Value>(2);
  }
  if (x.valid() && graph.dtype(x) != DType::kFloat32) x = Cast(graph, x, DType::kFloat32);
  return graph.Add(std::make_shared<StftOp>(window, hop, fft_length), {x});
}

}  // namespace h5serve::compute::ops
