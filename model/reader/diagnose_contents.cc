#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <string_view>

#include "model/reader/read_model.h"
#include "model/text_encoding.h"

namespace h5serve::model {
namespace {

constexpr size_t kMaxShown = 8;
constexpr size_t kMaxShownBytes = 800;

// The first few items, and how many more there are.
class ShortList {
 public:
  void Add(const std::string& item) {
    if (++count_ > kMaxShown || text_.size() > kMaxShownBytes) return;
    ++shown_;
    text_ += (text_.empty() ? "" : ", ") + Printable(item, 120);
  }
  size_t count() const { return count_; }
  std::string text() const {
    return count_ > shown_ ? fmt::format("{} and {} more", text_, count_ - shown_) : text_;
  }

 private:
  size_t count_ = 0;
  size_t shown_ = 0;
  std::string text_;
};

// "1 layer", "2 layers"
std::string Counted(size_t count, std::string_view noun) {
  return fmt::format("{} {}{}", count, noun, count == 1 ? "" : "s");
}

bool Has(const std::vector<std::string>& names, std::string_view name) {
  return std::ranges::find(names, name) != names.end();
}

const std::vector<std::string> kNeedsWholeModel = {
    "save the whole model with `model.save('model.h5')` instead of `save_weights`",
    "if the code that built the model is at hand: build it, `load_weights` this file, and "
    "`model.save('model.h5')`"};

void DiagnoseKeras2Weights(const ModelImage& image, DiagnosisList* diagnoses) {
  ShortList layers;
  size_t arrays = 0;
  for (const ModelImage::LayerGroup& group : image.layer_groups) {
    if (group.weight_names.empty()) continue;
    std::string shapes;
    for (const std::string& name : group.weight_names) {
      const auto found = image.datasets.find(image.WeightPath(group, name));
      if (found == image.datasets.end()) continue;
      shapes += (shapes.empty() ? "" : " ") + found->second.shape().ToString();
    }
    arrays += group.weight_names.size();
    layers.Add(group.name + " " + shapes);
  }
  diagnoses->Add(
      Code::kWeightsOnly,
      fmt::format("contains {} of {} as `save_weights` writes them, but no architecture: {}",
                  Counted(arrays, "array"), Counted(layers.count(), "layer"), layers.text()),
      {}, kNeedsWholeModel);
}

// Keras 0.x and early 1.0: groups layer_0, layer_1, … of param_0, param_1, …
void DiagnoseKeras0Weights(const ModelImage& image, DiagnosisList* diagnoses) {
  ShortList arrays;
  std::set<std::string_view> layers;
  for (const auto& [path, tensor] : image.datasets) {
    layers.insert(std::string_view(path).substr(0, path.find('/')));
    arrays.Add(path + " " + tensor.shape().ToString());
  }
  diagnoses->Add(
      Code::kWeightsOnly,
      fmt::format("contains weights of {} in the format of Keras 0.x, but no architecture: {}",
                  Counted(layers.size(), "layer"), arrays.text()),
      {}, kNeedsWholeModel);
}

void DiagnoseKeras3Weights(const ModelImage& image, DiagnosisList* diagnoses) {
  ShortList layers;
  std::string last;
  for (const auto& [path, tensor] : image.datasets) {
    const size_t vars = path.rfind("/vars/");
    const std::string layer = path.substr(0, vars == std::string::npos ? path.size() : vars);
    if (layer == last || path.starts_with("optimizer/")) continue;
    last = layer;
    layers.Add(layer + " " + tensor.shape().ToString());
  }
  diagnoses->Add(Code::kWeightsOnly,
                 fmt::format("contains weights of {} as Keras 3 writes `.weights.h5`, but no "
                             "architecture: {}",
                             Counted(layers.count(), "layer"), layers.text()),
                 {}, kNeedsWholeModel);
}

void DiagnoseForeign(const ModelImage& image, DiagnosisList* diagnoses) {
  ShortList names;
  for (const std::string& name : image.root_names) names.Add(name);
  ShortList attributes;
  for (const std::string& name : image.root_attributes) attributes.Add(name);
  diagnoses->Add(Code::kNotAKerasFile,
                 fmt::format("HDF5 without the attributes of Keras; at its top are {} and {}",
                             names.count() > 0 ? names.text() : "no members",
                             attributes.count() > 0 ? "the attributes " + attributes.text()
                                                    : "no attributes"));
}

void DiagnoseNoArchitecture(const ModelImage& image, DiagnosisList* diagnoses) {
  if (image.weights_on_root || !image.layer_groups.empty()) {
    DiagnoseKeras2Weights(image, diagnoses);
  } else if (Has(image.root_attributes, "nb_layers")) {
    DiagnoseKeras0Weights(image, diagnoses);
  } else if (Has(image.root_names, "layers") ||
             Has(image.root_names, "_layer_checkpoint_dependencies") ||
             (Has(image.root_names, "vars") && Has(image.root_names, "optimizer"))) {
    DiagnoseKeras3Weights(image, diagnoses);
  } else if (Has(image.root_names, "optimizer_weights") &&
             !Has(image.root_names, "model_weights")) {
    diagnoses->Add(Code::kWeightsOnly,
                   "contains the state of an optimizer, but neither a model's weights nor its "
                   "architecture",
                   {}, kNeedsWholeModel);
  } else if (Has(image.root_names, "model_weights") ||
             Has(image.root_attributes, "keras_version")) {
    diagnoses->Add(Code::kIncompleteSave,
                   "a file of Keras without an architecture: saving was aborted");
  } else {
    DiagnoseForeign(image, diagnoses);
  }
}

void DiagnoseLayers(const ModelImage& image, DiagnosisList* diagnoses) {
  if (image.container != ModelImage::Container::kHdf5) return;
  const bool has_weights = image.weights_on_root || Has(image.root_names, "model_weights");
  if (!has_weights) {
    diagnoses->Add(Code::kIncompleteSave,
                   "holds an architecture, but the group model_weights is missing");
    return;
  }
  ShortList missing;
  for (const ModelImage::LayerGroup& group : image.layer_groups) {
    if (!group.group_exists) missing.Add(group.name);
  }
  if (missing.count() == 0) return;
  diagnoses->Add(Code::kIncompleteSave,
                 fmt::format("layer_names lists {} layers, {} of their groups are missing: {}",
                             image.layer_groups.size(), missing.count(), missing.text()));
}

}  // namespace

void DiagnoseContents(const ModelImage& image, DiagnosisList* diagnoses) {
  if (!image.model_config) {
    DiagnoseNoArchitecture(image, diagnoses);
  } else {
    DiagnoseLayers(image, diagnoses);
  }
}

}  // namespace h5serve::model
