// Text to tokens.
#include <fmt/format.h>

#include <algorithm>

#include "compute/ops/hash.h"
#include "compute/ops/text.h"

namespace h5serve::compute::ops {
namespace {

bool IsSpace(char c) {
  // The white space of re2's \s and of ASCII.
  return c == ' ' || (c >= '\t' && c <= '\r');
}

bool IsPunctuation(char c) {
  return (c >= '!' && c <= '/') || (c >= ':' && c <= '@') || (c >= '[' && c <= '`') ||
         (c >= '{' && c <= '~');
}

// Only ASCII letters change, as in tf.strings.lower.
std::string Standardize(const std::string& text, const TextAttributes& attributes) {
  std::string result;
  result.reserve(text.size());
  for (char c : text) {
    if (attributes.lower && c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    if (attributes.strip_punctuation && IsPunctuation(c)) continue;
    result.push_back(c);
  }
  return result;
}

// Bytes of the code point at the start of `text`, or 0 where it is no UTF-8.
size_t CodePointLength(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
  const uint8_t lead = byte(0);
  if (lead < 0x80) return 1;
  const size_t length = lead >= 0xf0 && lead < 0xf5   ? 4
                        : lead >= 0xe0 && lead < 0xf0 ? 3
                        : lead >= 0xc2 && lead < 0xe0 ? 2
                                                      : 0;
  if (length == 0 || text.size() < length) return 0;
  for (size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return 0;
  }
  // Overlong forms, surrogates, and beyond U+10FFFF.
  if ((lead == 0xe0 && byte(1) < 0xa0) || (lead == 0xed && byte(1) >= 0xa0) ||
      (lead == 0xf0 && byte(1) < 0x90) || (lead == 0xf4 && byte(1) >= 0x90)) {
    return 0;
  }
  return length;
}

std::vector<std::string> SplitText(const std::string& text, TextAttributes::Split split) {
  std::vector<std::string> tokens;
  if (split == TextAttributes::Split::kNone) return {text};
  if (split == TextAttributes::Split::kWhitespace) {
    size_t begin = 0;
    while (begin < text.size()) {
      while (begin < text.size() && IsSpace(text[begin])) ++begin;
      size_t end = begin;
      while (end < text.size() && !IsSpace(text[end])) ++end;
      if (end > begin) tokens.push_back(text.substr(begin, end - begin));
      begin = end;
    }
    return tokens;
  }
  std::string_view rest = text;
  while (!rest.empty()) {
    const size_t length = CodePointLength(rest);
    // What is no UTF-8 becomes the replacement character.
    tokens.push_back(length == 0 ? "\xef\xbf\xbd" : std::string(rest.substr(0, length)));
    rest.remove_prefix(std::max<size_t>(1, length));
  }
  return tokens;
}

// All n-grams of the first size, then of the next, joined by spaces.
std::vector<std::string> NGrams(const std::vector<std::string>& tokens,
                                const std::vector<int64_t>& sizes) {
  std::vector<std::string> grams;
  for (int64_t size : sizes) {
    const size_t n = static_cast<size_t>(size);
    for (size_t begin = 0; begin + n <= tokens.size(); ++begin) {
      std::string gram = tokens[begin];
      for (size_t i = 1; i < n; ++i) gram.append(" ").append(tokens[begin + i]);
      grams.push_back(std::move(gram));
    }
  }
  return grams;
}

std::vector<std::string> Tokens(const std::string& text, const TextAttributes& attributes) {
  std::vector<std::string> tokens = SplitText(Standardize(text, attributes), attributes.split);
  if (!attributes.ngrams.empty()) tokens = NGrams(tokens, attributes.ngrams);
  return tokens;
}

absl::Status CheckText(const InferContext& context) {
  const Shape& shape = context.shape(0);
  const bool column = shape.rank() == 2 && (shape[1] == 1 || shape[1] == kUnknown);
  if (context.dtype(0) != DType::kString || (shape.rank() != 1 && !column)) {
    return absl::InvalidArgumentError(fmt::format("expected a column of strings, got {} of {}",
                                                  Name(context.dtype(0)), shape.ToString()));
  }
  return absl::OkStatus();
}

class TokenizeOp : public Op {
 public:
  explicit TokenizeOp(TextAttributes attributes) : attributes_(std::move(attributes)) {}
  std::string_view name() const override { return "Tokenize"; }

  absl::StatusOr<std::vector<ValueType>> Infer(const InferContext& context) const override {
    if (absl::Status status = CheckText(context); !status.ok()) return status;
    int64_t length = attributes_.output_length;
    if (length == kUnknown && attributes_.split == TextAttributes::Split::kNone &&
        attributes_.ngrams.empty()) {
      length = 1;
    }
    return std::vector<ValueType>{{DType::kString, Shape{context.shape(0)[0], length}}};
  }

  absl::Status Run(const RunContext& context) const override {
    const TensorView& in = context.input(0);
    const TensorView& out = context.output(0);
    const int64_t length = out.shape[1];
    std::string* to = out.as<std::string>();
    for (int64_t i = 0; i < in.size(); ++i, to += length) {
      std::vector<std::string> tokens = Tokens(in.as<std::string>()[i], attributes_);
      tokens.resize(static_cast<size_t>(length));
      std::move(tokens.begin(), tokens.end(), to);
    }
    return absl::OkStatus();
  }

 private:
  TextAttributes attributes_;
};

class CountTokensOp : public Op {
 public:
  CountTokensOp(TextAttributes attributes, std::shared_ptr<const StringTable> table,
                const OutOfVocabulary& oov, int64_t depth, bool binary)
      : attributes_(std::move(attributes)),
        table_(std::move(table)),
        oov_(oov),
        depth_(depth),
        binary_(binary) {}
  std::string_view name() const override { return "CountTokens"; }

  absl::StatusOr<std::vector<ValueType>> Infer(const InferContext& context) const override {
    if (absl::Status status = CheckText(context); !status.ok()) return status;
    return std::vector<ValueType>{{DType::kFloat32, Shape{context.shape(0)[0], depth_}}};
  }

  absl::Status Run(const RunContext& context) const override {
    const TensorView& in = context.input(0);
    float* row = context.output(0).as<float>();
    std::fill_n(row, context.output(0).size(), 0.0f);
    for (int64_t i = 0; i < in.size(); ++i, row += depth_) {
      for (const std::string& token : Tokens(in.as<std::string>()[i], attributes_)) {
        if (token.empty()) continue;
        const int64_t id = Id(token);
        if (id < 0 || id >= depth_) {
          return absl::InvalidArgumentError(fmt::format(
              "\"{}\" is not in the vocabulary, and there is no place for unknown values",
              token.substr(0, 100)));
        }
        row[id] = binary_ ? 1.0f : row[id] + 1.0f;
      }
    }
    return absl::OkStatus();
  }

 private:
  int64_t Id(const std::string& token) const {
    const auto found = table_->index.find(token);
    if (found != table_->index.end()) return found->second;
    if (oov_.buckets < 1) return oov_.missing;
    const uint64_t buckets = static_cast<uint64_t>(oov_.buckets);
    return oov_.first_bucket +
           static_cast<int64_t>(buckets == 1 ? 0 : Fingerprint64(token) % buckets);
  }

  TextAttributes attributes_;
  std::shared_ptr<const StringTable> table_;
  OutOfVocabulary oov_;
  int64_t depth_;
  bool binary_;
};

absl::Status CheckAttributes(const TextAttributes& attributes) {
  for (int64_t size : attributes.ngrams) {
    if (size < 1 || size > 1000) {
      return absl::InvalidArgumentError(fmt::format("invalid n-gram size: {}", size));
    }
  }
  if (attributes.output_length < kUnknown || attributes.output_length > (int64_t{1} << 24)) {
    return absl::InvalidArgumentError(
        fmt::format("invalid number of tokens: {}", attributes.output_length));
  }
  return absl::OkStatus();
}

}  // namespace

Value Tokenize(Graph& graph, Value x, const TextAttributes& attributes) {
  if (absl::Status status = CheckAttributes(attributes); !status.ok()) return graph.Fail(status);
  return graph.Add1(std::make_shared<TokenizeOp>(attributes), {x});
}

Value CountTokens(Graph& graph, Value x, const TextAttributes& attributes,
                  std::shared_ptr<const StringTable> table, const OutOfVocabulary& oov,
                  int64_t depth, bool binary) {
  if (absl::Status status = CheckAttributes(attributes); !status.ok()) return graph.Fail(status);
  if (depth < 1 || depth > kMaxElements) {
    return graph.Fail(absl::InvalidArgumentError(fmt::format("invalid number of bins: {}", depth)));
  }
  return graph.Add1(
      std::make_shared<CountTokensOp>(attributes, std::move(table), oov, depth, binary), {x});
}

}  // namespace h5serve::compute::ops
