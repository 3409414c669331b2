// Tables, bins and counts.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <mutex>

#include "compute/ops/elementwise.h"
#include "compute/ops/hash.h"
#include "compute/ops/strided_copy.h"
#include "compute/ops/text.h"

namespace h5serve::compute::ops {
namespace {

// The first error of pieces that run on several threads.
class FirstError {
 public:
  void Set(absl::Status status) {
    const std::lock_guard lock(mutex_);
    if (status_.ok()) status_ = std::move(status);
  }
  absl::Status Take() { return std::move(status_); }

 private:
  std::mutex mutex_;
  absl::Status status_;
};

Value AsIds(Graph& graph, Value ids) {
  if (!ids.valid() || graph.dtype(ids) == DType::kInt64) return ids;
  if (graph.dtype(ids) == DType::kString) {
    return graph.Fail(absl::InvalidArgumentError("ids must be integers, not strings"));
  }
  return Cast(graph, ids, DType::kInt64);
}

absl::Status ExpectStrings(std::string_view op, DType dtype) {
  if (dtype == DType::kString) return absl::OkStatus();
  return absl::InvalidArgumentError(fmt::format("{} needs strings, not {}", op, Name(dtype)));
}

class EmbeddingOp : public Op {
 public:
  std::string_view name() const override { return "Embedding"; }

  absl::StatusOr<std::vector<ValueType>> Infer(const InferContext& context) const override {
    const Shape& table = context.shape(0);
    const Shape& ids = context.shape(1);
    if (table.rank() < 1 || table.rank() - 1 + ids.rank() > kMaxRank) {
      return absl::InvalidArgumentError(
          fmt::format("cannot look up {} in a table of {}", ids.ToString(), table.ToString()));
    }
    return std::vector<ValueType>{{context.dtype(0), ids.Concat(table.Slice(1, table.rank()))}};
  }

  absl::Status Run(const RunContext& context) const override {
    const TensorView& table = context.input(0);
    const TensorView& ids = context.input(1);
    const TensorView& out = context.output(0);
    const int64_t count = table.shape[0];
    const int64_t width = Product(table.shape, 1, table.shape.rank());
    FirstError error;
    context.ParallelFor(ids.size(), std::max<int64_t>(1, 16384 / std::max<int64_t>(1, width)),
                        [&](int64_t begin, int64_t end) {
                          for (int64_t i = begin; i < end; ++i) {
                            const int64_t id = ids.as<int64_t>()[i];
                            if (id < 0 || id >= count) {
                              error.Set(absl::InvalidArgumentError(
                                  fmt::format("id {} is out of range [0, {})", id, count)));
                              return;
                            }
                            CopyElements(table.dtype, table.data, id * width, out.data, i * width,
                                         width);
                          }
                        });
    return error.Take();
  }
};

// Text or number -> int64, one by one.
class LookupOp : public Op {
 public:
  explicit LookupOp(OutOfVocabulary oov) : oov_(oov) {}
  absl::StatusOr<std::vector<ValueType>> Infer(const InferContext& context) const override {
    return std::vector<ValueType>{{DType::kInt64, context.shape(0)}};
  }

 protected:
  // `hash` gives the number that picks a bucket, `text` the key for people.
  template <typename Hash, typename Text>
  absl::StatusOr<int64_t> Outside(const Hash& hash, const Text& text) const {
    if (oov_.buckets == 1) return oov_.first_bucket;
    if (oov_.buckets > 1) {
      return oov_.first_bucket + static_cast<int64_t>(hash(static_cast<uint64_t>(oov_.buckets)));
    }
    if (oov_.missing >= 0) return oov_.missing;
    return absl::InvalidArgumentError(fmt::format(
        "{} is not in the vocabulary, and there is no place for unknown values", text()));
  }

