// Shared libraries with plug-ins, and the layers they make.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "compute/shape.h"
#include "compute/tensor.h"

namespace h5serve::model {

// One layer made by a plug-in; it keeps the library and the weights alive.
//
// Thread-safe, as far as the plug-in keeps its promise.
class PluginLayer {
 public:
  // Loads the library and makes a layer with its weights. UNAVAILABLE when it
  // cannot be loaded, FAILED_PRECONDITION for a library of another version or
  // without the function to export, INVALID_ARGUMENT when it refuses the layer.
  static absl::StatusOr<std::shared_ptr<const PluginLayer>> Make(
      const std::string& path, const std::string& class_name, const std::string& config_json,
      std::vector<std::pair<std::string, compute::Tensor>> weights);

  ~PluginLayer();
  PluginLayer(const PluginLayer&) = delete;
  PluginLayer& operator=(const PluginLayer&) = delete;

  // The outputs' shapes; dimensions may be kUnknown.
  absl::StatusOr<std::vector<compute::Shape>> InferShapes(
      const std::vector<compute::Shape>& inputs) const;

  // Computes float32 outputs of the shapes that InferShapes said.
  absl::Status Run(const std::vector<std::pair<compute::Shape, const float*>>& inputs,
                   const std::vector<std::pair<compute::Shape, float*>>& outputs) const;

  // Runs once on zeros for inputs of these (known) shapes and looks whether the
  // outputs are exactly what the shape rule says: INVALID_ARGUMENT when memory
  // beside them was written, or some of theirs was not.
  absl::Status CheckShapeRule(const std::vector<compute::Shape>& inputs) const;

 private:
  struct State;
  explicit PluginLayer(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace h5serve::model
