#include "model/model_image.h"

namespace h5serve::model {

std::string NormalizedPath(std::string_view path) {
  std::string normalized;
  while (!path.empty()) {
    const size_t slash = path.find('/');
    const std::string_view part = path.substr(0, slash);
    path = slash == std::string_view::npos ? std::string_view() : path.substr(slash + 1);
    if (part.empty() || part == ".") continue;
    if (!normalized.empty()) normalized += '/';
    normalized += part;
  }
  return normalized;
}

std::string ModelImage::WeightPath(const LayerGroup& group, const std::string& weight_name) const {
  const std::string below = group.name + "/" + weight_name;
  return NormalizedPath(weights_on_root ? below : "model_weights/" + below);
}

}  // namespace h5serve::model
