// Every option of the daemon, with its default.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace h5serve::config {

// What a model must satisfy to be served; see docs/policy.md for the meanings.
struct CompatibilityOptions {
  std::string keras_versions = ">=1.0.7";
  std::string newer_keras = "warn";            // warn, refuse
  std::string unknown_config_key = "refuse";   // refuse, warn
  std::string backend_conversion = "allow";    // allow, refuse
  std::string signature_change = "refuse";     // refuse, allow
  std::string golden = "if_present";           // if_present, require, ignore
  std::string stateful_rnn = "reset";          // reset, refuse
  double golden_absolute_tolerance = 1e-4;
  double golden_relative_tolerance = 1e-4;

  bool operator==(const CompatibilityOptions&) const = default;
};

struct BatchingOptions {
  int max_batch_size = 32;                      // rows
  std::chrono::microseconds max_batch_delay{0};
  int max_queue_rows = 4096;

  bool operator==(const BatchingOptions&) const = default;
};

struct VersionPolicy {
  enum class Kind { kLatest, kAll, kSpecific };
  Kind kind = Kind::kLatest;
  int latest = 1;
  std::vector<int64_t> specific;

  bool operator==(const VersionPolicy&) const = default;
};

// Settings of one model: the server's defaults overlaid with its model.json.
struct ModelOptions {
  CompatibilityOptions compatibility;
  BatchingOptions batching;
  VersionPolicy versions;
  std::map<std::string, int64_t> labels;
  std::map<std::string, std::string> names;  // Keras tensor name -> public name
  // Class or function name -> definition as JSON text.
  std::map<std::string, std::string> custom_objects;
  // Shared libraries the operator allows custom objects to name; only from the
  // server's own configuration.
  std::vector<std::string> plugin_paths;
  int64_t memory_limit_bytes = 0;            // 0: no limit of its own
  std::chrono::milliseconds read_timeout{60000};
  int64_t max_file_bytes = int64_t{16} << 30;

  bool operator==(const ModelOptions&) const = default;
};

}  // namespace h5serve::config
