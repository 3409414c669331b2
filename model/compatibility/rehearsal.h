// Goes through a file as load_model of one release does.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "model/compatibility/constructors.h"
#include "model/compatibility/obstacle.h"
#include "model/config_value.h"
#include "model/model_image.h"

namespace h5serve::model {

// Nothing is built or executed: the config is compared with what the release's
// classes take, in the order in which it would create them, and the few weights
// whose shape depends on the release are compared. What is met is collected, so
// that the second obstacle is found as well as the first.
//
// Not thread-safe.
class Rehearsal {
 public:
  // `image` must outlive the rehearsal.
  Rehearsal(Release release, const ModelImage& image);

  // model_config, from {"class_name", "config"} of the whole.
  void LoadModel(const ConfigValue& entry);
  // training_config; a model that has one is compiled.
  void Compile(const ConfigValue& training_config);

  ReleaseVerdict Take() { return std::move(verdict_); }

 private:
  struct Element {  // a layer in its model
    const ConfigValue& entry;
    std::string_view class_name;
    const ConfigValue& config;
    Place place;
  };

  KerasLine line() const { return Info(verdict_.release).line; }
  Release release() const { return verdict_.release; }
  void Add(Cause cause, const Place& place, std::string message, std::string error,
           std::string only_with = "", std::string remedy = "");
  void Note(std::string note);

  // ---- structure (rehearsal.cc)
  void Object(const ConfigValue& entry, const std::string& pointer, bool is_root);
  void Sequential(const Element& element);
  void Functional(const Element& element);
  void Layer(const Element& element);
  void Inner(const Element& element, const ConfigValue& inner, const std::string& pointer);
  void UnknownClass(const Element& element);
  bool IsModelClass(std::string_view class_name) const;
  void CheckName(const Element& element);
  void CheckInputShape(const Element& element, const ConfigValue& layers);
  void CheckNodes(const ConfigValue& layers, const ConfigValue& config, const Place& place);

  // ---- one layer (rehearse_layer.cc)
  void Arguments(const Element& element, const Constructor& constructor);
  void Values(const Element& element);
  void Activation(const Element& element, std::string_view key, const ConfigValue& value);
  void Initializer(const Element& element, std::string_view key, const ConfigValue& value);
  void Regularizer(const Element& element, std::string_view key, const ConfigValue& value);
  void Lambda(const Element& element);
  void LayerOddities(const Element& element);
  void Keras3Oddities(const Element& element);
  bool GruBiasIsOfOnePart(const Element& element) const;

  const ModelImage& image_;
  ReleaseVerdict verdict_;
  bool integer_embedding_ = false;  // an Embedding of Keras 1 came before
};

// Follows the shape that Keras 3 gives a Sequential model whose first layer
// holds batch_input_shape: it takes that for the shape without the batch.
class MisreadShape {
 public:
  explicit MisreadShape(const ConfigValue& batch_input_shape);

  bool following() const { return following_; }
  // Why the layer cannot take the shape, as Keras says it, or nothing. Then the
  // shape is the layer's output.
  std::optional<std::string> Pass(std::string_view class_name, const ConfigValue& config,
                                  std::string_view layer);
  std::string ToString() const;

 private:
  std::optional<std::string> PassNormalization(const ConfigValue& config) const;

  bool following_ = false;
  std::vector<std::optional<int64_t>> shape_;
};

// The Python that wrote a Lambda's bytecode ("2.7", "3.4 to 3.7", "3.8 to 3.10",
// "3.11 or later"), or "" when `function` holds none.
std::string PythonOfBytecode(const ConfigValue& function);

}  // namespace h5serve::model
