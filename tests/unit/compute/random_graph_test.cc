// Random small graphs of element-wise and linear ops, optimised and not, on one
// thread and two, against the same graph in double precision.
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "compute/ops/elementwise.h"
#include "compute/ops/linear.h"
#include "compute/ops/shape_ops.h"
#include "compute/program.h"
#include "compute/worker_pool.h"
#include "tests/unit/compute/evaluate.h"

namespace h5serve::compute {
namespace {

constexpr int64_t kRows = 3;
constexpr int64_t kChannels = 5;

// A value of shape (batch, kRows, kChannels) or, transposed, (batch, kChannels, kRows).
struct Both {
  Value value;
  std::vector<double> exact;
  bool transposed = false;
};

class RandomGraph {
 public:
  explicit RandomGraph(uint32_t seed) : random_(seed) {
    input_ = Noise(Shape{kBatch, kRows, kChannels}, seed + 1);
    const Value x = graph_.Input(DType::kFloat32, Shape{kUnknown, kRows, kChannels});
    values_.push_back({x, AsNumbers(input_), false});
  }

  void Grow() {
    const int which = Pick(6);
    const Both& x = values_[values_.size() - 1 - Pick(std::min<int>(3, values_.size()))];
    Both result;
    if (which == 0 && !x.transposed) {
      result = Dense(x);
    } else if (which == 1) {
      result = Transposed(x);
    } else if (which == 2) {
      result = Scaled(x);
    } else if (which == 3) {
      result = Activated(x);
    } else {
      result = Combined(x);
    }
    values_.push_back(std::move(result));
  }

  void Check() {
    std::vector<Value> outputs = {values_.back().value, values_[values_.size() / 2].value};
    WorkerPool pool(2);
    for (bool optimize : {false, true}) {
      Program::Options options;
      options.optimize = optimize;
      auto program = Program::Compile(graph_, outputs, options);
      ASSERT_TRUE(program.ok()) << program.status();
      for (const Parallelism* parallelism :
           {static_cast<const Parallelism*>(nullptr), static_cast<const Parallelism*>(&pool)}) {
        std::vector<Tensor> results;
        ASSERT_TRUE((*program)->Run({{input_}}, parallelism, &results).ok());
        Compare(results[0], values_.back().exact);
        Compare(results[1], values_[values_.size() / 2].exact);
      }
    }
  }

 private:
  static constexpr int64_t kBatch = 2;

  int Pick(int n) { return std::uniform_int_distribution<int>(0, n - 1)(random_); }
  uint32_t Seed() { return random_(); }

  static void Compare(const Tensor& tensor, const std::vector<double>& exact) {
    const std::vector<double> numbers = AsNumbers(tensor);
    ASSERT_EQ(numbers.size(), exact.size());
    double largest = 1;
    for (double value : exact) largest = std::max(largest, std::fabs(value));
    for (size_t i = 0; i < exact.size(); ++i) ASSERT_NEAR(numbers[i], exact[i], 2e-5 * largest);
  }

  Both Dense(const Both& x) {
    const Tensor kernel = Noise(Shape{kChannels, kChannels}, Seed());
    const Tensor bias = Noise(Shape{kChannels}, Seed());
    const bool with_bias = Pick(2) == 0;
    Both y;
    y.value = ops::Dense(graph_, x.value, graph_.Constant(kernel),
                         with_bias ? graph_.Constant(bias) : Value());
    y.exact.resize(x.exact.size());
    for (size_t i = 0; i < y.exact.size(); ++i) {
      const size_t row = i / kChannels, column = i % kChannels;
      double sum = with_bias ? bias.data<float>()[column] : 0;
      for (size_t k = 0; k < kChannels; ++k) {
        sum += x.exact[row * kChannels + k] * kernel.data<float>()[k * kChannels + column];
      }
      y.exact[i] = sum;
    }
    return y;
  }

  Both Transposed(const Both& x) {
    Both y;
    y.transposed = !x.transposed;
    y.value = ops::Transpose(graph_, x.value, {0, 2, 1});
    y.exact.resize(x.exact.size());
    const int64_t rows = x.transposed ? kChannels : kRows,
                  columns = x.transposed ? kRows : kChannels;
    for (int64_t b = 0; b < kBatch; ++b) {
      for (int64_t i = 0; i < rows; ++i) {
        for (int64_t j = 0; j < columns; ++j) {
          y.exact[(b * columns + j) * rows + i] = x.exact[(b * rows + i) * columns + j];
        }
      }
    }
    return y;
  }

  // A factor or summand per channel.
  Both Scaled(const Both& x) {
    const Tensor constant = Noise(x.transposed ? Shape{kChannels, 1} : Shape{kChannels}, Seed());
    const bool add = Pick(2) == 0;
    Both y;
    y.transposed = x.transposed;
    y.value = ops::Binary(graph_, add ? ops::BinaryKind::kAdd : ops::BinaryKind::kMultiply, x.value,
                          graph_.Constant(constant));
    for (size_t i = 0; i < x.exact.size(); ++i) {
      const size_t channel = x.transposed ? i / kRows % kChannels : i % kChannels;
      const double c = constant.data<float>()[channel];
      y.exact.push_back(add ? x.exact[i] + c : x.exact[i] * c);
    }
    return y;
  }

  Both Activated(const Both& x) {
    const int which = Pick(3);
    Both y;
    y.transposed = x.transposed;
    y.value = ops::Unary(graph_,
                         which == 0   ? ops::UnaryKind::kRelu
                         : which == 1 ? ops::UnaryKind::kTanh
                                      : ops::UnaryKind::kSigmoid,
                         x.value);
    for (double value : x.exact) {
      y.exact.push_back(which == 0   ? std::max(value, 0.0)
                        : which == 1 ? std::tanh(value)
                                     : 1 / (1 + std::exp(-value)));
    }
    return y;
  }

  Both Combined(const Both& x) {
    const Both* other = nullptr;
    for (const Both& candidate : values_) {
      if (candidate.transposed == x.transposed && (other == nullptr || Pick(2) == 0)) {
        other = &candidate;
      }
    }
    Both y;
    y.transposed = x.transposed;
    y.value = ops::Add(graph_, other->value, x.value);
    for (size_t i = 0; i < x.exact.size(); ++i) y.exact.push_back(x.exact[i] + other->exact[i]);
    return y;
  }

  std::mt19937 random_;
  Graph graph_;
  Tensor input_;
  std::vector<Both> values_;
};

TEST(RandomGraphTest, AgreesWithDoublePrecision) {
  for (uint32_t seed = 0; seed < 300; ++seed) {
    SCOPED_TRACE(seed);
    RandomGraph graph(seed * 7919);
    for (int i = 0; i < 4 + static_cast<int>(seed % 12); ++i) graph.Grow();
    ASSERT_NO_FATAL_FAILURE(graph.Check());
  }
}

}  // namespace
}  // namespace h5serve::compute
