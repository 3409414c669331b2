// config_mutations SECONDS FOLDER…  |  config_mutations all FOLDER…
//
// Puts hostile values into the configs of the models of the folders, one at a time,
// and loads each: it must be refused with a code and a place, or be computed. Crashes
// speak for themselves; exceptions, mutations that take longer than ten seconds and
// refusals that do not say where are told, and the exit status is 1. With SECONDS
// mutations are drawn at random for so long; "all" goes through all of them, for one
// model of each kind, and prints those that were served anyway.
#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <limits>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "compute/program.h"
#include "model/compile_model.h"
#include "model/config_value.h"
#include "model/prove.h"
#include "model/reader/read_model.h"

namespace h5serve::model {
namespace {

using Clock = std::chrono::steady_clock;
using List = ConfigValue::List;
using Dict = ConfigValue::Dict;

constexpr double kMaxSeconds = 10;
// The memory that all mutations together may take: more is a failed allocation.
constexpr rlim_t kMaxAddressSpace = rlim_t{6} << 30;

std::vector<ConfigValue> HostileValues() {
  const int64_t huge = int64_t{1} << 60;
  ConfigValue nested(List{});
  for (int i = 0; i < 100; ++i) nested = ConfigValue(List{nested});
  return {ConfigValue(),
          true,
          false,
          -1,
          0,
          1,
          2,
          7,
          int64_t{1} << 31,
          huge,
          -huge,
          1.5,
          -0.5,
          1e300,
          std::numeric_limits<double>::quiet_NaN(),
          std::numeric_limits<double>::infinity(),
          "",
          "vaild",
          "8",
          "channels_first",
          List{},
          List{0},
          List{-1, -1},
          List{2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2},
          List{huge, huge},
          List{"a"},
          nested,
          Dict{},
          Dict{{"class_name", "Nobody"}, {"config", Dict{}}},
          Dict{{"class_name", "Dense"}, {"config", Dict{{"name", "x"}, {"units", 3}}}}};
}

// A place in a config: keys and positions from the root.
using Path = std::vector<std::string>;

// What is for training alone is looked at once, not inside.
bool ForTraining(const std::string& key) {
  return key.ends_with("_initializer") || key.ends_with("_regularizer") ||
         key.ends_with("_constraint") || key == "build_config" || key == "compile_config";
}

void CollectPaths(const ConfigValue& value, const Path& path, std::vector<Path>* paths) {
  if (!path.empty()) paths->push_back(path);
  if (path.size() > 40 || (!path.empty() && ForTraining(path.back()))) return;
  const auto visit = [&](std::string key, const ConfigValue& item) {
    Path inner = path;
    inner.push_back(std::move(key));
    CollectPaths(item, inner, paths);
  };
  if (value.is_dict()) {
    for (const auto& [key, item] : value.as_dict()) visit(key, item);
  } else if (value.is_list()) {
    for (size_t i = 0; i < value.as_list().size(); ++i) {
      visit(std::to_string(i), value.as_list()[i]);
    }
  }
}

ConfigValue* At(ConfigValue* value, const Path& path, size_t length) {
  for (size_t i = 0; i < length && value != nullptr; ++i) {
    if (value->is_dict()) {
      const auto at = value->as_dict().find(path[i]);
      value = at == value->as_dict().end() ? nullptr : &at->second;
    } else {
      value = &value->as_list()[static_cast<size_t>(std::atoi(path[i].c_str()))];
    }
  }
  return value;
}

// Without a value the place is taken out.
ConfigValue Mutated(const ConfigValue& config, const Path& path, const ConfigValue* value) {
  ConfigValue mutated = config;
  if (value != nullptr) {
    *At(&mutated, path, path.size()) = *value;
    return mutated;
  }
  ConfigValue* parent = At(&mutated, path, path.size() - 1);
  if (parent->is_dict()) {
    parent->as_dict().erase(path.back());
  } else {
    parent->as_list().erase(parent->as_list().begin() + std::atoi(path.back().c_str()));
  }
  return mutated;
}

struct Verdict {
  std::string complaint;  // empty: as it should be
  bool served = false;
};

// Problems of the model as a whole have no layer to name.
bool NeedsPlace(Code code) {
  return code != Code::kModelConfigInvalid && code != Code::kResourceLimit &&
         code != Code::kNonfiniteOutput && code != Code::kUnbuiltModel;
}

Verdict JudgeErrors(const DiagnosisList& diagnoses) {
  for (const Diagnosis& item : diagnoses.items()) {
    if (item.severity != Severity::kError) continue;
    if (item.code == Code::kInternalError || item.message.empty()) {
      return {fmt::format("{}: {}", Name(item.code), item.message)};
    }
    const Place& where = item.where;
    if (NeedsPlace(item.code) && where.layer.empty() && where.class_name.empty() &&
        where.json_pointer.empty() && where.hdf5_path.empty()) {
      return {fmt::format("no place: {}: {}", Name(item.code), item.message)};
    }
  }
  return {};
}

Verdict Load(const ModelImage& image) {
  DiagnosisList diagnoses;
  UnderstoodModel understood = UnderstandModel(image, {}, &diagnoses);
  if (diagnoses.has_errors()) return JudgeErrors(diagnoses);
  auto program = compute::Program::Compile(std::move(understood.graph), understood.outputs, {});
  if (!program.ok()) {
    diagnoses.Add(Code::kShapeInferenceFailed, std::string(program.status().message()));
    return {program.status().message().empty() ? "no message of the compiler" : ""};
  }
  const Servable servable(understood.signature, {}, *program, true);
  RunTrials(servable, &diagnoses);
  if (diagnoses.has_errors()) return JudgeErrors(diagnoses);
  return {"", true};
}

// One model that is mutated.
struct Sample {
  std::string name;
  ModelImage image;
  ConfigValue config;
  std::vector<Path> paths;
};

std::optional<Sample> ReadSample(const std::filesystem::path& path) {
  DiagnosisList diagnoses;
  std::optional<ModelImage> image = ReadModelFile(path.string(), {}, &diagnoses);
  if (!image || !image->model_config) return std::nullopt;
  absl::StatusOr<ConfigValue> config = ParseJson(*image->model_config);
  if (!config.ok()) return std::nullopt;
  Sample sample{path.stem().string(), *std::move(image), *std::move(config), {}};
  CollectPaths(sample.config, {}, &sample.paths);
  return sample;
}

// Names of cases differ in their last part by arguments: "conv2d_same", "LSTM3".
std::string KindOf(const std::string& name) {
  std::string kind = name.substr(0, name.find('_'));
  while (!kind.empty() && std::isdigit(static_cast<unsigned char>(kind.back()))) kind.pop_back();
  return kind;
}

std::vector<std::filesystem::path> FindModels(const std::string& folder) {
  std::vector<std::filesystem::path> models;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().extension() == ".h5") models.push_back(entry.path());
  }
  std::sort(models.begin(), models.end());
  return models;
}

