// definition_fuzz SEEDS.json SECONDS [SEED]
//
// Translates and lowers models with randomly damaged definitions of their custom
// classes (expressions, aliases, graphs) and settings until the time is over.
// Crashes speak for themselves; a round that takes longer than ten seconds ends
// the run, too. Build it with AddressSanitizer for a long run.
#include <fmt/format.h>

#include <chrono>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <random>
#include <sstream>

#include "config/options.h"
#include "model/compile_model.h"
#include "model/config_value.h"
#include "model/model_image.h"
#include "tests/unit/model/lambda_samples.h"

namespace h5serve::model {
namespace {

using Random = std::mt19937;

struct Seed {
  ModelImage image;
  ConfigValue model_config;
  ConfigValue definitions;
};

compute::Tensor Weight(const ConfigValue& shape) {
  compute::Shape dims;
  int64_t count = 1;
  for (const ConfigValue& dim : shape.as_list()) {
    dims.push_back(dim.as_int());
    count *= dim.as_int();
  }
  std::vector<float> values(static_cast<size_t>(count));
  for (size_t i = 0; i < values.size(); ++i) values[i] = 0.25f * static_cast<float>(i % 7) - 0.5f;
  return compute::Tensor::Floats(dims, values);
}

std::vector<Seed> ReadSeeds(const std::string& path) {
  std::stringstream text;
  text << std::ifstream(path).rdbuf();
  const absl::StatusOr<ConfigValue> rows = ParseJson(text.str());
  std::vector<Seed> seeds;
  if (!rows.ok() || !rows->is_list()) return seeds;
  for (const ConfigValue& row : rows->as_list()) {
    Seed& seed = seeds.emplace_back();
    seed.model_config = row["model_config"];
    seed.definitions = row["custom_objects"];
    seed.image.keras_version = row.StringOr("keras_version");
    seed.image.backend = "tensorflow";
    seed.image.version_on_weights = true;
    for (const auto& [layer, weights] : row["weights"].as_dict()) {
      ModelImage::LayerGroup& group = seed.image.layer_groups.emplace_back();
      group.name = layer;
      for (const auto& [name, shape] : weights.as_dict()) {
        group.weight_names.push_back(name);
        seed.image.datasets.emplace(seed.image.WeightPath(group, name), Weight(shape));
      }
    }
  }
  return seeds;
}

// All values inside of one, itself included.
void Collect(ConfigValue* value, std::vector<ConfigValue*>* all) {
  all->push_back(value);
  if (value->is_list()) {
    for (ConfigValue& item : value->as_list()) Collect(&item, all);
  }
  if (value->is_dict()) {
    for (auto& [key, item] : value->as_dict()) Collect(&item, all);
  }
}

std::string Snippet(Random& random) {
  constexpr const char* kSnippets[] = {"x",
                                       "(x)",
                                       "[0]",
                                       " if x else ",
                                       "for i in range(9999)",
                                       "**",
                                       "9e99",
                                       "-1",
                                       "K.sum(x, axis=-1)",
                                       "[...]",
                                       "x[:, None]",
                                       "K.tile(x, 99)",
                                       "x.shape[1]",
                                       "0",
                                       "1000000007",
                                       "(",
                                       ")",
                                       " := ",
                                       "; x = x; ",
                                       "K.concatenate([x] * 99)",
                                       "range(2**40)",
                                       "x @ x",
                                       "K.zeros((65536, 65536))",
                                       "config",
                                       "mask",
                                       "None",
                                       "$units"};
  return kSnippets[random() % std::size(kSnippets)];
}

std::string DamagedText(std::string text, Random& random) {
  if (random() % 2 == 0) return MutateBytes(std::move(text), random);
  const size_t at = text.empty() ? 0 : random() % text.size();
  const size_t cut = random() % 2 == 0 ? 0 : random() % 8;
  return text.substr(0, at) + Snippet(random) + text.substr(std::min(at + cut, text.size()));
}

ConfigValue Odd(Random& random) {
  switch (random() % 8) {
    case 0:
      return ConfigValue();
    case 1:
      return ConfigValue(int64_t{-1});
    case 2:
      return ConfigValue(int64_t{1} << random() % 63);
    case 3:
      return ConfigValue(1e308);
    case 4:
      return ConfigValue(ConfigValue::List{});
    case 5:
      return ConfigValue(ConfigValue::Dict{});
    case 6:
      return ConfigValue(random() % 2 == 0);
    default:
      return ConfigValue(Snippet(random));
  }
}

void Damage(ConfigValue* root, Random& random) {
  for (int change = 1 + static_cast<int>(random() % 3); change > 0; --change) {
    std::vector<ConfigValue*> all;
    Collect(root, &all);
    ConfigValue* target = all[random() % all.size()];
    if (target->is_string() && random() % 4 != 0) {
      *target = ConfigValue(DamagedText(target->as_string(), random));
    } else if (random() % 2 == 0) {
      *target = ConfigValue(*all[random() % all.size()]);  // another part of the same
    } else {
      *target = Odd(random);
    }
  }
}

// True when the model was understood without errors.
bool Round(const Seed& seed, Random& random, std::string* shown) {
  ConfigValue definitions = seed.definitions, model_config = seed.model_config;
  if (!definitions.as_dict().empty() && random() % 4 != 0) {
    for (auto& [name, definition] : definitions.as_dict()) {
      if (random() % 2 == 0) Damage(&definition, random);
    }
  } else {
    Damage(&model_config, random);
  }
  config::ModelOptions options;
  for (const auto& [name, definition] : definitions.as_dict()) {
    std::string text = definition.ToJson();
    if (random() % 16 == 0) text = MutateBytes(std::move(text), random);
    options.custom_objects[name] = text;
    *shown += name + ": " + text + "\n";
  }
  ModelImage image = seed.image;
  image.model_config = model_config.ToJson();
  *shown += *image.model_config;
  DiagnosisList diagnoses;
  try {
    UnderstandModel(image, options, &diagnoses);
  } catch (const std::exception& error) {
    fmt::print("{}: {}\n", error.what(), *shown);
    throw;
  }
  return !diagnoses.has_errors();
}

}  // namespace
}  // namespace h5serve::model

int main(int argc, char** argv) {
  using Clock = std::chrono::steady_clock;
  if (argc < 3) {
    fmt::print(stderr, "usage: definition_fuzz SEEDS.json SECONDS [SEED]\n");
    return 2;
  }
  const auto seeds = h5serve::model::ReadSeeds(argv[1]);
  if (seeds.empty()) {
    fmt::print(stderr, "{}: no seeds\n", argv[1]);
    return 2;
  }
  const auto end = Clock::now() + std::chrono::seconds(std::atoi(argv[2]));
  std::mt19937 random(argc > 3 ? static_cast<unsigned>(std::atoi(argv[3])) : 1);
  long rounds = 0, understood = 0;
  double slowest = 0;
  while (Clock::now() < end) {
    std::string shown;
    const auto start = Clock::now();
    understood += h5serve::model::Round(seeds[random() % seeds.size()], random, &shown) ? 1 : 0;
    const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
    slowest = std::max(slowest, seconds);
    ++rounds;
    if (seconds > 10) {
      fmt::print("round {} took {:.1f} s: {}\n", rounds, seconds, shown);
      return 1;
    }
  }
  fmt::print("{} rounds, {} understood, slowest {:.3f} s\n", rounds, understood, slowest);
  return 0;
}
