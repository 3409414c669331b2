#include "model/dialect/archive_weights.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <map>

#include "model/custom/definition.h"
#include "model/custom/lower_custom.h"
#include "model/dialect/weight_slots.h"

namespace h5serve::model {
namespace {

// Where a layer keeps inner layer number `index`.
std::string InnerAttribute(const Layer& layer, size_t index) {
  if (layer.class_name == "Bidirectional") return index == 0 ? "forward_layer" : "backward_layer";
  if (layer.class_name == "RNN") return "cell";
  return "layer";
}

// Attribute of the sublayer that holds a role such as "query/kernel".
std::string SublayerAttribute(std::string_view part) {
  constexpr auto kNames = std::to_array<std::pair<std::string_view, std::string_view>>({
      {"query", "query_dense"},
      {"key", "key_dense"},
      {"value", "value_dense"},
      {"attention_output", "output_dense"},
      {"gate", "gate_dense"},
  });
  for (const auto& [role, attribute] : kNames) {
    if (part == role) return std::string(attribute);
  }
  return std::string(part);
}

bool KeepsWeightsInCell(std::string_view class_name) {
  return class_name == "LSTM" || class_name == "GRU" || class_name == "SimpleRNN" ||
         class_name.starts_with("ConvLSTM");
}

class ArchiveBinder {
 public:
  ArchiveBinder(const ModelImage& image, const Writer& writer, DiagnosisList* diagnoses)
      : image_(image), writer_(writer), diagnoses_(*diagnoses) {}

  void Model(const KerasModel& model, const std::string& prefix, int depth) {
    if (depth > 32) return;
    std::map<std::string, int> used;
    for (const auto& layer : model.layers) {
      // An implied InputLayer of a Sequential is a layer there as well.
      const std::string name = Numbered(SnakeCase(PythonClass(*layer)), &used);
      Bind(*layer, prefix + Container() + "/" + name, depth);
    }
  }

  ModelWeights Take() { return std::move(weights_); }

 private:
  static std::string Numbered(std::string name, std::map<std::string, int>* used) {
    const auto [at, fresh] = used->emplace(name, 0);
    if (fresh) return name;
    return fmt::format("{}_{}", name, ++at->second);
  }

  static std::string PythonClass(const Layer& layer) {
    std::string_view name = layer.written_class;
    // The class registers itself under an older name than Python gives it.
    if (name == "GroupQueryAttention") return "GroupedQueryAttention";
    const size_t package = name.rfind('>');
    return std::string(package == std::string_view::npos ? name : name.substr(package + 1));
  }

  // tf.keras 2.12 called the container after its checkpoint dependencies.
  std::string Container() const {
    const auto at = image_.datasets.lower_bound("_layer_checkpoint_dependencies/");
    const bool old =
        at != image_.datasets.end() && at->first.starts_with("_layer_checkpoint_dependencies/");
    return old ? "_layer_checkpoint_dependencies" : "layers";
  }

  void Bind(const Layer& layer, const std::string& path, int depth) {
    if (layer.nested) {
      Model(*layer.nested, path + "/", depth + 1);
      return;
    }
    if (HasUnknownClass(layer) && layer.inner.empty()) {
      KeepForUnknown(layer, path);
      return;
    }
    BindOwn(layer, KeepsWeightsInCell(layer.class_name) ? path + "/cell" : path);
    std::map<std::string, int> used;
    for (size_t i = 0; i < layer.inner.size(); ++i) {
      const Layer& inner = *layer.inner[i];
      std::string at = path + "/" + InnerAttribute(layer, i);
      if (layer.class_name == "StackedRNNCells") {
        at = path + "/cells/" + Numbered(SnakeCase(PythonClass(inner)), &used);
      } else if (layer.class_name == "RNN" && layer.inner.size() > 1) {
        at = path + "/cell/cells/" + Numbered(SnakeCase(PythonClass(inner)), &used);
      }
      Bind(inner, at, depth + 1);
    }
  }

