// What a model file holds, read completely and checked only for being readable.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "compute/tensor.h"

namespace h5serve::model {

// A path in an HDF5 file without empty and "." parts.
std::string NormalizedPath(std::string_view path);

// Attributes and arrays of one file. The tensors share read-only memory that
// lives as long as any of them.
struct ModelImage {
  enum class Container { kHdf5, kKerasZip };

  // A group below model_weights, in the order of the layer_names attribute.
  struct LayerGroup {
    std::string name;
    std::vector<std::string> weight_names;  // as in the attribute
    bool group_exists = true;               // listed, and really there
  };

  Container container = Container::kHdf5;
  int64_t file_bytes = 0;

  std::optional<std::string> model_config;     // JSON text
  std::optional<std::string> training_config;  // JSON text
  std::optional<std::string> keras_version;    // of model_weights, else of the root
  std::optional<std::string> backend;
  bool version_on_weights = false;  // keras_version stood on model_weights (not Keras 1)
  bool weights_on_root = false;     // layer_names on the root: a file of save_weights
  std::vector<LayerGroup> layer_groups;

  // Every dataset outside optimizer_weights by path from the root without a
  // leading slash ("model_weights/dense/dense/kernel:0"; in a .keras archive
  // "layers/dense/vars/0"). Opaque 2-byte elements are bfloat16.
  std::map<std::string, compute::Tensor, std::less<>> datasets;
  // Datasets whose element type cannot be held, with the type's name.
  std::map<std::string, std::string, std::less<>> unsupported_datasets;
  // Files below assets/ in a .keras archive, such as vocabularies, by path.
  std::map<std::string, std::string, std::less<>> assets;
  // How the file was read, where that is worth logging ("without seccomp").
  std::vector<std::string> notes;
  // Names directly below the root, for the diagnosis of foreign files.
  std::vector<std::string> root_names;
  std::vector<std::string> root_attributes;

  // Path of a weight of a layer group, as HDF5 resolves it: empty and "." parts dropped.
  std::string WeightPath(const LayerGroup& group, const std::string& weight_name) const;
};

}  // namespace h5serve::model
