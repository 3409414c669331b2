#include "config/options.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "config/option_table.h"
#include "config/values.h"

namespace h5serve::config {
namespace {

// Each maker below takes a stateless lambda that gives the field, so that a row
// names its field once and the functions of the row are plain pointers.

template <typename Field>
auto& At(const Options& options) {
  return Field{}(const_cast<Options&>(options));
}

template <typename Field>
OptionRow Text(std::string_view name, std::string_view help, Field, std::string range = "any") {
  return {name,
          "text",
          std::move(range),
          help,
          false,
          [](const Options& o) { return std::string(At<Field>(o)); },
          [](Options* o, std::string_view text) {
            Field{}(*o) = std::string(text);
            return absl::OkStatus();
          }};
}

template <typename Field>
OptionRow List(std::string_view name, std::string_view help, Field) {
  return {name,
          "list",
          "items between commas",
          help,
          false,
          [](const Options& o) { return FormatList(At<Field>(o)); },
          [](Options* o, std::string_view text) {
            Field{}(*o) = ParseList(text);
            return absl::OkStatus();
          }};
}

template <typename Field>
OptionRow Flag(std::string_view name, std::string_view help, Field) {
  return {name,
          "boolean",
          "true, false",
          help,
          false,
          [](const Options& o) { return std::string(At<Field>(o) ? "true" : "false"); },
          [](Options* o, std::string_view text) {
            const absl::StatusOr<bool> value = ParseBool(text);
            if (value.ok()) Field{}(*o) = *value;
            return value.status();
          }};
}

template <int64_t kLow, int64_t kHigh, typename Field>
OptionRow Integer(std::string_view name, std::string_view help, Field) {
  return {name,
          "integer",
          fmt::format("{} … {}", kLow, kHigh),
          help,
          false,
          [](const Options& o) { return fmt::format("{}", At<Field>(o)); },
          [](Options* o, std::string_view text) {
            const absl::StatusOr<int64_t> value = ParseInt(text);
            if (!value.ok() || *value < kLow || *value > kHigh) {
              return absl::InvalidArgumentError(
                  fmt::format("expected an integer from {} to {}", kLow, kHigh));
            }
            Field{}(*o) = static_cast<std::remove_reference_t<decltype(Field{}(*o))>>(*value);
            return absl::OkStatus();
          }};
}

template <typename Field>
OptionRow Number(std::string_view name, std::string_view help, Field) {
  return {name,
          "number",
          ">= 0",
          help,
          false,
          [](const Options& o) { return FormatNumber(At<Field>(o)); },
          [](Options* o, std::string_view text) {
            const absl::StatusOr<double> value = ParseNumber(text);
            if (!value.ok() || *value < 0) {
              return absl::InvalidArgumentError("expected a number that is not negative");
            }
            Field{}(*o) = *value;
            return absl::OkStatus();
          }};
}

template <typename Field>
OptionRow Duration(std::string_view name, std::string_view help, Field) {
  return {name,
          "duration",
          "250ms, 10s, 5m, 1h",
          help,
          false,
          [](const Options& o) { return FormatDuration(At<Field>(o)); },
          [](Options* o, std::string_view text) {
            const absl::StatusOr<std::chrono::microseconds> value = ParseDuration(text);
            if (!value.ok()) return value.status();
            using Type = std::remove_reference_t<decltype(Field{}(*o))>;
            Field{}(*o) = std::chrono::duration_cast<Type>(*value);
            return absl::OkStatus();
          }};
}

template <typename Field>
OptionRow Bytes(std::string_view name, std::string_view help, Field) {
  return {name,
          "size",
          "bytes, 512MiB, 2GiB",
          help,
          false,
          [](const Options& o) { return FormatBytes(At<Field>(o)); },
          [](Options* o, std::string_view text) {
            const absl::StatusOr<int64_t> value = ParseBytes(text);
            if (value.ok()) Field{}(*o) = *value;
            return value.status();
          }};
}

template <typename Choices, typename Field>
OptionRow Choice(std::string_view name, std::string_view help, Choices, Field) {
  return {name,
          "choice",
          fmt::format("{}", fmt::join(Choices{}(), ", ")),
          help,
          false,
          [](const Options& o) { return std::string(At<Field>(o)); },
          [](Options* o, std::string_view text) {
            const auto choices = Choices{}();
            if (std::find(choices.begin(), choices.end(), text) == choices.end()) {
              return absl::InvalidArgumentError(
                  fmt::format("expected one of: {}", fmt::join(choices, ", ")));
            }
            Field{}(*o) = std::string(text);
            return absl::OkStatus();
          }};
}

OptionRow PerModel(OptionRow row) {
  row.per_model = true;
  return row;
}

// Gives the field of the options that the rest of the line names.
#define H5SERVE_FIELD(path) \
  [](Options & o) -> auto& { return o.path; }
#define H5SERVE_CHOICES(...) [] { return std::to_array<std::string_view>({__VA_ARGS__}); }

void AddServerRows(std::vector<OptionRow>* rows) {
  rows->insert(
      rows->end(),
      {
          Text("models", "directory of the models to serve", H5SERVE_FIELD(server.models)),
          Text("listen", "address of the gRPC listener; empty for none",
               H5SERVE_FIELD(server.listen), "ADDRESS:PORT"),
          Text("unix_socket", "path of a unix socket for gRPC; empty for none",
               H5SERVE_FIELD(server.unix_socket)),
          Text("unix_socket_mode", "permissions of the unix socket, octal",
               H5SERVE_FIELD(server.unix_socket_mode), "0600 … 0777"),
          Integer<0, 4096>("threads", "compute threads; 0: what the CPU quota allows",
                           H5SERVE_FIELD(server.threads)),
          Integer<1, 64>("load_threads", "models loaded at once",
                         H5SERVE_FIELD(server.load_threads)),
          Duration("poll_interval", "time between scans of the model directory besides events",
                   H5SERVE_FIELD(server.poll_interval)),
          Flag("inotify", "notice changes by inotify too; false: by scans alone",
               H5SERVE_FIELD(server.inotify)),
          Duration("settle_seconds", "how long a new file must stand still before it is read",
                   H5SERVE_FIELD(server.settle_time)),
          Duration("drain_delay", "time between \"not ready\" and the end of listening at SIGTERM",
                   H5SERVE_FIELD(server.drain_delay)),
          Duration("drain_timeout", "time that running requests get to finish at SIGTERM",
                   H5SERVE_FIELD(server.drain_timeout)),
          List("required_models",
               "models without which the server is not ready; empty: all found "
               "at start",
               H5SERVE_FIELD(server.required_models)),
          Bytes("memory_limit", "memory for all models; 0: the cgroup's limit less a reserve",
                H5SERVE_FIELD(server.memory_limit_bytes)),
          Flag("enable_admin", "allow calls that load, unload or reconfigure models, and channelz",
               H5SERVE_FIELD(server.enable_admin)),
          Flag("enable_reflection", "answer gRPC reflection",
               H5SERVE_FIELD(server.enable_reflection)),
          Flag("tensor_content_outputs",
               "Predict answers numbers in tensor_content instead of the typed fields",
               H5SERVE_FIELD(server.tensor_content_outputs)),
          Text("server_name", "name that ServerMetadata tells", H5SERVE_FIELD(server.server_name)),
          Text("authorization_policy", "file with a gRPC RBAC policy, read again when it changes",
               H5SERVE_FIELD(server.authorization_policy)),
          List("plugins", "shared libraries that custom objects may name",
               H5SERVE_FIELD(model.plugin_paths)),
          Choice("log.level", "least severity that is logged",
                 H5SERVE_CHOICES("debug", "info", "warning", "error"),
                 H5SERVE_FIELD(server.log_level)),
          Choice("log.format", "text for people, JSON for programs; auto: text on a terminal",
                 H5SERVE_CHOICES("auto", "text", "json"), H5SERVE_FIELD(server.log_format)),
      });
}

void AddTransportRows(std::vector<OptionRow>* rows) {
  rows->insert(
      rows->end(),
      {
          Text("tls.certificate", "PEM file with the server's certificate chain; empty: no TLS",
               H5SERVE_FIELD(server.tls.certificate)),
          Text("tls.key", "PEM file with the server's private key", H5SERVE_FIELD(server.tls.key)),
          Text("tls.client_authority",
               "PEM file of the authority that must have signed clients' certificates",
               H5SERVE_FIELD(server.tls.client_authority)),
          Duration("grpc.keepalive_time", "idle time after which a connection is probed",
                   H5SERVE_FIELD(server.grpc.keepalive_time)),
          Duration("grpc.keepalive_timeout", "time a probe may stay unanswered",
                   H5SERVE_FIELD(server.grpc.keepalive_timeout)),
          Duration("grpc.min_client_ping_interval",
                   "a client that pings more often is disconnected",
                   H5SERVE_FIELD(server.grpc.min_client_ping_interval)),
          Duration("grpc.max_age", "age at which a connection is closed gracefully; 0: never",
                   H5SERVE_FIELD(server.grpc.max_age)),
          Duration("grpc.max_age_grace", "time its running calls then get",
                   H5SERVE_FIELD(server.grpc.max_age_grace)),
          Duration("grpc.max_idle", "idle time after which a connection is closed; 0: never",
                   H5SERVE_FIELD(server.grpc.max_idle)),
          Integer<1, 1000000>("grpc.max_streams", "concurrent calls on one connection",
                              H5SERVE_FIELD(server.grpc.max_streams)),
          Bytes("grpc.max_message_size", "largest message received or sent",
                H5SERVE_FIELD(server.grpc.max_message_bytes)),
          Text("http.listen", "address of the HTTP listener; empty for none",
               H5SERVE_FIELD(server.http.listen), "ADDRESS:PORT"),
          Integer<1, 1024>("http.threads", "HTTP requests answered at once",
                           H5SERVE_FIELD(server.http.threads)),
          Bytes("http.max_body_size", "largest HTTP request body",
                H5SERVE_FIELD(server.http.max_body_bytes)),
          Duration("http.timeout", "time an HTTP request may take",
                   H5SERVE_FIELD(server.http.timeout)),
          Text("http.token_file",
               "file with the bearer token that all HTTP requests but the probes must carry",
               H5SERVE_FIELD(server.http.token_file)),
      });
}

void AddCompatibilityRows(std::vector<OptionRow>* rows) {
  rows->insert(
      rows->end(),
      {
          PerModel(Text("compatibility.keras_versions", "range of Keras versions accepted",
                        H5SERVE_FIELD(model.compatibility.keras_versions), ">=2.0,<4")),
          PerModel(Choice("compatibility.newer_keras", "a Keras newer than any tested",
                          H5SERVE_CHOICES("warn", "refuse"),
                          H5SERVE_FIELD(model.compatibility.newer_keras))),
          PerModel(Choice("compatibility.unknown_config_key",
                          "a key of a known layer that no known version wrote",
                          H5SERVE_CHOICES("refuse", "warn"),
                          H5SERVE_FIELD(model.compatibility.unknown_config_key))),
          PerModel(Choice("compatibility.backend_conversion", "files written with Theano or CNTK",
                          H5SERVE_CHOICES("allow", "refuse"),
                          H5SERVE_FIELD(model.compatibility.backend_conversion))),
          PerModel(Choice("compatibility.signature_change",
                          "a new version with other inputs or outputs than the one in service",
                          H5SERVE_CHOICES("refuse", "allow"),
                          H5SERVE_FIELD(model.compatibility.signature_change))),
          PerModel(Choice("compatibility.golden", "golden samples beside the file",
                          H5SERVE_CHOICES("if_present", "require", "ignore"),
                          H5SERVE_FIELD(model.compatibility.golden))),
          PerModel(Choice("compatibility.stateful_rnn", "recurrent layers that keep their state",
                          H5SERVE_CHOICES("reset", "refuse"),
                          H5SERVE_FIELD(model.compatibility.stateful_rnn))),
          PerModel(Number("golden_tolerance.absolute", "difference from golden samples allowed",
                          H5SERVE_FIELD(model.compatibility.golden_absolute_tolerance))),
          PerModel(Number("golden_tolerance.relative",
                          "the same, as a fraction of the largest golden value",
                          H5SERVE_FIELD(model.compatibility.golden_relative_tolerance))),
      });
}

template <absl::Status (*kSet)(ModelOptions*, std::string_view),
          std::string (*kGet)(const ModelOptions&)>
OptionRow Object(std::string_view name, std::string_view range, std::string_view help) {
  return {name,
          "object",
          std::string(range),
          help,
          true,
          [](const Options& o) { return kGet(o.model); },
          [](Options* o, std::string_view text) { return kSet(&o->model, text); }};
}

OptionRow Versions() {
  return {"model.versions",
          "versions",
          "latest N, all, specific N N …",
          "versions to serve",
          true,
          [](const Options& o) { return FormatVersions(o.model.versions); },
          [](Options* o, std::string_view text) {
            absl::StatusOr<VersionPolicy> policy = ParseVersions(text);
            if (policy.ok()) o->model.versions = *std::move(policy);
            return policy.status();
          }};
}

OptionRow BatchDelay() {
  return {
      "batching.max_batch_delay_us",
      "integer",
      "0 … 1000000",
      "microseconds an idle worker waits for a batch to fill",
      true,
      [](const Options& o) { return fmt::format("{}", o.model.batching.max_batch_delay.count()); },
      [](Options* o, std::string_view text) {
        const absl::StatusOr<int64_t> value = ParseInt(text);
        if (!value.ok() || *value < 0 || *value > 1000000) {
          return absl::InvalidArgumentError("expected microseconds from 0 to 1000000");
        }
        o->model.batching.max_batch_delay = std::chrono::microseconds(*value);
        return absl::OkStatus();
      }};
}

void AddModelRows(std::vector<OptionRow>* rows) {
  rows->insert(
      rows->end(),
      {
          PerModel(Integer<1, 1048576>("batching.max_batch_size", "most rows of one batch",
                                       H5SERVE_FIELD(model.batching.max_batch_size))),
          BatchDelay(),
          PerModel(Integer<1, 100000000>("batching.max_queue_rows",
                                         "rows that may wait; more are refused",
                                         H5SERVE_FIELD(model.batching.max_queue_rows))),
          PerModel(Integer<0, 4096>("model.workers",
                                    "batches of a model computed at once; 0: as many as threads",
                                    H5SERVE_FIELD(model.workers))),
          PerModel(Bytes("model.memory_limit", "memory of one model; 0: no limit of its own",
                         H5SERVE_FIELD(model.memory_limit_bytes))),
          PerModel(Duration("model.read_timeout", "time the reading child may take",
                            H5SERVE_FIELD(model.read_timeout))),
          PerModel(Bytes("model.max_file_size", "largest model file read",
                         H5SERVE_FIELD(model.max_file_bytes))),
          Versions(),
          Object<SetLabels, FormatLabels>("model.labels", "{\"LABEL\": VERSION}",
                                          "names for versions"),
          Object<SetNames, FormatNames>("model.names", "{\"KERAS NAME\": \"NAME\"}",
                                        "names of inputs and outputs for clients"),
          Object<SetCustomObjects, FormatCustomObjects>("custom_objects", "{\"NAME\": DEFINITION}, FILE",
                                                        "what custom classes and functions mean"),
      });
}

#undef H5SERVE_FIELD
#undef H5SERVE_CHOICES

std::vector<OptionRow> MakeRows() {
  std::vector<OptionRow> rows;
  AddServerRows(&rows);
  AddTransportRows(&rows);
  AddCompatibilityRows(&rows);
  AddModelRows(&rows);
  return rows;
}

size_t EditDistance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t replaced = diagonal + (a[i - 1] != b[j - 1]);
      diagonal = row[j];
      row[j] = std::min({replaced, row[j] + 1, row[j - 1] + 1});
    }
  }
  return row[b.size()];
}

