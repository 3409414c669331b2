// Lowers whole models: walks the layers in dependency order.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "compute/graph.h"
#include "model/diagnosis.h"
#include "model/keras_model.h"
#include "model/lowering.h"

namespace h5serve::model {

class CustomObjects;

// State of lowering one file: the graph under construction and all findings.
//
// Not thread-safe.
class Lowering {
 public:
  Lowering(const Writer& writer, const ModelWeights& weights, compute::Graph* graph,
           DiagnosisList* diagnoses, const CustomObjects* custom = nullptr)
      : writer_(writer),
        weights_(weights),
        graph_(*graph),
        diagnoses_(*diagnoses),
        custom_(custom) {}

  // Lowers a model applied to `inputs` (in the order of its inputs). Tensors
  // that could not be computed are invalid; the reasons are in the diagnoses.
  // `path` is the prefix of its layers' names for people, "" for the outermost.
  std::vector<KerasTensor> LowerModel(const KerasModel& model,
                                      const std::vector<KerasTensor>& inputs,
                                      const std::string& path);

  // Lowers one call of a layer or nested model. {} after a failure.
  std::vector<KerasTensor> LowerCall(const Layer& layer, const CallInputs& inputs,
                                     const std::string& path);

  // How a layer is lowered: by a custom definition, as an operation, or as the
  // Keras class it is. Null when nobody knows it.
  LowerFunction LowerFunctionOf(const Layer& layer) const;

  const Writer& writer() const { return writer_; }
  compute::Graph& graph() { return graph_; }
  DiagnosisList& diagnoses() { return diagnoses_; }
  const LayerWeights* weights(const Layer& layer) const;
  // Errors recorded so far: how a scope notices that it failed.
  int errors() const { return errors_; }
  void Report(Diagnosis diagnosis);

  // The first output shapes of each layer, by path, for `summary`.
  void RecordShapes(const std::string& path, const std::vector<KerasTensor>& outputs);
  const std::map<std::string, std::vector<compute::Shape>>& output_shapes() const {
    return output_shapes_;
  }
  // The definitions of somebody's own classes and functions; null: none.
  const CustomObjects* custom() const { return custom_; }

  // Gives a weight of a layer another value from now on.
  void OverrideWeight(const Layer& layer, std::string_view role, compute::Value value);
  // The constant of a weight, made once however often the layer is called.
  compute::Value WeightConstant(const Layer& layer, std::string_view role,
                                const compute::Tensor& tensor);

 private:
  const Writer& writer_;
  const ModelWeights& weights_;
  compute::Graph& graph_;
  DiagnosisList& diagnoses_;
  const CustomObjects* custom_;
  int errors_ = 0;
  int depth_ = 0;
  int64_t calls_ = 0;
  std::map<std::pair<const Layer*, std::string>, compute::Value> constants_;
  std::map<std::string, std::vector<compute::Shape>> output_shapes_;
};

}  // namespace h5serve::model
