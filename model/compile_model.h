// From what a file holds to a program: translate, check, bind, lower, compile.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "compute/program.h"
#include "config/options.h"
#include "model/diagnosis.h"
#include "model/keras_model.h"
#include "model/model_image.h"
#include "model/servable.h"

namespace h5serve::model {

// A model understood: everything that does not need its program yet.
struct UnderstoodModel {
  Writer writer;
  std::unique_ptr<KerasModel> model;  // null when the config describes none
  Signature signature;                // outputs only when lowering succeeded
  compute::Graph graph;
  std::vector<compute::Value> outputs;
  int layers = 0;
  int64_t parameters = 0;
  // A layer looks across the batch: its requests must not be merged.
  bool batch_dependent = false;
  std::map<std::string, std::vector<compute::Shape>> output_shapes;  // by layer path
  std::map<std::string, int64_t> layer_parameters;                   // by layer name
};

// Translates, checks and lowers. All problems go to `diagnoses`; the result can
// be compiled when there are no errors.
UnderstoodModel UnderstandModel(const ModelImage& image, const config::ModelOptions& options,
                                DiagnosisList* diagnoses);

// Layers of a model, nested ones included, InputLayers too.
int CountLayers(const KerasModel& model);

}  // namespace h5serve::model
