// StringLookup, IntegerLookup, TextVectorization.

#include <fmt/format.h>

#include <memory>

#include "compute/ops/elementwise.h"
#include "compute/ops/text.h"
#include "model/layers/encode.h"
#include "model/layers/layer_functions.h"
#include "model/layers/layout.h"

namespace h5serve::model {

namespace ops = compute::ops;
using compute::DType;
using compute::Value;

namespace {

// Vocabulary and special slots of a lookup layer.
struct Vocabulary {
  std::vector<ConfigValue> tokens;  // without mask and out-of-vocabulary tokens
  std::string mode;
  ConfigValue mask, unknown;
  bool masked = false;  // the mask has index 0
  bool had_special_tokens = false;
  int64_t oov = 1;
  int64_t first_token = 0;
  int64_t size = 0;
};

// The stored vocabulary, without the special tokens that it may begin with: all
// of them or none. Source: IndexLookup.set_vocabulary.
std::optional<Vocabulary> ParseVocabulary(const LayerScope& scope, bool text_vectorization) {
  const ConfigValue& stored = scope.config()["vocabulary"];
  if (stored.is_string()) {
    scope.Fail(Code::kVocabularyFileExternal, fmt::format("layer {} reads its vocabulary from {}",
                                                          scope.path(), stored.as_string()));
    return std::nullopt;
  }
  if (!stored.is_list() || stored.as_list().empty()) {
    scope.Fail(Code::kVocabularyMissing,
               fmt::format("layer {} was adapted but the file does not contain its vocabulary",
                           scope.path()));
    return std::nullopt;
  }
  if (scope.Has("salt") || scope.String("oov_method", "floormod") != "floormod") {
    scope.Fail(Code::kUnsupportedArgument,
               fmt::format("layer {}: unknown tokens hashed with a salt", scope.path()));
    return std::nullopt;
  }
  Vocabulary vocabulary;
  vocabulary.mode = scope.Choice(
      "output_mode", "int", {"int", "one_hot", "multi_hot", "binary", "count", "tf_idf", "tf-idf"});
  if (vocabulary.mode == "tf-idf") vocabulary.mode = "tf_idf";
  vocabulary.mask = text_vectorization ? ConfigValue("") : scope.config()["mask_token"];
  vocabulary.unknown = text_vectorization ? ConfigValue("[UNK]") : scope.config()["oov_token"];
  vocabulary.oov = text_vectorization ? 1 : scope.Int("num_oov_indices", 1);
  if (vocabulary.oov < 0 || vocabulary.oov > (1 << 24)) {
    scope.BadValue("num_oov_indices", "a small number >= 0 is expected");
  }
  if (scope.failed()) return std::nullopt;
  vocabulary.masked = !vocabulary.mask.is_null() && vocabulary.mode == "int";
  vocabulary.first_token = vocabulary.oov + (vocabulary.masked ? 1 : 0);
  const ConfigValue::List& list = stored.as_list();
  const size_t special = static_cast<size_t>(vocabulary.first_token);
  bool found = special > 0 && list.size() >= special;
  for (size_t i = 0; found && i < special; ++i) {
    found = list[i] == (i == 0 && vocabulary.masked ? vocabulary.mask : vocabulary.unknown);
  }
  vocabulary.had_special_tokens = found;
  vocabulary.tokens.assign(list.begin() + static_cast<int64_t>(found ? special : 0), list.end());
  vocabulary.size = vocabulary.first_token + static_cast<int64_t>(vocabulary.tokens.size());
  return vocabulary;
}

ops::OutOfVocabulary OovOf(const Vocabulary& vocabulary) {
  ops::OutOfVocabulary oov;
  oov.buckets = vocabulary.oov;
  oov.first_bucket = vocabulary.masked ? 1 : 0;
  return oov;
}

// The index of the mask: 0, or -1 where masked tokens fill no bin.
int64_t MaskIndex(const Vocabulary& vocabulary) { return vocabulary.masked ? 0 : -1; }

std::shared_ptr<ops::StringTable> TableOf(const LayerScope& scope, const Vocabulary& vocabulary) {
  auto table = std::make_shared<ops::StringTable>();
  if (vocabulary.mask.is_string()) {
    table->index.emplace(vocabulary.mask.as_string(), MaskIndex(vocabulary));
  }
  int64_t next = vocabulary.first_token;
  for (const ConfigValue& token : vocabulary.tokens) {
    if (!token.is_string()) {
      scope.BadValue("vocabulary", "strings are expected");
      return nullptr;
    }
    table->index.emplace(token.as_string(), next++);
  }
  return table;
}

// Number of bins in modes other than int.
int64_t DepthOf(const LayerScope& scope, const Vocabulary& vocabulary) {
  if (!scope.Bool("pad_to_max_tokens", false) || !scope.Has("max_tokens")) return vocabulary.size;
  const int64_t most = scope.PositiveInt("max_tokens");
  if (most < vocabulary.size) {
    scope.BadValue("max_tokens", fmt::format("the vocabulary has {} tokens", vocabulary.size));
  }
  return most;
}

// Counts times the inverse document frequency; special tokens without one have
// the average. Source: IndexLookup.set_vocabulary.
Value TimesIdf(const LayerScope& scope, Value counts, const Vocabulary& vocabulary, int64_t depth) {
  const ConfigValue& stored = scope.config()["idf_weights"];
  std::vector<float> weights;
  for (size_t i = 0; stored.is_list() && i < stored.as_list().size(); ++i) {
    const ConfigValue& weight = stored.as_list()[i];
    if (weight.is_number()) weights.push_back(static_cast<float>(weight.as_float()));
  }
  const size_t expected =
      vocabulary.tokens.size() + (vocabulary.had_special_tokens ? vocabulary.first_token : 0);
  if (weights.size() != expected) {
    scope.BadValue("idf_weights", fmt::format("{} numbers are expected", expected));
    return {};
  }
  if (!vocabulary.had_special_tokens && !weights.empty()) {
    double sum = 0;
    for (float weight : weights) sum += weight;
    const float average = static_cast<float>(sum / static_cast<double>(weights.size()));
    weights.insert(weights.begin(), vocabulary.first_token, average);
  }
  weights.resize(depth, 0.0f);
  compute::Graph& graph = scope.graph();
  return ops::Multiply(graph, ops::Cast(graph, counts, DType::kFloat32),
                       graph.Constant(compute::Tensor::Floats({depth}, weights)));
}

// Ids in the layer's output mode.
std::vector<KerasTensor> Finish(const LayerScope& scope, Value ids, const Vocabulary& vocabulary) {
  if (vocabulary.mode == "int") return One(ids);
  const int64_t depth = DepthOf(scope, vocabulary);
  if (scope.failed()) return {};
  if (vocabulary.mode != "tf_idf") return One(Encode(scope, ids, depth, vocabulary.mode, {}));
  return One(TimesIdf(scope, Encode(scope, ids, depth, "count", {}), vocabulary, depth));
}

bool RefuseRagged(const LayerScope& scope) {
  if (!scope.Bool("ragged", false)) return false;
  scope.Fail(Code::kUnsupportedArgument,
             fmt::format("layer {} gives ragged tensors", scope.path()));
  return true;
}

// Indices to strings.
std::vector<KerasTensor> InvertStrings(const LayerScope& scope, Value ids,
                                       const Vocabulary& vocabulary) {
  auto tokens = std::make_shared<std::vector<std::string>>();
  const auto text = [](const ConfigValue& value) {
    return value.is_string() ? value.as_string() : value.ToJson();
  };
  if (vocabulary.masked) tokens->push_back(text(vocabulary.mask));
  const std::string unknown = scope.String("oov_token", "[UNK]");
  for (int64_t i = 0; i < vocabulary.oov; ++i) tokens->push_back(unknown);
  for (const ConfigValue& token : vocabulary.tokens) tokens->push_back(text(token));
  return One(ops::LookupTokens(scope.graph(), ops::Cast(scope.graph(), ids, DType::kInt64),
                               std::move(tokens), unknown));
}

// Indices to integers.
std::vector<KerasTensor> InvertIntegers(const LayerScope& scope, Value ids,
                                        const Vocabulary& vocabulary) {
  auto table = std::make_shared<ops::IntTable>();
  const int64_t unknown = scope.Int("oov_token", -1);
  if (vocabulary.masked && vocabulary.mask.ToInt())
    table->index.emplace(0, *vocabulary.mask.ToInt());
  int64_t next = vocabulary.first_token;
  for (const ConfigValue& token : vocabulary.tokens) {
    if (!token.ToInt()) {
      scope.BadValue("vocabulary", "integers are expected");
      return {};
    }
    table->index.emplace(next++, *token.ToInt());
  }
  ops::OutOfVocabulary oov;
  oov.buckets = 1;
  oov.first_bucket = unknown;
  return One(ops::LookupInt(scope.graph(), ops::Cast(scope.graph(), ids, DType::kInt64),
                            std::move(table), oov));
}

}  // namespace

std::vector<KerasTensor> LowerStringLookup(const LayerScope& scope, const CallInputs& inputs) {
  const std::optional<KerasTensor> x = OnlyInput(scope, inputs);
  if (!x) return {};
  const std::optional<Vocabulary> vocabulary = ParseVocabulary(scope, false);
  if (!vocabulary || RefuseRagged(scope)) return {};
  if (scope.Bool("invert", false)) return InvertStrings(scope, x->value, *vocabulary);
  std::shared_ptr<ops::StringTable> table = TableOf(scope, *vocabulary);
  if (table == nullptr) return {};
  return Finish(scope,
                ops::LookupString(scope.graph(), x->value, std::move(table), OovOf(*vocabulary)),
                *vocabulary);
}

std::vector<KerasTensor> LowerIntegerLookup(const LayerScope& scope, const CallInputs& inputs) {
  const std::optional<KerasTensor> x = OnlyInput(scope, inputs);
  if (!x) return {};
  const std::optional<Vocabulary> vocabulary = ParseVocabulary(scope, false);
  if (!vocabulary || RefuseRagged(scope)) return {};
  if (scope.Bool("invert", false)) return InvertIntegers(scope, x->value, *vocabulary);
  auto table = std::make_shared<ops::IntTable>();
  if (vocabulary->mask.ToInt()) {
    table->index.emplace(*vocabulary->mask.ToInt(), MaskIndex(*vocabulary));
  }
  int64_t next = vocabulary->first_token;
  for (const ConfigValue& token : vocabulary->tokens) {
    const std::optional<int64_t> number = token.ToInt();
    if (!number) {
      scope.BadValue("vocabulary", "integers are expected");
      return {};
    }
    table->index.emplace(*number, next++);
  }
  const Value ids = ops::LookupInt(scope.graph(), ops::Cast(scope.graph(), x->value, DType::kInt64),
                                   std::move(table), OovOf(*vocabulary));
  return Finish(scope, ids, *vocabulary);
}

std::vector<KerasTensor> LowerTextVectorization(const LayerScope& scope, const CallInputs& inputs) {
  const std::optional<KerasTensor> x = OnlyInput(scope, inputs);
  if (!x) return {};
  const std::optional<Vocabulary> vocabulary = ParseVocabulary(scope, true);
  if (!vocabulary) return {};
  ops::TextAttributes attributes;
  const ConfigValue* standardize = scope.config().Find("standardize");
  const std::string rule =
      standardize == nullptr ? "lower_and_strip_punctuation"
      : standardize->is_null()
          ? "none"
          : scope.Choice("standardize", "",
                         {"lower_and_strip_punctuation", "lower", "strip_punctuation"});
  attributes.lower = rule.find("lower") != std::string::npos;
  attributes.strip_punctuation = rule.find("strip") != std::string::npos;
  const ConfigValue* split = scope.config().Find("split");
  if (split != nullptr && split->is_null()) {
    attributes.split = ops::TextAttributes::Split::kNone;
  } else if (scope.Choice("split", "whitespace", {"whitespace", "character"}) == "character") {
    attributes.split = ops::TextAttributes::Split::kCharacter;
  }
  if (scope.Has("ngrams")) {
    attributes.ngrams = scope.Ints("ngrams", {});
    if (scope.config()["ngrams"].ToInt()) {
      const int64_t largest = attributes.ngrams[0];
      attributes.ngrams.clear();
      for (int64_t n = 1; n <= std::min<int64_t>(largest, 64); ++n) attributes.ngrams.push_back(n);
    }
  }
  const bool integers = vocabulary->mode == "int";
  if (integers && scope.Has("output_sequence_length")) {
    attributes.output_length = scope.PositiveInt("output_sequence_length");
  }
  std::shared_ptr<ops::StringTable> table = TableOf(scope, *vocabulary);
  if (scope.failed() || table == nullptr || RefuseRagged(scope)) return {};
  compute::Graph& graph = scope.graph();
  if (integers) {
    const Value tokens = ops::Tokenize(graph, x->value, attributes);
    return One(ops::LookupString(graph, tokens, std::move(table), OovOf(*vocabulary)));
  }
  if (vocabulary->mode == "one_hot") {
    scope.BadValue("output_mode", "texts have no single token");
    return {};
  }
  const int64_t depth = DepthOf(scope, *vocabulary);
  if (scope.failed()) return {};
  const bool binary = vocabulary->mode == "multi_hot" || vocabulary->mode == "binary";
  const Value counts = ops::CountTokens(graph, x->value, attributes, std::move(table),
                                        OovOf(*vocabulary), depth, binary);
  if (vocabulary->mode != "tf_idf") return One(counts);
  return One(TimesIdf(scope, counts, *vocabulary, depth));
}

}  // namespace h5serve::model