std::string Canonical(std::string_view name) {
  std::string text(name);
  std::replace(text.begin(), text.end(), '-', '_');
  // Shorter names that people know from the documentation's overview.
  if (text == "http") return "http.listen";
  if (text == "versions" || text == "labels" || text == "names") return "model." + text;
  if (text == "batching.max_queue") return "batching.max_queue_rows";
  return text;
}

}  // namespace

std::span<const OptionRow> AllOptions() {
  static const auto* const rows = new std::vector<OptionRow>(MakeRows());
  return *rows;
}

const OptionRow* FindOption(std::string_view name) {
  const std::string canonical = Canonical(name);
  for (const OptionRow& row : AllOptions()) {
    if (row.name == canonical) return &row;
  }
  return nullptr;
}

std::string Nearest(std::string_view name, const std::vector<std::string>& candidates) {
  // Names longer than any of ours are cut: the distance is quadratic.
  name = name.substr(0, 128);
  std::string best;
  size_t best_distance = std::max<size_t>(3, name.size() / 2);
  for (const std::string& candidate : candidates) {
    const size_t distance = EditDistance(name, candidate);
    if (distance < best_distance) {
      best_distance = distance;
      best = candidate;
    }
  }
  return best;
}

absl::Status SetOption(Options* options, std::string_view name, std::string_view text) {
  const OptionRow* row = FindOption(name);
  if (row == nullptr) {
    std::vector<std::string> names;
    for (const OptionRow& known : AllOptions()) names.emplace_back(known.name);
    const std::string nearest = Nearest(Canonical(name), names);
    return absl::NotFoundError(
        fmt::format("unknown option {}{}", name,
                    nearest.empty() ? "" : fmt::format("; did you mean {}?", nearest)));
  }
  const absl::Status status = row->set(options, text);
  if (status.ok()) return status;
  return absl::InvalidArgumentError(fmt::format("option {}: {}, not \"{}\"", row->name,
                                                std::string(status.message()),
                                                std::string(text.substr(0, 200))));
}

std::string FlagName(const OptionRow& row) {
  std::string text = "--" + std::string(row.name == "http.listen" ? "http" : row.name);
  for (char& c : text) c = c == '_' || c == '.' ? '-' : c;
  return text;
}

std::string VariableName(const OptionRow& row) {
  std::string text = "H5SERVE_" + std::string(row.name);
  for (char& c : text) c = c == '.' ? '_' : static_cast<char>(std::toupper(c));
  return text;
}

}  // namespace h5serve::config
