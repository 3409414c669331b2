// Code of Lambda layers, as tests/unit/model/lambda_code.json holds it.
#pragma once

#include <memory>
#include <random>
#include <string>
#include <vector>

#include "compute/graph.h"
#include "model/diagnosis.h"
#include "model/lowering.h"

namespace h5serve::model {

struct LambdaSample {
  std::string name;
  std::string python;  // "3.11"
  std::vector<compute::Shape> inputs;
  std::vector<bool> whole;  // which of them are integers
  ConfigValue function;     // [code, defaults, closure]
  ConfigValue arguments;
  bool refused = false;
  std::string says;  // what the refusal must say: alternatives between "|"
};

// From the file at `path`; empty when it cannot be read.
std::vector<LambdaSample> ReadLambdaSamples(const std::string& path);

struct LambdaOutcome {
  std::unique_ptr<compute::Graph> graph;
  std::vector<KerasTensor> outputs;
  DiagnosisList diagnoses;

  // Messages and remedies of all errors.
  std::string Errors() const;
};

// Lowers a Lambda layer that holds `function` for inputs as the sample's.
LambdaOutcome LowerLambdaSample(const LambdaSample& sample, const ConfigValue& function);

std::string EncodeBase64(std::string_view bytes);

// Code with a few bytes changed, removed, doubled or moved.
std::string MutateBytes(std::string bytes, std::mt19937& random);

}  // namespace h5serve::model
