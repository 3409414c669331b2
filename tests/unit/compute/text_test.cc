#include "compute/ops/text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <numbers>

#include "compute/ops/fourier.h"
#include "compute/ops/hash.h"
#include "compute/ops/signal.h"
#include "tests/unit/compute/evaluate.h"

namespace h5serve::compute::ops {
namespace {

using ::testing::DoubleNear;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pointwise;
using Values = std::vector<Value>;

std::vector<std::string> Texts(const Tensor& input,
                               const std::function<Value(Graph&, Value)>& build) {
  const auto result =
      Evaluate({input}, [&](Graph& g, const Values& x) { return Values{build(g, x[0])}; });
  EXPECT_TRUE(result.ok()) << result.status();
  if (!result.ok()) return {};
  const std::string* data = result->at(0).data<std::string>();
  return {data, data + result->at(0).num_elements()};
}

// Buckets that Keras' documentation of Hashing prints.
TEST(HashTest, FillsTheBucketsThatKerasDocuments) {
  const Tensor x = Tensor::Strings({5, 1}, {"A", "B", "C", "D", "E"});
  HashAttributes attributes;
  attributes.bins = 3;
  const auto buckets = [&](const Tensor& t) {
    return Numbers({t},
                   [&](Graph& g, const Values& v) { return HashBuckets(g, v[0], attributes); });
  };
  EXPECT_THAT(buckets(x), ElementsAre(1, 0, 1, 1, 2));

  attributes.salted = true;
  attributes.salt[0] = 133, attributes.salt[1] = 137;
  EXPECT_THAT(buckets(x), ElementsAre(1, 2, 1, 0, 2));
  attributes.salt[1] = 133;
  EXPECT_THAT(buckets(x), ElementsAre(0, 0, 2, 1, 0));

  attributes.salted = false;
  attributes.has_mask = true;
  EXPECT_THAT(buckets(Tensor::Strings({5, 1}, {"A", "B", "", "C", "D"})),
              ElementsAre(1, 1, 0, 2, 2));
}

TEST(HashTest, SipHashGivesTheVectorOfItsPaper) {
  std::string text;
  for (char c = 0; c < 15; ++c) text.push_back(c);

  EXPECT_EQ(SipHash24(0x0706050403020100ULL, 0x0f0e0d0c0b0a0908ULL, text), 0xa129ca6149be45e5ULL);
}

TEST(HashTest, FingerprintOfNothingIsItsConstant) {
  EXPECT_EQ(Fingerprint64(""), 0x9ae16a3b2f90404fULL);
}

TEST(EmbeddingTest, NamesTheIdOutOfRange) {
  const Tensor table = Counting({3, 2});
  EXPECT_THAT(Numbers({table, Tensor::Ints({1, 2}, {2, 0})},
                      [](Graph& g, const Values& x) { return Embedding(g, x[0], x[1]); }),
              ElementsAre(4, 5, 0, 1));

  const auto result = Evaluate({table, Tensor::Ints({1}, {3})}, [](Graph& g, const Values& x) {
    return Values{Embedding(g, x[0], x[1])};
  });
  EXPECT_THAT(std::string(result.status().message()), HasSubstr("id 3 is out of range [0, 3)"));
}

TEST(LookupTest, KnowsUnknownWords) {
  auto table = std::make_shared<StringTable>();
  table->index = {{"a", 1}, {"b", 2}};
  const Tensor x = Tensor::Strings({3}, {"b", "zz", "a"});

  EXPECT_THAT(Numbers({x},
                      [&](Graph& g, const Values& v) {
                        return LookupString(g, v[0], table, {1, 0, 0});
                      }),
              ElementsAre(2, 0, 1));
  const auto refused = Evaluate({x}, [&](Graph& g, const Values& v) {
    return Values{LookupString(g, v[0], table, {0, 0, -1})};
  });
  EXPECT_THAT(std::string(refused.status().message()),
              HasSubstr("\"zz\" is not in the vocabulary"));
}

TEST(LookupTest, PutsUnknownIntegersInBuckets) {
  auto table = std::make_shared<IntTable>();
  table->index = {{10, 3}};

  EXPECT_THAT(Numbers({Tensor::Ints({3}, {10, 7, -1})},
                      [&](Graph& g, const Values& v) {
                        return LookupInt(g, v[0], table, {3, 0, 0});
                      }),
              ElementsAre(3, 1, 2));
}

TEST(LookupTest, GivesTokensBack) {
  auto tokens =
      std::make_shared<const std::vector<std::string>>(std::vector<std::string>{"x", "y"});

  EXPECT_THAT(Texts(Tensor::Ints({2}, {1, 5}),
                    [&](Graph& g, Value v) { return LookupTokens(g, v, tokens, "[UNK]"); }),
              ElementsAre("y", "[UNK]"));
}

TEST(BucketizeTest, CountsBoundariesBelowOrEqual) {
  EXPECT_THAT(Numbers({Tensor::Floats({4}, {-1, 0, 0.5f, 3})},
                      [](Graph& g, const Values& x) {
                        return Bucketize(g, x[0], {0, 1, 2});
                      }),
              ElementsAre(0, 1, 1, 3));
}

TEST(BinCountTest, CountsOrMarks) {
  const Tensor ids = Tensor::Ints({2, 3}, {0, 2, 2, 1, -1, 1});
  const auto count = [&](bool binary) {
    return Numbers({ids}, [=](Graph& g, const Values& x) {
      return BinCount(g, x[0], 3, binary, Value{}, /*ignore_negative=*/true);
    });
  };

  EXPECT_THAT(count(false), ElementsAre(1, 0, 2, 0, 2, 0));
  EXPECT_THAT(count(true), ElementsAre(1, 0, 1, 0, 1, 0));
}

TEST(TokenizeTest, LowersStripsAndSplits) {
  TextAttributes attributes;
  attributes.lower = attributes.strip_punctuation = true;
  attributes.output_length = 4;

  EXPECT_THAT(Texts(Tensor::Strings({2, 1}, {"The  quick, brown\tFOX! jumps", "it's"}),
                    [&](Graph& g, Value x) { return Tokenize(g, x, attributes); }),
              ElementsAre("the", "quick", "brown", "fox", "its", "", "", ""));
}

TEST(TokenizeTest, SplitsCodePointsAndMakesNGrams) {
  TextAttributes attributes;
  attributes.split = TextAttributes::Split::kCharacter;
  attributes.ngrams = {1, 2};
  attributes.output_length = 5;

  EXPECT_THAT(Texts(Tensor::Strings({1}, {"a\xc3\xa4\xff"}),
                    [&](Graph& g, Value x) { return Tokenize(g, x, attributes); }),
              ElementsAre("a", "\xc3\xa4", "\xef\xbf\xbd", "a \xc3\xa4", "\xc3\xa4 \xef\xbf\xbd"));
}

TEST(CountTokensTest, NeedsNoLength) {
  auto table = std::make_shared<StringTable>();
  table->index = {{"a", 1}, {"b", 2}};

  EXPECT_THAT(Numbers({Tensor::Strings({2}, {"a a zz b", ""})},
                      [&](Graph& g, const Values& x) {
                        return CountTokens(g, x[0], TextAttributes{}, table, {1, 0, 0}, 3, false);
                      }),
              ElementsAre(1, 2, 1, 0, 0, 0));
}

TEST(FourierTest, AgreesWithTheDefinitionForAnyLength) {
  for (int64_t n : {1, 2, 3, 5, 8, 12, 31, 64, 100}) {
    const std::vector<double> x = AsNumbers(Noise({n}));
    std::vector<std::complex<double>> y(x.begin(), x.end());
    FourierTransform(n).Forward(&y);
    for (int64_t k = 0; k < n; ++k) {
      std::complex<double> sum = 0;
      for (int64_t i = 0; i < n; ++i) {
        sum += x[i] * std::polar(1.0, -2 * std::numbers::pi * static_cast<double>(k * i % n) /
                                          static_cast<double>(n));
      }
      EXPECT_LT(std::abs(sum - y[k]), 1e-9) << n;
    }
    FourierTransform(n).Inverse(&y);
    for (int64_t i = 0; i < n; ++i) EXPECT_NEAR(y[i].real(), x[i], 1e-12);
  }
}

TEST(StftTest, TransformsWindowedFrames) {
  const Tensor x = Noise({2, 10});
  const std::vector<float> window = {0.5f, 1, 1, 0.5f};
  const auto result =
      Evaluate({x}, [&](Graph& g, const Values& v) { return Stft(g, v[0], window, 3, 4); });
  ASSERT_TRUE(result.ok()) << result.status();
  ASSERT_EQ(result->at(0).shape(), (Shape{2, 3, 3}));

  // Frame 1 of row 1, bin 1: multiples of a quarter turn.
  const float* s = x.data<float>() + 10 + 3;
  const int64_t at = 3 * 3 + 3 + 1;
  EXPECT_NEAR(result->at(0).data<float>()[at], 0.5 * s[0] - s[2], 1e-6);
  EXPECT_NEAR(result->at(1).data<float>()[at], -s[1] + 0.5 * s[3], 1e-6);
}

}  // namespace
}  // namespace h5serve::compute::ops
