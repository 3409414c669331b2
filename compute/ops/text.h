// Ops on strings, hashes and bins, for preprocessing layers.
#pragma once

#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "compute/graph.h"

namespace h5serve::compute::ops {

// Rows of a table (count, …) at int64 ids of any shape; out of range is
// INVALID_ARGUMENT at run time, naming the id and the range.
Value Embedding(Graph& graph, Value table, Value ids);

struct StringTable {
  std::unordered_map<std::string, int64_t> index;
};
struct IntTable {
  std::unordered_map<int64_t, int64_t> index;
};
// What an id outside the table becomes: with no buckets, `missing` (or an error
// when missing is negative); with one, `first_bucket`; with more,
// first_bucket + FarmHash64(text) mod buckets (integers: id mod buckets).
struct OutOfVocabulary {
  int64_t buckets = 1;
  int64_t first_bucket = 0;
  int64_t missing = -1;
};
Value LookupString(Graph& graph, Value x, std::shared_ptr<const StringTable> table,
                   const OutOfVocabulary& oov);
Value LookupInt(Graph& graph, Value x, std::shared_ptr<const IntTable> table,
                const OutOfVocabulary& oov);
// The inverse: table[id], or `unknown` outside.
Value LookupTokens(Graph& graph, Value ids, std::shared_ptr<const std::vector<std::string>> tokens,
                   const std::string& unknown);

// Number of `boundaries` (ascending) that are <= x; int64.
Value Bucketize(Graph& graph, Value x, const std::vector<float>& boundaries);

// Counts (or presence) of int64 ids along the last axis: (…, n) -> (…, depth).
// Ids outside [0, depth) are INVALID_ARGUMENT, except negative ones when
// `ignore_negative`. `weights` may be invalid.
Value BinCount(Graph& graph, Value ids, int64_t depth, bool binary, Value weights,
               bool ignore_negative);

// Keras' Hashing: decimal text of integers, FarmHash Fingerprint64 or, with a
// salt, keyed SipHash-2-4, mod bins. With has_mask, mask_value gives 0 and the rest 1…bins-1.
struct HashAttributes {
  int64_t bins = 1;
  bool salted = false;
  uint64_t salt[2] = {0, 0};
  bool has_mask = false;
  std::string mask;  // decimal text for integers
};
Value HashBuckets(Graph& graph, Value x, const HashAttributes& attributes);
// Fingerprint of the pair of two columns, mod bins (tf.sparse.cross_hashed).
Value HashCross(Graph& graph, const std::vector<Value>& columns, int64_t bins);

struct TextAttributes {
  bool lower = false;
  bool strip_punctuation = false;
  enum class Split { kNone, kWhitespace, kCharacter } split = Split::kWhitespace;
  std::vector<int64_t> ngrams;       // empty: none; otherwise the sizes
  int64_t output_length = kUnknown;  // pad or cut; kUnknown: the longest of the batch
};
// (batch) or (batch, 1) strings to (batch, length) tokens padded with "". Shapes
// must follow from shapes, so a text that is split needs an output_length:
// without, the program refuses to run it.
Value Tokenize(Graph& graph, Value x, const TextAttributes& attributes);
// Tokens counted by their number in `table`: (batch) or (batch, 1) strings to
// (batch, depth). Needs no output_length, which is ignored; empty tokens do not
// count. Unknown tokens as for LookupString.
Value CountTokens(Graph& graph, Value x, const TextAttributes& attributes,
                  std::shared_ptr<const StringTable> table, const OutOfVocabulary& oov,
                  int64_t depth, bool binary);

}  // namespace h5serve::compute::ops
