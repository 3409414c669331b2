#include "model/custom/quantizer.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "model/custom/expression.h"

namespace h5serve::model {
namespace {

constexpr std::string_view kBits = "quantized_bits";
constexpr std::string_view kRelu = "quantized_relu";

// The arguments in the order of the constructors.
const std::vector<std::string_view>& ParametersOf(std::string_view name) {
  static const auto* const bits = new std::vector<std::string_view>{
      "bits", "integer", "symmetric", "keep_negative", "alpha", "use_stochastic_rounding"};
  static const auto* const relu = new std::vector<std::string_view>{"bits",
                                                                    "integer",
                                                                    "use_sigmoid",
                                                                    "negative_slope",
                                                                    "use_stochastic_rounding",
                                                                    "relu_upper_bound"};
  return name == kBits ? *bits : *relu;
}

struct Quantizer {
  std::string name;
  ConfigValue::Dict config;
};

// A constant argument of a call: a number, with a sign perhaps, True, None, text.
const ConfigValue* ConstantOf(const ExpressionNode& node, ConfigValue* negative) {
  if (node.kind == ExpressionNode::Kind::kConstant) return &node.constant;
  if (node.kind != ExpressionNode::Kind::kUnary || node.text != "-" ||
      node.children[0]->kind != ExpressionNode::Kind::kConstant ||
      !node.children[0]->constant.is_number()) {
    return nullptr;
  }
  *negative = -node.children[0]->constant.as_float();
  return negative;
}

std::optional<Quantizer> ParseText(const std::string& text) {
  if (text.find('(') == std::string::npos) return Quantizer{text, {}};
  const auto expression = ParseExpression(text);
  if (!expression.ok() || (*expression)->statements.size() != 1) return std::nullopt;
  const ExpressionNode& call = *(*expression)->statements[0].value;
  if (call.kind != ExpressionNode::Kind::kCall ||
      call.children[0]->kind != ExpressionNode::Kind::kName) {
    return std::nullopt;
  }
  Quantizer quantizer{call.children[0]->text, {}};
  const std::vector<std::string_view>& names = ParametersOf(quantizer.name);
  for (size_t i = 1; i < call.children.size(); ++i) {
    ConfigValue negative;
    const ConfigValue* value = ConstantOf(*call.children[i], &negative);
    const bool named = !call.keywords[i].empty();
    if (value == nullptr || (!named && i > names.size())) return std::nullopt;
    quantizer.config.insert_or_assign(named ? call.keywords[i] : std::string(names[i - 1]), *value);
  }
  return quantizer;
}

std::optional<Quantizer> Parse(const ConfigValue& stored) {
  if (stored.is_string()) return ParseText(stored.as_string());
  if (!stored.is_dict() || !stored["config"].is_dict()) return std::nullopt;
  return Quantizer{std::string(stored.StringOr("class_name")), stored["config"].as_dict()};
}

double NumberOf(const Quantizer& quantizer, std::string_view key, double otherwise) {
  const auto at = quantizer.config.find(key);
  if (at == quantizer.config.end() || at->second.is_null()) return otherwise;
  if (at->second.is_bool()) return at->second.as_bool() ? 1 : 0;
  return at->second.is_number() ? at->second.as_float() : std::nan("");
}

}  // namespace

bool IsQuantizer(const ConfigValue& stored) {
  const std::optional<Quantizer> quantizer = Parse(stored);
  return quantizer && (quantizer->name == kBits || quantizer->name == kRelu);
}

absl::StatusOr<ConfigValue> QuantizerSteps(const ConfigValue& stored) {
  if (stored.is_null()) return ConfigValue();
  const auto refuse = [&](std::string_view why) {
    return absl::UnimplementedError(fmt::format("quantizer {}: {}", stored.ToJson(160), why));
  };
  const std::optional<Quantizer> quantizer = Parse(stored);
  if (!quantizer || (quantizer->name != kBits && quantizer->name != kRelu)) {
    return refuse("only quantized_bits and quantized_relu are known");
  }
  const bool relu = quantizer->name == kRelu;
  const double bits = NumberOf(*quantizer, "bits", 8), integer = NumberOf(*quantizer, "integer", 0);
  const double negative = relu ? 0 : NumberOf(*quantizer, "keep_negative", 1);
  const double unsigned_bits = bits - (negative != 0 ? 1 : 0);
  if (!(unsigned_bits >= 1 && unsigned_bits <= 23 && std::abs(integer) <= 32) ||
      bits != std::floor(bits) || integer != std::floor(integer)) {
    return refuse("its number of bits");
  }
  if (NumberOf(*quantizer, "alpha", 1) != 1 || NumberOf(*quantizer, "qnoise_factor", 1) != 1) {
    return refuse("a scale other than 1");
  }
  if (NumberOf(*quantizer, "use_stochastic_rounding", 0) != 0 ||
      NumberOf(*quantizer, "use_sigmoid", 0) != 0 ||
      NumberOf(*quantizer, "negative_slope", 0) != 0 ||
      NumberOf(*quantizer, "relu_upper_bound", 0) != 0) {
    return refuse("a form that is not plain rounding");
  }
  const double levels = std::pow(2.0, unsigned_bits);
  const double low = negative != 0 ? -levels + NumberOf(*quantizer, "symmetric", 0) : 0.0;
  return ConfigValue(ConfigValue::List{levels / std::pow(2.0, integer), low, levels - 1});
}

}  // namespace h5serve::model
