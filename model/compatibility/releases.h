// The releases of Keras that a file is judged for.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace h5serve::model {

// Three programs share the name: the original for several backends (keras 1.0
// to 2.3.1), the one inside TensorFlow (later the package tf_keras), and
// Keras 3.
enum class KerasLine { kKeras, kTfKeras, kKeras3 };

// In order of appearance within each line. A release stands for those up to
// the next one of its line.
enum class Release {
  k1_0_8,
  k1_1_2,
  k1_2_0,
  k1_2_2,
  k2_0_0,
  k2_0_2,
  k2_0_4,
  k2_0_5,
  k2_0_9,
  k2_1_0,
  k2_1_3,
  k2_1_6,
  k2_2_0,
  k2_2_2,
  k2_2_4,
  k2_2_5,
  k2_3_0,
  k2_3_1,
  kTf2_2_4,
  kTf2_3,
  kTf2_4,
  kTf2_5,
  kTf2_6,
  kTf2_7,
  kTf2_8,
  kTf2_9,
  kTf2_10,
  kTf2_11,
  kTf2_12,
  kTf2_13,
  kTf2_14,
  kTf2_15,
  kTf2_16,
  kTf2_21,
  k3_0_0,
  k3_0_5,
  k3_1_0,
  k3_3_0,
  k3_5_0,
  k3_8_0,
  k3_12_0,
  k3_15_1,
};

struct ReleaseInfo {
  Release release;
  KerasLine line;
  std::string_view version;  // "2.2.4"
};

std::span<const ReleaseInfo> AllReleases();
const ReleaseInfo& Info(Release release);
std::string_view Name(KerasLine line);  // "Keras", "tf.keras", "Keras"; for people
std::string_view Id(KerasLine line);    // "keras", "tf.keras", "keras3"; for programs

// Both ends included.
struct ReleaseRange {
  Release first;
  Release last;

  bool Contains(Release release) const { return first <= release && release <= last; }
};

// "Keras 2.2.4 to 2.3.1", "tf.keras 2.15".
std::string Describe(ReleaseRange range);

}  // namespace h5serve::model