 private:
  OutOfVocabulary oov_;
};

class LookupStringOp : public LookupOp {
 public:
  LookupStringOp(std::shared_ptr<const StringTable> table, OutOfVocabulary oov)
      : LookupOp(oov), table_(std::move(table)) {}
  std::string_view name() const override { return "LookupString"; }
  absl::Status Run(const RunContext& context) const override {
    const TensorView& in = context.input(0);
    int64_t* out = context.output(0).as<int64_t>();
    for (int64_t i = 0; i < in.size(); ++i) {
      const std::string& key = in.as<std::string>()[i];
      const auto found = table_->index.find(key);
      if (found != table_->index.end()) {
        out[i] = found->second;
        continue;
      }
      absl::StatusOr<int64_t> other =
          Outside([&](uint64_t n) { return Fingerprint64(key) % n; },
                  [&] { return fmt::format("\"{}\"", key.substr(0, 100)); });
      if (!other.ok()) return other.status();
      out[i] = *other;
    }
    return absl::OkStatus();
  }

 private:
  std::shared_ptr<const StringTable> table_;
};

class LookupIntOp : public LookupOp {
 public:
  LookupIntOp(std::shared_ptr<const IntTable> table, OutOfVocabulary oov)
      : LookupOp(oov), table_(std::move(table)) {}
  std::string_view name() const override { return "LookupInt"; }
  absl::Status Run(const RunContext& context) const override {
    const TensorView& in = context.input(0);
    int64_t* out = context.output(0).as<int64_t>();
    for (int64_t i = 0; i < in.size(); ++i) {
      const int64_t key = in.as<int64_t>()[i];
      const auto found = table_->index.find(key);
      if (found != table_->index.end()) {
        out[i] = found->second;
        continue;
      }
      // The remainder has the sign of the divisor, as in Python.
      const auto remainder = [key](uint64_t n) {
        const int64_t divisor = static_cast<int64_t>(n);
        return (key % divisor + divisor) % divisor;
      };
      absl::StatusOr<int64_t> other = Outside(remainder, [key] { return fmt::format("{}", key); });
      if (!other.ok()) return other.status();
      out[i] = *other;
    }
    return absl::OkStatus();
  }

 private:
  std::shared_ptr<const IntTable> table_;
};

class LookupTokensOp : public Op {
 public:
  LookupTokensOp(std::shared_ptr<const std::vector<std::string>> tokens, std::string unknown)
      : tokens_(std::move(tokens)), unknown_(std::move(unknown)) {}
  std::string_view name() const override { return "LookupTokens"; }
  absl::StatusOr<std::vector<ValueType>> Infer(const InferContext& context) const override {
    return std::vector<ValueType>{{DType::kString, context.shape(0)}};
  }
  absl::Status Run(const RunContext& context) const override {
    const TensorView& in = context.input(0);
    for (int64_t i = 0; i < in.size(); ++i) {
      const int64_t id = in.as<int64_t>()[i];
      const bool inside = id >= 0 && id < static_cast<int64_t>(tokens_->size());
      context.output(0).as<std::string>()[i] = inside ? (*tokens_)[id] : unknown_;
    }
    return absl::OkStatus();
  }

 private:
  std::shared_ptr<const std::vector<std::string>> tokens_;
  std::string unknown_;
};

class BucketizeOp : public Op {
 public:
  explicit BucketizeOp(std::vector<float> boundaries) : boundaries_(std::move(boundaries)) {}
  std::string_view name() const override { return "Bucketize"; }
  absl::StatusOr<std::vector<ValueType>> Infer(const InferContext& context) const override {
    return std::vector<ValueType>{{DType::kInt64, context.shape(0)}};
  }
  absl::Status Run(const RunContext& context) const override {
    const TensorView& in = context.input(0);
    int64_t* out = context.output(0).as<int64_t>();
    for (int64_t i = 0; i < in.size(); ++i) {
      // NaN is above every boundary, as NumPy sorts it.
      out[i] = std::upper_bound(boundaries_.begin(), boundaries_.end(), in.as<float>()[i]) -
               boundaries_.begin();
    }
    return absl::OkStatus();
  }

 private:
  std::vector<float> boundaries_;
};

class BinCountOp : public Op {
 public:
  BinCountOp(int64_t depth, bool binary, bool ignore_negative)
      : depth_(depth), binary_(binary), ignore_negative_(ignore_negative) {}
  std::string_view name() const override { return "BinCount"; }

