// Products of rows with a matrix in 16-bit arithmetic.
#include "compute/dtype.h"
#include "compute/op.h"
#include "compute/ops/linear.h"

namespace h5serve::compute::ops {
namespace {

// NumPy multiplies matrices of float16 with float32 sums, rounded at the end, but
// those of ml_dtypes' bfloat16 with sums and products of bfloat16, in order.
class HalfProductOp : public Op {
 public:
  explicit HalfProductOp(DType half) : half_(half) {}
  std::string_view name() const override { return "HalfProduct"; }

  absl::StatusOr<std::vector<ValueType>> Infer(const InferContext& context) const override {
    const Shape& x = context.shape(0);
    const Shape& kernel = context.shape(1);
    if (x.rank() < 1 || kernel.rank() != 2 ||
        (x.back() != kUnknown && kernel[0] != kUnknown && x.back() != kernel[0])) {
      return absl::InvalidArgumentError("Dense: input " + x.ToString() +
                                        " does not fit a kernel of " + kernel.ToString());
    }
    Shape shape = x;
    shape.back() = kernel[1];
    return std::vector<ValueType>{{DType::kFloat32, shape}};
  }

  absl::Status Run(const RunContext& context) const override {
    const TensorView& x = context.input(0);
    const int64_t inner = x.shape.back();
    const int64_t units = context.input(1).shape[1];
    const float* const kernel = context.input(1).as<float>();
    float* y = context.output(0).as<float>();
    const int64_t outputs = context.output(0).shape.num_elements();
    const float* row = x.as<float>();
    for (int64_t at = 0; at < outputs; at += units, row += inner) {
      for (int64_t unit = 0; unit < units; ++unit) {
        *y++ = Dot(row, kernel + unit, inner, units);
      }
    }
    return absl::OkStatus();
  }

 private:
  float Dot(const float* row, const float* column, int64_t inner, int64_t stride) const {
    float sum = 0;
    for (int64_t k = 0; k < inner; ++k) {
      const float product = row[k] * column[k * stride];
      sum = half_ == DType::kBFloat16 ? Round(sum + Round(product)) : sum + product;
    }
    return half_ == DType::kBFloat16 ? sum : HalfToFloat(FloatToHalf(sum));
  }
  static float Round(float value) { return BFloat16ToFloat(FloatToBFloat16(value)); }

  const DType half_;
};

}  // namespace

Value HalfProduct(Graph& graph, Value x, Value kernel, DType half) {
  if (!x.valid()) return x;
  if (!kernel.valid()) return kernel;
  return graph.Add1(std::make_shared<HalfProductOp>(half), {x, kernel});
}

}  // namespace h5serve::compute::ops
