#include "model/compatibility/assess.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "model/compatibility/rehearsal.h"
#include "model/config_value.h"

namespace h5serve::model {
namespace {

// Findings that say that the file holds nothing any Keras could read.
constexpr auto kHopeless =
    std::to_array<Code>({Code::kEmptyFile, Code::kNotHdf5, Code::kGitLfsPointer, Code::kHtmlOrText,
                         Code::kCompressedFile, Code::kKerasV3Zip, Code::kTfCheckpoint,
                         Code::kWrongFormatPb, Code::kWrongFormatTflite, Code::kWrongFormatOnnx,
                         Code::kWrongFormatPickle, Code::kWrongFormatTorch, Code::kTruncated,
                         Code::kHdf5Corrupt, Code::kWeightsOnly, Code::kNotAKerasFile});

bool EndsWithKeras(const std::string& path) { return path.ends_with(".keras"); }

Obstacle FileObstacle(Cause cause, std::string message, std::string error) {
  return {cause, std::move(message), std::move(error), {}, "", ""};
}

// What the container and its name mean to a release; nothing when it gets past.
std::optional<Obstacle> CheckContainer(const ModelImage& image, const std::string& path,
                                       Release release) {
  const bool zip = image.container == ModelImage::Container::kKerasZip;
  const bool knows_zip = release >= Release::kTf2_12;
  if (zip && !knows_zip) {
    return FileObstacle(Cause::kContainer,
                        "the file is a .keras archive, which Keras reads since 2.12",
                        "OSError: Unable to open file (file signature not found)");
  }
  if (zip && !EndsWithKeras(path)) {
    return FileObstacle(Cause::kFileName,
                        "the file is a .keras archive, but its name does not end so",
                        "OSError: Unable to open file (file signature not found)");
  }
  if (!zip && knows_zip && EndsWithKeras(path)) {
    return FileObstacle(Cause::kFileName,
                        "the name ends with .keras, but the file is HDF5, not an archive",
                        "ValueError: File not found. Please ensure the file is an accessible "
                        "`.keras` zip file.");
  }
  return std::nullopt;
}

std::string NoConfigError(Release release) {
  const KerasLine line = Info(release).line;
  if (line != KerasLine::kKeras) return "ValueError: No model config found in the file";
  return release >= Release::k2_2_4 ? "ValueError: Cannot create group in read-only mode."
                                    : "ValueError: No model found in config file.";
}

ReleaseVerdict Assess(const ModelImage& image, const std::string& path, const ConfigValue& config,
                      const std::optional<ConfigValue>& training, Release release) {
  ReleaseVerdict verdict{release, {}, {}};
  if (std::optional<Obstacle> obstacle = CheckContainer(image, path, release)) {
    verdict.obstacles.push_back(*std::move(obstacle));
    return verdict;
  }
  Rehearsal rehearsal(release, image);
  rehearsal.LoadModel(config);
  if (training) rehearsal.Compile(*training);
  return rehearsal.Take();
}

}  // namespace

std::vector<ReleaseVerdict> AssessReleases(const ModelImage& image, const std::string& path) {
  std::vector<ReleaseVerdict> verdicts;
  if (!image.model_config) {
    for (const ReleaseInfo& info : AllReleases()) {
      verdicts.push_back({info.release,
                          {FileObstacle(Cause::kNoModelConfig, "the file holds no architecture",
                                        NoConfigError(info.release))},
                          {}});
    }
    return verdicts;
  }
  const absl::StatusOr<ConfigValue> config = ParseJson(*image.model_config);
  if (!config.ok()) return {};
  std::optional<ConfigValue> training;
  if (image.training_config) {
    if (absl::StatusOr<ConfigValue> parsed = ParseJson(*image.training_config); parsed.ok()) {
      training = *std::move(parsed);
    }
  }
  for (const ReleaseInfo& info : AllReleases()) {
    verdicts.push_back(Assess(image, path, *config, training, info.release));
  }
  return verdicts;
}

std::vector<ReleaseVerdict> AssessUnreadable(const DiagnosisList& diagnoses) {
  const auto at = std::ranges::find_if(diagnoses.items(), [](const Diagnosis& diagnosis) {
    return std::ranges::find(kHopeless, diagnosis.code) != kHopeless.end();
  });
  if (at == diagnoses.items().end()) return {};
  std::vector<ReleaseVerdict> verdicts;
  const bool no_config = at->code == Code::kWeightsOnly || at->code == Code::kNotAKerasFile;
  for (const ReleaseInfo& info : AllReleases()) {
    Obstacle obstacle = FileObstacle(
        no_config ? Cause::kNoModelConfig : Cause::kUnreadable, at->message,
        no_config                      ? NoConfigError(info.release)
        : at->code == Code::kTruncated ? "OSError: Unable to open file (truncated file)"
                                       : "OSError: Unable to open file (file signature not found)");
    verdicts.push_back({info.release, {std::move(obstacle)}, {}});
  }
  return verdicts;
}

std::vector<VerdictGroup> GroupVerdicts(const std::vector<ReleaseVerdict>& verdicts) {
  std::vector<VerdictGroup> groups;
  const auto alike = [](const ReleaseVerdict& a, const ReleaseVerdict& b) {
    if (Info(a.release).line != Info(b.release).line || a.loads() != b.loads() ||
        a.obstacles.size() != b.obstacles.size() || a.notes != b.notes) {
      return false;
    }
    return std::ranges::equal(a.obstacles, b.obstacles, [](const Obstacle& x, const Obstacle& y) {
      return x.cause == y.cause && x.message == y.message;
    });
  };
  for (const ReleaseVerdict& verdict : verdicts) {
    if (!groups.empty() && alike(*groups.back().verdict, verdict)) {
      groups.back().releases.last = verdict.release;
    } else {
      groups.push_back({{verdict.release, verdict.release}, &verdict});
    }
  }
  return groups;
}

}  // namespace h5serve::model