  absl::StatusOr<std::vector<ValueType>> Infer(const InferContext& context) const override {
    Shape shape = context.shape(0);
    const bool weighted = context.size() > 1;
    if (shape.rank() == 0 || (weighted && (!Compatible(shape, context.shape(1)) ||
                                           context.dtype(1) != DType::kFloat32))) {
      return absl::InvalidArgumentError(fmt::format(
          "cannot count {}{}", shape.ToString(),
          weighted ? " with weights of " + context.shape(1).ToString() : std::string()));
    }
    shape.back() = depth_;
    return std::vector<ValueType>{{DType::kFloat32, shape}};
  }

  absl::Status Run(const RunContext& context) const override {
    const TensorView& ids = context.input(0);
    const TensorView& out = context.output(0);
    const float* weights = context.num_inputs() > 1 ? context.input(1).as<float>() : nullptr;
    const int64_t n = ids.shape.back();
    std::fill_n(out.as<float>(), out.size(), 0.0f);
    for (int64_t i = 0; i < ids.size(); ++i) {
      const int64_t id = ids.as<int64_t>()[i];
      if (id < 0 && ignore_negative_) continue;
      if (id < 0 || id >= depth_) {
        return absl::InvalidArgumentError(fmt::format("id {} is out of range [0, {})", id, depth_));
      }
      float& bin = out.as<float>()[i / n * depth_ + id];
      bin = binary_ ? 1.0f : bin + (weights == nullptr ? 1.0f : weights[i]);
    }
    return absl::OkStatus();
  }

 private:
  int64_t depth_;
  bool binary_, ignore_negative_;
};

// Text of element i: integers in decimal.
std::string_view TextAt(const TensorView& in, int64_t i, fmt::memory_buffer* buffer) {
  if (in.dtype == DType::kString) return in.as<std::string>()[i];
  buffer->clear();
  fmt::format_to(std::back_inserter(*buffer), "{}", in.as<int64_t>()[i]);
  return {buffer->data(), buffer->size()};
}

class HashBucketsOp : public Op {
 public:
  explicit HashBucketsOp(HashAttributes attributes) : attributes_(std::move(attributes)) {}
  std::string_view name() const override { return "HashBuckets"; }
  absl::StatusOr<std::vector<ValueType>> Infer(const InferContext& context) const override {
    return std::vector<ValueType>{{DType::kInt64, context.shape(0)}};
  }
  absl::Status Run(const RunContext& context) const override {
    const TensorView& in = context.input(0);
    // The masked value has bucket 0 for itself.
    const int64_t first = attributes_.has_mask ? 1 : 0;
    const uint64_t bins = static_cast<uint64_t>(std::max<int64_t>(1, attributes_.bins - first));
    fmt::memory_buffer buffer;
    for (int64_t i = 0; i < in.size(); ++i) {
      const std::string_view text = TextAt(in, i, &buffer);
      int64_t bucket = 0;
      if (!attributes_.has_mask || text != attributes_.mask) {
        const uint64_t hash = attributes_.salted
                                  ? SipHash24(attributes_.salt[0], attributes_.salt[1], text)
                                  : Fingerprint64(text);
        bucket = static_cast<int64_t>(hash % bins) + first;
      }
      context.output(0).as<int64_t>()[i] = bucket;
    }
    return absl::OkStatus();
  }

 private:
  HashAttributes attributes_;
};

class HashCrossOp : public Op {
 public:
  explicit HashCrossOp(int64_t bins) : bins_(bins) {}
  std::string_view name() const override { return "HashCross"; }
  absl::StatusOr<std::vector<ValueType>> Infer(const InferContext& context) const override {
    for (int i = 1; i < context.size(); ++i) {
      if (!Compatible(context.shape(0), context.shape(i))) {
        return absl::InvalidArgumentError(fmt::format(
            "cannot cross {} and {}", context.shape(0).ToString(), context.shape(i).ToString()));
      }
    }
    return std::vector<ValueType>{{DType::kInt64, context.shape(0)}};
  }
  absl::Status Run(const RunContext& context) const override {
    // TensorFlow's default key of hashed crosses.
    constexpr uint64_t kKey = 0xDECAFCAFFEULL;
    for (int64_t i = 0; i < context.output(0).size(); ++i) {
      uint64_t hash = kKey;
      for (int column = 0; column < context.num_inputs(); ++column) {
        const TensorView& in = context.input(column);
        const uint64_t value = in.dtype == DType::kString
                                   ? Fingerprint64(in.as<std::string>()[i])
                                   : static_cast<uint64_t>(in.as<int64_t>()[i]);
        hash = ConcatFingerprints(hash, value);
      }
      context.output(0).as<int64_t>()[i] =
          static_cast<int64_t>(hash % static_cast<uint64_t>(bins_));
    }
    return absl::OkStatus();
  }

