// Which arguments each release's layer classes take.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "model/compatibility/releases.h"
#include "model/config_value.h"

namespace h5serve::model {

struct Constructor {
  std::string_view class_name;
  ReleaseRange releases;
  std::string_view required;  // arguments without a default, separated by blanks
  std::string_view optional;
};

// The constructor `class_name` (as a file writes it, old names included) had in
// a release, or null when the release has no such layer.
const Constructor* FindConstructor(std::string_view class_name, Release release);

// The releases of each line that have a layer of this name, oldest first.
std::vector<ReleaseRange> ReleasesWithClass(std::string_view class_name);

// What calling a constructor with a stored config comes to.
struct ConstructorCall {
  std::vector<std::string> missing;  // required arguments the config does not hold
  std::vector<std::string> unknown;  // keys the constructor does not take
  // Unknown keys are Python's own complaint, before missing ones are looked at.
  bool strict = false;
};

// `class_name` is the name in the file, which may be an alias of the constructor's.
ConstructorCall CallConstructor(std::string_view class_name, const Constructor& constructor,
                                const ConfigValue& config, Release release);

}  // namespace h5serve::model
