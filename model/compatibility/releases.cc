#include "model/compatibility/releases.h"

#include <fmt/format.h>

#include <iterator>

namespace h5serve::model {
namespace {

using enum KerasLine;

constexpr ReleaseInfo kReleases[] = {
    {Release::k1_0_8, kKeras, "1.0.8"},     {Release::k1_1_2, kKeras, "1.1.2"},
    {Release::k1_2_0, kKeras, "1.2.0"},     {Release::k1_2_2, kKeras, "1.2.2"},
    {Release::k2_0_0, kKeras, "2.0.0"},     {Release::k2_0_2, kKeras, "2.0.2"},
    {Release::k2_0_4, kKeras, "2.0.4"},     {Release::k2_0_5, kKeras, "2.0.5"},
    {Release::k2_0_9, kKeras, "2.0.9"},     {Release::k2_1_0, kKeras, "2.1.0"},
    {Release::k2_1_3, kKeras, "2.1.3"},     {Release::k2_1_6, kKeras, "2.1.6"},
    {Release::k2_2_0, kKeras, "2.2.0"},     {Release::k2_2_2, kKeras, "2.2.2"},
    {Release::k2_2_4, kKeras, "2.2.4"},     {Release::k2_2_5, kKeras, "2.2.5"},
    {Release::k2_3_0, kKeras, "2.3.0"},     {Release::k2_3_1, kKeras, "2.3.1"},
    {Release::kTf2_2_4, kTfKeras, "2.2.4"}, {Release::kTf2_3, kTfKeras, "2.3"},
    {Release::kTf2_4, kTfKeras, "2.4"},     {Release::kTf2_5, kTfKeras, "2.5"},
    {Release::kTf2_6, kTfKeras, "2.6"},     {Release::kTf2_7, kTfKeras, "2.7"},
    {Release::kTf2_8, kTfKeras, "2.8"},     {Release::kTf2_9, kTfKeras, "2.9"},
    {Release::kTf2_10, kTfKeras, "2.10"},   {Release::kTf2_11, kTfKeras, "2.11"},
    {Release::kTf2_12, kTfKeras, "2.12"},   {Release::kTf2_13, kTfKeras, "2.13"},
    {Release::kTf2_14, kTfKeras, "2.14"},   {Release::kTf2_15, kTfKeras, "2.15"},
    {Release::kTf2_16, kTfKeras, "2.16"},   {Release::kTf2_21, kTfKeras, "2.21"},
    {Release::k3_0_0, kKeras3, "3.0.0"},    {Release::k3_0_5, kKeras3, "3.0.5"},
    {Release::k3_1_0, kKeras3, "3.1.0"},    {Release::k3_3_0, kKeras3, "3.3.0"},
    {Release::k3_5_0, kKeras3, "3.5.0"},    {Release::k3_8_0, kKeras3, "3.8.0"},
    {Release::k3_12_0, kKeras3, "3.12.0"},  {Release::k3_15_1, kKeras3, "3.15.1"},
};

constexpr bool InOrder() {
  for (size_t i = 0; i < std::size(kReleases); ++i) {
    if (static_cast<size_t>(kReleases[i].release) != i) return false;
  }
  return true;
}
static_assert(InOrder());
static_assert(std::size(kReleases) == static_cast<size_t>(Release::k3_15_1) + 1);

}  // namespace

std::span<const ReleaseInfo> AllReleases() { return kReleases; }

const ReleaseInfo& Info(Release release) { return kReleases[static_cast<size_t>(release)]; }

std::string_view Name(KerasLine line) { return line == kTfKeras ? "tf.keras" : "Keras"; }

std::string_view Id(KerasLine line) {
  return line == kTfKeras ? "tf.keras" : line == kKeras3 ? "keras3" : "keras";
}

std::string Describe(ReleaseRange range) {
  const ReleaseInfo& first = Info(range.first);
  if (range.first == range.last) return fmt::format("{} {}", Name(first.line), first.version);
  return fmt::format("{} {} to {}", Name(first.line), first.version, Info(range.last).version);
}

}  // namespace h5serve::model
