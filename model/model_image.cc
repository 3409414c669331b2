#include "model/model_image.h"

namespace h5serve::model {

std::string ModelImage::WeightPath(const LayerGroup& group, const std::string& weight_name) const {
  const std::string below = group.name + "/" + weight_name;
  return weights_on_root ? below : "model_weights/" + below;
}

}  // namespace h5serve::model
