#include "tests/unit/model/lambda_samples.h"

#include <fstream>
#include <sstream>

#include "model/keras_model.h"
#include "model/lower_model.h"

namespace h5serve::model {
namespace {

void AddInput(const ConfigValue& written, LambdaSample* sample) {
  compute::Shape shape = {compute::kUnknown};
  const ConfigValue::List& items = written.as_list();
  // ["int", high, …]
  const bool whole = !items.empty() && items[0].is_string();
  for (size_t i = whole ? 2 : 0; i < items.size(); ++i) shape.push_back(items[i].as_int());
  sample->inputs.push_back(shape);
  sample->whole.push_back(whole);
}

}  // namespace

std::vector<LambdaSample> ReadLambdaSamples(const std::string& path) {
  std::stringstream text;
  text << std::ifstream(path).rdbuf();
  const absl::StatusOr<ConfigValue> rows = ParseJson(text.str());
  std::vector<LambdaSample> samples;
  if (!rows.ok()) return samples;
  for (const ConfigValue& row : rows->as_list()) {
    LambdaSample& sample = samples.emplace_back();
    sample.name = row.StringOr("name");
    sample.python = row.StringOr("python");
    sample.function = row["function"];
    sample.arguments = row["arguments"];
    sample.refused = row.Find("refused") != nullptr;
    sample.says = row.StringOr("refused");
    for (const ConfigValue& input : row["inputs"].as_list()) AddInput(input, &sample);
  }
  return samples;
}

std::string LambdaOutcome::Errors() const {
  std::string text;
  for (const Diagnosis& diagnosis : diagnoses.items()) {
    if (diagnosis.severity != Severity::kError) continue;
    text += std::string(Name(diagnosis.code)) + ": " + diagnosis.message + "\n";
    for (const std::string& remedy : diagnosis.remedies) text += "  " + remedy + "\n";
  }
  return text;
}

LambdaOutcome LowerLambdaSample(const LambdaSample& sample, const ConfigValue& function) {
  Writer writer;
  writer.version = "2.6.0";
  writer.major = 2;
  writer.minor = 6;
  writer.dialect = Writer::Dialect::kTfKeras;
  writer.backend = "tensorflow";
  Layer layer;
  layer.name = "the_lambda";
  layer.class_name = layer.written_class = "Lambda";
  layer.config = ConfigValue::Dict{{"function", function}, {"arguments", sample.arguments}};
  LambdaOutcome outcome;
  outcome.graph = std::make_unique<compute::Graph>();
  const ModelWeights weights;
  Lowering lowering(writer, weights, outcome.graph.get(), &outcome.diagnoses);
  CallArgument list;
  list.kind = Argument::Kind::kList;
  for (size_t i = 0; i < sample.inputs.size(); ++i) {
    CallArgument& item = list.list.emplace_back();
    item.kind = Argument::Kind::kTensor;
    item.tensor.value = outcome.graph->Input(
        sample.whole[i] ? compute::DType::kInt64 : compute::DType::kFloat32, sample.inputs[i]);
  }
  CallInputs inputs;
  inputs.args.push_back(list.list.size() == 1 ? list.list[0] : list);
  outcome.outputs = lowering.LowerCall(layer, inputs, layer.name);
  return outcome;
}

std::string EncodeBase64(std::string_view bytes) {
  constexpr std::string_view kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  for (size_t i = 0; i < bytes.size(); i += 3) {
    uint32_t bits = 0;
    for (size_t k = 0; k < 3; ++k) {
      bits = bits << 8 | (i + k < bytes.size() ? static_cast<unsigned char>(bytes[i + k]) : 0u);
    }
    for (size_t k = 0; k < 4; ++k) {
      const bool filled = i + k <= bytes.size();
      text += filled ? kDigits[bits >> (18 - 6 * k) & 63] : '=';
    }
  }
  return text;
}

std::string MutateBytes(std::string bytes, std::mt19937& random) {
  const int changes = 1 + static_cast<int>(random() % 4);
  for (int i = 0; i < changes && !bytes.empty(); ++i) {
    const size_t at = random() % bytes.size();
    const size_t length = 1 + random() % 8;
    switch (random() % 8) {
      case 0:
        bytes.erase(at, length);
        break;
      case 1:
        bytes.insert(at, bytes.substr(random() % bytes.size(), length));
        break;
      case 2:
        bytes.resize(at);
        break;
      case 3:
        bytes[at] = static_cast<char>(random() % 2 == 0 ? 0xFF : 0x7F);
        break;
      case 4:
        bytes[at] = static_cast<char>(bytes[at] ^ (1 << random() % 8));
        break;
      case 5:
        bytes[at] = "NTFSgils(){}[]<>rRctuaAzZ."[random() % 26];
        break;
      default:
        bytes[at] = static_cast<char>(random());
    }
  }
  return bytes;
}

}  // namespace h5serve::model
