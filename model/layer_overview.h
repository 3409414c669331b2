// What is known about each layer class, for people.
#pragma once

#include <string_view>
#include <vector>

namespace h5serve::model {

struct LayerOverview {
  std::string_view name;                    // canonical: "Conv2D"
  std::vector<std::string_view> aliases;    // other names in files: "Convolution2D"
  std::vector<std::string_view> eras;       // of "Keras 1", "Keras 2", "tf.keras", "Keras 3"
  std::vector<std::string_view> arguments;  // config keys of all eras, without what every layer has
  bool computed = true;                     // false: the class is known, and refused
};

// Every layer class, sorted by name. Joined from the tables that files are read
// and judged by.
std::vector<LayerOverview> DescribeLayers();

}  // namespace h5serve::model
