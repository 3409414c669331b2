#include "server/commands/releases_report.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string>

#include "model/compatibility/assess.h"

namespace h5serve::server {
namespace {

using Json = nlohmann::ordered_json;
using model::Obstacle;
using model::ReleaseRange;
using model::ReleaseVerdict;
using model::VerdictGroup;

Json ObstacleJson(const Obstacle& obstacle) {
  return {{"cause", Name(obstacle.cause)},
          {"message", obstacle.message},
          {"error", obstacle.error},
          {"only_with", obstacle.only_with},
          {"where",
           {{"layer", obstacle.where.layer},
            {"class", obstacle.where.class_name},
            {"json_pointer", obstacle.where.json_pointer}}},
          {"remedy", obstacle.Remedy()}};
}

// What stops those with a suitable backend, else what stops the others.
const Obstacle* FirstObstacle(const ReleaseVerdict& verdict) {
  const auto& obstacles = verdict.obstacles;
  const auto at = std::ranges::find_if(
      obstacles, [](const Obstacle& obstacle) { return obstacle.only_with.empty(); });
  if (at != obstacles.end()) return &*at;
  return obstacles.empty() ? nullptr : &obstacles.front();
}

// Ranges of any line that people read as one: the same outcome for the same reason.
struct Paragraph {
  std::vector<std::string> ranges;
  const ReleaseVerdict* verdict;
};

bool SameStory(const ReleaseVerdict& a, const ReleaseVerdict& b) {
  if (a.loads() != b.loads() || a.notes != b.notes) return false;
  const Obstacle* first = FirstObstacle(a);
  const Obstacle* second = FirstObstacle(b);
  if (first == nullptr || second == nullptr) return first == second;
  return first->cause == second->cause &&
         (first->message == second->message || first->error == second->error);
}

std::vector<Paragraph> Paragraphs(const std::vector<ReleaseVerdict>& verdicts) {
  std::vector<std::pair<ReleaseRange, const ReleaseVerdict*>> runs;
  for (const ReleaseVerdict& verdict : verdicts) {
    const bool joins = !runs.empty() && SameStory(*runs.back().second, verdict) &&
                       Info(runs.back().first.last).line == Info(verdict.release).line;
    if (joins) {
      runs.back().first.last = verdict.release;
    } else {
      runs.push_back({{verdict.release, verdict.release}, &verdict});
    }
  }
  std::vector<Paragraph> paragraphs;
  for (const auto& [range, verdict] : runs) {
    const auto at = std::ranges::find_if(paragraphs, [told = verdict](const Paragraph& paragraph) {
      return SameStory(*paragraph.verdict, *told);
    });
    if (at == paragraphs.end()) {
      paragraphs.push_back({{Describe(range)}, verdict});
    } else {
      at->ranges.push_back(Describe(range));
      at->verdict = verdict;  // the newest prints what people see today
    }
  }
  std::stable_partition(paragraphs.begin(), paragraphs.end(),
                        [](const Paragraph& p) { return p.verdict->loads(); });
  return paragraphs;
}

void PrintObstacle(const Terminal& terminal, const ReleaseVerdict& verdict) {
  const Obstacle* obstacle = FirstObstacle(verdict);
  if (obstacle == nullptr) return;
  if (obstacle->cause == model::Cause::kUnreadable) {  // said above, with a remedy
    return terminal.Wrapped("      prints  ", obstacle->error, Style::kDim);
  }
  const std::string condition =
      obstacle->only_with.empty() ? "" : fmt::format("not with {}: ", obstacle->only_with);
  terminal.Wrapped("      ", condition + obstacle->message);
  std::vector<std::string> places;
  if (!obstacle->where.layer.empty()) places.push_back("layer " + obstacle->where.layer);
  if (!obstacle->where.json_pointer.empty()) {
    places.push_back("model_config" + obstacle->where.json_pointer);
  }
  if (!places.empty()) {
    terminal.Wrapped("      where   ", fmt::format("{}", fmt::join(places, ", ")), Style::kDim);
  }
  terminal.Wrapped("      prints  ", obstacle->error, Style::kDim);
  terminal.Wrapped("      try     ", obstacle->Remedy());
}

}  // namespace

nlohmann::ordered_json ReleasesJson(const std::vector<ReleaseVerdict>& verdicts) {
  Json list = Json::array();
  for (const VerdictGroup& group : GroupVerdicts(verdicts)) {
    Json obstacles = Json::array();
    for (const Obstacle& obstacle : group.verdict->obstacles) {
      obstacles.push_back(ObstacleJson(obstacle));
    }
    Json releases = Json::array();
    for (const model::ReleaseInfo& info : model::AllReleases()) {
      if (group.releases.Contains(info.release)) releases.push_back(info.version);
    }
    list.push_back({{"line", Id(Info(group.releases.first).line)},
                    {"from", Info(group.releases.first).version},
                    {"to", Info(group.releases.last).version},
                    {"releases", releases},
                    {"loads", group.verdict->loads()},
                    {"obstacles", obstacles},
                    {"notes", group.verdict->notes}});
  }
  return list;
}

void PrintReleases(const Terminal& terminal, const std::vector<ReleaseVerdict>& verdicts) {
  if (verdicts.empty()) return;
  fmt::print("  {}\n", terminal.Styled(Style::kBold, "which Keras loads it"));
  for (const Paragraph& paragraph : Paragraphs(verdicts)) {
    const bool loads = paragraph.verdict->loads();
    const std::string ranges = fmt::format("{}", fmt::join(paragraph.ranges, ", "));
    terminal.Wrapped(loads ? "    ✔ " : "    ✘ ", ranges, loads ? Style::kGood : Style::kBad);
    PrintObstacle(terminal, *paragraph.verdict);
    for (const std::string& note : paragraph.verdict->notes) {
      terminal.Wrapped("      but     ", note, Style::kWarning);
    }
  }
}

}  // namespace h5serve::server
