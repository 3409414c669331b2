#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "compute/ops/einsum.h"

namespace h5serve::compute::ops {
namespace {

absl::Status Refuse(const std::string& equation, std::string_view reason) {
  return absl::InvalidArgumentError(fmt::format("einsum '{}': {}", equation, reason));
}

bool IsLabel(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

// The labels of one operand or of the output; -1 stands for the ellipsis.
absl::StatusOr<std::vector<int>> ParseLabels(const std::string& equation, std::string_view term) {
  std::vector<int> labels;
  for (size_t i = 0; i < term.size(); ++i) {
    if (term.substr(i, 3) == "...") {
      if (std::find(labels.begin(), labels.end(), -1) != labels.end()) {
        return Refuse(equation, "two ellipses in one term");
      }
      labels.push_back(-1);
      i += 2;
    } else if (IsLabel(term[i])) {
      labels.push_back(term[i]);
    } else {
      return Refuse(equation, fmt::format("unexpected character '{}'", term[i]));
    }
  }
  return labels;
}

// Replaces the ellipsis by `axes` labels.
void ExpandEllipsis(std::vector<int>* labels, int axes) {
  const auto at = std::find(labels->begin(), labels->end(), -1);
  if (at == labels->end()) return;
  std::vector<int> expanded(labels->begin(), at);
  for (int i = axes; i-- > 0;) expanded.push_back(EinsumEquation::kEllipsis + i);
  expanded.insert(expanded.end(), at + 1, labels->end());
  *labels = std::move(expanded);
}

// Without "->": the ellipsis, then the labels that occur once, sorted.
std::vector<int> ImplicitOutput(const std::vector<std::vector<int>>& operands) {
  std::vector<int> output;
  std::multiset<int> all;
  for (const std::vector<int>& labels : operands) all.insert(labels.begin(), labels.end());
  if (all.count(-1) > 0) output.push_back(-1);
  for (auto it = all.begin(); it != all.end(); it = all.upper_bound(*it)) {
    if (*it >= 0 && all.count(*it) == 1) output.push_back(*it);
  }
  return output;
}

absl::Status CheckOutput(const std::string& equation, const EinsumEquation& parsed) {
  std::set<int> known, seen;
  for (const std::vector<int>& labels : parsed.operands) known.insert(labels.begin(), labels.end());
  for (int label : parsed.output) {
    if (!seen.insert(label).second) return Refuse(equation, "a label is twice in the output");
    if (known.count(label) == 0) return Refuse(equation, "the output has a label of no operand");
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<EinsumEquation> ParseEinsum(const std::string& equation,
                                           const std::vector<int>& ranks) {
  std::string text;
  std::copy_if(equation.begin(), equation.end(), std::back_inserter(text),
               [](char c) { return c != ' '; });
  const size_t arrow = text.find("->");
  const std::string left = text.substr(0, arrow);
  EinsumEquation parsed;
  for (size_t begin = 0; begin <= left.size();) {
    const size_t end = std::min(left.find(',', begin), left.size());
    absl::StatusOr<std::vector<int>> labels =
        ParseLabels(equation, std::string_view(left).substr(begin, end - begin));
    if (!labels.ok()) return labels.status();
    parsed.operands.push_back(*std::move(labels));
    begin = end + 1;
  }
  if (parsed.operands.size() != ranks.size()) {
    return Refuse(equation, fmt::format("{} operands given", ranks.size()));
  }
  if (arrow == std::string::npos) {
    parsed.output = ImplicitOutput(parsed.operands);
  } else {
    absl::StatusOr<std::vector<int>> labels =
        ParseLabels(equation, std::string_view(text).substr(arrow + 2));
    if (!labels.ok()) return labels.status();
    parsed.output = *std::move(labels);
  }
  int ellipsis = 0;
  for (size_t i = 0; i < ranks.size(); ++i) {
    std::vector<int>& labels = parsed.operands[i];
    const bool open = std::find(labels.begin(), labels.end(), -1) != labels.end();
    const int axes = ranks[i] - static_cast<int>(labels.size()) + (open ? 1 : 0);
    if (axes < 0 || (axes > 0 && !open)) {
      return Refuse(equation, fmt::format("operand {} has rank {}", i, ranks[i]));
    }
    ExpandEllipsis(&labels, axes);
    ellipsis = std::max(ellipsis, axes);
  }
  ExpandEllipsis(&parsed.output, ellipsis);
  if (parsed.output.size() > static_cast<size_t>(kMaxRank)) {
    return Refuse(equation, "too many axes");
  }
  if (absl::Status status = CheckOutput(equation, parsed); !status.ok()) return status;
  return parsed;
}

}  // namespace h5serve::compute::ops