  void BindOwn(const Layer& layer, const std::string& path) {
    std::map<std::string, int> counts;
    std::vector<WeightRole> roles = OwnRoles(layer, writer_);
    std::stable_partition(roles.begin(), roles.end(),
                          [](const WeightRole& role) { return role.trainable; });
    // SpectralNormalization lists the wrapped kernel among its own variables.
    if (layer.class_name == "SpectralNormalization") counts[path] = 1;
    const bool custom = IsLoweredByDefinition(layer);
    if (custom && !KnowsWeightOrder(layer)) {
      diagnoses_.Add(Code::kWeightOrderAmbiguous,
                     fmt::format("an archive numbers the weights of layer {} ({}), and its "
                                 "definition does not say their order",
                                 layer.name, layer.written_class),
                     {layer.name, layer.written_class, layer.json_pointer, path},
                     {"list them in the definition, in the order in which the class makes them: "
                      "\"weights\": […]"});
      return;
    }
    for (const WeightRole& role : roles) {
      std::string at = path;
      const size_t slash = role.role.find('/');
      if (slash != std::string::npos) {
        at += "/" + SublayerAttribute(std::string_view(role.role).substr(0, slash));
        if (!HasPrefix(at + "/")) at = path + "/_" + at.substr(path.size() + 1);
      }
      const std::string key = fmt::format("{}/vars/{}", at, counts[at]++);
      const auto found = image_.datasets.find(key);
      if (found == image_.datasets.end()) {
        diagnoses_.Add(HasPrefix(at + "/vars/") ? Code::kWeightMissing : Code::kUnbuiltModel,
                       fmt::format("{} of layer {} is expected at {}, which the archive lacks",
                                   role.role, layer.name, key),
                       {layer.name, layer.written_class, layer.json_pointer, key});
        continue;
      }
      weights_[&layer][role.role] = found->second;
    }
    if (custom) CheckAllUsed(layer, path, roles.size());
  }

  // A weight that a definition does not know could matter.
  void CheckAllUsed(const Layer& layer, const std::string& path, size_t used) {
    size_t stored = 0;
    while (image_.datasets.contains(fmt::format("{}/vars/{}", path, stored))) ++stored;
    if (stored <= used || !layer.custom->ignore.empty()) return;
    diagnoses_.Add(Code::kWeightCountMismatch,
                   fmt::format("layer {} ({}) stores {} arrays, its definition uses {}", layer.name,
                               layer.written_class, stored, used),
                   {layer.name, layer.written_class, layer.json_pointer, path + "/vars"});
  }

  void KeepForUnknown(const Layer& layer, const std::string& path) {
    for (auto at = image_.datasets.lower_bound(path + "/");
         at != image_.datasets.end() && at->first.starts_with(path + "/"); ++at) {
      weights_[&layer][at->first.substr(path.size() + 1)] = at->second;
    }
  }

  bool HasPrefix(const std::string& prefix) const {
    const auto at = image_.datasets.lower_bound(prefix);
    return at != image_.datasets.end() && at->first.starts_with(prefix);
  }

  const ModelImage& image_;
  const Writer& writer_;
  DiagnosisList& diagnoses_;
  ModelWeights weights_;
};

}  // namespace

std::string SnakeCase(std::string_view class_name) {
  // keras/src/utils/naming.py: "(.)([A-Z][a-z]+)" -> "\1_\2", then "([a-z])([A-Z])".
  const auto upper = [](char c) { return std::isupper(static_cast<unsigned char>(c)) != 0; };
  const auto lower = [](char c) { return std::islower(static_cast<unsigned char>(c)) != 0; };
  std::string first;
  for (size_t i = 0; i < class_name.size(); ++i) {
    const bool word = upper(class_name[i]) && i + 1 < class_name.size() && lower(class_name[i + 1]);
    if (word && i > 0) first += '_';
    first += class_name[i];
  }
  std::string second;
  for (size_t i = 0; i < first.size(); ++i) {
    if (i > 0 && lower(first[i - 1]) && upper(first[i])) second += '_';
    second += static_cast<char>(std::tolower(static_cast<unsigned char>(first[i])));
  }
  return second;
}

ModelWeights BindArchiveWeights(const KerasModel& model, const ModelImage& image,
                                const Writer& writer, DiagnosisList* diagnoses) {
  ArchiveBinder binder(image, writer, diagnoses);
  binder.Model(model, "", 0);
  return binder.Take();
}

}  // namespace h5serve::model
