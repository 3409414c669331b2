#include "model/dialect/weight_slots.h"

#include <algorithm>
#include <array>
#include <cctype>

#include "model/custom/definition.h"
#include "model/custom/lower_custom.h"

namespace h5serve::model {
namespace {

// Keras 1 kept one array per gate unless consume_less was "gpu".
// Order of gates: keras/layers/recurrent.py of 1.2.2.
std::vector<WeightRole> Keras1Gates(std::string_view gates) {
  std::vector<WeightRole> roles;
  for (char gate : gates) {
    for (const char* kind : {"W_", "U_", "b_"}) roles.push_back({kind + std::string(1, gate)});
  }
  return roles;
}

bool Fused(const Layer& layer) { return layer.config.StringOr("implementation") == "gpu"; }

void Collect(const Layer& layer, const Writer& writer, bool trainable, int depth,
             std::vector<WeightSlot>* first, std::vector<WeightSlot>* second) {
  if (depth > 64) return;
  const bool own = trainable && layer.trainable;
  const std::vector<WeightRole> roles = OwnRoles(layer, writer);
  for (const bool wanted : {true, false}) {
    for (const WeightRole& role : roles) {
      if (role.trainable != wanted) continue;
      const bool goes_first = role.trainable && own;
      (goes_first ? first : second)->push_back({&layer, role.role, role.trainable});
    }
  }
  for (const auto& inner : layer.inner) Collect(*inner, writer, own, depth + 1, first, second);
  if (layer.nested) {
    for (const auto& inner : layer.nested->layers) {
      Collect(*inner, writer, own, depth + 1, first, second);
    }
  }
}

constexpr auto kSynonyms = std::to_array<std::pair<std::string_view, std::string_view>>({
    {"W", "kernel"},
    {"U", "recurrent_kernel"},
    {"b", "bias"},
    {"running_mean", "moving_mean"},
    {"running_std", "moving_variance"},
    {"depthwise_W", "depthwise_kernel"},
    {"pointwise_W", "pointwise_kernel"},
    {"alphas", "alpha"},
    {"betas", "beta"},
});

// Last words that stored names are known to end in.
constexpr auto kWords = std::to_array<std::string_view>({
    "kernel",
    "bias",
    "recurrent_kernel",
    "depthwise_kernel",
    "pointwise_kernel",
    "embeddings",
    "gamma",
    "beta",
    "moving_mean",
    "moving_variance",
    "alpha",
    "mean",
    "variance",
    "count",
    "W_i",
    "U_i",
    "b_i",
    "W_f",
    "U_f",
    "b_f",
    "W_c",
    "U_c",
    "b_c",
    "W_o",
    "U_o",
    "b_o",
    "W_z",
    "U_z",
    "b_z",
    "W_r",
    "U_r",
    "b_r",
    "W_h",
    "U_h",
    "b_h",
});

std::string_view Canonical(std::string_view word) {
  for (const auto& [from, to] : kSynonyms) {
    if (word == from) return to;
  }
  return word;
}

std::string_view StripSuffix(std::string_view name) {
  const size_t colon = name.rfind(':');
  if (colon != std::string_view::npos) name = name.substr(0, colon);
  return name;
}

// "kernel_2" -> "kernel".
std::string_view StripNumber(std::string_view name) {
  size_t end = name.size();
  while (end > 0 && std::isdigit(static_cast<unsigned char>(name[end - 1]))) --end;
  if (end < name.size() && end > 1 && name[end - 1] == '_') return name.substr(0, end - 1);
  return name;
}

bool EndsInWord(std::string_view name, std::string_view word) {
  if (!name.ends_with(word)) return false;
  if (name.size() == word.size()) return true;
  const char before = name[name.size() - word.size() - 1];
  return before == '_' || before == '/';
}

// The longest known word that the name ends in, "" when none.
std::string_view StoredWord(std::string_view last) {
  std::string_view best;
  for (std::string_view word : kWords) {
    if (EndsInWord(last, word) && word.size() > best.size()) best = word;
  }
  for (const auto& [from, to] : kSynonyms) {
    if (EndsInWord(last, from) && from.size() > best.size()) best = from;
  }
  return best;
}

}  // namespace

std::vector<WeightRole> OwnRoles(const Layer& layer, const Writer& writer) {
  if (layer.nested) return {};
  if (IsLoweredByDefinition(layer)) return CustomRoles(layer);
  if (writer.dialect == Writer::Dialect::kKeras1 && !Fused(layer)) {
    if (layer.class_name == "LSTM" || layer.class_name == "ConvLSTM2D") return Keras1Gates("icfo");
    if (layer.class_name == "GRU") return Keras1Gates("zrh");
  }
  const LayerClass* row = FindLayerClass(layer.class_name);
  if (row == nullptr || row->weights == nullptr) return {};
  return row->weights(layer, writer);
}

std::vector<WeightSlot> StoredSlots(const Layer& layer, const Writer& writer) {
  std::vector<WeightSlot> first, second;
  Collect(layer, writer, true, 0, &first, &second);
  first.insert(first.end(), second.begin(), second.end());
  return first;
}

bool HasUnknownClass(const Layer& layer) {
  if (layer.nested) {
    return std::any_of(layer.nested->layers.begin(), layer.nested->layers.end(),
                       [](const auto& inner) { return HasUnknownClass(*inner); });
  }
  if (layer.is_operation || layer.class_name == "InputLayer") return false;
  if (FindLayerClass(layer.class_name) == nullptr && !IsLoweredByDefinition(layer)) return true;
  return std::any_of(layer.inner.begin(), layer.inner.end(),
                     [](const auto& inner) { return HasUnknownClass(*inner); });
}

RoleMatch MatchRole(std::string_view stored_name, std::string_view role) {
  std::string_view last = StripSuffix(stored_name);
  const std::string_view full = last;
  if (full == role || (full.ends_with(role) && full[full.size() - role.size() - 1] == '/')) {
    return RoleMatch::kYes;
  }
  const size_t slash = last.rfind('/');
  if (slash != std::string_view::npos) last = last.substr(slash + 1);
  std::string_view wanted = role;
  const size_t part = wanted.rfind('/');
  if (part != std::string_view::npos) wanted = wanted.substr(part + 1);

  std::string_view word = StoredWord(last);
  if (word.empty()) word = StoredWord(StripNumber(last));
  if (word.empty()) {
    return EndsInWord(last, wanted) || EndsInWord(StripNumber(last), wanted) ? RoleMatch::kYes
                                                                             : RoleMatch::kUnclear;
  }
  const std::string_view stored = Canonical(word);
  const std::string_view expected = Canonical(wanted);
  if (stored == expected) return RoleMatch::kYes;
  // Depthwise kernels and embeddings are called kernel by some versions.
  if ((stored == "kernel" && expected == "embeddings") ||
      (stored == "kernel" && expected.ends_with("kernel") && expected != "recurrent_kernel") ||
      (expected == "kernel" && stored == "depthwise_kernel")) {
    return RoleMatch::kYes;
  }
  const bool known = std::find(kWords.begin(), kWords.end(), expected) != kWords.end();
  return known ? RoleMatch::kNo : RoleMatch::kUnclear;
}

RoleMatch MatchSlot(std::string_view stored_name, const WeightSlot& slot) {
  if (!IsLoweredByDefinition(*slot.owner)) return MatchRole(stored_name, slot.role);
  const Layer& owner = *slot.owner;
  if (EndsInSavedName(stored_name, SavedWeightName(owner, slot.role))) return RoleMatch::kYes;
  for (const WeightRole& other : CustomRoles(owner)) {
    if (EndsInSavedName(stored_name, SavedWeightName(owner, other.role))) return RoleMatch::kNo;
  }
  // Names are what tells one class of a name from another.
  if (!owner.custom->catalogue.empty()) return RoleMatch::kNo;
  // A guess would do harm where nothing says the order.
  return KnowsWeightOrder(owner) ? RoleMatch::kUnclear : RoleMatch::kNo;
}

}  // namespace h5serve::model
