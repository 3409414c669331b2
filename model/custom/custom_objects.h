// The operator's definitions for one load.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "config/options.h"
#include "model/config_value.h"
#include "model/custom/definition.h"
#include "model/diagnosis.h"
#include "model/keras_model.h"

namespace h5serve::model {

// Finds what a class or function means. Immutable after construction, hence
// thread-safe.
class CustomObjects {
 public:
  // Parses the operator's definitions. Those that are not valid are kept as
  // such: they are reported when a model needs them.
  explicit CustomObjects(const config::ModelOptions& options);

  // The operator's definition for a `{"class_name", "module", "registered_name"}`
  // entry, by any of the names "Name", "package>Name" and "module.Name" as saved.
  // Lambda layers are found by their name and by their function's name too. Null
  // when there is none; CUSTOM_DEFINITION_INVALID goes to `diagnoses` when it is
  // not valid.
  std::shared_ptr<const CustomDefinition> Find(const ConfigValue& entry,
                                               DiagnosisList* diagnoses) const;
  // The same for a function: "swish", "package>swish".
  std::shared_ptr<const CustomDefinition> FindFunction(std::string_view name,
                                                       DiagnosisList* diagnoses) const;

  // Warns about definitions that are not valid and were not needed.
  void ReportInvalid(DiagnosisList* diagnoses) const;

  // Shared libraries that the operator allows.
  const std::vector<std::string>& plugin_paths() const { return plugin_paths_; }

 private:
  struct Entry {
    std::shared_ptr<const CustomDefinition> definition;  // null: see status
    absl::Status status;
  };

  std::shared_ptr<const CustomDefinition> Take(std::string_view name, const Place& place,
                                               DiagnosisList* diagnoses) const;

  std::map<std::string, Entry, std::less<>> entries_;
  std::vector<std::string> plugin_paths_;
};

}  // namespace h5serve::model
