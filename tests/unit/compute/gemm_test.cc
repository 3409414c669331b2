#include "compute/kernels/gemm.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

#include "compute/worker_pool.h"
#include "tests/unit/compute/per_isa.h"

namespace h5serve::compute {
namespace {

using kernels::GemmArguments;
using ops::UnaryKind;

struct Problem {
  int64_t blocks = 1, rows = 1, segments = 1, k = 1, n = 1;
  bool bias = false, addend = false;
  UnaryKind activation = UnaryKind::kIdentity;
  int64_t a_row_stride = 0;  // 0: rows do not overlap
};

std::vector<float> Random(int64_t count, uint32_t seed) {
  std::mt19937 generator(seed);
  std::uniform_real_distribution<float> uniform(-1, 1);
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) value = uniform(generator);
  return values;
}

double Activate(UnaryKind kind, double x) {
  if (kind == UnaryKind::kRelu) return std::max(x, 0.0);
  if (kind == UnaryKind::kClip) return std::clamp(x, 0.0, 6.0);
  if (kind == UnaryKind::kTanh) return std::tanh(x);
  return x;
}

class GemmTest : public PerIsaTest {
 protected:
  void Check(const Problem& problem) {
    const int64_t segment_k = problem.k / problem.segments;
    const int64_t row_stride = problem.a_row_stride > 0 ? problem.a_row_stride : segment_k + 3;
    const int64_t segment_stride = problem.rows * row_stride + segment_k + 5;
    const int64_t block_stride = segment_stride + 7;
    const int64_t a_size =
        problem.blocks * block_stride + problem.segments * segment_stride + segment_k + 64;
    const std::vector<float> a = Random(a_size, 1), b = Random(problem.k * problem.n, 2);
    const std::vector<float> bias = Random(problem.n, 3);
    const int64_t c_row = problem.n + 2, c_block = problem.rows * c_row + 1;
    const std::vector<float> addend = Random(problem.blocks * c_block, 4);
    std::vector<float> c(static_cast<size_t>(problem.blocks * c_block), 77.0f);
    alignas(64) static float packed[1 << 20];
    ASSERT_LE(problem.k * (problem.n + kernels().panel_columns), 1 << 20);
    kernels().pack(b.data(), problem.k, problem.n, problem.n, 1, packed);
    GemmArguments g;
    g.blocks = problem.blocks;
    g.rows = problem.rows;
    g.segments = problem.segments;
    g.a = a.data();
    g.a_block_stride = block_stride;
    g.a_row_stride = row_stride;
    g.a_segment_stride = segment_stride;
    g.b = packed;
    g.k = problem.k;
    g.n = problem.n;
    g.c = c.data();
    g.c_block_stride = c_block;
    g.c_row_stride = c_row;
    g.bias = problem.bias ? bias.data() : nullptr;
    g.addend = problem.addend ? addend.data() : nullptr;
    g.addend_block_stride = c_block;
    g.addend_row_stride = c_row;
    g.activation = problem.activation;
    g.activation_q = 6;

    const int64_t panels = (problem.n + kernels().panel_columns - 1) / kernels().panel_columns;
    kernels().gemm(g, {0, problem.blocks, 0, problem.rows, 0, panels});

    for (int64_t block = 0; block < problem.blocks; ++block) {
      for (int64_t row = 0; row < problem.rows; ++row) {
        for (int64_t column = 0; column < c_row; ++column) {
          const int64_t at = block * c_block + row * c_row + column;
          if (column >= problem.n) {
            ASSERT_EQ(c[at], 77.0f) << "written beyond the row";
            continue;
          }
          double sum = problem.bias ? bias[column] : 0;
          for (int64_t i = 0; i < problem.k; ++i) {
            sum += static_cast<double>(a[block * block_stride + row * row_stride +
                                         i / segment_k * segment_stride + i % segment_k]) *
                   b[i * problem.n + column];
          }
          if (problem.addend) sum += addend[at];
          const double expected = Activate(problem.activation, sum);
          ASSERT_NEAR(c[at], expected, 1e-5 * (1 + std::sqrt(static_cast<double>(problem.k))))
              << "block " << block << " row " << row << " column " << column;
        }
      }
    }
  }
};

TEST_P(GemmTest, EveryHeightAndWidth) {
  for (int64_t rows = 1; rows <= 30; ++rows) {
    for (int64_t n : {1, 3, 4, 7, 8, 9, 16, 17, 31, 32, 33, 40, 70}) {
      ASSERT_NO_FATAL_FAILURE(Check({.rows = rows, .k = 19, .n = n, .bias = rows % 2 == 0}));
    }
  }
}

TEST_P(GemmTest, EveryDepth) {
  for (int64_t k = 1; k <= 40; ++k) {
    for (int64_t rows : {1, 2, 3, 5, 14}) {
      ASSERT_NO_FATAL_FAILURE(Check({.rows = rows, .k = k, .n = 33}));
    }
  }
}

TEST_P(GemmTest, DeepProductsAreCut) {
  Check({.rows = 40, .k = 4500, .n = 40, .bias = true, .activation = UnaryKind::kRelu});
  Check({.rows = 1, .k = 4500, .n = 40, .bias = true});
  Check({.rows = 40,
         .k = 4500,
         .n = 40,
         .bias = true,
         .addend = true,
         .activation = UnaryKind::kTanh});
}

TEST_P(GemmTest, ManyRowsGoInBlocks) { Check({.rows = 1000, .k = 200, .n = 70, .addend = true}); }

TEST_P(GemmTest, EpilogueAddsThenActivates) {
  for (UnaryKind kind :
       {UnaryKind::kIdentity, UnaryKind::kRelu, UnaryKind::kClip, UnaryKind::kTanh}) {
    Check({.rows = 9, .k = 5, .n = 37, .bias = true, .addend = true, .activation = kind});
  }
}

TEST_P(GemmTest, RowsMayOverlapAndHaveSegments) {
  Check({.blocks = 5,
         .rows = 11,
         .segments = 3,
         .k = 3 * 12,
         .n = 21,
         .bias = true,
         .a_row_stride = 4});
  Check({.blocks = 30,
         .rows = 3,
         .segments = 3,
         .k = 3 * 12,
         .n = 33,
         .activation = UnaryKind::kTanh,
         .a_row_stride = 4});
  Check({.blocks = 3,
         .rows = 70,
         .segments = 3,
         .k = 3 * 900,
         .n = 20,
         .bias = true,
         .addend = true,
         .activation = UnaryKind::kRelu,
         .a_row_stride = 300});
}

TEST_P(GemmTest, NoDepthGivesTheBias) {
  const std::vector<float> bias = {1, -2, 3};
  std::vector<float> c(6, 9);
  GemmArguments g;
  g.rows = 2;
  g.n = 3;
  g.c = c.data();
  g.c_row_stride = 3;
  g.bias = bias.data();
  alignas(64) float nothing[1] = {};
  g.a = g.b = nothing;

  kernels().gemm(g, {0, 1, 0, 2, 0, 1});

  EXPECT_EQ(c, (std::vector<float>{1, -2, 3, 1, -2, 3}));
}

INSTANTIATE_TEST_SUITE_P(EveryIsa, GemmTest, testing::ValuesIn(kernels::AvailableKernels()),
                         IsaTestName);

TEST(GemmSplitTest, ThreadsGiveTheSameResult) {
  WorkerPool pool(2);
  struct Size {
    int64_t blocks, rows, k, n;
  };
  for (const Size& size :
       {Size{1, 500, 300, 100}, Size{1, 8, 1000, 1000}, Size{40, 20, 100, 100}}) {
    const int64_t rows = size.blocks * size.rows;
    const std::vector<float> a = Random(rows * size.k, 5), b = Random(size.k * size.n, 6);
    const kernels::PackedMatrix packed(b.data(), size.k, size.n, size.n, 1);
    std::vector<float> one(static_cast<size_t>(rows * size.n)), two = one;
    GemmArguments g;
    g.blocks = size.blocks;
    g.rows = size.rows;
    g.a = a.data();
    g.a_row_stride = size.k;
    g.a_block_stride = size.rows * size.k;
    g.b = packed.data();
    g.k = size.k;
    g.n = size.n;
    g.c_row_stride = size.n;
    g.c_block_stride = size.rows * size.n;
    g.activation = UnaryKind::kTanh;

    g.c = one.data();
    kernels::Gemm(g);
    g.c = two.data();
    kernels::Gemm(g, &pool);

    for (size_t i = 0; i < one.size(); ++i) ASSERT_NEAR(one[i], two[i], 1e-5);
  }
}

}  // namespace
}  // namespace h5serve::compute
