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
  std::string newer_keras = "warn";           // warn, refuse
  std::string unknown_config_key = "refuse";  // refuse, warn
  std::string backend_conversion = "allow";   // allow, refuse
  std::string signature_change = "refuse";    // refuse, allow
  std::string golden = "if_present";          // if_present, require, ignore
  std::string stateful_rnn = "reset";         // reset, refuse
  double golden_absolute_tolerance = 1e-4;
  double golden_relative_tolerance = 1e-4;

  bool operator==(const CompatibilityOptions&) const = default;
};

struct BatchingOptions {
  int max_batch_size = 32;  // rows
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
  int workers = 0;                 // requests computed at once; 0: as many as threads
  int64_t memory_limit_bytes = 0;  // 0: no limit of its own
  std::chrono::milliseconds read_timeout{60000};
  int64_t max_file_bytes = int64_t{16} << 30;

  bool operator==(const ModelOptions&) const = default;
};

// Transport security of one listener. Files are read again when they change.
struct TlsOptions {
  std::string certificate;       // PEM chain; empty: no TLS
  std::string key;               // PEM
  std::string client_authority;  // PEM; clients must present a certificate it signed
};

// When idle connections are probed and old ones are closed.
struct ConnectionOptions {
  std::chrono::milliseconds keepalive_time{7200000};
  std::chrono::milliseconds keepalive_timeout{20000};
  // A client that pings more often than this is sent away.
  std::chrono::milliseconds min_client_ping_interval{10000};
  std::chrono::milliseconds max_age{0};  // 0: never closed for age
  std::chrono::milliseconds max_age_grace{30000};
  std::chrono::milliseconds max_idle{0};  // 0: never closed for idleness
  int max_streams = 1024;                 // concurrent calls of one connection
  int64_t max_message_bytes = int64_t{256} << 20;
};

struct HttpOptions {
  std::string listen = "127.0.0.1:8501";  // empty: no HTTP
  int threads = 8;
  int64_t max_body_bytes = int64_t{64} << 20;
  std::chrono::milliseconds timeout{30000};
  std::string token_file;  // bearer token for all but the probes
};

// Settings of the daemon as a whole.
struct ServerOptions {
  std::string models;                     // directory
  std::string listen = "127.0.0.1:8500";  // empty: no TCP listener
  std::string unix_socket;                // path; empty: none
  std::string unix_socket_mode = "0660";
  int threads = 0;  // 0: the CPU quota
  int load_threads = 1;
  std::chrono::milliseconds poll_interval{10000};
  bool inotify = true;
  std::chrono::milliseconds settle_time{1000};
  std::chrono::milliseconds drain_delay{0};
  std::chrono::milliseconds drain_timeout{30000};
  std::vector<std::string> required_models;  // empty: every model found at start
  int64_t memory_limit_bytes = 0;            // of all models; 0: the cgroup's, less a reserve
  bool enable_admin = false;
  bool enable_reflection = true;
  bool tensor_content_outputs = false;
  std::string server_name = "h5serve";
  std::string authorization_policy;  // gRPC RBAC policy file
  std::string log_level = "info";    // debug, info, warning, error
  std::string log_format = "auto";   // auto, text, json
  TlsOptions tls;
  ConnectionOptions grpc;
  HttpOptions http;
};

struct Options {
  ServerOptions server;
  ModelOptions model;  // defaults of every model
};

}  // namespace h5serve::config