 private:
  int64_t bins_;
};

}  // namespace

Value Embedding(Graph& graph, Value table, Value ids) {
  return graph.Add1(std::make_shared<EmbeddingOp>(), {table, AsIds(graph, ids)});
}

Value LookupString(Graph& graph, Value x, std::shared_ptr<const StringTable> table,
                   const OutOfVocabulary& oov) {
  if (!x.valid()) return x;
  if (absl::Status s = ExpectStrings("a lookup of text", graph.dtype(x)); !s.ok())
    return graph.Fail(s);
  return graph.Add1(std::make_shared<LookupStringOp>(std::move(table), oov), {x});
}

Value LookupInt(Graph& graph, Value x, std::shared_ptr<const IntTable> table,
                const OutOfVocabulary& oov) {
  return graph.Add1(std::make_shared<LookupIntOp>(std::move(table), oov), {AsIds(graph, x)});
}

Value LookupTokens(Graph& graph, Value ids, std::shared_ptr<const std::vector<std::string>> tokens,
                   const std::string& unknown) {
  return graph.Add1(std::make_shared<LookupTokensOp>(std::move(tokens), unknown),
                    {AsIds(graph, ids)});
}

Value Bucketize(Graph& graph, Value x, const std::vector<float>& boundaries) {
  const bool ascending =
      std::is_sorted(boundaries.begin(), boundaries.end()) &&
      std::none_of(boundaries.begin(), boundaries.end(), [](float b) { return std::isnan(b); });
  if (!ascending) return graph.Fail(absl::InvalidArgumentError("bin boundaries must ascend"));
  if (x.valid() && graph.dtype(x) != DType::kFloat32) x = Cast(graph, x, DType::kFloat32);
  return graph.Add1(std::make_shared<BucketizeOp>(boundaries), {x});
}

Value BinCount(Graph& graph, Value ids, int64_t depth, bool binary, Value weights,
               bool ignore_negative) {
  if (depth < 0 || depth > kMaxElements) {
    return graph.Fail(absl::InvalidArgumentError(fmt::format("invalid number of bins: {}", depth)));
  }
  std::vector<Value> inputs = {AsIds(graph, ids)};
  if (weights.valid()) inputs.push_back(weights);
  return graph.Add1(std::make_shared<BinCountOp>(depth, binary, ignore_negative),
                    std::move(inputs));
}

Value HashBuckets(Graph& graph, Value x, const HashAttributes& attributes) {
  if (!x.valid()) return x;
  if (attributes.bins < 1) return graph.Fail(absl::InvalidArgumentError("hashing needs bins"));
  if (graph.dtype(x) != DType::kString) x = AsIds(graph, x);
  return graph.Add1(std::make_shared<HashBucketsOp>(attributes), {x});
}

Value HashCross(Graph& graph, const std::vector<Value>& columns, int64_t bins) {
  if (columns.empty() || bins < 1) {
    return graph.Fail(absl::InvalidArgumentError("a hashed cross needs columns and bins"));
  }
  std::vector<Value> inputs;
  for (Value column : columns) {
    const bool text = column.valid() && graph.dtype(column) == DType::kString;
    inputs.push_back(text ? column : AsIds(graph, column));
  }
  return graph.Add1(std::make_shared<HashCrossOp>(bins), std::move(inputs));
}

}  // namespace h5serve::compute::ops
