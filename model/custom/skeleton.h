// Definitions to paste and to finish, for diagnoses.
#pragma once

#include <string>

#include "model/keras_model.h"
#include "model/lowering.h"

namespace h5serve::model {

// `{"custom_objects": {"NAME": …}}` for a layer, with its settings and weights as
// the file has them; `weights` may be null.
std::string DefinitionSkeleton(const Layer& layer, const LayerWeights* weights);

// The same for the class of a whole model, which needs a graph.
std::string GraphSkeleton(const std::string& class_name);

// "weights gamma (8), beta (8)", in the file's order, or "no weights".
std::string DescribeWeights(const Layer& layer, const LayerWeights* weights);

}  // namespace h5serve::model
