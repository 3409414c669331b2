#include "model/dialect/writer.h"

#include <fmt/format.h>

#include <charconv>
#include <string_view>

namespace h5serve::model {
namespace {

// What the structure of a config says about its writer.
struct Fingerprint {
  bool keras1 = false;
  bool keras3 = false;
  bool tf_keras = false;
};

// Walks the config and looks for keys that only one family of writers uses.
void Scan(const ConfigValue& value, int depth, Fingerprint* found) {
  if (depth > 64) return;
  if (value.is_list()) {
    for (const ConfigValue& item : value.as_list()) Scan(item, depth + 1, found);
    return;
  }
  if (!value.is_dict()) return;
  for (const auto& [key, item] : value.as_dict()) {
    if (key == "nb_filter" || key == "border_mode" || key == "dim_ordering" ||
        key == "inner_activation" || key == "consume_less" || key == "W_regularizer" ||
        key == "input_dtype") {
      found->keras1 = true;
    } else if (key == "batch_shape" || key == "keras_history") {
      found->keras3 = true;
    } else if (key == "time_major" || key == "ragged") {
      found->tf_keras = true;
    }
    if (key == "class_name" && item.is_string()) {
      if (item.as_string() == "DTypePolicy") found->keras3 = true;
      if (item.as_string() == "Functional") found->tf_keras = true;
    }
    Scan(item, depth + 1, found);
  }
}

// True when a weight name ends in ":0", as TensorFlow variables of Keras 1 and 2 do.
bool HasTensorFlowNames(const ModelImage& image, bool* any) {
  for (const ModelImage::LayerGroup& group : image.layer_groups) {
    for (const std::string& name : group.weight_names) {
      *any = true;
      if (name.size() > 2 && name.find(':') != std::string::npos) return true;
    }
  }
  return false;
}

void DecideBackend(const ModelImage& image, Writer* writer, DiagnosisList* diagnoses) {
  writer->backend = image.backend.value_or("");
  if (!writer->backend.empty()) {
    writer->theano = writer->backend == "theano" && writer->dialect != Writer::Dialect::kKeras3;
    return;
  }
  if (writer->dialect != Writer::Dialect::kKeras1) return;
  // Keras 1 does not store its backend, but Theano's variables have no ":0".
  bool any = false;
  const bool tensorflow = HasTensorFlowNames(image, &any);
  writer->theano = !tensorflow;
  writer->backend = tensorflow ? "tensorflow" : "theano";
  if (!any) {
    diagnoses->Add(Code::kUnknownBackend,
                   "Keras 1 does not store its backend and the file has no weights to tell it by; "
                   "assuming Theano's padding rules");
  }
}

}  // namespace

bool ParseVersion(std::string_view text, int* major, int* minor, int* patch) {
  int* parts[] = {major, minor, patch};
  for (int* part : parts) *part = 0;
  const char* at = text.data();
  const char* end = text.data() + text.size();
  for (int i = 0; i < 3; ++i) {
    const auto [next, error] = std::from_chars(at, end, *parts[i]);
    if (error != std::errc() || *parts[i] < 0) {
      *parts[i] = 0;
      return i > 0;
    }
    if (next == end || *next != '.') return true;
    at = next + 1;
  }
  return true;
}

bool Writer::AtLeast(int major_version, int minor_version, int patch_version) const {
  if (major != major_version) return major > major_version;
  if (minor != minor_version) return minor > minor_version;
  return patch >= patch_version;
}

std::string_view Name(Writer::Dialect dialect) {
  switch (dialect) {
    case Writer::Dialect::kKeras1:
      return "keras1";
    case Writer::Dialect::kKeras2:
      return "keras2";
    case Writer::Dialect::kTfKeras:
      return "tf.keras";
    case Writer::Dialect::kKeras3:
      return "keras3";
  }
  return "";
}

Writer DetectWriter(const ModelImage& image, const ConfigValue& model_config,
                    DiagnosisList* diagnoses) {
  Writer writer;
  if (image.keras_version) {
    writer.version = *image.keras_version;
  } else {
    // Files assembled from to_json() carry the version inside the config.
    writer.version = std::string(model_config.StringOr("keras_version"));
  }
  const bool known = ParseVersion(writer.version, &writer.major, &writer.minor, &writer.patch);
  Fingerprint found;
  Scan(model_config, 0, &found);

  using Dialect = Writer::Dialect;
  if (found.keras3 || image.container == ModelImage::Container::kKerasZip ||
      (known && writer.major >= 3)) {
    writer.dialect = Dialect::kKeras3;
  } else if (known && writer.major == 1) {
    writer.dialect = Dialect::kKeras1;
  } else if (!known && found.keras1 && !found.tf_keras) {
    writer.dialect = Dialect::kKeras1;
  } else if (writer.version.find("-tf") != std::string::npos || writer.AtLeast(2, 4) ||
             found.tf_keras) {
    writer.dialect = Dialect::kTfKeras;
  } else {
    writer.dialect = Dialect::kKeras2;
  }
  // A .keras archive of tf.keras 2.12+ has the new layout with the old semantics.
  if (image.container == ModelImage::Container::kKerasZip && known && writer.major == 2 &&
      !found.keras3) {
    writer.dialect = Dialect::kTfKeras;
  }
  if (!known) {
    switch (writer.dialect) {
      case Dialect::kKeras1:
        writer.major = 1, writer.minor = 2;
        break;
      case Dialect::kKeras2:
        writer.major = 2, writer.minor = 2, writer.patch = 4;
        break;
      case Dialect::kTfKeras:
        writer.major = 2, writer.minor = 10;
        break;
      case Dialect::kKeras3:
        writer.major = 3;
        break;
    }
  }
  DecideBackend(image, &writer, diagnoses);
  return writer;
}

}  // namespace h5serve::model
