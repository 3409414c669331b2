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
  bool masked = false;
  int64_t oov = 1;
  int64_t first_token = 0;
  int64_t size = 0;
};

// The stored vocabulary, without the special tokens it may begin with.
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
  Vocabulary vocabulary;
  vocabulary.tokens = stored.as_list();
  const std::string mode = scope.String("output_mode", "int");
  const bool integers = mode == "int";
  const ConfigValue mask = text_vectorization ? ConfigValue("") : scope.config()["mask_token"];
  const ConfigValue oov_token =
      text_vectorization ? ConfigValue("[UNK]") : scope.config()["oov_token"];
  vocabulary.oov = text_vectorization ? 1 : scope.Int("num_oov_indices", 1);
  vocabulary.masked = !mask.is_null() && integers;
  auto& tokens = vocabulary.tokens;
  if (!mask.is_null() && !tokens.empty() && tokens[0] == mask) tokens.erase(tokens.begin());
  for (int64_t i = 0; i < vocabulary.oov && !tokens.empty() && tokens[0] == oov_token; ++i) {
    tokens.erase(tokens.begin());
  }
  vocabulary.first_token = vocabulary.oov + (vocabulary.masked ? 1 : 0);
  vocabulary.size = vocabulary.first_token + static_cast<int64_t>(tokens.size());
  return vocabulary;
}

ops::OutOfVocabulary OovOf(const Vocabulary& vocabulary) {
  ops::OutOfVocabulary oov;
  oov.buckets = vocabulary.oov;
  oov.first_bucket = vocabulary.masked ? 1 : 0;
  return oov;
}

std::optional<Value> Strings(const LayerScope& scope, Value x, const Vocabulary& vocabulary,
                             const ConfigValue& mask) {
  auto table = std::make_shared<ops::StringTable>();
  if (vocabulary.masked && mask.is_string()) table->index.emplace(mask.as_string(), 0);
  int64_t next = vocabulary.first_token;
  for (const ConfigValue& token : vocabulary.tokens) {
    if (!token.is_string()) {
      scope.BadValue("vocabulary", "strings are expected");
      return std::nullopt;
    }
    table->index.emplace(token.as_string(), next++);
  }
  return ops::LookupString(scope.graph(), x, std::move(table), OovOf(vocabulary));
}

// Ids in the layer's output mode; modes other than int pad to max_tokens.
std::vector<KerasTensor> Finish(const LayerScope& scope, Value ids, const Vocabulary& vocabulary) {
  int64_t depth = vocabulary.size;
  if (scope.Bool("pad_to_max_tokens", false) && scope.Has("max_tokens")) {
    depth = scope.PositiveInt("max_tokens");
  }
  return One(Encode(scope, ids, depth, scope.String("output_mode", "int"), {}));
}

std::vector<KerasTensor> Invert(const LayerScope& scope, Value ids, const Vocabulary& vocabulary) {
  auto tokens = std::make_shared<std::vector<std::string>>();
  const ConfigValue& mask = scope.config()["mask_token"];
  if (vocabulary.masked) tokens->push_back(mask.is_string() ? mask.as_string() : mask.ToJson());
  const std::string unknown = scope.String("oov_token", "[UNK]");
  for (int64_t i = 0; i < vocabulary.oov; ++i) tokens->push_back(unknown);
  for (const ConfigValue& token : vocabulary.tokens) {
    tokens->push_back(token.is_string() ? token.as_string() : token.ToJson());
  }
  return One(ops::LookupTokens(scope.graph(), ops::Cast(scope.graph(), ids, DType::kInt64),
                               std::move(tokens), unknown));
}

}  // namespace

std::vector<KerasTensor> LowerStringLookup(const LayerScope& scope, const CallInputs& inputs) {
  const std::optional<KerasTensor> x = OnlyInput(scope, inputs);
  if (!x) return {};
  const std::optional<Vocabulary> vocabulary = ParseVocabulary(scope, false);
  if (!vocabulary || scope.failed()) return {};
  if (scope.Bool("invert", false)) return Invert(scope, x->value, *vocabulary);
  const std::optional<Value> ids =
      Strings(scope, x->value, *vocabulary, scope.config()["mask_token"]);
  if (!ids) return {};
  return Finish(scope, *ids, *vocabulary);
}

std::vector<KerasTensor> LowerIntegerLookup(const LayerScope& scope, const CallInputs& inputs) {
  const std::optional<KerasTensor> x = OnlyInput(scope, inputs);
  if (!x) return {};
  const std::optional<Vocabulary> vocabulary = ParseVocabulary(scope, false);
  if (!vocabulary || scope.failed()) return {};
  if (scope.Bool("invert", false)) {
    scope.Fail(Code::kUnsupportedArgument,
               fmt::format("{}: invert=true not implemented", scope.path()));
    return {};
  }
  auto table = std::make_shared<ops::IntTable>();
  const std::optional<int64_t> mask = scope.config()["mask_token"].ToInt();
  if (vocabulary->masked && mask) table->index.emplace(*mask, 0);
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
  const std::string mode = scope.String("output_mode", "int");
  if (mode == "int" && scope.Has("output_sequence_length")) {
    attributes.output_length = scope.PositiveInt("output_sequence_length");
  }
  if (scope.failed()) return {};
  if (mode != "int") {
    scope.Fail(Code::kUnsupportedArgument,
               fmt::format("{}: output_mode={} not implemented", scope.path(), mode));
    return {};
  }
  const Value tokens = ops::Tokenize(scope.graph(), x->value, attributes);
  const std::optional<Value> ids = Strings(scope, tokens, *vocabulary, ConfigValue(""));
  if (!ids) return {};
  return One(*ids);
}

}  // namespace h5serve::model