class Run {
 public:
  void Try(Sample& sample, const Path& path, const ConfigValue* value) {
    const std::string text = value == nullptr ? "(nothing)" : value->ToJson(60);
    const std::string what = fmt::format("{}: /{} = {}", sample.name, fmt::join(path, "/"), text);
    sample.image.model_config = Mutated(sample.config, path, value).ToJson();
    const auto start = Clock::now();
    Verdict verdict;
    try {
      verdict = Load(sample.image);
    } catch (const std::exception& error) {
      verdict.complaint = fmt::format("exception {}", error.what());
    }
    const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
    if (seconds > kMaxSeconds) verdict.complaint = fmt::format("took {:.1f} s", seconds);
    ++tried_;
    served_ += verdict.served;
    slowest_ = std::max(slowest_, seconds);
    if (verdict.served && list_served) fmt::print("served {}\n", what);
    if (verdict.complaint.empty()) return;
    ++failed_;
    fmt::print("FAIL {}: {}\n", what, verdict.complaint);
  }

  int Finish() const {
    fmt::print("{} mutations, {} served, {} failed, slowest {:.3f} s\n", tried_, served_, failed_,
               slowest_);
    return failed_ > 0 || tried_ == 0 ? 1 : 0;
  }

  bool list_served = false;

 private:
  long tried_ = 0, served_ = 0, failed_ = 0;
  double slowest_ = 0;
};

int TryAll(const std::vector<std::filesystem::path>& models) {
  Run run;
  run.list_served = true;
  std::set<std::string> kinds;
  const std::vector<ConfigValue> values = HostileValues();
  for (const std::filesystem::path& path : models) {
    if (!kinds.insert(path.parent_path().string() + KindOf(path.stem().string())).second) continue;
    std::optional<Sample> sample = ReadSample(path);
    if (!sample) continue;
    for (const Path& place : sample->paths) {
      run.Try(*sample, place, nullptr);
      for (const ConfigValue& value : values) run.Try(*sample, place, &value);
    }
  }
  return run.Finish();
}

int TryRandom(const std::vector<std::filesystem::path>& models, int seconds) {
  Run run;
  std::mt19937 random(1);
  const std::vector<ConfigValue> values = HostileValues();
  const auto end = Clock::now() + std::chrono::seconds(seconds);
  while (Clock::now() < end) {
    std::optional<Sample> sample = ReadSample(models[random() % models.size()]);
    if (!sample || sample->paths.empty()) continue;
    for (int i = 0; i < 100 && Clock::now() < end; ++i) {
      const Path& place = sample->paths[random() % sample->paths.size()];
      const size_t choice = random() % (values.size() + 1);
      run.Try(*sample, place, choice == values.size() ? nullptr : &values[choice]);
    }
  }
  return run.Finish();
}

}  // namespace
}  // namespace h5serve::model

int main(int argc, char** argv) {
  if (h5serve::model::IsReaderChild(argc, argv)) return h5serve::model::RunReaderChild(argc, argv);
  if (argc < 3) {
    fmt::print(stderr, "usage: config_mutations SECONDS|all FOLDER…\n");
    return 2;
  }
  const rlimit limit{h5serve::model::kMaxAddressSpace, h5serve::model::kMaxAddressSpace};
  setrlimit(RLIMIT_AS, &limit);
  std::vector<std::filesystem::path> models;
  for (int i = 2; i < argc; ++i) {
    for (auto& path : h5serve::model::FindModels(argv[i])) models.push_back(std::move(path));
  }
  if (models.empty()) {
    fmt::print(stderr, "no models\n");
    return 2;
  }
  const std::string mode = argv[1];
  return mode == "all" ? h5serve::model::TryAll(models)
                       : h5serve::model::TryRandom(models, std::atoi(argv[1]));
}
